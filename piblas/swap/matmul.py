"""The target "numpy.matmul": ``@``, ``np.matmul`` and what NumPy builds on them, for float32.

NumPy computes them by a loop in C, kept with the ufunc ``np.matmul`` and replaced here, through
NumPy's C interface, by a function of Python that ctypes makes callable from C.  It calls the
original loop for whatever is small or stays on the CPU.  What it adds to a small call is counted in
tenths of a microsecond, so that it looks at sizes first and at nothing else.

An exception that left the function would leave NumPy with a result that nobody wrote: see
:mod:`.interrupts`.
"""

from __future__ import annotations

import ctypes
import importlib
import struct
from typing import Any, List, Tuple

import numpy as np

from .. import log
from ..errors import PiblasError
from . import interrupts, products

__all__ = ["MatmulLoop"]

_REPLACE = 30
"""Where NumPy's table of C functions for ufuncs has PyUFunc_ReplaceLoopBySignature."""
_FLOAT = 11  # NPY_FLOAT

_pointer = ctypes.c_void_p
_size = ctypes.c_ssize_t
_WORD = ctypes.sizeof(_size)
# The loop gets (operands, sizes, strides, data); NumPy's own does not read the last one.
_Loop = ctypes.CFUNCTYPE(None, _pointer, _pointer, _pointer)
_HeldLoop = ctypes.PYFUNCTYPE(None, _pointer, _pointer, _pointer)

_limit = products.Limit("matmul")


def _nothing(args: int, sizes: int, strides: int) -> None:
    raise AssertionError("no loop was replaced")


_original: Any = _nothing
"""NumPy's loop; it gives other threads a turn."""
_held: Any = _nothing
"""NumPy's loop; it takes less time to call, and no other thread runs meanwhile."""


def _reader() -> Tuple[Any, Any]:
    """(unpack, memory): ``unpack(memory, address)`` reads four words of C's memory as integers, in
    less than half of the time that ctypes' own pointers take."""
    if _WORD < 8:  # no array of Python's can be as large as an address space of 32 bits
        return _four_words, None
    everything = memoryview((ctypes.c_char * (1 << 62)).from_address(0))
    return struct.Struct("4n").unpack_from, everything


def _four_words(memory: None, address: int) -> Any:
    return (_size * 4).from_address(address)


_unpack, _everything = _reader()


def _matmul(
    args: int, sizes: int, strides: int, unpack: Any = _unpack, memory: Any = _everything,
    limit: Any = _limit,
) -> None:  # fmt: skip
    try:
        count, m, k, n = unpack(memory, sizes)
        if count * m * k * n < limit.held:
            _held(args, sizes, strides)
            limit.count()
        else:
            _large(args, sizes, strides)
    except BaseException as error:
        _original(args, sizes, strides)
        returned = [False]
        _failed(error, returned)
        returned[0] = True


def _large(args: int, sizes: int, strides: int) -> None:
    """A product that may be large enough for the device."""
    if not _limit.multiplications:
        _limit.refresh()
    words = (_size * 4).from_address(sizes)
    count, m, k, n = words
    if m * k * n < _limit.multiplications or 0 in words or products.busy():
        _original(args, sizes, strides)
        _limit.count()
        return

    def original() -> None:
        _original(args, sizes, strides)

    a, b, out = _operands(args, (count, m, k, n), list((_size * 9).from_address(strides)))
    if count > 1:
        tall = products.folded(a, b, out)
        if tall is None:
            products.stacked(_limit, a, b, out, original)
        else:
            products.matmul(_limit, *tall, original)
    else:
        products.matmul(_limit, a[0], b[0], out[0], original)


class _Operand:
    """An array in NumPy's hands, for the length of a call."""

    def __init__(self, address: int, shape: Tuple[int, ...], strides: Tuple[int, ...]) -> None:
        self.__array_interface__ = {
            "version": 3, "typestr": np.dtype(np.float32).str, "data": (address, False),
            "shape": shape, "strides": strides,
        }  # fmt: skip


def _operands(args: int, sizes: Tuple[int, ...], steps: List[int]) -> List[np.ndarray]:
    """The two operands and the result as arrays of three axes."""
    count, m, k, n = sizes
    addresses = (ctypes.c_size_t * 3).from_address(args)
    shapes = (count, m, k), (count, k, n), (count, m, n)
    found = []
    for at, shape in enumerate(shapes):
        strides = steps[at], steps[3 + 2 * at], steps[4 + 2 * at]
        found.append(np.asarray(_Operand(addresses[at], shape, strides)))
    return found


def _failed(error: BaseException, returned: List[bool]) -> None:
    """NumPy has computed the product after all: what becomes of the exception?"""
    if isinstance(error, PiblasError):
        log.warning("matmul goes to the CPU: %s: %s", type(error).__name__, error)
    else:
        # A handler of a signal has raised it, or it is an error of ours.
        interrupts.raise_later(error, returned)


class MatmulLoop:
    """The loop of ``np.matmul`` for float32, replaced until :meth:`remove`."""

    def __init__(self, least: int) -> None:
        global _original, _held
        _limit.set_least(least)
        self._was = _replace(_address())
        _original, _held = _Loop(self._was), _HeldLoop(self._was)

    def set_least(self, least: int) -> None:
        _limit.set_least(least)

    def names(self) -> List[str]:
        return ["numpy.matmul (its loop for float32)"]

    def remove(self) -> List[str]:
        # The function that was called stays: another thread may be within it.
        now = _replace(self._was)
        if now == _address():
            return []
        _replace(now)
        return self.names()


_callback: Any = None


def _address() -> int:
    """Where C finds the function; it stays there as long as the process lives."""
    global _callback
    if _callback is None:
        interrupts.catches_all(_matmul)
        _callback = _Loop(_matmul)
    found = ctypes.cast(_callback, _pointer).value
    assert found is not None
    return found


def _replace(loop: int) -> int:
    """Make this the loop of ``np.matmul`` for float32; the one that it was."""
    try:
        core = "numpy._core" if hasattr(np, "_core") else "numpy.core"  # NumPy 2, NumPy 1
        capsule = importlib.import_module(f"{core}._multiarray_umath")._UFUNC_API
    except (ImportError, AttributeError) as error:
        raise PiblasError(f"numpy.matmul cannot be redirected: {error}") from error
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = _pointer, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(get(capsule, None), ctypes.POINTER(_pointer))
    function = ctypes.PYFUNCTYPE(
        ctypes.c_int, ctypes.py_object, _pointer, ctypes.POINTER(ctypes.c_int),
        ctypes.POINTER(_pointer),
    )(table[_REPLACE])  # fmt: skip
    before = _pointer()
    types = (ctypes.c_int * 3)(_FLOAT, _FLOAT, _FLOAT)
    if function(np.matmul, loop, types, ctypes.byref(before)) != 0 or before.value is None:
        raise PiblasError(
            f"numpy.matmul cannot be redirected: NumPy {np.__version__} has no such loop"
        )
    return before.value
