"""The skeleton of the level-1 kernels; here those that map vectors to vectors.

Operands are contiguous words at any word address; full speed needs them on lines of 64 bytes, the
size of a 16-element vector.  A QPU works through *segments*, each a range of consecutive elements::

    x, y --TMU0/1, a line a request, `depth` waiting in each--> values -> body -> results
    elementwise:  results -> VPM (this QPU's rows) --VDW--> memory, `rows` vectors a transfer
    reduction:    accumulators, 16 lanes each -> VPM --VDW--> partial results (:mod:`.reduce`)

Nothing outside an operand is read or written.  Requests run ahead of use, and past the end of a
segment; so every address is clamped to that of the segment's last element (one ``min``, which is
also the write to the TMU).  A segment's stores have the length that its setup word says.  Whole
groups of ``rows`` vectors make one segment a QPU; what is left over makes up to three more: words
before the first line of the result, whole vectors, words behind the last.

The store engine is the narrow place.  A transfer costs 40 clocks beside 14 a row (measured), so
long transfers beat many QPUs: four QPUs with 16 rows of the VPM each take 19 clocks a row of scopy,
twelve with four rows 31 (simulated; memory alone would take 13).

The rows are private, because with a mutex around their use the engine would be idle while its
holder fills the VPM.  Only the transfer itself is under the mutex: there is one engine, and no
documented queue in front of it.  Meanwhile the TMUs fetch what comes next.  Reads in long bursts
hold up the rows of a transfer, which are stored one by one; where that counts, ``depth`` is below
what the TMUs could queue.

Special values: the QPUs do not follow IEEE for Inf and NaN.  The kernels keep the largest magnitude
they met, as a bit pattern (operands, products, results: one ``fmaxabs`` each, which costs no
simulated time), and store it at the end.  A value of :data:`OVERFLOW` or more tells the host to
compute the result itself.  Denormal operands and results count as +0, and -0 as +0.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, List, Sequence, Tuple

import numpy as np

from ..codegen import Assembler, macros
from ..isa import setup_words as sw
from . import parts
from .spec import KernelSpec, register

__all__ = [
    "Elementwise",
    "LANES",
    "LINE",
    "OVERFLOW",
    "Reader",
    "SMALLEST_NORMAL",
    "StreamOptions",
    "UNIT_ROUNDOFF",
    "fill",
    "from_uniforms",
    "share",
    "store",
    "words_of",
]

LANES = 16
LINE = 64
"""Bytes of a vector and of a cache line."""

VPM_ROWS = 64
TMU_DEPTH = 4
"""Requests that may wait in a TMU (measured; the guide says 8)."""

UNIT_ROUNDOFF = 2.0**-23
"""Relative error of one truncating operation of the QPU."""

SMALLEST_NORMAL = 2.0**-126
"""Smaller operands count as 0, smaller results become 0."""

OVERFLOW = 0x7F7FFFFF
"""Pattern of the largest finite float: a magnitude from here on may stand for an overflow."""


@dataclasses.dataclass(frozen=True)
class StreamOptions:
    """``rows`` vectors make a group, stored by one transfer; ``depth`` requests wait in a TMU;
    ``watch`` keeps the largest magnitude (see the module's text)."""

    rows: int = 16
    depth: int = 4
    watch: bool = True

    def __post_init__(self) -> None:
        if self.rows % 2 or not 2 <= self.rows <= 16 or not 1 <= self.depth <= TMU_DEPTH:
            raise ValueError(
                f"level 1: no kernel has {self}: rows are even, 2 to 16, and depth 1 to 4"
            )


# --- the parts of a program ----------------------------------------------------------------------


class Input:
    """An operand on its way through a TMU."""

    def __init__(
        self, asm: Assembler, name: str, units: Tuple[int, ...], depth: int, step: Any
    ) -> None:
        self.asm, self.name, self.units, self.step = asm, name, units, step
        self.at, self.last = asm.reg(f"{name}_at"), asm.reg(f"{name}_last")
        self.ahead = depth * len(units)  # vectors asked for before the first is taken
        self.taken = 0

    def _unit(self, index: int) -> int:
        return self.units[index % len(self.units)]

    def start(self, lane: Any) -> None:
        """Read the addresses of the segment's first and last element; ask for the first vectors."""
        asm = self.asm
        asm.add(self.at, asm.unif, lane)
        asm.mov(self.last, asm.unif)
        for index in range(self.ahead):
            self.request(index)
        self.taken = 0

    def request(self, index: int) -> None:
        """Ask for the next vector, the ``index``-th.

        Bus addresses of one memory have the same top bit, so the signed minimum is theirs, too.
        """
        asm = self.asm
        asm.min((asm.t0s, asm.t1s)[self._unit(index)], self.at, self.last)
        asm.add(self.at, self.at, self.step)

    def take(self) -> Any:
        """The next vector of the segment; asks for one in its place."""
        value = self.asm.reg(self.name)
        self.asm.ldtmu(self._unit(self.taken), value)
        self.request(self.taken + self.ahead)
        self.taken += 1
        return value

    def drop(self) -> None:
        """Take what was asked for and is not needed."""
        for index in range(self.ahead):
            self.asm.ldtmu(self._unit(index))


class Reader:
    """All operands, the constants that their addresses need, and the watch over magnitudes."""

    def __init__(self, asm: Assembler, inputs: int, depth: int, watch: bool) -> None:
        self.asm = asm
        self.step, self.lane = asm.reg("bytes_of_a_vector"), asm.reg("lane")
        asm.ldi(self.step, LINE)
        asm.shl(self.lane, asm.elem_num, 2)
        units: Tuple[Tuple[int, ...], ...] = ((0, 1),) if inputs == 1 else ((0,), (1,))
        self.inputs = [
            Input(asm, name, unit, depth, self.step) for name, unit in zip("xy", units)
        ]
        self.largest = asm.reg("largest") if watch else None

    def start(self) -> None:
        for each in self.inputs:
            each.start(self.lane)

    def take(self) -> List[Any]:
        return [each.take() for each in self.inputs]

    def drop(self) -> None:
        for each in self.inputs:
            each.drop()

    def watch(self, *values: Any) -> None:
        """Let the largest magnitude take these into account."""
        if self.largest is not None:
            for value in values:
                self.asm.fmaxabs(self.largest, self.largest, value)


def fill(asm: Assembler, rows: Any, values: Sequence[Any]) -> None:
    """Write vectors to this QPU's rows of the VPM."""
    asm.mov(asm.vpm_wr_setup, rows)
    for value in values:
        asm.mov(asm.vpm, value)


def store(asm: Assembler, transfers: Sequence[Tuple[Any, Any]]) -> None:
    """Store (setup word, address) one after the other, and wait for each.

    The setup registers are the QPU's own, so they are written before it has the mutex; between two
    transfers of two QPUs the engine is idle for three instructions.
    """
    for setup, address in transfers:
        asm.ldi(asm.vpm_wr_setup, sw.vdw_stride(0))
        asm.mov(asm.vpm_wr_setup, setup)
        with asm.fixed():
            with macros.holding_mutex(asm):
                asm.mov(asm.vdw_addr, address)
                asm.read(asm.vdw_wait)


def from_uniforms(asm: Assembler, *names: str) -> List[Any]:
    registers = [asm.reg(name) for name in names]
    for register_ in registers:
        asm.mov(register_, asm.unif)
    return registers


def words_of(values: Sequence[int]) -> np.ndarray:
    return np.array([value & 0xFFFFFFFF for value in values], dtype=np.uint32)


def share(total: int, among: int) -> List[Tuple[int, int]]:
    """``total`` things dealt to ``among`` takers: (first, how many) of each, larger ones first."""
    small, more = divmod(total, among)
    counts = [small + (index < more) for index in range(among)]
    return [(sum(counts[:index]), count) for index, count in enumerate(counts)]


# --- elementwise ---------------------------------------------------------------------------------

Body = Callable[[Assembler, List[Any], List[Any]], Tuple[List[Any], List[Any]]]
"""(assembler, constants, values) -> (results, values in between that are to be watched)."""


@dataclasses.dataclass(frozen=True)
class Elementwise:
    """A kernel that maps vectors to vectors, and its data."""

    inputs: int
    outputs: int
    body: Body
    constants: Tuple[str, ...] = ()

    def spec(self, name: str, routine: Tuple[str, ...], summary: str, **options: Any) -> KernelSpec:
        """Register the kernel."""
        defaults = StreamOptions(**options)
        return register(KernelSpec(name, routine, self.generate, defaults, summary))

    def generate(self, asm: Assembler, options: StreamOptions) -> None:
        """Write the program; :meth:`uniforms` makes the streams that it reads."""
        asm.mov(asm.tmu_noswap, 1)
        reader = Reader(asm, self.inputs, options.depth, options.watch)
        if reader.largest is not None:
            asm.mov(reader.largest, 0)
        constants = from_uniforms(asm, *self.constants)
        vpm_rows, segments = from_uniforms(asm, "vpm_rows", "segments")
        group_bytes = asm.reg("group_bytes")
        asm.ldi(group_bytes, LINE * options.rows)
        names = [f"out{o}" for o in range(self.outputs)]
        asm.label("segment")
        (groups,) = from_uniforms(asm, "groups")
        setups = from_uniforms(asm, *[f"{name}_setup" for name in names])
        reader.start()
        outs = from_uniforms(asm, *names)
        asm.label("group")
        results = []
        for _ in range(options.rows):
            values = reader.take()
            made, between = self.body(asm, constants, values)
            reader.watch(*values, *between, *made)
            results.append(made)
        fill(asm, vpm_rows, [made[o] for o in range(self.outputs) for made in results])
        store(asm, list(zip(setups, outs)))
        for out in outs:
            asm.add(out, out, group_bytes)
        asm.sub(groups, groups, 1, sf=True)
        asm.branch("group", cond="any_zc")
        reader.drop()
        asm.sub(segments, segments, 1, sf=True)
        asm.branch("segment", cond="any_zc")
        if options.watch:
            fill(asm, vpm_rows, [reader.largest])
            store(asm, [tuple(from_uniforms(asm, "watch_setup", "watch_at"))])
        parts.finish(asm)

    def most_qpus(self, options: StreamOptions) -> int:
        """How many QPUs have rows of the VPM."""
        return min(12, VPM_ROWS // (options.rows * self.outputs))

    def segments(
        self, options: StreamOptions, n: int, out: int, n_qpus: int
    ) -> List[List[Tuple[int, int, int, int]]]:
        """For each QPU its segments: (first element, elements, groups, elements a stored row).

        ``out`` is the address of the first result, whose lines decide where groups begin.
        """
        head = min(n, -(out // 4) % LANES)
        group = LANES * options.rows
        groups, rest = divmod(n - head, group)
        n_qpus = max(1, min(n_qpus, self.most_qpus(options), groups))
        plan: List[List[Tuple[int, int, int, int]]] = []
        for first, count in share(groups, n_qpus):
            whole = (head + first * group, count * group, count, LANES)
            plan.append([whole] if count else [])
        vectors, words = divmod(rest, LANES)
        at = n - rest
        # The last QPU has the fewest groups.
        if head:
            plan[-1].append((0, head, 1, head))
        if vectors:
            plan[-1].append((at, vectors * LANES, 1, LANES))
        if words:
            plan[-1].append((n - words, words, 1, words))
        return plan

    def uniforms(
        self,
        options: StreamOptions,
        n: int,
        constants: Sequence[float],
        inputs: Sequence[int],
        outputs: Sequence[int],
        watch: int = 0,
        n_qpus: int = 12,
    ) -> List[np.ndarray]:
        """The streams of a launch over ``n`` >= 1 elements, one a QPU that has work.

        ``inputs`` and ``outputs`` are bus addresses of contiguous words; an output may be one of
        the inputs, else they do not overlap.  ``watch`` is where a vector for each QPU has room.
        """
        plan = self.segments(options, n, outputs[0], n_qpus)
        streams = []
        for index, own in enumerate(plan):
            row = index * options.rows * self.outputs
            words = [parts.float_word(value) for value in constants]
            words += [sw.vpm_write(row), len(own)]
            for first, count, groups, depth in own:
                units = options.rows if groups > 1 else -(-count // LANES)
                words.append(groups)
                for o in range(self.outputs):
                    words.append(sw.vdw_store(units, depth, row + o * options.rows))
                for address in inputs:
                    words += [address + 4 * first, address + 4 * (first + count - 1)]
                words += [address + 4 * first for address in outputs]
            if options.watch:
                words += [sw.vdw_store(1, LANES, row), watch + LINE * index]
            streams.append(words_of(words + parts.finish_words(index, len(plan))))
        return streams
