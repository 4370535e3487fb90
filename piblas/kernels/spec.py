"""The registry of kernels: what can be built, with which options.

A kernel is a generator ``generate(asm, options)`` and a frozen dataclass of its options, whose
defaults are the kernel as shipped.  A program is built once a process, and its words are kept
beyond that (:mod:`.store`).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Tuple

import numpy as np

from . import store

if TYPE_CHECKING:
    from ..codegen import Assembler, Program

__all__ = ["KernelSpec", "built", "register", "names", "get"]


class KernelSpec:
    """A kernel: its name, the BLAS routines it serves, its generator and its default options."""

    __slots__ = ("defaults", "generate", "name", "routines", "summary")

    def __init__(
        self,
        name: str,
        routines: Tuple[str, ...],
        generate: Callable[[Assembler, Any], None],
        defaults: Any,
        summary: str,
    ) -> None:
        self.name, self.routines, self.summary = name, routines, summary
        self.generate, self.defaults = generate, defaults

    def options(self, **changes: Any) -> Any:
        """The default options with some of them changed; unknown names raise TypeError."""
        import dataclasses  # here, as launching kept programs changes no options

        return dataclasses.replace(self.defaults, **changes)

    def build(self, **changes: Any) -> Program:
        """The program for these options, built once a process."""
        return build(self, self.options(**changes))

    def program(self, options: Any) -> Program:
        """The program for an options object, built once a process."""
        return build(self, options)

    def words(self, options: Any) -> np.ndarray:
        """The words of that program (uint64), which need not be assembled if they are kept
        (:mod:`.store`)."""
        _used.setdefault((self, options))
        return store.load(store.key_of(self.name, options), lambda: self.program(options).words)


@functools.lru_cache(maxsize=None)
def build(spec: KernelSpec, options: Any) -> Program:
    """Generate, lower, allocate, schedule, check and link; cached by kernel and options."""
    from ..codegen import Assembler  # here, because kept programs need no assembler

    asm = Assembler(spec.name)
    spec.generate(asm, options)
    _used.setdefault((spec, options))
    return asm.finish()


_used: Dict[Tuple[KernelSpec, Any], None] = {}


def built() -> List[Program]:
    """The programs that this process has used so far, so that words can be traced to source."""
    return [build(*each) for each in list(_used)]


_REGISTRY: Dict[str, KernelSpec] = {}


def register(spec: KernelSpec) -> KernelSpec:
    """Add a kernel to the registry and return it."""
    if spec.name in _REGISTRY:
        raise ValueError(f"there is a kernel {spec.name!r} already")
    _REGISTRY[spec.name] = spec
    return spec


def _load() -> None:
    # Each registers its kernels.
    from . import (  # noqa: F401
        asum,
        axpby,
        axpy,
        copy,
        dot,
        gemm,
        gemm_pack,
        gemv,
        ger,
        iamax,
        nrm2,
        rot,
        scal,
        swap,
        symv,
        syr,
        trmv,
        trsv,
    )


def names() -> List[str]:
    """The names of all kernels."""
    _load()
    return sorted(_REGISTRY)


def get(name: str) -> KernelSpec:
    """The kernel of that name; KeyError with the known names if there is none."""
    if name in _REGISTRY:
        return _REGISTRY[name]
    if name.isidentifier() and importlib.util.find_spec(f"{__package__}.{name}") is not None:
        # A kernel's module has its name: this one alone, as importing all takes a while.
        importlib.import_module(f"{__package__}.{name}")
    if name not in _REGISTRY:
        _load()
    if name not in _REGISTRY:
        raise KeyError(f"no kernel is called {name!r}; there are {', '.join(sorted(_REGISTRY))}")
    return _REGISTRY[name]
