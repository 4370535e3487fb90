"""``@``, ``np.dot``, ``vdot``, ``inner``, ``outer`` and ``np.linalg.norm`` by BLAS routines.

NumPy's results are in C order and BLAS's in Fortran order, so what is computed of A B is its
transpose, B^T A^T; transposes are views, and the routines take any strides.
"""

from __future__ import annotations

import math
from typing import Any, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..blas import functions
from ..blas.level3 import product as sgemm
from ..dispatch import devices
from ..errors import OutOfDeviceMemory
from ..host.device_array import DeviceArray
from ..host.placement import home, taken

__all__ = ["dot", "inner", "matmul", "norm", "outer", "product", "ready", "reshaped", "vdot"]

_FLOAT32 = np.dtype(np.float32)
_ARRAYS = (np.ndarray, DeviceArray)
_COUNTER = devices.counters("matmul", 3)
_AXES = {2: [(-2, -1), (-2, -1), (-2, -1)], 1: [(-1,), (-2, -1), (-1,)]}
"""What NumPy passes on for ``a @= b``, by the number of axes of a (2 for more)."""


def ready(*operands: Any) -> bool:
    """Whether operands are float32 arrays with axes and elements, and calls go to a device."""
    for operand in operands:
        kind = type(operand)
        if kind not in _ARRAYS and not isinstance(operand, DeviceArray):
            return False
        if operand.dtype != _FLOAT32 or operand.ndim == 0 or operand.size == 0:
            return False
    counter = _COUNTER[0]
    if counter is None and devices.now().device is not None:
        return True
    counter = _COUNTER[0]
    if counter is not None:
        next(counter)
    return False


def matmul(inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """``np.matmul(*inputs, **kwargs)``; None where NumPy is to compute it."""
    out = None
    if kwargs:
        (out,) = kwargs.get("out", (None,))
        if not kwargs.keys() <= {"out", "axes"}:
            return None
        if "axes" in kwargs:
            axes = [min(np.ndim(each), 2) for each in (*inputs, out)]
            if kwargs["axes"] != _AXES.get(axes[0]) or axes != [axes[0], 2, axes[0]]:
                return None
    a, b = inputs
    return product(a, b, out) if ready(a, b) else None


def product(a: Any, b: Any, out: Any = None) -> Any:
    """``np.matmul(a, b, out)`` for what is :func:`ready`; None where shapes or ``out`` do not fit.
    """
    if a.ndim == 2 == b.ndim:
        if a.shape[1] != b.shape[0]:
            return None
        if out is None:
            return sgemm(1.0, b.T, a.T).T
        if _takes(out, (a.shape[0], b.shape[1]), a, b):
            sgemm(1.0, b.T, a.T, 0.0, out.T, 0, 0, 1)
            return out
    elif b.ndim == 1 and a.ndim < 3 and out is None:
        if a.shape[-1] != b.shape[0]:
            return None
        if a.ndim == 2:
            return _by_vector(a, b, 0)
        return np.float32(functions.function("sdot")(a, b))
    shape = _shape(a, b)
    if shape is None:
        return None
    if out is not None:
        if not _fits(out, shape):
            return None
        out[...] = product(a, b)
        return out
    if a.ndim == 1 and b.ndim == 2:
        return _by_vector(b, a, 1)
    return _stacked(a, b, shape)


def _takes(out: Any, shape: Tuple[int, ...], *operands: np.ndarray) -> bool:
    """Whether a routine can write a matrix to ``out`` itself."""
    if not (
        type(out) in _ARRAYS
        and out.shape == shape
        and out.dtype == _FLOAT32
        and out.flags.carray
    ):
        return False
    plain = [array.view(np.ndarray) for array in (out, *operands)]
    return not any([np.may_share_memory(plain[0], each) for each in plain[1:]])


def _fits(out: Any, shape: Tuple[int, ...]) -> bool:
    """Whether NumPy would take ``out`` for a float32 result of this shape."""
    return (
        (type(out) is np.ndarray or isinstance(out, DeviceArray))
        and out.shape == shape
        and out.flags.writeable
        and np.can_cast(_FLOAT32, out.dtype, "same_kind")
    )


def _shape(a: np.ndarray, b: np.ndarray) -> Optional[Tuple[int, ...]]:
    """The shape of a product; None where there is none."""
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        return None
    try:
        stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        return None
    return stack + a.shape[-2:-1] + (b.shape[-1:] if b.ndim > 1 else ())


def _room(shape: Tuple[int, ...], *operands: np.ndarray) -> Any:
    """An array of any contents on the device that calls go to, if the operands are there; else
    None."""
    device = devices.now().device
    if any([home(operand) is not device for operand in operands]):
        return None
    try:
        room = taken(device, _FLOAT32.itemsize * math.prod(shape))
    except OutOfDeviceMemory:
        return None
    return DeviceArray(shape, _FLOAT32, np.asarray(room))


def _by_vector(matrix: np.ndarray, vector: np.ndarray, trans: int) -> Any:
    room = _room((matrix.shape[trans],), matrix, vector)
    sgemv = functions.function("sgemv")
    if room is None:
        return sgemv(1.0, matrix, vector, trans=trans)
    return sgemv(1.0, matrix, vector, 0.0, room, trans=trans, overwrite_y=1)


def _stacked(a: np.ndarray, b: np.ndarray, shape: Tuple[int, ...]) -> Any:
    """Products of matrices with further axes, which broadcast; vectors are rows or columns."""
    from ..blas.batch import product_batch_strided  # here, as most products are of two matrices

    left = a[None] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    (m, k), n = left.shape[-2:], right.shape[-1]
    if right.size == k * n and left.flags.c_contiguous:
        # Matrices that lie one after the other are one high matrix.
        made = product(left.reshape(-1, k), b if b.ndim == 1 else right.reshape(k, n))
        return made.reshape(shape)
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    room = _room((math.prod(stack), m, n), a, b)
    first, second = (_matrices(each, stack).swapaxes(1, 2) for each in (right, left))
    result = None if room is None else room.swapaxes(1, 2)
    made = product_batch_strided(1.0, first, second, 0.0, result, overwrite_c=1)
    return made.swapaxes(1, 2).reshape(shape)


def _matrices(each: np.ndarray, stack: Tuple[int, ...]) -> np.ndarray:
    """Its matrices along one axis, of length 1 if there is one matrix; a view where one can be."""
    each = each.view(np.ndarray)
    matrix = each.shape[-2:]
    if each.size != math.prod(matrix):
        each = np.broadcast_to(each, stack + matrix)
    return each.reshape(-1, *matrix)


def reshaped(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """As ``reshape``; a device array stays one on its device where that takes a copy."""
    made = array.reshape(shape)
    if isinstance(array, DeviceArray) and not isinstance(made, DeviceArray):
        try:
            return array.copy().reshape(shape)
        except OutOfDeviceMemory:
            pass
    return made


# --- functions -----------------------------------------------------------------------------------


def dot(a: Any, b: Any, out: Any = None) -> Any:
    if not ready(a, b):
        return None
    if out is not None and not (
        (type(out) is np.ndarray or isinstance(out, DeviceArray))
        and out.dtype == _FLOAT32
        and out.flags.carray
    ):
        return None
    if a.ndim < 2 or b.ndim <= 2:
        return product(a, b, out)
    from .contractions import tensordot

    if a.shape[-1] != b.shape[-2]:
        return None
    made = tensordot(a, b, (-1, -2))
    if out is None:
        return made
    if out.shape != made.shape:
        return None
    out[...] = made
    return out


def inner(a: Any, b: Any) -> Any:
    if not ready(a, b) or a.shape[-1] != b.shape[-1]:
        return None
    if b.ndim <= 2:
        return product(a, b.T)
    from .contractions import tensordot

    return tensordot(a, b, (-1, -1))


def vdot(a: Any, b: Any) -> Any:
    if not ready(a, b) or a.size != b.size:
        return None
    return product(a.reshape(-1), b.reshape(-1))


def outer(a: Any, b: Any, out: Any = None) -> Any:
    if not ready(a, b):
        return None
    return product(reshaped(a, [-1, 1]), reshaped(b, [1, -1]), out)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The 2-norm of a vector, the Frobenius norm of a matrix, or that of all elements."""
    if not (isinstance(x, DeviceArray) and axis is None):
        return None
    if not (ord is None or (ord == 2 and x.ndim == 1) or (ord == "fro" and x.ndim == 2)):
        return None
    if not ready(x):
        return None
    found = np.float32(functions.function("snrm2")(x.ravel("K")))
    return np.full(x.ndim * (1,), found) if keepdims else found
