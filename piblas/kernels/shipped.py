"""The kernels whose assembled words come with the package (:mod:`.store`): every member that
dispatch can choose on a device of 12 QPUs with default settings."""

from __future__ import annotations

from typing import Any, Iterator, List, Tuple

import numpy as np

from . import gemm, gemm_choice, gemm_pack, ger, panel, spec, store, syr, update
from .parts import QPUS
from .spec import KernelSpec

__all__ = ["programs", "shipped"]

Member = Tuple[KernelSpec, Any]


def _matrix_products() -> Iterator[Member]:
    for beta in (False, True):
        for options in gemm_choice.members(beta):
            yield gemm.SPEC, options
    yield gemm_pack.SPEC, gemm_pack.SPEC.defaults


def _matrix_vector() -> Iterator[Member]:
    uses = {"gemv": "nt", "symv": "s", "trmv": "nt", "trsv": "nt"}
    for name, of in uses.items():
        for use in of:
            for vectors in panel.VECTORS:
                # A symmetric or triangular matrix has one triangle; a general one may be a band.
                for masked in (False, True) if name == "gemv" else (True,):
                    yield spec.get(name), panel.PanelOptions(use, vectors, masked)


def _updates() -> Iterator[Member]:
    for kernel, ranks in ((ger.SPEC, (1,)), (syr.SPEC, (1, 2))):
        for rank in ranks:
            for vectors in update.VECTORS:
                yield kernel, update.UpdateOptions(rank, vectors)


def _vectors() -> Iterator[Member]:
    others = {kernel.name for kernel, _ in (*_matrix_products(), *_matrix_vector(), *_updates())}
    for name in spec.names():
        if name not in others:
            kernel = spec.get(name)
            fitted = getattr(kernel.defaults, "fitted", None)
            yield kernel, fitted(QPUS) if fitted else kernel.defaults


def shipped() -> List[Member]:
    """(kernel, options) of every program that the package brings."""
    return [*_matrix_products(), *_matrix_vector(), *_updates(), *_vectors()]


def programs() -> Iterator[Tuple[str, np.ndarray]]:
    """(key, words) of each, freshly assembled."""
    for kernel, options in shipped():
        yield store.key_of(kernel.name, options), kernel.program(options).words
