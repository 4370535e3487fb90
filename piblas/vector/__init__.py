"""Vector functions: lists of operations, or Python functions, run over whole arrays in one pass.

:class:`Function` makes one of a list of operations, whose names are here with and without the
prefix ``OP_``; :func:`fuse` makes one of a Python function.
"""

from __future__ import annotations

from typing import Any, List

from . import ops as _ops
from .fusing import fuse
from .lists import Function
from .ops import Op, Variable

_NAMES = _ops.names()
globals().update(_NAMES)

__all__ = ["Function", "Op", "Variable", "fuse", *_NAMES]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return sorted(globals())
