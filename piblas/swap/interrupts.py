"""Exceptions that arrive while C code has called back into Python, where none may get out.

ctypes prints an exception that leaves a callback and goes on; the caller takes what it finds in
memory for the result.  Handlers of signals raise between any two steps of a Python function, so a
callback has to catch everything, from its first step on (:func:`catches_all`), and has what it
caught raised again once it has returned (:func:`raise_later`).
"""

from __future__ import annotations

import _thread
import ctypes
import opcode
import sys
import time
from typing import Any, Callable, List

from ..errors import PiblasError

__all__ = ["catches_all", "raise_later"]

_AFTER_AWAIT = 3
"""The argument of RESUME where the interpreter does not look at signals."""


def catches_all(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let no signal be handled before the function, which begins with ``try``, is within that
    statement.

    Up to Python 3.10 that is so.  Since 3.11 a function begins with an instruction, RESUME, in
    which the interpreter looks at signals unless its argument says that the function goes on after
    an ``await``; here it says so.
    """
    if sys.implementation.name != "cpython":
        raise PiblasError("numpy.matmul can only be redirected under CPython")
    if sys.version_info >= (3, 11):
        target: Any = function
        code = bytearray(target.__code__.co_code)
        if code[0] != opcode.opmap["RESUME"] or code[1] != 0:
            raise PiblasError(
                f"numpy.matmul cannot be redirected safely under Python {sys.version.split()[0]}"
            )
        code[1] = _AFTER_AWAIT
        target.__code__ = target.__code__.replace(co_code=bytes(code))
    return function


def raise_later(error: BaseException, returned: List[bool]) -> None:
    """Raise ``error`` in this thread soon after the callback has set ``returned[0]``."""
    thread = _thread.get_ident()

    class Again(type(error)):  # type: ignore[misc]
        """Makes the very error that was caught."""

        def __new__(cls, *args: Any) -> Any:
            return error

    Again.__name__, Again.__qualname__ = type(error).__name__, type(error).__qualname__
    Again.__module__ = type(error).__module__

    def work() -> None:
        while not returned[0]:
            time.sleep(1e-4)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread), ctypes.py_object(Again)
        )

    _thread.start_new_thread(work, ())
