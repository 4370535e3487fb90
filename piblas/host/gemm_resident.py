"""Products of matrices in device memory: the QPUs pack the operands, or read Q where it lies.

Operands are named as in :mod:`.gemm_staged`.  Two launches, of which the first also copies a D that
was given, so that it comes back if the second one fails or meets Inf, NaN or an overflow.

The kernels report the largest magnitude that they met: the packing program of the operands, the
kernel of the sums of products.  The CPU looks at a result only where these leave a doubt.
"""

from __future__ import annotations

import functools
import math
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from ..driver.device import Buffer, Device, RunReport
from ..kernels import (
    gemm_accuracy,
    gemm_choice,
    gemm_error,
    gemm_layout,
    gemm_pack,
    gemm_schedule,
    gemm_segments,
    gemm_sources,
    gemm_streams,
)  # fmt: skip
from . import arrays, limits
from .gemm_staged import WORD, factors, launches, room_for_sums
from .numbers import LARGEST, all_below, all_finite
from .outcome import NOT_FINITE, OVERFLOW, SORT_OUT, CpuNeeded
from .plan import PLANS, Launch, LaunchPlan
from .runner import Runner, runner_of

__all__ = ["in_device_memory", "launch_pair", "sgemm_resident"]

_FLOAT32 = np.dtype(np.float32)


class _Resident(NamedTuple):
    """What a plan for operands in device memory depends on.

    Element (i, j) of P lies ``p_down * i + p_along * j`` bytes after the first, of Q likewise; rows
    of D are contiguous and ``pitch`` bytes apart.  ``aligned``: the rows of Q are contiguous and
    begin on lines.  ``forced``: Q is read in place even if that does not pay.  ``kept``: there is
    a copy of D to go back to.
    """

    m: int
    n: int
    k: int
    beta: bool
    p_down: int
    p_along: int
    q_down: int
    q_along: int
    pitch: int
    aligned: bool
    forced: bool
    kept: bool
    accuracy: str
    n_qpus: int


class _InMemory(NamedTuple):
    operand: Optional[gemm_segments.Operand]
    copy: gemm_layout.Packed
    words: Tuple[int, int]


COPIED = 64
"""Columns of a panel of a copy: blocks of whole lines."""

MULTIPLIED = gemm_segments.watched_words(gemm_segments.QPUS)
"""Words that the packing program may report; after them come the kernel's."""


def _resident_plan(shape: _Resident) -> LaunchPlan:
    m, n, k, beta, p_down, p_along, q_down, q_along, pitch = shape[:9]
    lies = False
    for lies in (True, False) if shape.aligned else (False,):
        way = gemm_accuracy.way(shape.accuracy, m, n, k, beta, lies)
        options, block = way
        p, q = gemm_layout.packed_words(options, m, n, k)
        if lies and (shape.forced or gemm_sources.in_place(options, q, m, k, q_down)):
            break
    source = gemm_sources.InPlace(q, k, q_down)
    if lies:
        p = gemm_sources.folded(p, k, options.unroll)
    first, packed_q = source.rest if lies else (0, q)
    name_q = gemm_streams.REST if lies else "q"
    of_p = gemm_segments.Operand(
        p, k, 0, p_along, p_down, 0, "of p", "p", True, "most" if lies else ""
    )
    operands, scratch = [of_p], {"packed p": WORD * p.words}
    if packed_q.length:
        at = first * q_along
        operands.append(gemm_segments.Operand(packed_q, k, at, q_down, q_along, 0, "of q", name_q))
    # Memory that the CPU never writes, so that no line of it is dirty.
    scratch["packed q"] = WORD * packed_q.words
    scratch["most"] = WORD * of_p.most_words if lies else WORD
    copy = gemm_layout.Packed(n, m, COPIED)
    scratch["copy"] = WORD * copy.words if shape.kept else WORD
    if shape.kept:
        operands.append(
            gemm_segments.Operand(copy, m, 0, pitch, WORD, 0, "d", "copy", look=beta)
        )
    own = room_for_sums(options, shape.n_qpus)
    skew = gemm_accuracy.skew(way, p, q, beta, lies)
    packing = gemm_segments.streams(operands, shape.n_qpus, "looked")
    if lies:
        tiles = gemm_sources.tiles(options, p, source, pitch // WORD, skew)
        names, waves = ("p", "of q", "d", "watch"), gemm_sources.BARRIER_WAVES
    else:
        tiles = gemm_schedule.dense_tiles(options, p, q, pitch // WORD, skew)
        names, waves = ("p", "q", "d", "watch"), gemm_streams.BARRIER_WAVES
    words = gemm_streams.watched_words(shape.n_qpus)
    scratch["watch"] = WORD * (MULTIPLIED + words)
    scratch.update(own)
    device = shape.n_qpus, 1.0, None
    return LaunchPlan(
        [
            Launch(gemm_pack.SPEC, gemm_pack.SPEC.defaults, packing),
            *launches(options, tiles, skew, device, waves, names, block, beta),
        ],
        ["of p", "of q", "d", "p", name_q, "most", "copy", "looked", "watch", *own],
        factors(beta),
        scratch,
        _InMemory(of_p if lies else None, copy, (MULTIPLIED, MULTIPLIED + words)),
    )


def _located(matrix: np.ndarray) -> Tuple[int, Buffer]:
    """Bus address and buffer of a matrix in device memory."""
    memory, offset = arrays.located(matrix)
    (rows, columns), (down, along) = matrix.shape, matrix.strides
    low = high = offset
    for reach in (down * (rows - 1), along * (columns - 1)):
        if reach < 0:
            low += reach
        else:
            high += reach
    if low < 0 or high + WORD > memory.nbytes or offset % WORD:
        raise CpuNeeded(SORT_OUT)  # a view that NumPy made out of nothing
    return memory.bus_address + offset, memory.buffer


def in_device_memory(
    runner: Runner,
    device: Tuple[int, float, Optional[float]],
    alpha: float,
    p_of: np.ndarray,
    q_of: np.ndarray,
    beta: float,
    d: np.ndarray,
    given: bool,
    reports: List[RunReport],
    accuracy: str = "fast",
    in_place: Optional[bool] = None,
) -> None:
    """d = alpha P Q + beta d for P (m x k), Q (k x n) and d (m x n), whose rows are contiguous and
    which overlaps neither, all in memory of a device of (QPUs, clock rate, longest launch).

    ``given``: d has old contents, which come back where this raises CpuNeeded or DeviceError.
    ``accuracy`` is a name of :mod:`piblas.kernels.gemm_accuracy`.  ``in_place``: whether Q is read
    as it lies where it can be; by default, if that pays.
    """
    n_qpus, clock_hz, longest = device
    (m, k), n = p_of.shape, q_of.shape[1]
    least = gemm_error.SMALLEST_NORMAL
    if beta != 0 and min(abs(alpha), abs(beta)) < least:
        # The kernels see Inf and NaN in what they compute, but such a factor makes 0 of them.
        if not (all_finite(p_of) and all_finite(q_of) and all_finite(d)):
            raise CpuNeeded(NOT_FINITE)
    blocks = [(slice(None), slice(None))]
    depth = k if accuracy == "fast" else min(k, gemm_accuracy.DEEPEST)
    if longest is not None:
        options = gemm_choice.choose(m, n, depth, beta != 0)
        seconds = gemm_choice.clocks(options, m, n, depth) / clock_hz
        seconds *= gemm_accuracy.SLOWER[accuracy]
        blocks = limits.blocks(m, n, seconds, longest)
    if runner.cut:
        from . import pieces  # here, as few calls are that large

        pieces.resident(
            runner, blocks, depth, alpha, p_of, q_of, beta, d, given, reports, in_place, accuracy
        )
        return
    if len(blocks) == 1 and depth == k:
        launch_pair(
            runner, n_qpus, reports, in_place, accuracy, alpha, p_of, q_of, beta, d, given
        )
        return
    launch = functools.partial(launch_pair, runner, n_qpus, reports, in_place, accuracy)
    more = arrays.empty((m, n), device=runner.device) if depth < k else None
    before = d.copy() if given else None
    try:
        for rows, columns in blocks:
            own = p_of[rows], q_of[:, columns], d[rows, columns]
            launch(alpha, own[0][:, :depth], own[1][:depth], beta, own[2], False)
            for first in range(depth, k, depth):
                # Products of so many steps, which the CPU adds up.
                assert more is not None
                part, steps = more.view(np.ndarray)[rows, columns], slice(first, first + depth)
                launch(alpha, own[0][:, steps], own[1][steps], 0.0, part, False)
                with np.errstate(over="ignore", invalid="ignore"):
                    np.add(own[2], part, out=own[2])
                if not all_below(own[2]):
                    raise CpuNeeded(OVERFLOW, reports)
    except BaseException:
        if before is not None:
            d[...] = before
        raise


def launch_pair(
    runner: Runner,
    n_qpus: int,
    reports: List[RunReport],
    in_place: Optional[bool],
    accuracy: str,
    alpha: float,
    p_of: np.ndarray,
    q_of: np.ndarray,
    beta: float,
    d: np.ndarray,
    given: bool,
) -> None:
    """The two launches of :func:`in_device_memory`, or of one block of it."""
    (at_p, of_p), (at_q, of_q), (at_d, of_d) = _located(p_of), _located(q_of), _located(d)
    m, n, k = *d.shape, p_of.shape[1]
    pitch = d.strides[0] if m > 1 else WORD * n
    (p_down, p_along), (q_down, q_along) = p_of.strides, q_of.strides
    aligned = in_place is not False and gemm_sources.aligned(at_q, (q_down, q_along))
    reads = beta != 0
    shape = _Resident(
        m, n, k, reads, p_down, p_along, q_down, q_along, pitch, aligned,
        in_place is True, given, accuracy, n_qpus,
    )  # fmt: skip
    plan = PLANS.made(shape, _resident_plan, shape)
    made = plan.data
    p, q, most, copy, watch, *own = runner.scratch(plan)
    end = made.words[1]
    watch.words[:end] = 0
    # The result too: a dirty line, written back later, would overwrite what the QPUs store.
    for buffer in (watch.buffer, of_p, of_q, of_d):
        buffer.clean()
    looked = watch.bus_address
    at: Tuple[int, ...] = (
        at_p, at_q, at_d, p.bus_address, q.bus_address, most.bus_address, copy.bus_address, looked,
        looked + WORD * MULTIPLIED,
    )  # fmt: skip
    if own:  # a list is a function call, and most products keep no sums
        at += tuple([room.bus_address for room in own])
    size = alpha if alpha > 0 else -alpha
    limit = gemm_streams.LIMIT / size if size > 1 else gemm_streams.LIMIT
    before, fine = len(reports), False

    def put_back() -> None:
        """Undo what the second launch did, for which the first one has made the copy."""
        if given and len(reports) > before:
            copy.buffer.invalidate()
            d[...] = gemm_layout.unpack(made.copy, copy.floats)

    scalars = (alpha, limit, beta) if reads else (alpha, limit)
    runner.run(plan, at, scalars, None, reports, undo=put_back)
    try:
        watch.buffer.invalidate()
        of_d.invalidate()
        # Patterns of numbers that are not negative order as integers, NaN after Inf.
        most_of_each = np.maximum.reduceat(watch.words[:end], (0, MULTIPLIED)).view(_FLOAT32)
        operands, sums = most_of_each.tolist()
        sums = limit if sums < limit else sums
        if made.operand is not None:
            most.buffer.invalidate()
            operands = _hidden(made.operand, most.floats, q_of, operands)
        fine = _fits(alpha, beta, operands, sums, d)
    finally:
        if not fine:
            put_back()
    if not fine:
        finite = all_finite(p_of) and all_finite(q_of) and (beta == 0 or all_finite(d))
        raise CpuNeeded(OVERFLOW if finite else NOT_FINITE, reports)


def _hidden(
    operand: gemm_segments.Operand, most: np.ndarray, q_of: np.ndarray, operands: float
) -> float:
    """The largest magnitude of the operands, those rows of Q included that the kernel multiplied
    with nothing but what counts as 0."""
    hidden = operand.most_of_rows(most) < gemm_error.SMALLEST_NORMAL
    if np.logical_or.reduce(hidden):
        largest = np.maximum.reduce(np.abs(q_of[hidden]), axis=None)
        return float(np.maximum(operands, largest))  # NaN stays NaN
    return operands


def _fits(alpha: float, beta: float, operands: float, sums: float, result: np.ndarray) -> bool:
    """Whether operands are finite and results below the largest number; the CPU looks at these only
    if they may come near it."""
    if not (operands < math.inf and sums < LARGEST):
        return False
    factor = alpha if alpha > 0 else -alpha
    other = beta if beta > 0 else -beta
    if factor * sums + other * operands < LARGEST:
        return True
    return all_below(result)


def sgemm_resident(
    device: Device,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: np.ndarray,
    given: bool = False,
    in_place: Optional[bool] = None,
    accuracy: str = "fast",
) -> List[RunReport]:
    """c = alpha a b + beta c for matrices in device memory, whatever the shapes: for tests and
    benchmarks.

    Strides are any whole words, but ``c`` has its rows or its columns contiguous and overlaps
    neither operand; ``given``, ``in_place`` and ``accuracy`` are those of :func:`in_device_memory`.
    The reports are those of packing and of the product.
    """
    if c.strides[1] != WORD and c.shape[1] > 1:
        a, b, c = b.T, a.T, c.T  # the kernel works on contiguous rows
    reports: List[RunReport] = []
    with runner_of(device).call() as runner:
        in_device_memory(
            runner, limits.of(device), alpha, a, b, beta, c, given, reports, accuracy, in_place
        )
    return reports
