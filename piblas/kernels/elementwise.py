"""The level-1 kernels that map vectors to vectors (parts: :mod:`.stream`).

QPUs work as a store pipeline (:mod:`.store_pipeline`): eight producers, of which number i computes
vectors i, i + 8, i + 16 and i + 24 of a *block* of 32, and a ninth QPU, the consumer, which has
each block stored by one transfer.  Eight times 14 instructions take as long as 32 rows, so the
producers may fill a half buffer one after the other.

Whole blocks make one *segment*; what is left over makes up to three more of one phase each: whole
vectors after the blocks, words before the first line of the result, words after the last vector.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, List, NamedTuple, Tuple

import numpy as np

from ..isa import setup_words as sw
from . import macros, parts
from .spec import KernelSpec, register
from .store_pipeline import DRAIN, EMPTY, FULL, HALF, Role, write_roles
from .stream import LANES, LINE, TMU_DEPTH, Reader, fill, from_uniforms
from .uniforms import Streams, placed, put

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["Elementwise", "Segment", "StreamOptions"]


@dataclasses.dataclass(frozen=True)
class StreamOptions:
    """How the work is dealt out.

    ``workers`` producers fill ``rows`` rows each of a half buffer.  A producer begins by requesting
    ``ahead`` vectors of an operand; in a phase it requests ``asked`` when its rows are filled, and
    the rest when it takes operands.  ``pace``: idle instructions between two grants.  ``watch``
    tracks the largest magnitude (:mod:`.stream`).  ``alone``: one QPU produces and consumes.
    """

    workers: int = 8
    rows: int = 4
    ahead: int = 4
    asked: int = 2
    pace: int = 8
    watch: bool = True
    alone: bool = False

    def __post_init__(self) -> None:
        if (
            self.rows % 2
            or not 2 <= self.rows <= self.block <= HALF
            or not 1 <= self.n_qpus <= 12
            or self.asked < 0
            or self.ahead < 1
            or self.pace < 0
            or (self.alone and self.workers > 1)
        ):
            raise ValueError(
                f"level 1: no kernel has {self}: rows are even, workers * rows at most {HALF}, "
                f"workers at most 11, 1 if alone, ahead at least 1"
            )

    @property
    def block(self) -> int:
        """Rows of a transfer, which are vectors of a block."""
        return self.workers * self.rows

    @property
    def n_qpus(self) -> int:
        """QPUs of a launch."""
        return self.workers + (not self.alone)

    def fitted(self, n_qpus: int) -> "StreamOptions":
        """The same on at most so many QPUs."""
        if n_qpus == 1:
            return dataclasses.replace(self, workers=1, alone=True)
        return dataclasses.replace(self, workers=min(self.workers, n_qpus - 1))


Body = Callable[["Assembler", List[Any], List[Any]], Tuple[List[Any], List[Any]]]
"""(assembler, constants, values) -> (results, values in between that are to be watched)."""


class Segment(NamedTuple):
    """A range of elements: ``blocks`` transfers an output, of ``units`` rows of ``depth`` words."""

    first: int
    count: int
    blocks: int
    units: int
    depth: int


@dataclasses.dataclass(frozen=True)
class Elementwise:
    """A kernel that maps vectors to vectors, and its data.

    With one output, half buffers alternate; with two outputs, each has a half buffer of its own.
    """

    inputs: int
    outputs: int
    body: Body
    constants: Tuple[str, ...] = ()

    def spec(self, name: str, routine: Tuple[str, ...], summary: str, **options: Any) -> KernelSpec:
        """Register the kernel."""
        defaults = StreamOptions(**options)
        return register(KernelSpec(name, routine, self.generate, defaults, summary))

    def generate(self, asm: Assembler, options: StreamOptions) -> None:
        """Write the program; :meth:`streams` makes what it reads."""
        held = options.asked * self.outputs  # requests that wait for leave to fill
        if (
            options.ahead * self.inputs > 2 * TMU_DEPTH
            or held > options.rows
            or options.ahead < held + (held < options.rows)
        ):
            raise ValueError(
                f"level 1: a kernel with {self.inputs} inputs and {self.outputs} outputs has no "
                f"{options}: ahead is what the TMUs hold at most, and more than is asked for later"
            )
        asm.mov(asm.tmu_noswap, 1)
        write_roles(
            asm, options.alone, lambda *role: _Role(asm, self, options, *role).write()
        )
        parts.finish(asm)

    def segments(self, options: StreamOptions, n: int, out_alignment: int) -> List[Segment]:
        """The segments of ``n`` elements, whose first result is ``out_alignment`` (0..15) words
        after the beginning of a line: the lines of the output decide where blocks begin."""
        head = min(n, -out_alignment % LANES)
        blocks, rest = divmod(n - head, LANES * options.block)
        vectors, words = divmod(rest, LANES)
        plan = (
            Segment(head, n - head - rest, blocks, options.block, LANES),
            Segment(n - rest, rest - words, 1, vectors, LANES),
            Segment(0, head, 1, 1, head),
            Segment(n - words, words, 1, 1, words),
        )
        return [segment for segment in plan if segment.count]

    def streams(self, options: StreamOptions, n: int, out_alignment: int) -> Streams:
        """The streams of a launch over ``n`` >= 1 elements, ``out_alignment`` as for
        :meth:`segments`.

        Addresses: the inputs "x", "y" and the outputs "out0", "out1", of contiguous words (an
        output may be one of the inputs, else they do not overlap); "watch", which has room for a
        vector of each producer.  Values: "constants", in the order of :attr:`constants`.
        """
        plan = self.segments(options, n, out_alignment)
        first, count, blocks, units, depth = np.array(plan, dtype=np.int64).T[:, :, None]
        n_qpus, fixed, alternating = options.n_qpus, len(self.constants), int(self.outputs == 1)
        qpus = np.arange(n_qpus, dtype=np.int64)
        own = 0 if options.alone else 1
        producer = qpus[: options.workers]
        produces, consumes = qpus >= own, qpus == 0

        # The streams: what a QPU begins with, then a record for each segment, then the end.
        heads = own + 1 + (fixed + 2) * produces
        records = 1 + alternating + (2 + self.outputs) * consumes + 2 * self.inputs * produces
        ends = 2 + 2 * options.watch * consumes
        owner, lengths = np.empty((2, len(plan) + 2, n_qpus), dtype=np.int64)
        owner[:], lengths[0], lengths[1:-1], lengths[-1] = qpus, heads, records, ends
        places, starts, counts, size = placed(owner.ravel(), lengths.ravel(), n_qpus)
        places = places.reshape(owner.shape)
        head, at, end = places[0], places[1:-1], places[-1]
        words = np.zeros(size, dtype=np.int64)

        if own:
            words[head] = produces
        begin = head[own:] + own + fixed
        halves = [sw.vpm_writes(half * HALF + producer, options.workers) for half in range(2)]
        put(words, begin, *halves)
        words[head + heads - 1] = len(plan)
        words[at] = blocks
        if alternating:
            words[at + 1] = (blocks.cumsum(axis=0) - blocks) % 2
        store = at[:, :1] + 1 + alternating
        setups = [sw.vdw_stores(units, depth, half * HALF) for half in range(2)]
        put(words, store, *setups, *[4 * first] * self.outputs)
        operands = at[:, own:] + records[own:] - 2 * self.inputs
        line, last = 4 * first + LINE * producer, 4 * (first + count - 1)
        put(words, operands, *[line, last] * self.inputs)
        if options.watch:
            put(words, end[:1], sw.vdw_stores(options.workers, LANES, 0))
        put(words, end + ends - 2, *parts.finish_words(qpus, n_qpus))

        limits = np.stack((operands, operands + 1)).ravel()
        addresses = {"xy"[i]: limits + 2 * i for i in range(self.inputs)}
        for o in range(self.outputs):
            addresses[f"out{o}"] = store.ravel() + 2 + o
        if options.watch:
            addresses["watch"] = end[:1] + 1
        values = {}
        if fixed:
            number = np.arange(fixed * begin.size) % fixed
            values["constants"] = begin.repeat(fixed) - fixed + number, number
        return Streams(words.astype(np.uint32), starts, addresses, values, counts)


class _Role(Role):
    """The program of a producer, of the consumer, or of one QPU that is both."""

    def __init__(
        self,
        asm: Assembler,
        kernel: Elementwise,
        options: StreamOptions,
        produces: bool,
        consumes: bool,
    ) -> None:
        super().__init__(asm, produces, consumes)
        self.kernel, self.options = kernel, options

    def write(self) -> None:
        """From the constants to the last transfer."""
        asm, kernel, options = self.asm, self.kernel, self.options
        if self.produces:
            step = LINE * options.workers
            self.reader = Reader(asm, kernel.inputs, 1, options.watch, step, options.ahead)
            if self.reader.largest is not None:
                asm.mov(self.reader.largest, 0)
            self.constants = from_uniforms(asm, *kernel.constants)
            self.rows = from_uniforms(asm, "half0_rows", "half1_rows")
            self.results = [
                asm.regs(f"results_of_row{row}_", kernel.outputs, undefined=True)
                for row in range(options.rows)
            ]
        if self.consumes:
            asm.ldi(asm.vpm_wr_setup, sw.vdw_stride(0))
            self.block_bytes = asm.reg("block_bytes")
            asm.ldi(self.block_bytes, LINE * options.block)
        (segments,) = from_uniforms(asm, "segments")
        asm.label(self.label("segment"))
        (self.blocks,) = from_uniforms(asm, "blocks")
        enter = from_uniforms(asm, "enter")[0] if kernel.outputs == 1 else None
        if self.consumes:
            self.setups = from_uniforms(asm, "half0_setup", "half1_setup")
            self.outs = from_uniforms(asm, *[f"out{o}" for o in range(kernel.outputs)])
        if self.produces:
            self.reader.start()
            self._compute()
        self.phases(enter)
        if self.produces:
            self.reader.drop(options.ahead - (options.asked if kernel.outputs == 2 else 0))
        asm.sub(segments, segments, 1, sf=True)
        asm.branch(self.label("segment"), cond="any_zc")
        if self.consumes:
            asm.read(asm.vdw_wait)
        if options.watch:
            self._fill(DRAIN, 0, lambda: [self.reader.largest])
            if self.consumes:
                setup, at = from_uniforms(asm, "watch_setup", "watch_at")
                self.start_store(setup, at)
                asm.read(asm.vdw_wait)

    def phase(self, half: int) -> None:
        asm, alternating = self.asm, self.kernel.outputs == 1
        out = 0 if alternating else half
        self._fill(
            EMPTY[half],
            half,
            lambda: [made[out] for made in self.results],
            lambda: self._ask(half),
        )
        if self.consumes:
            self.start_store(self.setups[half], self.outs[out])
            asm.add(self.outs[out], self.outs[out], self.block_bytes)
        if alternating or half:
            self.next_phase(half, self.blocks, self._compute)

    def _fill(
        self,
        empty: int,
        half: int,
        values: Callable[[], List[Any]],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """A producer fills its rows; the consumer grants them and collects the reports."""
        asm, workers = self.asm, self.options.workers
        if self.produces:
            self.wait_until_empty(empty)
            fill(asm, self.rows[half], values())
            self.report_full(meanwhile)
            return
        left = asm.reg("left")
        asm.ldi(left, workers)
        with macros.counted_loop(asm, f"grant{empty}", left):
            with asm.fixed():
                asm.sema_up(empty)
                for _ in range(self.options.pace):
                    asm.nop()
        for _ in range(workers):
            asm.sema_down(FULL)

    def _ask(self, half: int) -> None:
        """Ask for operands of a later block."""
        asm, options, skip = self.asm, self.options, self.label("no_more")
        if not options.asked:
            return
        # While the last results of one output are stored, which may be an operand, it is not read.
        last = self.kernel.outputs == 2 and half
        if last:
            asm.sub(asm.null, self.blocks, 1, sf=True)
            asm.branch(skip, cond="all_zs")
        for _ in range(options.asked):
            self.reader.ask()
        if last:
            asm.label(skip)

    def _compute(self) -> None:
        """Take this QPU's operands of a block and compute the results."""
        asked = self.options.asked * self.kernel.outputs
        for i, row in enumerate(self.results):
            values = self.reader.take(ask=i >= asked)
            made, between = self.kernel.body(self.asm, self.constants, values)
            self.reader.watch(*values, *between, *made)
            for register_, value in zip(row, made):
                self.asm.mov(register_, value)
