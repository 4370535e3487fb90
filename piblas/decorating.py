"""Decorators out of context managers: a block around each call of a function."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Type

from .errors import PiblasError

__all__ = ["decorated"]


def decorated(
    block: Any, function: Callable[..., Any], name: str, error: Type[PiblasError]
) -> Callable[..., Any]:
    """``function`` with each of its calls in ``with block:``, which may be entered again before it
    ends.  ``error`` with the decorator's ``name``: no function, or one that is a generator, whose
    body runs between other code."""
    if not callable(function) or inspect.isclass(function):
        raise error(f"{name} decorates functions, not {function!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise error(
            f"{name} cannot decorate the generator {function.__name__}: write "
            f"`with {name}(...)` around what it computes"
        )
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with block:
                return await function(*args, **kwargs)

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with block:
            return function(*args, **kwargs)

    return called
