"""SciPy's errors about arguments, as :class:`~piblas.errors.BlasError` with SciPy's message kept.

SciPy raises ``_fblas.error`` where a check fails, ValueError, TypeError or OverflowError where an
argument cannot be converted.  A call that does not fit the signature stays a TypeError, as for any
function.  SciPy checks before it computes, so nothing has been written.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from ..errors import BlasError
from . import describe
from .routines import Routine

__all__ = ["blas_error", "convert"]

# "(...) failed for 4th keyword incx: saxpy:incx=0", "... for 2nd argument a", "... for hidden n".
_CHECK = re.compile(r"failed for (?:hidden|\d+\w\w (?:argument|keyword)) (\w+)(?:: \w+:\w+=(\S+))?")
# "1st keyword (n) can't be converted", "from the 3rd keyword `a` -- 0-th dimension must be ...".
_NAMED = re.compile(r"\d+\w\w (?:argument|keyword) [`(](\w+)[`')]")


def blas_error(error: BaseException) -> bool:
    """Whether the error is one that SciPy's wrappers raise about an argument."""
    kind = type(error)
    if kind.__name__ == "error" and "fblas" in kind.__module__:
        return True
    return isinstance(error, (ValueError, TypeError, OverflowError))


def convert(
    row: Routine, args: Tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
) -> Optional[BlasError]:
    """The same error as a BlasError, or None if it is not about an argument's value."""
    if isinstance(error, BlasError) or not blas_error(error):
        return None
    try:
        given = describe.signature(row).bind(*args, **kwargs).arguments
    except TypeError:
        return None
    text = str(error)
    found = _CHECK.search(text)
    if found is not None:
        name, value = found.groups()
        if value is not None:
            return BlasError(row.name, name, _number(value), text)
    else:
        found = _NAMED.search(text)
        name = found.group(1) if found is not None else _culprit(row, given)
    return BlasError(row.name, name, _brief(given.get(name)), text)


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return text


def _brief(value: Any) -> Any:
    """An argument for an error message: arrays by their shape, other things not at length."""
    if isinstance(value, np.ndarray):
        return value.shape
    if isinstance(value, (int, float, complex, str, tuple)) or value is None:
        return value if len(repr(value)) <= 60 else reprlib.repr(value)
    if isinstance(value, list):
        return reprlib.repr(value)
    return f"<{type(value).__name__}>"


def _culprit(row: Routine, given: Dict[str, Any]) -> str:
    """The argument that cannot be converted, where SciPy's message does not name it."""
    for name, value in given.items():
        if value is None:
            continue
        try:
            if isinstance(value, int) and not -(2**31) <= value < 2**31:
                return name
            np.asarray(value, dtype=describe.TYPES[row.type])
        except (TypeError, ValueError, OverflowError):
            return name
    return "of unknown name"
