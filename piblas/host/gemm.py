"""Products of matrices on a device: how operands are staged, and one way to launch the kernel.

The kernel computes a row-major D = alpha P Q + beta D (:mod:`piblas.kernels.gemm`).  BLAS has
column-major results, so D is the transpose of C, P that of op(B) and Q that of op(A); here operands
are named by what the kernel takes.

Operands in ordinary memory are packed by the CPU in one pass each.  Those in device memory are
packed by the QPUs, or Q is read where it lies: two launches, of which the first also copies a D
that was given, so that it comes back if the second one fails or meets Inf, NaN or an overflow.

The kernels report the largest magnitude that they met: the packing program of the operands, the
kernel of the sums of products.  The CPU looks at a result only where these leave a doubt.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import Buffer, Device, RunReport
from ..errors import OutOfDeviceMemory
from ..kernels import (
    gemm, gemm_choice, gemm_error, gemm_layout, gemm_pack, gemm_schedule, gemm_sources, triangle,
)  # fmt: skip
from . import arrays, limits
from .numbers import LARGEST, all_below, all_finite, largest
from .outcome import NO_PRODUCT, NOT_FINITE, OVERFLOW, SORT_OUT, CpuNeeded, Outcome
from .plan import PLANS, Launch, LaunchPlan
from .runner import TIMEOUT, Runner, runner_of

__all__ = [
    "Dense", "Product", "in_device_memory", "launch_pair", "launches", "sgemm", "sgemm_resident",
    "staged",
]  # fmt: skip

WORD = 4
_FLOAT32 = np.dtype(np.float32)
_maximum = np.maximum.reduce


# --- staged operands -----------------------------------------------------------------------------


class Dense(NamedTuple):
    """What a plan for staged operands depends on: D is m x n, P m x k, Q k x n.

    ``tiles`` says which tiles of D are wanted: "all", those with an element on or below the
    diagonal ("lower") or on or above it ("upper"), or all of a product with a P that is lower
    triangular ("ramp").  ``beta``: D is read.
    """

    m: int
    n: int
    k: int
    beta: bool
    tiles: str
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
    barriers: int = gemm_schedule.BARRIER_WAVES,
    names: Tuple[str, ...] = ("p", "q", "d", "watch"),
) -> List[Launch]:
    """The launches that compute tiles, on a device of (QPUs, clock rate, longest launch)."""
    n_qpus, clock_hz, longest = device
    cut = [range(len(tiles))]
    if longest is not None:
        costs = gemm_choice.clocks_of_tiles(options, tiles) / (clock_hz * n_qpus)
        cut = limits.runs(costs, longest, gemm_schedule.QPUS)
    return [
        Launch(
            gemm.SPEC,
            options,
            gemm_schedule.streams(
                options, tiles if len(cut) == 1 else tiles.part(part), n_qpus, skew, barriers,
                names,
            ),
        )
        for part in cut
    ]  # fmt: skip


def factors(options: gemm.GemmOptions) -> List[Tuple[str, int]]:
    """The values of a launch of the kernel."""
    return [("alpha", 1), ("limit", 1), *([("beta", 1)] if options.beta else [])]


def _plan(shape: Dense) -> LaunchPlan:
    m, n, k, beta, wanted = shape[:5]
    if wanted == "all":
        options, split_k = gemm_choice.choose_parts(m, n, k, beta)
    else:
        options, split_k = gemm_choice.choose(m, n, k, beta), 1
    p, q = gemm_layout.packed_words(options, m, n, k)
    skew = gemm_schedule.skew_of(options, p, q) if split_k == 1 else 0
    ranges = None
    if wanted == "ramp":
        ranges = triangle.ramp(options, p, q)
    elif wanted != "all":
        ranges = triangle.half(options, p, q, wanted == "lower")
    tiles = gemm_schedule.dense_tiles(options, p, q, n, skew, ranges, split_k)
    watched = gemm_schedule.watched_words(shape.n_qpus)
    scratch = {
        "p": WORD * p.words,
        "q": WORD * q.words,
        "d": WORD * split_k * m * n,
        "watch": WORD * watched,
    }
    return LaunchPlan(
        launches(options, tiles, skew, shape[5:]),
        ["p", "q", "d", "watch"],
        factors(options),
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
    p, q, d, watch = runner.scratch(plan)
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
    at = p.bus_address, q.bus_address, d.bus_address, watch.bus_address
    limit = gemm_schedule.LIMIT / (max(1.0, abs(alpha)) * split_k)
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
    if large or abs(beta) * most >= gemm_schedule.LIMIT:
        counting = result if wanted is None else result[wanted]
        if (wanted is not None or shape.tiles in ("all", "ramp")) and not all_below(counting):
            raise CpuNeeded(OVERFLOW, reports)
    return result


# --- operands in device memory -------------------------------------------------------------------


class _Resident(NamedTuple):
    """What a plan for operands in device memory depends on.

    Element (i, j) of P lies ``p_down * i + p_along * j`` bytes after the first, of Q likewise; rows
    of D are contiguous and ``pitch`` bytes apart.  ``aligned``: the rows of Q are contiguous and
    begin on lines.  ``kept``: there is a copy of D to go back to.
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
    kept: bool
    n_qpus: int


class _InMemory(NamedTuple):
    operand: Optional[gemm_pack.Operand]
    copy: gemm_layout.Packed
    words: Tuple[int, int]


COPIED = 64
"""Columns of a panel of a copy: blocks of whole lines."""

MULTIPLIED = gemm_pack.watched_words(gemm_pack.QPUS)
"""Words that the packing program may report; after them come the kernel's."""


def _resident_plan(shape: _Resident) -> LaunchPlan:
    m, n, k, beta, p_down, p_along, q_down, q_along, pitch = shape[:9]
    lies = False
    for lies in (True, False) if shape.aligned else (False,):
        options = gemm_choice.choose(m, n, k, beta, lies)
        p, q = gemm_layout.packed_words(options, m, n, k)
        if lies and gemm_sources.in_place(options, q, m, k, q_down):
            break
    source = gemm_sources.InPlace(q, k, q_down)
    if lies:
        p = gemm_sources.folded(p, k, options.unroll)
    first, packed_q = source.rest if lies else (0, q)
    name_q = gemm_schedule.REST if lies else "q"
    of_p = gemm_pack.Operand(
        p, k, 0, p_along, p_down, 0, "of p", "p", True, "most" if lies else ""
    )
    operands, scratch = [of_p], {"packed p": WORD * p.words}
    if packed_q.length:
        at = first * q_along
        operands.append(gemm_pack.Operand(packed_q, k, at, q_down, q_along, 0, "of q", name_q))
    # Memory that the CPU never writes, so that no line of it is dirty.
    scratch["packed q"] = WORD * packed_q.words
    scratch["most"] = WORD * of_p.most_words if lies else WORD
    copy = gemm_layout.Packed(n, m, COPIED)
    scratch["copy"] = WORD * copy.words if shape.kept else WORD
    if shape.kept:
        operands.append(
            gemm_pack.Operand(copy, m, 0, pitch, WORD, 0, "d", "copy", look=beta)
        )
    skew = gemm_schedule.skew_of(options, p, q)
    packing = gemm_pack.streams(operands, shape.n_qpus, "looked")
    if lies:
        tiles = gemm_sources.tiles(options, p, source, pitch // WORD, skew)
        names, waves = ("p", "of q", "d", "watch"), gemm_sources.BARRIER_WAVES
    else:
        tiles = gemm_schedule.dense_tiles(options, p, q, pitch // WORD, skew)
        names, waves = ("p", "q", "d", "watch"), gemm_schedule.BARRIER_WAVES
    words = gemm_schedule.watched_words(shape.n_qpus)
    scratch["watch"] = WORD * (MULTIPLIED + words)
    device = shape.n_qpus, 1.0, None
    return LaunchPlan(
        [
            Launch(gemm_pack.SPEC, gemm_pack.SPEC.defaults, packing),
            *launches(options, tiles, skew, device, waves, names),
        ],
        ["of p", "of q", "d", "p", name_q, "most", "copy", "looked", "watch"],
        factors(options),
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
    in_place: bool = True,
) -> None:
    """d = alpha P Q + beta d for P (m x k), Q (k x n) and d (m x n), whose rows are contiguous and
    which overlaps neither, all in memory of a device of (QPUs, clock rate, longest launch).

    ``given``: d has old contents, which come back where this raises CpuNeeded or DeviceError.
    Unless ``in_place``, Q is packed even where it could be read as it lies.
    """
    n_qpus, clock_hz, longest = device
    (m, k), n = p_of.shape, q_of.shape[1]
    least = gemm_error.SMALLEST_NORMAL
    if beta != 0 and min(abs(alpha), abs(beta)) < least:
        # The kernels see Inf and NaN in what they compute, but such a factor makes 0 of them.
        if not (all_finite(p_of) and all_finite(q_of) and all_finite(d)):
            raise CpuNeeded(NOT_FINITE)
    blocks = [(slice(None), slice(None))]
    if longest is not None:
        options = gemm_choice.choose(m, n, k, beta != 0)
        seconds = gemm_choice.clocks(options, m, n, k) / clock_hz
        blocks = limits.blocks(m, n, seconds, longest)
    if len(blocks) == 1 and not runner.cut:
        launch_pair(runner, n_qpus, alpha, p_of, q_of, beta, d, given, reports, in_place)
        return
    from . import pieces  # here, as few calls are that large

    pieces.resident(runner, blocks, alpha, p_of, q_of, beta, d, given, reports, in_place)


def launch_pair(
    runner: Runner,
    n_qpus: int,
    alpha: float,
    p_of: np.ndarray,
    q_of: np.ndarray,
    beta: float,
    d: np.ndarray,
    given: bool,
    reports: List[RunReport],
    in_place: bool,
) -> None:
    """The two launches of :func:`in_device_memory`, or one block of it."""
    (at_p, of_p), (at_q, of_q), (at_d, of_d) = _located(p_of), _located(q_of), _located(d)
    m, n, k = *d.shape, p_of.shape[1]
    pitch = d.strides[0] if m > 1 else WORD * n
    (p_down, p_along), (q_down, q_along) = p_of.strides, q_of.strides
    aligned = in_place and gemm_sources.aligned(at_q, (q_down, q_along))
    reads = beta != 0
    shape = _Resident(
        m, n, k, reads, p_down, p_along, q_down, q_along, pitch, aligned, given, n_qpus
    )
    plan = PLANS.made(shape, _resident_plan, shape)
    made = plan.data
    p, q, most, copy, watch = runner.scratch(plan)
    end = made.words[1]
    watch.words[:end] = 0
    # The result too: a dirty line, written back later, would overwrite what the QPUs store.
    for buffer in (watch.buffer, of_p, of_q, of_d):
        buffer.clean()
    looked = watch.bus_address
    at = (
        at_p, at_q, at_d, p.bus_address, q.bus_address, most.bus_address, copy.bus_address, looked,
        looked + WORD * MULTIPLIED,
    )  # fmt: skip
    size = alpha if alpha > 0 else -alpha
    limit = gemm_schedule.LIMIT / size if size > 1 else gemm_schedule.LIMIT
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
    operand: gemm_pack.Operand, most: np.ndarray, q_of: np.ndarray, operands: float
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


# --- sgemm ---------------------------------------------------------------------------------------


class _Vectors:
    """A product of which one side is 1, on the kernel for vectors, which takes the matrix as it
    lies.  ``a`` is op(A), m x k, ``b`` is op(B), k x n."""

    def __init__(self, a: np.ndarray, b: np.ndarray, device: Device) -> None:
        from . import matvec  # here, as products of matrices need none of it

        self.first = b.shape[1] == 1
        matrix = a if self.first else b.T
        transposed = abs(matrix.strides[1]) < abs(matrix.strides[0])
        source = matrix.T if transposed else matrix
        self.held = matvec.held(matrix, device, matvec.full(*source.shape), transposed)
        self.use = "t" if transposed else "n"
        self.multiply = matvec.Multiply("gemv", self.held, device)

    def __call__(
        self, runner: Runner, a: np.ndarray, b: np.ndarray, reports: List[RunReport]
    ) -> np.ndarray:
        """op(A) op(B) in double precision, as a vector."""
        matrix, x = (a, b[:, 0]) if self.first else (b.T, a[0])
        source = self.held.source(matrix)
        address = self.multiply.placed(runner, source)
        x = np.ascontiguousarray(x)
        return self.multiply(runner, address, self.use, x, self.held.storage, reports)


class Product:
    """C = alpha op(A) op(B) + beta C.  Values: alpha, A, B, beta, C (or None).

    ``transposed`` says so of A and B; ``own``: the result goes into C, else into a new array.
    ``resident``: A and B lie in device memory, and C does where it is written.
    """

    def __init__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        transposed: Tuple[bool, bool],
        given: bool,
        own: bool,
        resident: Tuple[bool, bool],
        device: Device,
    ) -> None:
        self.transposed, self.given, self.own = transposed, given, own
        self.there, self.resident = resident
        a, b = self._operands(a, b)
        (m, k), n = a.shape, b.shape[1]
        self.sizes = m, n, k
        self.device = limits.of(device)
        self.vectors = _Vectors(a, b, device) if 1 in (m, n) else None

    def _operands(self, a: np.ndarray, b: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        a = a if type(a) is np.ndarray else a.view(np.ndarray)
        b = b if type(b) is np.ndarray else b.view(np.ndarray)
        return a.T if self.transposed[0] else a, b.T if self.transposed[1] else b

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        alpha, beta = ctypes.c_float(values[0]).value, ctypes.c_float(values[3]).value
        c = values[4]
        if alpha == 0:
            raise CpuNeeded(NO_PRODUCT)
        if not (-math.inf < alpha < math.inf and -math.inf < beta < math.inf):
            raise CpuNeeded(NOT_FINITE)
        a, b = self._operands(values[1], values[2])
        beta = beta if self.given else 0.0
        reports: List[RunReport] = []
        result = c
        if not self.own:
            result = self._room(runner)
        out = result if type(result) is np.ndarray else result.view(np.ndarray)
        if self.resident and not self.vectors and (
            self.own or type(result) is arrays.DeviceArray
        ):
            apart = not self.own or not (
                np.may_share_memory(a, out) or np.may_share_memory(b, out)
            )
            if apart:
                in_device_memory(
                    runner, self.device, alpha, b.T, a.T, beta, out.T, self.own, reports
                )
                return result, reports
        old = None
        if beta != 0:
            old = c if type(c) is np.ndarray else c.view(np.ndarray)
        if not (all_finite(a) and all_finite(b)):
            raise CpuNeeded(NOT_FINITE)
        if self.vectors is not None:
            if old is not None and not all_finite(old):
                raise CpuNeeded(NOT_FINITE)
            out[...] = self._by_vectors(runner, alpha, a, b, beta, old, reports)
        else:
            m, n, k = self.sizes
            shape = Dense(n, m, k, old is not None, "all", *self.device)
            before = None if old is None else old.T
            out.T[...] = staged(runner, shape, alpha, b, a.T, beta, before, reports)
        return result, reports

    def _room(self, runner: Runner) -> np.ndarray:
        """A new result: in device memory where both operands are there and nothing is given."""
        m, n, _ = self.sizes
        if self.there and not self.given:
            try:
                return arrays.fresh(runner.device, m, n)
            except OutOfDeviceMemory:
                pass
        return np.empty((m, n), dtype=_FLOAT32, order="F")

    def _by_vectors(
        self,
        runner: Runner,
        alpha: float,
        a: np.ndarray,
        b: np.ndarray,
        beta: float,
        old: Optional[np.ndarray],
        reports: List[RunReport],
    ) -> np.ndarray:
        assert self.vectors is not None
        try:
            total = alpha * self.vectors(runner, a, b, reports)
        except CpuNeeded:
            raise CpuNeeded(OVERFLOW, reports) from None
        m, n, _ = self.sizes
        total = total.reshape(m, n)
        if old is not None:
            total += beta * old.astype(np.float64)
        if not all_below(total):
            raise CpuNeeded(OVERFLOW, reports)
        return total



def sgemm(
    device: Device,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: np.ndarray,
    timeout: float = TIMEOUT,
) -> RunReport:
    """c = alpha a b + beta c on the gemm kernel, whatever the shapes: for tests of a device.

    ``a`` is (m, k), ``b`` (k, n), ``c`` (m, n), all finite float32 in ordinary memory; ``c`` is
    written when every launch has succeeded.  One report for all launches.
    """
    (m, k), n = a.shape, b.shape[1]
    shape = Dense(n, m, k, beta != 0, "all", *limits.of(device))
    reports: List[RunReport] = []
    old = c.T if beta != 0 else None
    with runner_of(device).call() as runner:
        c.T[...] = staged(runner, shape, alpha, b, a.T, beta, old, reports, timeout)
    return limits.combined(reports)


def sgemm_resident(
    device: Device,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: np.ndarray,
    given: bool = False,
    in_place: bool = True,
) -> List[RunReport]:
    """c = alpha a b + beta c for matrices in device memory, whatever the shapes: for tests and
    benchmarks.

    Strides are any whole words, but ``c`` has its rows or its columns contiguous and overlaps
    neither operand; ``given`` and ``in_place`` are those of :func:`in_device_memory`.  The reports
    are those of packing and of the product.
    """
    if c.strides[1] != WORD and c.shape[1] > 1:
        a, b, c = b.T, a.T, c.T  # the kernel works on contiguous rows
    reports: List[RunReport] = []
    with runner_of(device).call() as runner:
        in_device_memory(
            runner, limits.of(device), alpha, a, b, beta, c, given, reports, in_place
        )
    return reports
