"""NumPy arrays in memory that the QPUs see: ``piblas.array``, ``empty``, ``zeros``, ``asarray``.

A :class:`DeviceArray` is an ndarray like any other, for NumPy and SciPy too; calls of piblas find
its place in device memory (:func:`place`) and copy nothing.  Views of it, of any class, lie there
as well; what NumPy computes from it is an ordinary array.

Where calls go to no device (the CPU was asked for, or there is no GPU) the same functions give
ordinary memory, so that a script runs anywhere; ``DeviceArray.on_device`` tells.

The memory is given back some time after the last view of it is gone: a finaliser may run in the
middle of anything, so it only leaves a note, which the next allocation reads (:func:`collect`).
"""

from __future__ import annotations

import collections
import math
import operator
import sys
import warnings
import weakref
from typing import Any, Deque, NamedTuple, Optional, Tuple

import numpy as np

from ..dispatch import devices
from ..driver.device import Buffer, BufferProgram, Device, LoadedProgram, on_shortage
from ..errors import BlasError, brief

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

dropped: Deque[Tuple[Device, Buffer]] = collections.deque()
"""Buffers for :func:`collect` to free."""


class Memory:
    """Owns a buffer: the last base of every array in it.

    ``address`` is where the CPU sees its first byte, ``bus_address`` where a QPU does;
    ``device_key`` is the same for all memory of a device.
    """

    def __init__(self, device: Device, buffer: Buffer) -> None:
        self.device, self.buffer, self.device_key = device, buffer, id(device)
        self.bus_address, self.nbytes = buffer.bus_address, buffer.nbytes
        self._bytes = buffer.array(np.uint8)
        self.__array_interface__ = self._bytes.__array_interface__
        self.address: int = self._bytes.__array_interface__["data"][0]
        _free_after(self, device, buffer)


def _free_after(owner: Any, device: Device, buffer: Buffer) -> None:
    """Have :func:`collect` free a buffer of the device once the owner is gone."""
    weakref.finalize(owner, dropped.append, (device, buffer)).atexit = False


def warn_of_special(routine: str) -> None:
    """Warn the caller of a routine that has met such values in place."""
    warnings.warn(f"{routine}: {SPECIAL}", RuntimeWarning, stacklevel=2)


def collect(device: Optional[Device] = None) -> None:
    """Free the buffers, of one device or of all, whose arrays and programs are gone."""
    for _ in range(len(dropped)):
        try:
            owner, buffer = dropped.popleft()
        except IndexError:  # another thread was faster
            return
        if device is None or owner is device:
            buffer.free()
        else:
            dropped.append((owner, buffer))


def keep(device: Device, key: Any, program: LoadedProgram) -> None:
    """Keep a program on the device until memory is short.

    Then it is forgotten, and its memory freed as soon as no call uses it any more.
    """
    if isinstance(program, BufferProgram):
        _free_after(program, device, program.buffer)
    device.kept[key] = program


def _release(device: Device) -> None:
    device.kept.clear()
    collect(device)


on_shortage(_release)


class Place(NamedTuple):
    """Where an array begins: its buffer, and bytes from the buffer's beginning."""

    buffer: Buffer
    offset: int

    @property
    def bus_address(self) -> int:
        return self.buffer.bus_address + self.offset


def _memory(value: Any) -> Optional[Memory]:
    while isinstance(value, np.ndarray):
        value = value.base
    return value if isinstance(value, Memory) else None


def located(view: np.ndarray) -> Tuple[Memory, int]:
    """The memory of an array that lies in a device's, and where it begins there, in bytes.

    Only for arrays that :func:`place` knows.
    """
    base: Any = view.base
    while type(base) is not Memory:
        base = base.base
    return base, view.__array_interface__["data"][0] - base.address


def home(value: Any) -> Optional[Device]:
    """The device in whose memory an array lies."""
    memory = _memory(value)
    return None if memory is None else memory.device


def place(value: np.ndarray, device: Optional[Device]) -> Optional[Place]:
    """Where a float32 array lies in this device's memory; None where it does not, or not wholly."""
    memory = _memory(value)
    if memory is None or memory.device is not device or value.dtype != _FLOAT32:
        return None
    offset = value.__array_interface__["data"][0] - memory.address
    steps = [(size - 1) * stride for size, stride in zip(value.shape, value.strides)]
    low = offset + sum(min(step, 0) for step in steps)
    high = offset + sum(max(step, 0) for step in steps) + _FLOAT32.itemsize
    if value.size == 0 or low < 0 or high > memory.buffer.nbytes or offset % 4:
        return None
    return Place(memory.buffer, offset)


class DeviceArray(np.ndarray):
    """An array whose memory the QPUs see; made by ``piblas.array`` and its like."""

    @property
    def on_device(self) -> Optional[Device]:
        """The device in whose memory it lies; None for ordinary memory."""
        return home(self)

    def __array_wrap__(self, made: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """What NumPy computes is an ordinary array, unless it was told to write here."""
        if return_scalar or made.shape == ():
            return made[()]
        return made if _memory(made) is not None else made.view(np.ndarray)


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
    collect()
    with devices.lock(where):
        memory = Memory(where, where.alloc(nbytes))
    devices.resident()
    made = np.asarray(memory).view(kind).reshape(sizes, order=order)
    return made.view(DeviceArray)


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
