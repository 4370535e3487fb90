"""Level 3 with a symmetric or triangular matrix on a device: symm, syrk, syr2k, trmm, trsm.

All stage their operands for the gemm kernel (:mod:`.gemm`); what differs is which tiles of the
result are computed, over which steps (:mod:`piblas.kernels.triangle`).  Only the stored triangle of
a matrix is looked at.  Every operand counts as it was before the call, whether or not it overlaps
the result, which is written when the last launch has succeeded.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from .. import log
from ..driver.device import Device, RunReport
from ..kernels import gemm_layout, gemm_schedule, gemm_streams, triangle
from ..kernels.triangle import Method, Substitution
from . import gemm_staged, limits
from .gemm_staged import WORD, Dense
from .numbers import all_below, all_finite
from .outcome import (
    ILL_CONDITIONED,
    NO_PRODUCT,
    NOT_FINITE,
    OVERFLOW,
    SINGULAR,
    CpuNeeded,
    Outcome,
)  # fmt: skip
from .plan import PLANS, Launch, LaunchPlan
from .runner import Runner

__all__ = ["RankK", "Solve", "Symmetric", "Target", "Triangular"]

STEEP = 2.0**126
"""A diagonal element beyond this or below its reciprocal has no normal reciprocal."""

_FLOAT32 = np.dtype(np.float32)
_all, _maximum = np.logical_and.reduce, np.maximum.reduce


def _floats(value: Any) -> np.ndarray:
    """A matrix argument as float32."""
    array = value if type(value) is np.ndarray else np.asarray(value)
    if array.dtype == _FLOAT32:
        return array
    with np.errstate(over="ignore"):
        return array.astype(_FLOAT32)


def _number(value: Any) -> float:
    return float(np.float32(value))


def _finite(*operands: Any) -> None:
    for operand in operands:
        if operand is not None and not all_finite(operand):
            raise CpuNeeded(NOT_FINITE)


class Target(NamedTuple):
    """The matrix that a result goes into: the argument itself (``own``) or a new one in Fortran
    order; ``given``: there is an argument, whose elements outside the result are kept."""

    given: bool
    own: bool
    shape: Tuple[int, int]

    def array(self, value: Any, read: bool) -> np.ndarray:
        """The array; with ``read`` it has the argument's contents, or zeros."""
        if self.own:
            return value
        if not self.given:
            return (np.zeros if read else np.empty)(self.shape, _FLOAT32, order="F")
        made = np.empty(self.shape, _FLOAT32, order="F")
        if read:
            made[...] = _floats(value)
        return made

    def old(self, value: Any, beta: float) -> Optional[np.ndarray]:
        """The argument where it is read."""
        return _floats(value) if self.given and beta != 0 else None


class Symmetric:
    """C = alpha A B + beta C, or alpha B A + beta C (``right``), A symmetric, of which the lower or
    upper triangle is stored.  Values: alpha, A, B, beta, C."""

    def __init__(
        self, order: int, lower: bool, right: bool, target: Target, device: Device, accuracy: str
    ) -> None:
        self.right, self.target, self.accuracy = right, target, accuracy
        mask = np.tri(order, dtype=bool)
        self.stored = mask if lower else mask.T
        m, n = target.shape
        self.sizes = n, m, order
        self.device = limits.of(device)

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        alpha, beta = _number(values[0]), _number(values[3])
        if alpha == 0:
            raise CpuNeeded(NO_PRODUCT)
        a, b = _floats(values[1]), _floats(values[2])
        old = self.target.old(values[4], beta)
        full = np.where(self.stored, a, a.T)
        _finite(alpha, beta, full, b)
        left, right = (b, full) if self.right else (full, b)
        shape = Dense(*self.sizes, old is not None, "all", self.accuracy, *self.device)
        reports: List[RunReport] = []
        before = None if old is None else old.T
        made = gemm_staged.staged(runner, shape, alpha, right, left.T, beta, before, reports)
        result = self.target.array(values[4], False)
        result.view(np.ndarray).T[...] = made
        return result, reports


class RankK:
    """A triangle of C = alpha A A^T + beta C, or alpha (A B^T + B A^T) + beta C.

    Values: alpha, A, beta, C, and B.  ``transposed``: so are A and B.
    """

    def __init__(
        self, n: int, k: int, lower: bool, transposed: bool, pair: bool, target: Target,
        device: Device, accuracy: str,
    ) -> None:  # fmt: skip
        self.transposed, self.pair, self.target = transposed, pair, target
        self.accuracy = accuracy
        mask = np.tri(n, dtype=bool)
        self.wanted = mask if lower else mask.T
        # The result is symmetric but for the triangle that is wanted: with rows and columns
        # exchanged it lies in Fortran order.
        self.tiles = "upper" if lower else "lower"
        self.sizes = n, n, 2 * k if pair else k
        self.device = limits.of(device)

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        alpha, beta = _number(values[0]), _number(values[2])
        if alpha == 0:
            raise CpuNeeded(NO_PRODUCT)
        a = _floats(values[1])
        left = right = a.T if self.transposed else a
        if self.pair:
            b = _floats(values[4])
            b = b.T if self.transposed else b
            left, right = np.hstack((left, b)), np.hstack((b, left))
        old = self.target.old(values[3], beta)
        before = None if old is None else np.where(self.wanted, old, np.float32(0)).T
        _finite(alpha, beta, left)
        shape = Dense(*self.sizes, old is not None, self.tiles, self.accuracy, *self.device)
        reports: List[RunReport] = []
        made = gemm_staged.staged(
            runner, shape, alpha, left.T, right.T, beta, before, reports, wanted=self.wanted.T
        ).T
        result = self.target.array(values[3], True)
        np.copyto(result.view(np.ndarray), made, where=self.wanted)
        return result, reports


class _Sided:
    """A routine with a triangle A and B, which the result replaces.  Values: alpha, A, B.

    The triangle is made a lower one on the left: a right one by transposing all, an upper one by
    reversing rows and columns.
    """

    def __init__(
        self, order: int, other: int, lower: bool, right: bool, transposed: bool, unit: bool,
        target: Target, device: Device, accuracy: str,
    ) -> None:  # fmt: skip
        self.right, self.unit, self.target, self.accuracy = right, unit, target, accuracy
        self.transposed = transposed != right
        self.turn = slice(None, None, -1 if lower == self.transposed else 1)
        self.stored = np.tri(order, dtype=bool)
        self.sizes = order, other
        self.device = limits.of(device)

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        alpha = _number(values[0])
        if alpha == 0:
            raise CpuNeeded(NO_PRODUCT)
        a, b = _floats(values[1]), _floats(values[2])
        a = a.T if self.transposed else a
        t = np.where(self.stored, a[self.turn, self.turn], np.float32(0))
        if self.unit:
            np.fill_diagonal(t, 1)
        _finite(alpha, t, b)
        reports: List[RunReport] = []
        made = self.computed(runner, alpha, t, (b.T if self.right else b)[self.turn], reports)
        made = made[self.turn]
        result = self.target.array(values[2], False)
        result.view(np.ndarray)[...] = made.T if self.right else made
        return result, reports

    def computed(
        self, runner: Runner, alpha: float, t: np.ndarray, b: np.ndarray, reports: List[RunReport]
    ) -> np.ndarray:
        """The result for a lower triangle on the left, with zeros above it."""
        raise NotImplementedError


class Triangular(_Sided):
    """B = alpha op(A) B or alpha B op(A)."""

    def computed(
        self, runner: Runner, alpha: float, t: np.ndarray, b: np.ndarray, reports: List[RunReport]
    ) -> np.ndarray:
        n, m = b.shape
        shape = Dense(n, m, n, False, "ramp", self.accuracy, *self.device)
        return gemm_staged.staged(runner, shape, alpha, t.T, b, 0.0, None, reports)


# --- solves --------------------------------------------------------------------------------------


class _Shape(NamedTuple):
    """What the launches of a solve of order n with m right-hand sides depend on."""

    n: int
    m: int
    methods: Tuple[Method, ...]
    n_qpus: int
    clock_hz: float
    longest: Optional[float]


class _Solution:
    """Launches of a solve, and what the CPU does in between."""

    def __init__(self, shape: _Shape) -> None:
        n, m, methods = shape[:3]
        options = triangle.choose(n, m)
        p, q = gemm_layout.packed_words(options, n, m, n)
        self.p, self.q, self.d = p, q, triangle.diagonal_layout(options, p)
        self.watched = gemm_streams.watched_words(shape.n_qpus)
        scratch = {
            "p": WORD * p.words, "r": WORD * q.words, "x": WORD * q.words,
            "diagonals": WORD * (self.d.words if Method.REFINE in methods else 1),
            "watch": WORD * self.watched,
        }  # fmt: skip
        values = [("alpha", 1), ("limit", 1), ("beta", 1)]
        self.steps: List[Union[LaunchPlan, Substitution]] = []
        found: List[Launch] = []

        def close() -> None:
            if found:
                self.steps.append(LaunchPlan(found, list(scratch), values, scratch))
                found.clear()

        skew = gemm_schedule.skew_of(options, p, q)
        # A launch is too short for QPUs to get so far out of step that a barrier, where all wait
        # for the last, is worth it.
        for step in triangle.solve(options, p, q, skew, methods):
            if isinstance(step, Substitution):
                close()
                self.steps.append(step)
            else:
                own = dataclasses.replace(options, beta=step.added)
                found += gemm_staged.launches(own, step.tiles, step.skew, shape[3:], 0, step.names)
        close()
        self.room = next(each for each in self.steps if isinstance(each, LaunchPlan))
        self.nbytes = sum(x.nbytes for x in self.steps if isinstance(x, LaunchPlan))


class Solve(_Sided):
    """B = alpha op(A)^-1 B or alpha B op(A)^-1.

    Its values decide how each diagonal block is solved (:func:`piblas.kernels.triangle.methods`).
    """

    def computed(
        self, runner: Runner, alpha: float, t: np.ndarray, b: np.ndarray, reports: List[RunReport]
    ) -> np.ndarray:
        diagonal = np.abs(t.diagonal())
        if not _all((diagonal >= 1 / STEEP) & (diagonal <= STEEP)):
            raise CpuNeeded(SINGULAR)
        with np.errstate(over="ignore"):
            g = b * np.float32(alpha)
        # The kernel reports sums of products from LIMIT on.  To an element of R or X at most two
        # are added, so that without a report all stay below 3 * LIMIT, and nothing overflows.
        if not _maximum(np.abs(g), axis=None) < gemm_streams.LIMIT:
            raise CpuNeeded(OVERFLOW)
        if runner.cut:
            return self._in_pieces(runner, t, g, reports)
        n, m = g.shape
        block = triangle.block_of(triangle.choose(n, m))
        factors = triangle.inverted(t, block)
        methods = triangle.methods(t, factors, block)
        if methods == (Method.SUBSTITUTE,):
            raise CpuNeeded(ILL_CONDITIONED if np.isfinite(factors).all() else SINGULAR)
        shape = _Shape(n, m, methods, *self.device)
        made = PLANS.made(shape, _Solution, shape)
        p, r, x, d, watch = rooms = runner.scratch(made.room)
        q = made.q
        gemm_layout.pack(made.p, factors.T, p.floats[: made.p.words])
        gemm_layout.pack(q, g, r.floats[: q.words])
        # The kernel reports sums of columns that are not stored, too.
        gemm_layout.clear_padding(q, x.floats[: q.words])
        if set(methods) != {Method.MULTIPLY}:
            _log_methods(methods)
            x.floats[: q.words] = 0
            if Method.REFINE in methods:
                blocks = triangle.diagonals(t, block)
                gemm_layout.pack(made.d, blocks, d.floats[: made.d.words])
        watched = watch.words[: made.watched]
        watched[:] = 0
        for room in rooms:
            room.buffer.clean()
        at = tuple([room.bus_address for room in rooms])
        right, solved = r.floats[: q.words], x.floats[: q.words]
        for step in made.steps:
            if isinstance(step, Substitution):
                # X too: cleaning may write back what the CPU has of other rows.
                r.buffer.invalidate()
                x.buffer.invalidate()
                own = slice(step.begin, step.end)
                if not _substituted(t, q, right, solved, own):
                    raise CpuNeeded(OVERFLOW, reports)
                x.buffer.clean()
            else:
                runner.run(step, at, (1.0, gemm_streams.LIMIT, 1.0), None, reports)
        watch.buffer.invalidate()
        if _maximum(watched):
            raise CpuNeeded(OVERFLOW, reports)
        x.buffer.invalidate()
        return gemm_layout.unpack(q, solved)[:n]


    def _in_pieces(
        self, runner: Runner, t: np.ndarray, g: np.ndarray, reports: List[RunReport]
    ) -> np.ndarray:
        """Block by block of the triangle and of the right-hand sides: what is solved is taken from
        the rows below."""
        from . import pieces

        (n, m), found = g.shape, np.empty_like(g)
        with pieces.whole(runner) as cut:
            order, width = pieces.halved((n, m), cut)
            for columns in pieces.ranges(0, m, width):
                for rows in pieces.ranges(0, n, order):
                    right = g[rows, columns]
                    if rows.start:
                        above = slice(0, rows.start)
                        sizes = len(right), right.shape[1], rows.start
                        shape = Dense(*sizes, True, "all", "fast", *self.device)
                        runner.cut = cut
                        right = gemm_staged.staged(
                            runner, shape, -1.0, t[rows, above].T, found[above, columns], 1.0,
                            right, reports,
                        )  # fmt: skip
                        runner.cut = 0
                    found[rows, columns] = self.computed(
                        runner, 1.0, t[rows, rows], right, reports
                    )
        return found


def _log_methods(methods: Sequence[Method]) -> None:
    for method, number in Counter(methods).items():
        if method is not Method.MULTIPLY:
            text = "strsm: %d of %d diagonal blocks, which are ill-conditioned, are solved %s"
            log.info(text, number, len(methods), method.value)


def _substituted(
    t: np.ndarray, q: gemm_layout.Packed, r: np.ndarray, x: np.ndarray, own: slice
) -> bool:
    """Solve a diagonal block by substitution: rows of X from those of R, both packed as ``q``.
    Whether none of them overflows."""
    from scipy.linalg.blas import dtrsm

    block, fine = t[own, own].astype(np.float64), True
    panels = zip(gemm_layout.columns_of(q, r), gemm_layout.columns_of(q, x))
    with np.errstate(over="ignore", invalid="ignore"):
        for (_, right), (_, solved) in panels:
            solved[own] = dtrsm(1.0, block, right[own].astype(np.float64), lower=1)
            fine = fine and all_below(solved[own])
    return fine
