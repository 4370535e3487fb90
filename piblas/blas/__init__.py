"""What users call: the BLAS routines, and where each call runs.

The routines are attributes of this package and of ``piblas``, made when they are first wanted: the
installed SciPy decides which exist, and importing it takes longer than everything else here.
"""

from __future__ import annotations

from typing import Any, List

from ..routines import EXTENSIONS, HELPERS, ROUTINES


def __getattr__(name: str) -> Any:
    # Looked up first: importing a module of this package asks for its name here.
    if name in ROUTINES or name in HELPERS or name in EXTENSIONS:
        from .functions import function

        made = function(name)
        if made is not None:
            globals()[name] = made
            return made
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    from .functions import exported

    return sorted({*globals(), *exported()})
