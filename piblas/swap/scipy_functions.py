"""The target "scipy.blas": routines of ``scipy.linalg.blas`` that have a kernel; and
"scipy.blas.all", every routine, those that the CPU always computes too.

Replaced are the functions in ``scipy.linalg.blas``, in ``_fblas`` and, where SciPy has it, in
``_fblas_64``, and what :func:`get_blas_funcs` remembers of them is forgotten.  SciPy's solvers and
decompositions call LAPACK, whose BLAS is out of reach.
"""

from __future__ import annotations

import importlib
from typing import Any, Dict, List, Tuple

from ..blas import functions, scipy_blas
from ..routines import ROUTINES
from .names import Replaced

__all__ = ["ScipyFunctions"]


class ScipyFunctions:
    """SciPy's functions, replaced until :meth:`remove`; with ``every``, also those without a
    kernel."""

    def __init__(self, least: int, every: bool = False) -> None:
        self._made: List[Any] = []
        pairs: List[Tuple[Any, Any]] = []
        for originals in _builds():
            for name, original in originals.items():
                row = ROUTINES.get(name)
                if row is not None and (every or row.kernel):
                    ours = functions.make(name, original, lenient=True)
                    pairs.append((original, ours))
                    self._made.append(ours)
        self.set_least(least)
        self._replaced = Replaced(pairs)
        _forget()

    def set_least(self, least: int) -> None:
        for ours in self._made:
            ours.least = least

    def names(self) -> List[str]:
        return self._replaced.names()

    def remove(self) -> List[str]:
        left = self._replaced.restore()
        _forget()
        return left


def _builds() -> List[Dict[str, Any]]:
    """SciPy's functions by name: those for integers of 32 bits, and of 64 where there are such."""
    found = [scipy_blas.functions()]
    try:
        wide = importlib.import_module("scipy.linalg._fblas_64")
    except ImportError:
        return found
    theirs = {name: value for name, value in vars(wide).items() if not name.startswith("_")}
    found.append({name: value for name, value in theirs.items() if callable(value)})
    return found


def _forget() -> None:
    """Have ``get_blas_funcs`` look up its functions anew."""
    memo = getattr(scipy_blas.helpers()["get_blas_funcs"], "memo", None)
    if isinstance(memo, dict):
        memo.clear()
