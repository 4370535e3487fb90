"""NumPy arrays in memory that the QPUs see: ``piblas.array``, ``empty``, ``zeros``, ``asarray``.

A :class:`~.device_array.DeviceArray` is an ndarray like any other, for NumPy and SciPy too; calls
of piblas find its place in device memory (:func:`place`) and copy nothing.

Where calls go to no device (the CPU was asked for, or there is no GPU) the same functions give
ordinary memory, so that a script runs anywhere; ``DeviceArray.on_device`` tells.
"""

from __future__ import annotations

import math
import operator
import sys
import warnings
from typing import Any, Optional, Tuple

import numpy as np

from ..dispatch import devices
from ..driver.device import Device
from ..errors import BlasError, brief
from .device_array import DeviceArray
from .placement import Memory, Place, collect, dropped, home, keep, located, place, taken

__all__ = [
    "DeviceArray",
    "Memory",
    "Place",
    "SPECIAL",
    "array",
    "asarray",
    "collect",
    "dropped",
    "empty",
    "fresh",
    "home",
    "keep",
    "located",
    "place",
    "warn_of_special",
    "zeros",
]

SPECIAL = (
    "Inf, NaN or an overflow in device memory that the result replaces: no old value is left for "
    "the CPU to compute with, so NaN has become Inf, Inf - Inf is Inf, and 0 times either is 0"
)
"""What the RuntimeWarning says.  To keep the old values would take a copy of them: simulated, 77 %
of the time of saxpy, all of that of sger (``python -m bench level1 scopy saxpy``, ``level2 sger``).
"""

_FLOAT32 = np.dtype(np.float32)


def warn_of_special(routine: str) -> None:
    """Warn the caller of a routine that has met such values in place."""
    warnings.warn(f"{routine}: {SPECIAL}", RuntimeWarning, stacklevel=2)


def _shape(shape: Any) -> Tuple[int, ...]:
    try:
        each = shape if np.ndim(shape) else (shape,)
        sizes = tuple(operator.index(size) for size in each)
    except (TypeError, ValueError):
        sizes = (-1,)
    if any(size < 0 for size in sizes):
        raise BlasError("empty", "shape", shape, "wants an integer of at least 0, or several")
    return sizes


def _nbytes(shape: Any, sizes: Tuple[int, ...], itemsize: int) -> int:
    # NumPy counts so, too: an axis of length 0 does not excuse the others.
    counted = itemsize * math.prod(size for size in sizes if size)
    if counted > sys.maxsize:
        what = f"that is {brief(counted)} bytes, and an array has at most {sys.maxsize}"
        raise BlasError("empty", "shape", shape, what)
    return counted if all(sizes) else 0


def empty(
    shape: Any, dtype: Any = np.float32, order: str = "C", device: Optional[Device] = None
) -> DeviceArray:
    """An array of any contents in the memory of ``device``, by default of the one that calls are
    aimed at (``piblas.use``).

    ``shape``, ``dtype`` and ``order`` ("C" or "F") are NumPy's.  Calls find operands of type
    float32 where they lie; for a matrix that a call is to overwrite SciPy wants order "F".  Without
    a device, or without elements, the memory is ordinary.  Raises BlasError, or
    :class:`~piblas.errors.OutOfDeviceMemory`.
    """
    kind, sizes = np.dtype(dtype), _shape(shape)
    if order not in ("C", "F"):
        raise BlasError("empty", "order", order, 'wants "C" or "F"')
    if kind.hasobject:
        raise BlasError("empty", "dtype", dtype, "device memory holds no Python objects")
    where = devices.current()[1] if device is None else device
    nbytes = _nbytes(shape, sizes, kind.itemsize)
    if where is None or nbytes == 0:
        return np.empty(sizes, kind, order=order).view(DeviceArray)  # type: ignore[call-overload]
    made = np.asarray(taken(where, nbytes)).view(kind).reshape(sizes, order=order)
    return made.view(DeviceArray)


def fresh(device: Device, rows: int, columns: int) -> DeviceArray:
    """A float32 matrix of any contents, in Fortran order, in the memory of a device that the caller
    holds the lock of; for results of calls."""
    memory = Memory(device, device.alloc(4 * rows * columns))
    return DeviceArray((rows, columns), _FLOAT32, np.asarray(memory), order="F")


def zeros(
    shape: Any, dtype: Any = np.float32, order: str = "C", device: Optional[Device] = None
) -> DeviceArray:
    """As :func:`empty`, filled with zeros."""
    made = empty(shape, dtype, order, device)
    made.fill(0)
    return made


def _order_of(source: np.ndarray, order: str) -> str:
    if order in ("C", "F"):
        return order
    if order not in ("K", "A"):
        raise BlasError("array", "order", order, 'wants "C", "F", "A" or "K"')
    return "F" if source.flags.fnc else "C"


def array(
    object: Any, dtype: Any = np.float32, order: str = "K", device: Optional[Device] = None
) -> DeviceArray:
    """A copy of ``object``, anything that ``numpy.array`` takes, in device memory (:func:`empty`).

    ``order`` "K" keeps Fortran order.  Unlike NumPy's, the type is float32 unless ``dtype`` says
    otherwise, as that is what QPUs compute with.
    """
    try:
        source = np.asarray(object)
        made = empty(source.shape, dtype, _order_of(source, order), device)
        made[...] = source
    except (TypeError, ValueError) as error:
        if isinstance(error, BlasError):
            raise
        kind = f"<{type(object).__name__}>"
        raise BlasError("array", "object", kind, f"wants numbers ({error})") from error
    return made


def asarray(
    object: Any, dtype: Any = np.float32, order: str = "K", device: Optional[Device] = None
) -> DeviceArray:
    """``object`` itself if it is such an array on that device, of that type and order, else a copy
    (:func:`array`)."""
    where = devices.current()[1] if device is None else device
    if isinstance(object, DeviceArray) and object.on_device is where and object.dtype == dtype:
        flags = object.flags
        if {"C": flags.c_contiguous, "F": flags.f_contiguous}.get(order, order in ("K", "A")):
            return object
    return array(object, dtype, order, device)
