"""SciPy's errors about arguments, as :class:`~piblas.errors.BlasError` with SciPy's message kept.

SciPy raises ``_fblas.error`` where a check fails, ValueError, TypeError or OverflowError where an
argument cannot be converted.  A call that does not fit the signature stays a TypeError, as for any
function.  SciPy checks before it computes, so nothing has been written.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from ..errors import BlasError, brief
from ..routines import Routine
from . import docstrings

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
        given = docstrings.signature(row).bind(*args, **kwargs).arguments
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
        name = found.group(1) if found is not None else _culprit(row, given, text)
    return BlasError(row.name, name, _shown(given.get(name)), text)


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return text


def _shown(value: Any) -> Any:
    """What stands for an argument in an error: an array's shape, the type of what is no number."""
    if isinstance(value, np.ndarray):
        return value.shape
    if isinstance(value, (int, float, complex, str, tuple)) or value is None:
        return value
    if isinstance(value, list):
        return brief(value)
    return f"<{type(value).__name__}>"


def _culprit(row: Routine, given: Dict[str, Any], text: str) -> str:
    """The argument that does not fit, where SciPy's message does not name it."""
    return _inconvertible(row, given) or _misshapen(row, given, text) or "of unknown name"


def _inconvertible(row: Routine, given: Dict[str, Any]) -> Optional[str]:
    for name, value in given.items():
        if value is None:
            continue
        try:
            if isinstance(value, int) and not -(2**31) <= value < 2**31:
                return name
            np.asarray(value, dtype=docstrings.TYPES[row.type])
        except (TypeError, ValueError, OverflowError):
            return name
    return None


def _misshapen(row: Routine, given: Dict[str, Any], text: str) -> Optional[str]:
    if "-th dimension must be" in text:
        # Only a result's shape is fixed beforehand, by the other arguments.
        return next((name for name in ("a", "c") if f"overwrite_{name}" in row.arguments), None)
    shapes = {name: np.shape(value) for name, value in given.items() if value is not None}
    if "too many axes" in text:
        return next((n for n, shape in shapes.items() if sum(s != 1 for s in shape) > 2), None)
    if "arr_size=0" in text:
        return next((name for name, shape in shapes.items() if 0 in shape), None)
    return None
