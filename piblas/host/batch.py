"""Many products of any sizes in one launch of the gemm kernel, from and to ordinary memory."""

from __future__ import annotations

from collections import Counter
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import RunReport
from ..kernels import gemm_accuracy, gemm_choice, gemm_layout, gemm_schedule, gemm_streams
from . import limits
from .gemm_staged import WORD, Dense, factors, launches, room_for_sums, staged
from .numbers import all_below
from .outcome import OVERFLOW, CpuNeeded
from .plan import PLANS, LaunchPlan
from .runner import Runner

__all__ = ["Each", "products"]


class Each(NamedTuple):
    """alpha * a @ b + beta * c: a (m, k), b (k, n), c (m, n) or None; finite float32."""

    alpha: float
    a: np.ndarray
    b: np.ndarray
    beta: float
    c: Optional[np.ndarray]


class _Shape(NamedTuple):
    """What a plan depends on: (m, n, k) of each product, whether any has a c, and a name of
    :mod:`piblas.kernels.gemm_accuracy`."""

    sizes: Tuple[Tuple[int, int, int], ...]
    added: bool
    accuracy: str
    n_qpus: int
    clock_hz: float
    longest: Optional[float]


def _plan(shape: _Shape) -> LaunchPlan:
    options = gemm_choice.choose_for(tuple(sorted(Counter(shape.sizes).items())), shape.added)
    n, k = (max(size[axis] for size in shape.sizes) for axis in (1, 2))
    way = gemm_accuracy.way_of_batch(shape.accuracy, options, n, k)
    found = gemm_schedule.batch(way.options, shape.sizes)
    ends = found.p_at[-1], found.q_at[-1], found.d_at[-1]
    scratch = {name: WORD * int(end) for name, end in zip("pqd", ends)}
    scratch["watch"] = WORD * gemm_streams.watched_words(shape.n_qpus)
    own = room_for_sums(way.options, shape.n_qpus)
    scratch.update(own)
    count = len(shape.sizes)
    values = [(name, 1 if name == "limit" else count) for name, _ in factors(shape.added)]
    data = found.layouts, found.kind.tolist(), *(
        at[:-1].tolist() for at in (found.p_at, found.q_at, found.d_at)
    )
    nbytes = 64 * count
    return LaunchPlan(
        launches(
            way.options, found.tiles, found.skew, shape[3:], block=way.block, reads=shape.added
        ),
        ["p", "q", "d", "watch", *own], values, scratch, (shape.added, data), nbytes,
    )  # fmt: skip


def products(
    runner: Runner, given: Sequence[Each], reports: List[RunReport], accuracy: str = "fast"
) -> List[np.ndarray]:
    """The results of all products, as views of scratch memory; ``reports`` grow by those of the
    launches.  CpuNeeded where a result overflows.  ``accuracy`` is a name of
    :mod:`piblas.kernels.gemm_accuracy`."""
    if runner.cut:
        return _in_pieces(runner, given, reports, accuracy)
    sizes = tuple([(*x.a.shape, x.b.shape[1]) for x in given])
    device = runner.device
    shape = _Shape(
        tuple([(m, n, k) for m, k, n in sizes]), any([x.c is not None for x in given]),
        accuracy, *limits.of(device),
    )  # fmt: skip
    plan = PLANS.made(shape, _plan, shape)
    reads, (layouts, kinds, p_ats, q_ats, d_ats) = plan.data
    p_room, q_room, d_room, watch, *_ = rooms = runner.scratch(plan)
    results = []
    for each, (m, n, _), kind, p_at, q_at, d_at in zip(
        given, shape.sizes, kinds, p_ats, q_ats, d_ats
    ):
        p, q = layouts[kind]
        gemm_layout.pack(p, each.a.T, p_room.floats[p_at : p_at + p.words])
        gemm_layout.pack(q, each.b, q_room.floats[q_at : q_at + q.words])
        d = d_room.floats[d_at : d_at + m * n].reshape(m, n)
        if reads:  # the kernel does, even where it is to count nothing
            d[...] = 0 if each.c is None else each.c
        results.append(d)
    watch.words[:] = 0
    for room in rooms[:4]:
        room.buffer.clean()
    alphas = [each.alpha for each in given]
    limit = gemm_streams.LIMIT / max(1.0, *map(abs, alphas))
    scalars = [*alphas, limit, *([each.beta for each in given] if reads else [])]
    at = tuple([room.bus_address for room in rooms])
    runner.run(plan, at, tuple(scalars), None, reports)
    d_room.buffer.invalidate()
    watch.buffer.invalidate()
    if reads or watch.words.any():
        if not all([all_below(d) for d in results]):
            raise CpuNeeded(OVERFLOW, reports)
    return results


def _in_pieces(
    runner: Runner, given: Sequence[Each], reports: List[RunReport], accuracy: str
) -> List[np.ndarray]:
    """A part of the products at a time; a product that is too large by itself in pieces."""
    from . import pieces

    results: List[np.ndarray] = []
    single = len(given).bit_length() - 1  # so many times a list of this length can be halved
    with pieces.whole(runner) as cut:
        many = max(1, len(given) >> cut)
        for part in pieces.ranges(0, len(given), many):
            if many > 1:
                found = products(runner, given[part], reports, accuracy)
                results += [each.copy() for each in found]
                continue
            (each,) = given[part]
            (m, k), n = each.a.shape, each.b.shape[1]
            shape = Dense(m, n, k, each.c is not None, "all", accuracy, *limits.of(runner.device))
            runner.cut = max(1, cut - single)
            results.append(
                staged(
                    runner, shape, each.alpha, each.a.T, each.b, each.beta, each.c, reports
                )
            )
            runner.cut = 0
    return results
