"""A program for a graph in which every QPU loads, computes and stores on its own.

A QPU works through *records*, runs of groups of vectors::

    record: addresses of the first elements, and of the last; how many groups
    group:  vectors from the TMUs -> operations -> rows of the VPM -> memory, by DMA
            (a QPU holds the mutex while the engine stores its rows)
    after a record that is a part of a reduction: the lanes' states -> memory

It is for functions whose operations take longer than their memory traffic, and for those with
reductions, many arrays or many values; others are faster as a pipeline (:mod:`.pipeline`).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple

import numpy as np

from ..isa import setup_words as sw
from ..kernels import macros, parts
from ..kernels.parts import LANES, LINE
from ..kernels.reduce import PARTS
from ..kernels.stream import fill, from_uniforms, share, store
from ..kernels.uniforms import Streams
from . import reduction
from .body import SIZES, Body, reductions, stores
from .emit import Emitter, Supply
from .graph import Graph
from .reading import CompactReader, Reader
from .writing import Words, constants_of, store_mode, uniform_once

if TYPE_CHECKING:
    from ..codegen import Assembler, Program

__all__ = ["Options", "Own", "Writer"]

VPM_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """``unroll`` vectors make a group; ``hoist``: what is the same for all elements is computed
    once, before the first; so many ``constants`` are kept in registers.  With ``room`` above 0, as
    many values of a vector are in registers at once, and the others in rows of the VPM.
    ``compact``, for one vector a group: arrays share what they count with, and 16 numbers share a
    register."""

    unroll: int = 2
    hoist: bool = True
    constants: int = 16
    room: int = 0
    compact: bool = False


class _Record(NamedTuple):
    """A run of groups of one QPU: elements ``first`` .. ``first + elements - 1``; each group stores
    ``rows`` vectors of ``depth`` elements."""

    first: int
    elements: int
    groups: int
    rows: int
    depth: int


class Own:
    """The kernel of a graph; see the module's text."""

    tmus = 2
    """TMUs that read arrays."""

    def __init__(self, graph: Graph, body: Body, options: Options) -> None:
        self.graph, self.body, self.options = graph, body, options
        self.stores, self.reductions = stores(graph), reductions(graph)
        self.arrays = list(body.loads)
        self.scalars = body.scalars
        self.spills = body.spills(options.room) if options.room else {}
        slots = max(self.spills.values(), default=-1) + 1
        self.rows = options.unroll * (1 + slots)
        self.indexed = body.index_used or bool(self.reductions)
        self.stored = sum(
            reduction.rows_of(each.how, self.kind(each)) * options.unroll
            for _, each in self.reductions
        )
        """Vectors that a part of the reductions stores."""

    def kind(self, each: Any) -> str:
        return self.graph.nodes[each.node].kind

    @property
    def most_qpus(self) -> int:
        """QPUs that have rows of the VPM of their own."""
        return min(parts.QPUS, VPM_ROWS // self.rows)

    # --- program -------------------------------------------------------------------------------

    def assemble(self, name: str) -> "Program":
        """The program; :meth:`streams` makes what it reads."""
        from ..codegen import Assembler  # here, because kept programs need no assembler

        asm = Assembler(name)
        writer = Writer(asm, self)
        writer.begin()
        emitter = Emitter(
            asm, self.body, self.options.unroll, writer.supply, uniform=writer.uniform
        )
        emitter.spills = self.spills
        emitter.brief = bool(self.spills) or self.options.compact
        emitter.write()
        writer.end(lambda place: emitter.value(self.body.results[place]))
        return asm.finish()

    # --- what it reads -------------------------------------------------------------------------

    def records(self, n: int, n_qpus: int) -> List[List[_Record]]:
        """The records of each QPU for ``n`` >= 1 elements.

        Reductions are cut into parts whatever the number of QPUs.
        """
        group = LANES * self.options.unroll
        groups = -(-n // group)
        among = min(PARTS if self.reductions else n_qpus, groups)
        takers: List[List[_Record]] = [[] for _ in range(min(n_qpus, groups))]
        for number, (first, count) in enumerate(share(groups, among)):
            own = takers[number % len(takers)]
            whole = min(count, n // group - first)
            if whole:
                own.append(
                    _Record(
                        first * group, whole * group, whole, self.options.unroll, LANES
                    )
                )
            if whole < count:
                at = (first + whole) * group
                vectors, rest = divmod(n - at, LANES)
                if vectors:
                    own.append(_Record(at, vectors * LANES, 1, vectors, LANES))
                if rest:
                    own.append(_Record(at + vectors * LANES, rest, 1, 1, rest))
        return takers

    def streams(self, n: int, n_qpus: int, first: int = 0, alignment: int = 0) -> Streams:
        """The streams of a launch over ``n`` >= 1 elements, from number ``first`` of the arrays on.

        Addresses: "in0", "in1", .. of the arguments that are arrays, "out0", .. of the results that
        are, "partial" with room for :attr:`stored` vectors of each part.  Values: "scalars", in the
        order of the arguments.
        """
        takers = self.records(n, min(n_qpus, self.most_qpus))
        arguments = self.graph.arguments
        words = Words(len(takers))
        # Parts lie in the order of their elements, whoever computes them.
        order = sorted(record.first for own in takers for record in own)
        for q, own in enumerate(takers):
            self.begin_stream(words, q)
            words.scalars(q, len(self.scalars))
            row = q * self.rows
            for size in self.row_sizes():
                words.add(q, sw.vpm_write(row, size=8 * size, stride=4 // size))
            if self.spills:
                unroll = self.options.unroll
                words.add(q, sw.vpm_write(row + unroll), sw.vpm_read(unroll, row + unroll))
            words.add(q, len(own))
            for record in own:
                words.add(q, record.groups)
                at = first + record.first
                if self.indexed:
                    words.add(q, at)
                if self.reductions:
                    words.add(q, at + record.elements)
                if self.options.compact:
                    for size in sorted({SIZES[arguments[number].dtype] for number in self.arrays}):
                        words.add(q, size * (record.elements - 1))
                for number in self.arrays:
                    size = SIZES[arguments[number].dtype]
                    words.address(q, f"in{number}", size * at)
                    if not self.options.compact:
                        words.address(q, f"in{number}", size * (at + record.elements - 1))
                for size in sorted({SIZES[each.dtype] for _, each in self.stores}):
                    mode = store_mode(size)
                    words.add(q, sw.vdw_store(record.rows, record.depth, row, modew=mode))
                for place, each in self.stores:
                    words.address(q, f"out{place}", SIZES[each.dtype] * at)
                if self.reductions:
                    part = order.index(record.first)
                    words.address(q, "partial", LINE * self.stored * part)
                    words.add(q, sw.vdw_store(1, LANES, row))
            words.add(q, *parts.finish_words(q, len(takers)))
        return words.streams()

    def begin_stream(self, words: Words, q: int) -> None:
        """For programs whose streams begin with more."""

    def row_sizes(self) -> List[int]:
        """Sizes of elements that are written to the VPM."""
        return sorted({SIZES[each.dtype] for _, each in self.stores} | {4})

    def parts(self, n: int, n_qpus: int) -> int:
        """Parts of a launch's reductions."""
        return sum(len(own) for own in self.records(n, min(n_qpus, self.most_qpus)))

    def results(self, stored: np.ndarray) -> List[Any]:
        """The numbers from what all parts stored (uint32)."""
        unroll, at = self.options.unroll, 0
        stored = stored.reshape(-1, self.stored, LANES)
        found = []
        for _, each in self.reductions:
            kind = self.kind(each)
            rows = reduction.rows_of(each.how, kind)
            words = stored[:, at : at + rows * unroll].reshape(-1, rows, unroll, LANES)
            found.append(reduction.joined(each.how, kind, words))
            at += rows * unroll
        return found



class Writer:
    """Writes the program around the operations of a group."""

    def __init__(self, asm: "Assembler", kernel: Own) -> None:
        self.asm, self.kernel, self.options = asm, kernel, kernel.options

    def begin(self) -> None:
        """What comes before the operations."""
        asm, kernel, options = self.asm, self.kernel, self.options
        asm.mov(asm.tmu_noswap, 1)
        self.first()
        scalars = {}
        if options.compact:
            self._pack_scalars()
        else:
            scalars = {number: asm.reg(f"scalar{number}") for number in kernel.scalars}
            for register in scalars.values():
                asm.mov(register, asm.unif)
        constants = constants_of(asm, kernel.graph, options.constants)
        self.rows = {size: from_uniforms(asm, f"rows_of{size}")[0] for size in kernel.row_sizes()}
        if kernel.spills:
            self.spilled, self.reloaded = from_uniforms(asm, "spilled_rows", "reloaded_rows")
        self.supply = Supply(self._load, self.index, scalars, constants)
        self.supply.spill, self.supply.reload = self._spill, self._reload
        if options.compact:
            self.supply.unpack = self._unpacked
        self.uniform: Dict[int, Any] = {}
        if options.hoist:
            self.uniform = uniform_once(asm, kernel.body, self.supply)
        if options.compact:
            self.reader: Any = CompactReader(asm, kernel.body)
        else:
            self.reader = Reader(asm, kernel.body, options.unroll, units=kernel.tmus)
        self.states = [
            reduction.State(asm, place, each.how, kernel.kind(each), options.unroll)
            for place, each in kernel.reductions
        ]
        self.steps = self._steps()
        (self.records,) = from_uniforms(asm, "records")

        asm.label("record")
        (self.groups,) = from_uniforms(asm, "groups")
        self.element = self.offset = None
        if kernel.indexed:
            self.element = asm.reg("element")
            asm.add(self.element, asm.unif, asm.elem_num)
        if self.states:
            (self.limit,) = from_uniforms(asm, "end")
        self.reader.start()
        sizes = sorted({SIZES[each.dtype] for _, each in kernel.stores})
        self.setups = {size: from_uniforms(asm, f"setup_of{size}")[0] for size in sizes}
        self.targets = [from_uniforms(asm, f"out{place}")[0] for place, _ in kernel.stores]
        for state in self.states:
            state.clear()
        asm.label("group")

    def end(self, results: Callable[[int], List[Any]]) -> None:
        """What comes after them: ``results(place)`` are the vectors of a result."""
        asm, kernel = self.asm, self.kernel
        for state, (place, _) in zip(self.states, kernel.reductions):
            for v, value in enumerate(results(place)):
                state.add(v, value, self.index(v), self.limit)
        for (place, each), out in zip(kernel.stores, self.targets):
            size = SIZES[each.dtype]
            values = [self._narrow(each.dtype, value) for value in results(place)]
            fill(asm, self.rows[size], values)
            store(asm, [(self.setups[size], out)])
            asm.add(out, out, self.steps[size])
        if kernel.indexed:
            asm.add(self.element, self.element, self.steps[0])
        self.reader.next_group()
        asm.sub(self.groups, self.groups, 1, sf=True)
        asm.branch("group", cond="any_zc")
        self.reader.drop()
        if self.states:
            self._store_states()
        asm.sub(self.records, self.records, 1, sf=True)
        asm.branch("record", cond="any_zc")
        self.last()
        parts.finish(asm)

    def first(self) -> None:
        """For programs that begin with more."""

    def last(self) -> None:
        """For programs that end with more."""

    def _load(self, number: int, vector: int) -> Any:
        return self.reader.take(number, vector)

    def _pack_scalars(self) -> None:
        """Numbers as the lanes of registers."""
        asm, numbers = self.asm, self.kernel.scalars
        self.packed = asm.regs("packed", -(-len(numbers) // LANES), undefined=True)
        for place in range(len(numbers)):
            number = asm.reg("number")
            asm.mov(number, asm.unif)
            asm.sub(asm.null, asm.elem_num, place % LANES, sf=True)
            asm.mov(self.packed[place // LANES], number, cond="zs")

    def _unpacked(self, number: int) -> Any:
        place = self.kernel.scalars.index(number)
        found = self.asm.reg(f"scalar{number}")
        macros.broadcast(self.asm, found, self.packed[place // LANES], place % LANES)
        return found

    def _slot(self, port: Any, base: Any, slot: int) -> None:
        """Aim reads or writes of the VPM at the rows of a slot."""
        asm, offset = self.asm, slot * self.options.unroll
        if offset < 16:
            asm.add(port, base, offset)
        else:
            far = asm.reg("far")
            asm.ldi(far, offset)
            asm.add(port, base, far)

    def _spill(self, slot: int, values: List[Any]) -> None:
        self._slot(self.asm.vpm_wr_setup, self.spilled, slot)
        for value in values:
            self.asm.mov(self.asm.vpm, value)

    def _reload(self, slot: int) -> List[Any]:
        asm = self.asm
        self._slot(asm.vpm_rd_setup, self.reloaded, slot)
        values = asm.regs("reloaded", self.options.unroll)
        for value in values:
            asm.mov(value, asm.vpm)
        return values

    def index(self, v: int) -> Any:
        """The numbers of a vector's elements."""
        if v == 0:
            return self.element
        asm, further = self.asm, self.asm.reg(f"element{v}_")
        if v == 1:  # 16 is no small immediate
            asm.sub(further, self.element, -16)
        else:
            offset = asm.reg("offset")
            asm.ldi(offset, 16 * v)
            asm.add(further, self.element, offset)
        return further

    def _steps(self) -> Dict[int, Any]:
        """Bytes of a group for each size of the results; 0: elements."""
        asm, kernel = self.asm, self.kernel
        sizes = {SIZES[each.dtype] for _, each in kernel.stores}
        found = {}
        for size in sorted(sizes | ({0} if kernel.indexed else set())):
            found[size] = asm.reg(f"group_of{size}")
            asm.ldi(found[size], LANES * self.options.unroll * (size or 1))
        return found

    def _narrow(self, dtype: str, value: Any) -> Any:
        """What is written to the VPM, whose accesses of 8 and 16 bits take the low ones."""
        if dtype != "float16":
            return value
        half = self.asm.reg("half", "A", undefined=True)
        self.asm.fmin(half.pack("16a"), value, value)
        return half

    def _store_states(self) -> None:
        asm = self.asm
        partial, setup = from_uniforms(asm, "partial", "state_setup")
        line = asm.reg("line")
        asm.ldi(line, LINE)
        for state in self.states:
            for vector in state.vectors():
                fill(asm, self.rows[4], [vector])
                store(asm, [(setup, partial)])
                asm.add(partial, partial, line)
