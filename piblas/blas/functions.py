"""Any routine as a function: SciPy's on the CPU, through one short path, or its QPU kernel.

The path is short because a small call costs as little as 0.1 us in SciPy.  Where no call can reach
a QPU (see :func:`piblas.dispatch.devices.counters`) the arguments go to SciPy as they came; what is
added is one call of a Python function and one step of a counter (``bench.cpu_overhead`` measures
it).  Where calls are dispatched, :mod:`piblas.blas.level1`, :mod:`piblas.blas.level2` and, at
level 3, :mod:`piblas.blas.triangles` take the call or leave it to SciPy.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple

import numpy as np

from .. import record
from ..dispatch import devices
from ..errors import BlasError
from ..routines import EXTENSIONS, ROUTINES, Routine
from . import scipy_blas

__all__ = ["ATTRIBUTES", "Function", "exported", "function", "make", "wrap"]

#: What ``get_blas_funcs`` writes on the functions that it hands out.
ATTRIBUTES = ("dtype", "int_dtype", "module_name", "prefix", "typecode")

_made: Dict[str, Any] = {}
_foreign: Dict[Any, Any] = {}


def exported() -> List[str]:
    """The names of ``scipy.linalg.blas`` as installed, its routines and its two helpers, and
    piblas's own extensions."""
    routines = sorted(name for name in scipy_blas.functions() if _is_scipys(name))
    return routines + sorted(scipy_blas.helpers()) + list(EXTENSIONS)


def _is_scipys(name: str) -> bool:
    return name in ROUTINES and ROUTINES[name].family.scipy


def function(name: str) -> Any:
    """``piblas.<name>``, made when it is first wanted; None if there is no such routine."""
    made = _made.get(name)
    if made is not None:
        return made
    # Every SciPy has the routines that have a kernel and are not ours; importing it can wait.
    if name in ROUTINES and (ROUTINES[name].kernel or name in scipy_blas.functions()):
        made = make(name)
    elif name in EXTENSIONS:
        from . import batch

        made = getattr(batch, name)
    elif name == "get_blas_funcs":
        from .lookup import get_blas_funcs

        made = get_blas_funcs()
    elif name == "find_best_blas_type":
        made = scipy_blas.helpers()[name]
    # Two threads may make one at the same time; the first stays.
    return None if made is None else _made.setdefault(name, made)


def make(name: str, scipy: Optional[Callable[..., Any]] = None, **options: Any) -> "Function":
    """A new function for a routine; ``scipy`` and the options as for :class:`Function`."""
    if name == "sgemm":
        from .level3 import Sgemm

        return Sgemm(ROUTINES[name], scipy, **options)
    return Function(ROUTINES[name], scipy, **options)


def wrap(original: Any) -> Any:
    """The function of piblas for one of SciPy's, as found by ``get_blas_funcs``."""
    name = original.__name__.split()[-1]  # f2py names it "function saxpy"
    if scipy_blas.functions().get(name) is original and _is_scipys(name):
        return function(name)
    ours = (*_made.values(), *_foreign.values())
    if original in ours or not _is_scipys(name):
        return original
    # Another build of the same routine, with 64-bit integers: on the CPU.
    row = ROUTINES[name]._replace(kernel=None)
    return _foreign.setdefault(original, Function(row, original))


def _no_empty_vectors(row: Routine, scipy: Callable[..., Any]) -> Callable[..., Any]:
    """SciPy (1.17) crashes the process where ger is to update a matrix without elements."""

    def checked(*args: Any, **kwargs: Any) -> Any:
        for place, name in enumerate(row.arguments[:3]):
            value = args[place] if place < len(args) else kwargs.get(name)
            if name != "alpha" and value is not None and np.size(value) == 0:
                raise BlasError(row.name, name, np.shape(value), "wants at least one element")
        return scipy(*args, **kwargs)

    return checked


def _columns(value: Any) -> Tuple[int, ...]:
    """The shape of a matrix as SciPy takes it: vectors are columns."""
    shape = np.shape(value)
    return (*shape, 1, 1)[:2] if len(shape) < 2 else shape


def _no_short_b(row: Routine, scipy: Callable[..., Any]) -> Callable[..., Any]:
    """SciPy (1.17) reads beyond the end where op(b) has less rows than op(a)."""

    def checked(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(row.arguments, args), **kwargs)
        try:
            along = 1 if given.get("trans", 0) else 0
            a, b = _columns(given["a"]), _columns(given["b"])
            short = len(a) == len(b) == 2 and a[1 - along] == b[1 - along] and b[along] < a[along]
        except (KeyError, ValueError):
            short = False  # SciPy says what is wrong
        if short:
            which = "columns" if along else "rows"
            raise BlasError(row.name, "b", b, f"a has {a[along]} {which}, so b has to")
        return scipy(*args, **kwargs)

    return checked


class Function:
    """A routine of BLAS as users call it.

    Like SciPy's it is an object that does not bind: as an attribute of a class it stays as it is.
    SciPy's function is looked up by the first call that the CPU computes (or is ``scipy``, another
    build of it), signature and docstring are made when somebody asks.

    ``piblas.patch`` has functions of its own, which are ``lenient``: the CPU computes what SciPy
    computes, if by accident, and what the device fails to.  Their calls that are smaller than
    ``least`` stay on the CPU.
    """

    __module__ = "piblas"

    def __init__(
        self,
        row: Routine,
        scipy: Optional[Callable[..., Any]] = None,
        *,
        lenient: bool = False,
    ) -> None:
        self.__name__ = self.__qualname__ = row.name
        self._row, self._lenient, self.least = row, lenient, 0
        self._counter = devices.counters(row.name, row.level if row.kernel else 0)
        self._scipy: Callable[..., Any] = self._found if scipy is None else _guarded(row, scipy)
        self._run: Any = None  # with _bind, once a call is dispatched
        self._bind: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        counter = self._counter[0]
        if counter is None:
            return self._dispatched(args, kwargs)
        try:
            # Without keywords SciPy is spared an empty dictionary: 15 ns of some 200.
            result = self._scipy(*args, **kwargs) if kwargs else self._scipy(*args)
        except Exception as error:
            self._refuse(args, kwargs, error)
        next(counter)
        return result

    def _found(self, *args: Any, **kwargs: Any) -> Any:
        """SciPy's function, called; from then on without this."""
        self._scipy = _cpu_function(self._row)
        return self._scipy(*args, **kwargs)

    def _refuse(self, args: Any, kwargs: Any, error: Exception) -> NoReturn:
        from . import scipy_errors  # here, as all of what follows: most calls are fine

        refused = scipy_errors.convert(self._row, args, kwargs, error)
        if refused is None:
            raise
        raise refused from error

    def _on_cpu(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._scipy(*args, **kwargs)
        except Exception as error:
            self._refuse(args, kwargs, error)

    def _dispatched(self, args: Any, kwargs: Any) -> Any:
        if not self._row.kernel:  # it has no use for a device that may be missing
            return self._without_kernel(args, kwargs)
        state = self._offered() if self._lenient else devices.now()
        if self._counter[0] is not None:
            return self(*args, **kwargs)
        if self._bind is None:
            from .call import run  # here, because kernels are nothing a CPU-only process needs

            self._run, self._bind = run, _binder(self._row)
        return self._run(state, self._row, args, kwargs, self._bind, self._on_cpu)

    def _offered(self) -> devices.State:
        """What a call is aimed at that ``piblas.patch`` has redirected."""
        devices.cpu_reason(3)  # sets the counters
        return devices.offered(self.least)

    def _without_kernel(self, args: Any, kwargs: Any) -> Any:
        tally = record.tally(self._row.name, "cpu", devices.cpu_reason(0))
        began = time.perf_counter()
        result = self._on_cpu(*args, **kwargs)
        next(tally.counter)
        if record.timing:
            tally.time(time.perf_counter() - began)
        return result

    @property
    def _cpointer(self) -> Any:
        """The address of the routine's compiled code on the CPU, as SciPy's function has it."""
        return scipy_blas.functions()[self.__name__]._cpointer

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        from . import docstrings

        return docstrings.docstring(self._row)

    @property
    def __signature__(self) -> Any:
        from . import docstrings

        return docstrings.signature(self._row)

    def __repr__(self) -> str:
        return f"<function piblas.{self.__name__}>"

    def __reduce__(self) -> str:
        return self.__name__


def _cpu_function(row: Routine) -> Callable[..., Any]:
    """What computes the routine on the CPU: SciPy, as far as it has the routine."""
    if row.family.scipy:
        return _guarded(row, scipy_blas.functions()[row.name])
    from . import extensions

    made: Callable[..., Any] = getattr(extensions, row.name)
    return made


def _guarded(row: Routine, scipy: Callable[..., Any]) -> Callable[..., Any]:
    """SciPy's function, kept from calls that would harm the process."""
    if row.name[1:] in ("ger", "geru", "gerc"):
        return _no_empty_vectors(row, scipy)
    if row.name[1:] in ("syr2k", "her2k"):
        return _no_short_b(row, scipy)
    return scipy


def _binder(row: Routine) -> Any:
    """What binds the arguments of a dispatched call."""
    if row.level == 1:
        from . import level1

        return level1.bind
    if row.level == 2:
        from . import level2

        return level2.bind
    from . import triangles

    return triangles.bind
