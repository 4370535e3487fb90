"""Products of matrices in ordinary memory on a device: operands are packed by the CPU, in one pass
each, and the result is read from scratch memory.

The kernel computes a row-major D = alpha P Q + beta D (:mod:`piblas.kernels.gemm`).  BLAS has
column-major results, so D is the transpose of C, P that of op(B) and Q that of op(A); here operands
are named by what the kernel takes.

The kernel reports the largest magnitude of the sums of products.  The CPU looks at a result only
where that leaves a doubt.
"""

from __future__ import annotations

import math
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..driver.device import Device, RunReport
from ..kernels import (
    gemm,
    gemm_accuracy,
    gemm_choice,
    gemm_layout,
    gemm_schedule,
    gemm_streams,
)  # fmt: skip
from . import limits
from .numbers import all_below, largest
from .outcome import NOT_FINITE, OVERFLOW, CpuNeeded
from .plan import PLANS, Launch, LaunchPlan
from .runner import TIMEOUT, Runner, runner_of

__all__ = ["Dense", "WORD", "factors", "launches", "room_for_sums", "sgemm", "staged"]

WORD = 4
_maximum = np.maximum.reduce


class Dense(NamedTuple):
    """What a plan for staged operands depends on: D is m x n, P m x k, Q k x n.

    ``tiles`` says which tiles of D are wanted: "all", those with an element on or below the
    diagonal ("lower") or on or above it ("upper"), or all of a product with a P that is lower
    triangular ("ramp").  ``beta``: D is read.  ``accuracy`` is a name
    of :mod:`piblas.kernels.gemm_accuracy`.
    """

    m: int
    n: int
    k: int
    beta: bool
    tiles: str
    accuracy: str
    n_qpus: int
    clock_hz: float
    longest: Optional[float]


class _Staged(NamedTuple):
    p: gemm_layout.Packed
    q: gemm_layout.Packed
    split_k: int
    watched: int


def launches(
    options: gemm.GemmOptions,
    tiles: gemm_schedule.Tiles,
    skew: int,
    device: Tuple[int, float, Optional[float]],
    barriers: int = gemm_streams.BARRIER_WAVES,
    names: Tuple[str, ...] = ("p", "q", "d", "watch"),
    block: int = 0,
    reads: bool = True,
) -> List[Launch]:
    """The launches that compute tiles, on a device of (QPUs, clock rate, longest launch); what
    follows are arguments of :func:`.gemm_streams.streams`."""
    n_qpus, clock_hz, longest = device
    cut = [range(len(tiles))]
    if longest is not None:
        costs = gemm_choice.clocks_of_tiles(options, tiles) / (clock_hz * n_qpus)
        costs *= gemm_accuracy.SLOWER["default" if block else "fast"]
        cut = limits.runs(costs, longest, gemm_schedule.QPUS)
    return [
        Launch(
            gemm.SPEC,
            options,
            gemm_streams.streams(
                options, tiles if len(cut) == 1 else tiles.part(part), n_qpus, skew, barriers,
                names, block, reads,
            ),
        )
        for part in cut
    ]  # fmt: skip


def factors(reads: bool) -> List[Tuple[str, int]]:
    """The values of a launch of the kernel, which reads D or not."""
    return [("alpha", 1), ("limit", 1), *([("beta", 1)] if reads else [])]


def room_for_sums(options: gemm.GemmOptions, n_qpus: int) -> Dict[str, int]:
    """Scratch memory of a launch for what the QPUs keep, by the name of its address: bytes."""
    if not options.blocks:
        return {}
    return {gemm_streams.SUMS: WORD * gemm_streams.sums_words(options, n_qpus)}


def _plan(shape: Dense) -> LaunchPlan:
    m, n, k, beta, wanted, accuracy = shape[:6]
    split_k = 1
    if wanted == "all":
        way, split_k = gemm_accuracy.way_of_parts(accuracy, m, n, k, beta)
    else:
        way = gemm_accuracy.way(accuracy, m, n, k, beta)
    options, block = way
    p, q = gemm_layout.packed_words(options, m, n, k)
    reads = beta and split_k == 1
    skew = gemm_accuracy.skew(way, p, q, reads) if split_k == 1 else 0
    ranges = None
    if wanted != "all":
        from ..kernels import triangle  # here, as sgemm needs none of it

        if wanted == "ramp":
            ranges = triangle.ramp(options, p, q)
        else:
            ranges = triangle.half(options, p, q, wanted == "lower")
    tiles = gemm_schedule.dense_tiles(options, p, q, n, skew, ranges, split_k)
    watched = gemm_streams.watched_words(shape.n_qpus)
    scratch = {
        "p": WORD * p.words,
        "q": WORD * q.words,
        "d": WORD * split_k * m * n,
        "watch": WORD * watched,
    }
    own = room_for_sums(options, shape.n_qpus)
    scratch.update(own)
    return LaunchPlan(
        launches(options, tiles, skew, shape[6:], block=block, reads=reads),
        ["p", "q", "d", "watch", *own],
        factors(reads),
        scratch,
        _Staged(p, q, split_k, watched),
    )


def staged(
    runner: Runner,
    shape: Dense,
    alpha: float,
    p_of: np.ndarray,
    q_of: np.ndarray,
    beta: float,
    old: Optional[np.ndarray],
    reports: List[RunReport],
    timeout: float = TIMEOUT,
    wanted: Optional[np.ndarray] = None,
) -> np.ndarray:
    """alpha P Q + beta D as a view of scratch memory, for finite P^T (``p_of``, k x m), Q
    (``q_of``, k x n) and D (``old``, m x n; None for zeros).

    What lies outside the wanted tiles is undefined; ``wanted`` (bool, m x n) says which elements
    count.  CpuNeeded where D holds Inf or NaN, or the result overflows.
    """
    most = 0.0 if old is None else largest(old)
    if not most < math.inf:
        raise CpuNeeded(NOT_FINITE)
    if runner.cut:
        from . import pieces  # here, as few calls are that large

        return pieces.product(
            runner, shape, alpha, p_of, q_of, beta, old, reports, timeout, wanted
        )
    plan = PLANS.made(shape, _plan, shape)
    made = plan.data
    p, q, d, watch, *_ = rooms = runner.scratch(plan)
    gemm_layout.pack(made.p, p_of, p.floats[: made.p.words])
    gemm_layout.pack(made.q, q_of, q.floats[: made.q.words])
    m, n, split_k = shape.m, shape.n, made.split_k
    found = d.floats[: split_k * m * n].reshape(split_k, m, n)
    reads = shape.beta and split_k == 1
    if reads:
        found[0] = old
    watched = watch.words[: made.watched]
    watched[:] = 0
    # The result too: a dirty line, written back later, would overwrite what the QPUs store.
    for room in (p, q, d, watch):
        room.buffer.clean()
    at = tuple([room.bus_address for room in rooms])
    limit = gemm_streams.LIMIT / (max(1.0, abs(alpha)) * split_k)
    scalars = (alpha, limit, beta) if reads else (alpha, limit)
    runner.run(plan, at, scalars, None, reports, None, timeout)
    watch.buffer.invalidate()
    large = _maximum(watched)
    d.buffer.invalidate()
    result: np.ndarray = found[0]
    if split_k > 1:
        result = np.add.reduce(found)
        if old is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                result += np.float32(beta) * old
    # Without a report alpha P Q stays below LIMIT, a quarter of what overflows.
    if large or abs(beta) * most >= gemm_streams.LIMIT:
        counting = result if wanted is None else result[wanted]
        if (wanted is not None or shape.tiles in ("all", "ramp")) and not all_below(counting):
            raise CpuNeeded(OVERFLOW, reports)
    return result


def sgemm(
    device: Device,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: np.ndarray,
    timeout: float = TIMEOUT,
    accuracy: str = "fast",
) -> RunReport:
    """c = alpha a b + beta c on the gemm kernel, whatever the shapes: for tests of a device.

    ``a`` is (m, k), ``b`` (k, n), ``c`` (m, n), all finite float32 in ordinary memory; ``c`` is
    written when every launch has succeeded.  One report for all launches.
    """
    (m, k), n = a.shape, b.shape[1]
    shape = Dense(n, m, k, beta != 0, "all", accuracy, *limits.of(device))
    reports: List[RunReport] = []
    old = c.T if beta != 0 else None
    with runner_of(device).call() as runner:
        c.T[...] = staged(runner, shape, alpha, b, a.T, beta, old, reports, timeout)
    return limits.combined(reports)
