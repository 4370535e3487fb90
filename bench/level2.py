"""The level-2 bars: simulated time and the share of the modelled limit, in all timing sets.

``python -m bench level2 [routine ...] [--set calibrated] [--reading port] [--json]`` runs sgemv, as
it stands and transposed, sger and, for comparison, a triangle's routines on a matrix of 4 Mi
elements that is on the device, and says what is lost (:mod:`bench.bars`).
"""

from __future__ import annotations

from typing import Any, Callable, List, Sequence, Tuple

import numpy as np

from piblas.kernels import (
    gemv,
    ger,
    panel,
    panel_plan,
    storage,
    symv,
    syr,
    trmv,
    update,
    update_plan,
)
from piblas.kernels.storage import Storage

from . import bars
from .bars import Case, filled

__all__ = ["ASKED", "CASES", "ORDER", "cases", "main"]

ORDER = 2048

ASKED = ("sgemv", "sger")
"""The bar is asked of these."""


def _operands(m: int, n: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A matrix in Fortran order, a vector for its rows and one for its columns."""
    rng = np.random.default_rng(6)
    a = np.asfortranarray(rng.uniform(-1, 1, (m, n)).astype(np.float32))
    x, y = (rng.uniform(-1, 1, size).astype(np.float32) for size in (m, n))
    return a, x, y


def _kept(storage_: Storage, a: np.ndarray) -> np.ndarray:
    """The matrix in double precision, with zeros where nothing is stored."""
    i, j = np.ogrid[: storage_.m, : storage_.n]
    there = (storage_.low <= i - j) & (i - j <= storage_.high)
    return np.where(there, a, np.float32(0)).astype(np.float64)


def _padded(device: Any, vector: np.ndarray, height: int) -> Any:
    return filled(device, np.concatenate((vector, np.zeros(height, np.float32))))


def _multiplied(module: Any, storage_: Storage, use: str) -> Callable[[Any], Any]:
    """A launch of a matrix-vector kernel, checked against its error bound."""

    def launch(device: Any) -> Any:
        a, x, y = _operands(storage_.m, storage_.n)
        plan = panel_plan.plan(storage_, use)
        of_a, of_x = filled(device, a.T), _padded(device, x, plan.options.height)
        out = device.alloc(4 * plan.words)
        if use == "s":
            y = x
        at = {"a": of_a.bus_address, "x": of_x.bus_address, "out": out.bus_address}
        streams = plan.streams(device.n_qpus).filled(at, {"x": y})
        report = device.execute(device.load(module.SPEC.program(plan.options).words), streams)
        out.invalidate()
        stored = out.array(np.float32, (plan.words,))
        assert not plan.overflowed(stored, device.n_qpus)
        kept = _kept(storage_, a)
        dense = {"n": kept, "t": kept.T, "s": kept + kept.T}[use]
        right = x if use == "t" else y
        error = np.abs(plan.join(stored) - dense @ right.astype(np.float64))
        assert (error <= panel.error_bound(plan.depth, 1.0, dense, right)).all()
        return report

    return launch


def _updated(module: Any, storage_: Storage, rank: int) -> Callable[[Any], Any]:
    """A launch of an update, checked against its error bound."""

    def launch(device: Any) -> Any:
        a, x, y = _operands(storage_.m, storage_.n)
        vectors, factors = (x, x[::-1].copy())[:rank], (y, y[::-1].copy())[:rank]
        plan = update_plan.plan(storage_, rank, device.n_qpus)
        of_a = filled(device, a.T)
        places = [_padded(device, vector, plan.options.height) for vector in vectors]
        watch = device.alloc(4 * plan.watch_words)
        at = dict(zip("xy", (place.bus_address for place in places)))
        at.update(a=of_a.bus_address, watch=watch.bus_address)
        streams = plan.streams().filled(at, dict(zip("st", factors)))
        report = device.execute(device.load(module.SPEC.program(plan.options).words), streams)
        of_a.invalidate()
        got = of_a.array(np.float32, a.shape, order="F")
        wide = [vector.astype(np.float64) for vector in vectors]
        change = sum(np.outer(vector, factor) for vector, factor in zip(wide, factors))
        want = a + _kept(storage_, np.asarray(change))
        bound = update.error_bound(a, 1.0, list(zip(vectors, factors)))
        assert (np.abs(got - want) <= bound).all()
        return report

    return launch


def cases(order: int) -> List[Case]:
    """The routines on a matrix of order x order elements."""
    full = storage.full(order, order, order)
    lower = storage.triangle(order, True, order)
    words, half = order * order, order * (order + 1) // 2
    rows: Sequence[Tuple[str, str, int, int, Any]] = (
        ("sgemv", "", words, 0, _multiplied(gemv, full, "n")),
        ("sgemv", " trans", words, 0, _multiplied(gemv, full, "t")),
        ("sger", "", words, words, _updated(ger, full, 1)),
        ("ssymv", " lower", half, 0, _multiplied(symv, lower.without_diagonal(), "s")),
        ("strmv", " lower", half, 0, _multiplied(trmv, lower, "n")),
        ("ssyr", " lower", half, half, _updated(syr, lower, 1)),
        ("ssyr2", " lower", half, half, _updated(syr, lower, 2)),
    )
    return [
        Case(name, f"{order} x {order}{how}", 4 * read, 4 * written, launch, name in ASKED)
        for name, how, read, written, launch in rows
    ]


CASES = cases(ORDER)
"""The rows of the command."""


def main(argv: Any = None) -> int:
    return bars.main(CASES, "level2", argv)
