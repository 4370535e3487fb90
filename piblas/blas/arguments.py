"""Arguments of BLAS calls: coerced as SciPy's wrappers do, refused with the argument's name.

Where SciPy takes something by accident (text as a number, the first of many numbers as a scalar,
1.5 as a transpose code, a matrix of three or more long axes flattened), this module raises
:class:`~piblas.errors.BlasError`; everything else is taken as SciPy takes it.
"""

from __future__ import annotations

import ctypes
import operator
import warnings
from typing import Any, Optional, Tuple

import numpy as np

from ..errors import BlasError

try:  # NumPy 1.25 and later
    from numpy.exceptions import ComplexWarning
except ImportError:  # pragma: no cover  (older NumPy)
    from numpy import ComplexWarning  # type: ignore[no-redef,attr-defined,unused-ignore]

__all__ = [
    "flag", "integer", "left_to_scipy", "matrix", "own", "real", "result", "scalar", "trans",
    "vector", "writable",
]  # fmt: skip

_FLOAT32 = np.dtype(np.float32)


def scalar(routine: str, name: str, value: Any) -> float:
    """A number, rounded to float32; a complex one loses its imaginary part with a warning."""
    if type(value) is not float:
        if isinstance(value, np.ndarray):
            if value.size != 1:
                raise BlasError(routine, name, value.shape, "wants one number, not an array")
            value = value.reshape(())[()]
        elif isinstance(value, (list, tuple)) and len(value) == 1:
            return scalar(routine, name, value[0])
        if isinstance(value, (complex, np.complexfloating)):
            warnings.warn(
                "Casting complex values to real discards the imaginary part",
                ComplexWarning,
                stacklevel=4,
            )
            value = value.real
        try:
            if isinstance(value, (str, bytes)):
                raise TypeError
            value = float(value)
        except (TypeError, ValueError, OverflowError):
            raise BlasError(routine, name, value, "wants a number") from None
    return ctypes.c_float(value).value


def real(value: Any) -> float:
    """A real number, rounded as SciPy does; TypeError for what takes more than that."""
    if not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError
    return ctypes.c_float(float(value)).value


def trans(routine: str, name: str, value: Any) -> bool:
    """Whether the operand is transposed: 0 no, 1 yes, 2 conjugated too (for reals the same)."""
    if value is None:
        return False
    code = integer(routine, name, value)
    if code not in (0, 1, 2):
        raise BlasError(routine, name, value, "wants 0 (as it is), 1 or 2 (transposed)")
    return code != 0


def flag(routine: str, name: str, value: Any) -> bool:
    """An integer that is 0 or not."""
    return integer(routine, name, value) != 0


def integer(routine: str, name: str, value: Any) -> int:
    """An integer, or a real number with an integer's value."""
    try:
        return operator.index(value)
    except TypeError:
        pass
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    raise BlasError(routine, name, value, "wants an integer")


def _as_float32(routine: str, name: str, value: Any, kind: str = "matrix") -> np.ndarray:
    if type(value) is np.ndarray and value.dtype == _FLOAT32:
        return value
    if value is None:
        raise BlasError(routine, name, value, f"wants a {kind}")
    try:
        return np.asarray(value, dtype=_FLOAT32)
    except (TypeError, ValueError) as error:
        shown = f"<{type(value).__name__}>" if not isinstance(value, str) else value
        raise BlasError(routine, name, shown, f"wants a {kind} of numbers ({error})") from error


def _shape(routine: str, name: str, shape: Tuple[int, ...]) -> Tuple[int, int]:
    """The shape as a matrix: vectors are columns, axes of length 1 do not count beyond two."""
    if len(shape) > 2:
        long = tuple(length for length in shape if length != 1)
        if len(long) > 2:
            raise BlasError(routine, name, shape, "wants at most two axes")
        shape = long
    rows, columns = (shape + (1, 1))[:2]
    return rows, columns


def matrix(routine: str, name: str, value: Any) -> np.ndarray:
    """A float32 matrix: the caller's own memory where it is one already, else a copy."""
    array = _as_float32(routine, name, value)
    if array.ndim == 2:
        return array
    return array.reshape(_shape(routine, name, array.shape))


def vector(routine: str, name: str, value: Any) -> np.ndarray:
    """A float32 vector: the caller's own memory where it is one already, else a copy.  A number
    counts as a vector of one element, axes of length 1 do not count."""
    array = _as_float32(routine, name, value, "vector")
    if array.ndim == 1:
        return array
    if sum(length != 1 for length in array.shape) > 1:
        raise BlasError(routine, name, array.shape, "wants one axis")
    return array.reshape(-1)


def writable(value: Any) -> bool:
    """Whether an argument is an array whose memory can hold a float32 result."""
    if not isinstance(value, np.ndarray) or value.dtype != _FLOAT32:
        return False
    return value.flags.aligned and value.flags.writeable


def own(value: Any, overwrite: bool) -> Optional[np.ndarray]:
    """The caller's own array if a result goes there, else None: it goes into a new one.

    That needs leave (``overwrite``) and a :func:`writable` array in Fortran order.  Other objects,
    whether or not they share memory with an array that NumPy makes of them, are copied.
    """
    return value if overwrite and writable(value) and value.flags.f_contiguous else None


def left_to_scipy(value: Any, array: np.ndarray, overwrite: bool) -> bool:
    """Whether SciPy writes a result to memory of the caller's that :func:`own` does not take.

    ``array`` is what NumPy makes of ``value``.  SciPy writes to arrays that are read-only, and,
    with or without ``overwrite``, to what objects share with NumPy (a memoryview, ``__array__``).
    """
    if array.dtype != _FLOAT32 or not array.flags.f_contiguous:
        return False
    if isinstance(value, np.ndarray):
        return overwrite and not writable(value)
    return not isinstance(value, (list, tuple))


def result(
    routine: str,
    name: str,
    value: Any,
    shape: Tuple[int, int],
    read: bool,
    overwrite: bool,
) -> Tuple[np.ndarray, np.ndarray]:
    """The result's memory, as (the array to return, a Fortran-ordered matrix view of it).

    With ``value`` None that is new memory.  Otherwise it is the caller's array if :func:`own` gives
    it, else a copy.
    ``read`` says whether the old contents matter; if not, new memory is left unset (set to zero
    where there was no ``value``).
    """
    if value is None:
        fresh = (np.zeros if read else np.empty)(shape, dtype=_FLOAT32, order="F")
        return fresh, fresh
    array = _as_float32(routine, name, value)
    if _shape(routine, name, array.shape) != shape:
        raise BlasError(
            routine, name, array.shape, f"the result is {shape[0]} x {shape[1]}"
        )
    made = own(value, overwrite)
    if made is None:
        made = np.empty(array.shape, dtype=_FLOAT32, order="F")
        if read:
            made[...] = array
    view = made.view(np.ndarray) if type(made) is not np.ndarray else made
    return made, view if view.ndim == 2 else view.reshape(shape, order="F")
