"""Reductions on the streaming skeleton (:mod:`.stream`): many elements in, a few vectors out.

The elements are cut into at most :data:`PARTS` parts whose limits depend on n alone; a QPU works
through one part or several.  A part ends with its accumulators, 16 lanes each, stored to memory,
and the host joins the lanes of all parts: some hundred numbers, whatever n is.  So a result does
not depend on the number of QPUs.

Sums are compensated (Kahan): each lane of each of two accumulators carries the part of the sum that
truncation cut off.  Memory is the limit of these kernels, so the three additions more cost nothing;
a plain sum of 4 Mi positive elements would lose about twelve bits, as truncation errors add up.
The host adds the accumulators and what they lost exactly, and rounds once.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Callable, List, Tuple

import numpy as np

from ..isa import setup_words as sw
from . import parts
from .spec import KernelSpec, register
from .stream import (
    LANES,
    LINE,
    OVERFLOW,
    SMALLEST_NORMAL,
    TMU_DEPTH,
    UNIT_ROUNDOFF,
    Reader,
    fill,
    from_uniforms,
    share,
    store,
)
from .uniforms import Streams, placed, put

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = [
    "CompensatedSum",
    "PARTS",
    "Reduction",
    "ReductionOptions",
    "overflowed",
    "sum_bound",
]

PARTS = 12
"""A reduction is cut into at most so many parts, whatever the number of QPUs."""


@dataclasses.dataclass(frozen=True)
class ReductionOptions:
    """``unroll`` vectors make an iteration of the loop; ``watch`` tracks the largest magnitude
    (:mod:`.stream`)."""

    unroll: int = 4
    watch: bool = True

    def __post_init__(self) -> None:
        if self.unroll % 2 or not 2 <= self.unroll <= 16:
            raise ValueError(f"level 1: no kernel has {self}: unroll is even, 2 to 16")


@dataclasses.dataclass(frozen=True)
class Reduction:
    """A kernel that joins the elements of its operands, lane by lane, and its data.

    ``state(asm, reader, constants)`` makes an object with ``clear()``, ``add(v, values)`` (v counts
    the vectors of an iteration) and ``vectors()``, which are stored at the end of a part, ``rows``
    of them.  Lanes beyond the last element come as zero with ``masked``, else as copies of it.
    """

    inputs: int
    rows: int
    state: Callable[[Assembler, Reader, List[Any]], Any]
    constants: Tuple[str, ...] = ()
    masked: bool = True

    def spec(self, name: str, routine: Tuple[str, ...], summary: str, **options: Any) -> KernelSpec:
        """Register the kernel."""
        defaults = ReductionOptions(**options)
        return register(KernelSpec(name, routine, self.generate, defaults, summary))

    def generate(self, asm: Assembler, options: ReductionOptions) -> None:
        """Write the program; :meth:`streams` makes what it reads."""
        asm.mov(asm.tmu_noswap, 1)
        reader = Reader(asm, self.inputs, TMU_DEPTH, options.watch)
        constants = from_uniforms(asm, *self.constants)
        vpm_rows, setup, left_parts = from_uniforms(asm, "vpm_rows", "setup", "parts")
        state = self.state(asm, reader, constants)
        asm.label("part")
        (groups,) = from_uniforms(asm, "groups")
        reader.start()
        (out,) = from_uniforms(asm, "out")
        state.clear()
        if reader.largest is not None:
            asm.mov(reader.largest, 0)
        x = reader.inputs[0]
        if self.masked:
            # Bytes from each lane's element to the last; negative beyond it.
            left = asm.reg("left")
            asm.sub(left, x.last, x.at)
            ahead = asm.reg("ahead")
            asm.ldi(ahead, LINE * (x.ahead + 1))
            asm.add(left, left, ahead)
        asm.label("group")
        for v in range(options.unroll):
            values = reader.take()
            if self.masked:
                asm.sub(left, left, reader.step, sf=True)
                asm.mov(values[0], 0, cond="ns")
            state.add(v, values)
        asm.sub(groups, groups, 1, sf=True)
        asm.branch("group", cond="any_zc")
        reader.drop()
        vectors = state.vectors()
        if reader.largest is not None:
            vectors = vectors + [reader.largest]
        fill(asm, vpm_rows, vectors)
        store(asm, [(setup, out)])
        asm.sub(left_parts, left_parts, 1, sf=True)
        asm.branch("part", cond="any_zc")
        parts.finish(asm)

    def stored(self, options: ReductionOptions) -> int:
        """Vectors that a part stores."""
        return self.rows + options.watch

    def parts(self, options: ReductionOptions, n: int) -> List[Tuple[int, int, int]]:
        """(first element, elements, groups) of each part of ``n`` >= 1 elements."""
        group = LANES * options.unroll
        groups = -(-n // group)
        return [
            (first * group, min(n, (first + count) * group) - first * group, count)
            for first, count in share(groups, min(PARTS, groups))
        ]

    def streams(self, options: ReductionOptions, n: int, n_qpus: int = 12) -> Streams:
        """The streams of a launch over ``n`` >= 1 elements.

        Addresses: the inputs "x", "y", of contiguous words; "out", which has room for
        :meth:`stored` vectors of each part.  Values: "constants", in the order of
        :attr:`constants`.
        """
        first, count, groups = np.array(self.parts(options, n), dtype=np.int64).T
        stored, fixed = self.stored(options), len(self.constants)
        n_qpus = min(n_qpus, first.size)
        qpus, part = np.arange(n_qpus, dtype=np.int64), np.arange(first.size, dtype=np.int64)
        owner = np.concatenate((qpus, part % n_qpus, qpus))
        lengths = np.empty_like(owner)
        lengths[:n_qpus], lengths[n_qpus:-n_qpus], lengths[-n_qpus:] = (
            fixed + 3, 2 * self.inputs + 2, 2,
        )  # fmt: skip
        places, starts, counts, size = placed(owner, lengths, n_qpus)
        head, at, end = places[:n_qpus], places[n_qpus:-n_qpus], places[-n_qpus:]
        words = np.zeros(size, dtype=np.int64)
        row = qpus * stored
        own = (first.size - 1 - qpus) // n_qpus + 1
        put(words, head + fixed, sw.vpm_writes(row), sw.vdw_stores(stored, LANES, row), own)
        operands = [4 * first, 4 * (first + count - 1)] * self.inputs
        put(words, at, groups, *operands, LINE * stored * part)
        put(words, end, *parts.finish_words(qpus, n_qpus))
        limits = np.concatenate((at, at + 1))
        addresses = {"xy"[i]: limits + 1 + 2 * i for i in range(self.inputs)}
        addresses["out"] = at + 1 + 2 * self.inputs
        values = {}
        if fixed:
            number = np.arange(fixed * n_qpus) % fixed
            values["constants"] = head.repeat(fixed) + number, number
        return Streams(words.astype(np.uint32), starts, addresses, values, counts)

    def results(self, options: ReductionOptions, n: int, stored: np.ndarray) -> np.ndarray:
        """What the parts stored, as (part, vector, lane)."""
        return stored.reshape(len(self.parts(options, n)), self.stored(options), LANES)


# --- sums ----------------------------------------------------------------------------------------

CHAINS = 2
"""Accumulators that an iteration's vectors take turns with."""


class CompensatedSum:
    """The state of a reduction that sums ``term(values)`` over its elements."""

    ROWS = 2 * CHAINS

    def __init__(self, asm: Assembler, term: Callable[[List[Any]], Any]) -> None:
        self.asm, self.term = asm, term
        self.sums, self.lost = asm.regs("sum", CHAINS), asm.regs("lost", CHAINS)

    def clear(self) -> None:
        for register_ in self.sums + self.lost:
            self.asm.mov(register_, 0)

    def add(self, v: int, values: List[Any]) -> None:
        """sum = sum + y with y = term - lost; lost = what the sum took more than y."""
        asm, total, lost = self.asm, self.sums[v % CHAINS], self.lost[v % CHAINS]
        y, new, taken = asm.reg("y"), asm.reg("new"), asm.reg("taken")
        asm.fsub(y, self.term(values), lost)
        asm.fadd(new, total, y)
        asm.fsub(taken, new, total)
        asm.fsub(lost, taken, y)
        asm.mov(total, new)

    def vectors(self) -> List[Any]:
        return self.sums + self.lost

    @classmethod
    def value(cls, results: np.ndarray) -> float:
        """The exact sum of the accumulators less what they took too much."""
        terms = results[:, : cls.ROWS].astype(np.float64)
        terms[:, CHAINS:] *= -1
        return math.fsum(terms.ravel().tolist())


def overflowed(results: np.ndarray) -> bool:
    """Whether a number among the results, or the largest magnitude met, may stand for an overflow
    or for an operand that is Inf or NaN."""
    magnitudes = results.view(np.uint32) & 0x7FFFFFFF
    return bool(np.maximum.reduce(magnitudes, axis=None) >= OVERFLOW)


def sum_bound(n: int, magnitude: float, unroll: int = 4) -> float:
    """Bound of |computed - exact| for a compensated sum of n terms, ``magnitude`` the sum of their
    magnitudes, before the result is rounded to float32.

    In a step y = (t - c)(1 + a), s' = (s + y)(1 + b), c' = ((s' - s)(1 + g) - y)(1 + d), each of
    a, b, g, d at most u = 2**-23.  The corrected sum s - c changes by t plus errors of at most
    2 u |t| + 8 u**2 S (+ higher orders, hence 9), S the magnitude, in each of the L steps of an
    accumulator.  The accumulators are added exactly.  So (2 u + 9 L u**2) S, and 4 flushes a step.
    """
    groups = -(-n // (LANES * unroll))
    steps = -(-groups // min(PARTS, groups)) * unroll // CHAINS
    relative = 2 * UNIT_ROUNDOFF + 9 * steps * UNIT_ROUNDOFF**2
    return relative * magnitude + 4 * n * SMALLEST_NORMAL
