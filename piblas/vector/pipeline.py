"""A program for a graph as a store pipeline (:mod:`piblas.kernels.store_pipeline`).

Producers compute vectors of a *block* and write them to half buffers of the VPM, and one more QPU,
the consumer, has each block stored by one transfer.  It is for functions whose memory traffic takes
longer than their operations.

Blocks begin at lines of the first result.  What is left over before and after them is cut into
pieces that are rectangles of whole rows for elements of any size: a few whole vectors (a multiple
of four, two, one), and single elements.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, List, NamedTuple


from ..isa import setup_words as sw
from ..kernels import parts
from ..kernels.elementwise import StreamOptions
from ..kernels.parts import LANES, LINE
from ..kernels.store_pipeline import EMPTY, FULL, HALF, Role, write_roles
from ..kernels.stream import fill, from_uniforms
from ..kernels.uniforms import Streams
from .body import SIZES, Body, stores
from .emit import Emitter, Supply
from .graph import Graph
from .reading import Reader
from .writing import Words, constants_of, store_mode, uniform_once

if TYPE_CHECKING:
    from ..codegen import Assembler, Program

__all__ = ["Options", "Pipeline"]


@dataclasses.dataclass(frozen=True)
class Options(StreamOptions):
    """As of the level-1 kernels; operations are written for ``unroll`` vectors at a time, and so
    many ``constants`` are kept in registers."""

    watch: bool = False
    unroll: int = 1
    constants: int = 16


class _Segment(NamedTuple):
    """A range of elements, in ``blocks`` transfers; each stores so many ``vectors``, or elements
    (``words``) of one vector."""

    first: int
    elements: int
    blocks: int
    vectors: int
    words: int


class Pipeline:
    """The kernel of a graph; see the module's text."""

    stored = 0
    """Vectors that reductions store: there are none."""

    most_qpus = parts.QPUS

    def __init__(self, graph: Graph, body: Body, options: Options) -> None:
        self.graph, self.body, self.options = graph, body, options
        self.stores = stores(graph)
        self.arrays = list(body.loads)
        self.scalars = body.scalars
        self.indexed = body.index_used
        self.sizes = [SIZES[each.dtype] for _, each in self.stores]
        if not 1 <= len(self.stores) <= 2 or len(self.stores) != len(graph.results):
            raise ValueError("a pipeline has one or two results, which are arrays")
        if len(self.stores) == 2 and options.asked:
            raise ValueError("a pipeline of two results asks for operands when it takes others")

    # --- program -------------------------------------------------------------------------------

    def assemble(self, name: str) -> "Program":
        """The program; :meth:`streams` makes what it reads."""
        from ..codegen import Assembler  # here, because kept programs need no assembler

        asm = Assembler(name)
        asm.mov(asm.tmu_noswap, 1)
        write_roles(asm, self.options.alone, lambda *role: _Role(asm, self, *role).write())
        parts.finish(asm)
        return asm.finish()

    # --- what it reads -------------------------------------------------------------------------

    def segments(self, n: int, alignment: int) -> List[_Segment]:
        """The segments of ``n`` elements, whose first result is ``alignment`` bytes after the
        beginning of a line."""
        block = LANES * self.options.block
        head = min(n, -alignment % LINE // self.sizes[0])
        blocks = (n - head) // block
        found = []
        if blocks:
            found.append(_Segment(head, blocks * block, blocks, self.options.block, 0))
        at = head + blocks * block
        for first, end in ((at, n), (0, head)):
            vectors, words = divmod(end - first, LANES)
            small = min(self.sizes) < 4
            while vectors:
                piece = vectors
                if small:
                    piece = vectors & ~3 or vectors & 2 or 1
                piece = min(piece, self.options.block)
                found.append(_Segment(first, piece * LANES, 1, piece, 0))
                first, vectors = first + piece * LANES, vectors - piece
            if words:
                found.append(_Segment(first, words, 1, 0, words))
        return found

    def streams(self, n: int, n_qpus: int, first: int = 0, alignment: int = 0) -> Streams:
        """The streams of a launch over ``n`` >= 1 elements, from number ``first`` of the arrays on.

        Addresses: "in0", "in1", .. of the arguments that are arrays, "out0", .. of the results;
        ``alignment`` is that of the first element of the first result, in bytes within a line.
        Values: "scalars", in the order of the arguments.
        """
        options = self.options
        segments = self.segments(n, alignment)
        alternating = len(self.stores) == 1
        words = Words(options.n_qpus)
        starts, phase = [], 0
        for segment in segments:
            starts.append(phase % 2)
            phase += segment.blocks
        for q in range(options.n_qpus):
            own = 0 if options.alone else 1
            produces, consumes, producer = q >= own, q == 0, q - own
            if own:
                words.add(q, int(produces))
            if produces:
                words.scalars(q, len(self.scalars))
                for half in range(2):
                    size = self.sizes[0 if alternating else half]
                    row = 4 * HALF * half // size + producer
                    setup = sw.vpm_write(0, size=8 * size, stride=options.workers)
                    words.add(q, setup + row)
            words.add(q, len(segments))
            for segment, start in zip(segments, starts):
                words.add(q, segment.blocks)
                if alternating:
                    words.add(q, start)
                at = first + segment.first
                if consumes:
                    for half in range(2):
                        size = self.sizes[0 if alternating else half]
                        words.add(q, self._setup(segment, size, half * HALF))
                    for (place, _), size in zip(self.stores, self.sizes):
                        words.address(q, f"out{place}", size * at)
                if produces:
                    if self.indexed:
                        words.add(q, at + LANES * producer)
                    for number in self.arrays:
                        size = SIZES[self.graph.arguments[number].dtype]
                        words.address(q, f"in{number}", size * (at + LANES * producer))
                        words.address(q, f"in{number}", size * (at + segment.elements - 1))
            words.add(q, *parts.finish_words(q, options.n_qpus))
        return words.streams()

    def _setup(self, segment: _Segment, size: int, row: int) -> int:
        """The setup word of a transfer."""
        if segment.words:
            units, depth = 1, segment.words
        else:
            across = LINE // size
            elements = LANES * segment.vectors
            units, depth = (1, elements) if elements <= across else (elements // across, across)
        return sw.vdw_store(units, depth, row, modew=store_mode(size))


class _Role(Role):
    """The program of a producer, of the consumer, or of one QPU that is both."""

    def __init__(
        self, asm: "Assembler", kernel: Pipeline, produces: bool, consumes: bool
    ) -> None:
        super().__init__(asm, produces, consumes)
        self.kernel, self.options = kernel, kernel.options

    def write(self) -> None:
        """From the constants to the last transfer."""
        asm, kernel, options = self.asm, self.kernel, self.options
        alternating = len(kernel.stores) == 1
        if self.produces:
            self._begin()
        if self.consumes:
            asm.ldi(asm.vpm_wr_setup, sw.vdw_stride(0))
            self.steps = {size: asm.reg(f"block_of{size}") for size in sorted(set(kernel.sizes))}
            for size, register in self.steps.items():
                asm.ldi(register, LANES * size * options.block)
        (segments,) = from_uniforms(asm, "segments")
        asm.label(self.label("segment"))
        (self.blocks,) = from_uniforms(asm, "blocks")
        enter = from_uniforms(asm, "enter")[0] if alternating else None
        if self.consumes:
            self.setups = from_uniforms(asm, "half0_setup", "half1_setup")
            self.outs = from_uniforms(asm, *[f"out{o}" for o in range(len(kernel.stores))])
        if self.produces:
            if kernel.indexed:
                asm.add(self.element, asm.unif, asm.elem_num)
            self.reader.start()
            self._compute()
        self.phases(enter)
        if self.produces:
            self.reader.drop()
        asm.sub(segments, segments, 1, sf=True)
        asm.branch(self.label("segment"), cond="any_zc")
        if self.consumes:
            asm.read(asm.vdw_wait)

    def _begin(self) -> None:
        asm, kernel, options = self.asm, self.kernel, self.options
        scalars = {number: asm.reg(f"scalar{number}") for number in kernel.scalars}
        for register in scalars.values():
            asm.mov(register, asm.unif)
        constants = constants_of(asm, kernel.graph, options.constants)
        self.rows = from_uniforms(asm, "half0_rows", "half1_rows")
        self.reader = Reader(
            asm, kernel.body, options.unroll, options.workers, options.ahead, 2 * options.rows
        )
        self.supply = Supply(self._load, self._index, scalars, constants)
        self.uniform = uniform_once(asm, kernel.body, self.supply)
        self.results = [
            asm.regs(f"result{place}_of_row", options.rows, undefined=True)
            for place, _ in kernel.stores
        ]
        if kernel.indexed:
            self.element, self.further = asm.reg("element"), asm.reg("elements_to_the_next")
            asm.ldi(self.further, LANES * options.workers)

    def phase(self, half: int) -> None:
        asm, alternating = self.asm, len(self.kernel.stores) == 1
        out = 0 if alternating else half
        if self.produces:
            self.wait_until_empty(EMPTY[half])
            fill(asm, self.rows[half], self.results[out])
            self.report_full(self.reader.catch_up if alternating else lambda: None)
        else:
            with asm.fixed():
                for _ in range(self.options.workers):
                    asm.sema_up(EMPTY[half])
                    for _ in range(self.options.pace):
                        asm.nop()
            for _ in range(self.options.workers):
                asm.sema_down(FULL)
        if self.consumes:
            self.start_store(self.setups[half], self.outs[out])
            asm.add(self.outs[out], self.outs[out], self.steps[self.kernel.sizes[out]])
        if alternating or half:
            self.next_phase(half, self.blocks, self._compute)

    # --- a producer's block --------------------------------------------------------------------

    def _load(self, number: int, vector: int) -> Any:
        return self.reader.take(number, vector, self.row + vector >= self.options.asked)

    def _index(self, vector: int) -> Any:
        element = self.element
        for _ in range(vector):
            further = self.asm.reg("further")
            self.asm.add(further, element, self.further)
            element = further
        return element

    def _compute(self) -> None:
        """Take this QPU's operands of a block and compute the results."""
        asm, kernel, unroll = self.asm, self.kernel, self.options.unroll
        for row in range(0, self.options.rows, unroll):
            self.row = row
            rows = slice(row, row + unroll)
            emitter = Emitter(asm, kernel.body, unroll, self.supply, uniform=self.uniform)
            targets = [registers[rows] for registers in self.results]
            emitter.aim(targets)
            for (_, each), values, into in zip(kernel.stores, emitter.run(), targets):
                for value, register in zip(values, into):
                    if each.dtype == "float16":
                        half = asm.reg("half", "A", undefined=True)
                        asm.fmin(half.pack("16a"), value, value)
                        value = half
                    if value is not register:
                        asm.mov(register, value)
            if kernel.indexed:
                for _ in range(unroll):
                    asm.add(self.element, self.element, self.further)
