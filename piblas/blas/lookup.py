"""``get_blas_funcs``: SciPy chooses, piblas hands out its own functions for what SciPy chose.

So the rules (the widest type, aliases such as sdotc for sdot, the default of ``ilp64``) and the
memo are those of the installed SciPy.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

from ..errors import BlasError
from . import functions, scipy_blas

__all__ = ["get_blas_funcs"]


def _ours(found: Any) -> Any:
    made = functions.wrap(found)
    if made is not found:
        for name in functions.ATTRIBUTES:
            if hasattr(found, name):
                setattr(made, name, getattr(found, name))
    return made


def get_blas_funcs() -> Callable[..., Any]:
    """The function of that name, made once SciPy is needed."""
    choose = scipy_blas.helpers()["get_blas_funcs"]

    @functools.wraps(choose)
    def get_blas_funcs(*args: Any, **kwargs: Any) -> Any:
        try:
            found = choose(*args, **kwargs)
        except ValueError as error:
            wanted = kwargs.get("names", args[0] if args else None)
            raise BlasError("get_blas_funcs", "names", wanted, str(error)) from error
        if isinstance(found, list):
            return [_ours(each) for each in found]
        return _ours(found)

    get_blas_funcs.__module__ = "piblas"
    return get_blas_funcs
