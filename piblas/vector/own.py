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
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Tuple

import numpy as np

from ..isa import setup_words as sw
from ..kernels import parts
from ..kernels.parts import LANES, LINE
from ..kernels.reduce import PARTS
from ..kernels.stream import fill, from_uniforms, share, store
from ..kernels.uniforms import Streams, aligned
from . import reduction
from .body import SIZES, Body, reductions, stores
from .emit import Emitter, Supply
from .graph import Graph
from .reading import Reader

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["Options", "Own"]

VPM_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """``unroll`` vectors make a group; ``hoist``: what is the same for all elements is computed
    once, before the first; so many ``constants`` are kept in registers."""

    unroll: int = 2
    hoist: bool = True
    constants: int = 16


class _Record(NamedTuple):
    """A run of groups of one QPU: elements ``first`` .. ``first + count - 1``; each group stores
    ``rows`` vectors of ``depth`` elements."""

    first: int
    count: int
    groups: int
    rows: int
    depth: int


class Own:
    """The kernel of a graph; see the module's text."""

    def __init__(self, graph: Graph, body: Body, options: Options) -> None:
        self.graph, self.body, self.options = graph, body, options
        self.stores, self.reductions = stores(graph), reductions(graph)
        self.arrays = list(body.loads)
        self.scalars = [
            number for number, each in enumerate(graph.arguments) if not each.array
        ]
        self.rows = options.unroll
        self.indexed = body.index_used or bool(self.reductions)
        self.stored = sum(
            reduction.rows_of(each.how, self._kind(each)) * options.unroll
            for _, each in self.reductions
        )
        """Vectors that a part of the reductions stores."""

    def _kind(self, each: Any) -> str:
        return self.graph.nodes[each.node].kind

    @property
    def most_qpus(self) -> int:
        """QPUs that have rows of the VPM of their own."""
        return min(parts.QPUS, VPM_ROWS // self.rows)

    # --- program -------------------------------------------------------------------------------

    def generate(self, asm: "Assembler") -> None:
        """Write the program; :meth:`streams` makes what it reads."""
        options, unroll = self.options, self.options.unroll
        asm.mov(asm.tmu_noswap, 1)
        self.asm = asm
        scalars = {number: asm.reg(f"scalar{number}") for number in self.scalars}
        for register in scalars.values():
            asm.mov(register, asm.unif)
        constants = self._constants(asm)
        rows = {}
        for size in sorted({SIZES[each.dtype] for _, each in self.stores} | {4}):
            rows[size] = asm.reg(f"rows_of{size}")
            asm.mov(rows[size], asm.unif)
        supply = Supply(lambda number, v: reader.take(number, v), self._index, scalars, constants)
        uniform: Dict[int, Any] = {}
        if options.hoist:
            wanted = [
                each
                for each in self.body.uniform_values()
                if self.graph.nodes[each].op != "scalar"
            ]
            once = Emitter(asm, Body(self.graph, wanted), 1, supply)
            uniform = {number: value[0] for number, value in zip(wanted, once.run())}
        reader = Reader(asm, self.body, unroll)
        states = [
            reduction.State(asm, place, each.how, self._kind(each), unroll)
            for place, each in self.reductions
        ]
        steps = self._steps(asm)
        (records,) = from_uniforms(asm, "records")

        asm.label("record")
        (groups,) = from_uniforms(asm, "groups")
        if self.indexed:
            self.element = asm.reg("element")
            asm.add(self.element, asm.unif, asm.elem_num)
        if states:
            (end,) = from_uniforms(asm, "end")
        reader.start()
        targets = [
            from_uniforms(asm, f"out{place}", f"setup{place}") for place, _ in self.stores
        ]
        for state in states:
            state.clear()
        asm.label("group")
        emitter = Emitter(asm, self.body, unroll, supply, uniform=uniform)
        results = emitter.run()
        for state, (place, _) in zip(states, self.reductions):
            for v in range(unroll):
                state.add(v, results[place][v], self._index(v), end)
        for (place, each), (out, setup) in zip(self.stores, targets):
            size = SIZES[each.dtype]
            fill(asm, rows[size], [self._narrow(each.dtype, value) for value in results[place]])
            store(asm, [(setup, out)])
            asm.add(out, out, steps[size])
        if self.indexed:
            asm.add(self.element, self.element, steps[0])
        asm.sub(groups, groups, 1, sf=True)
        asm.branch("group", cond="any_zc")
        reader.drop()
        if states:
            self._store_states(states, rows[4])
        asm.sub(records, records, 1, sf=True)
        asm.branch("record", cond="any_zc")
        parts.finish(asm)

    def _constants(self, asm: "Assembler") -> Dict[int, Any]:
        """The constants that are used most, in registers."""
        from ..isa import modes

        counts: Dict[int, int] = {}
        _count_constants(self.graph, counts)
        often = sorted(counts, key=lambda bits: -counts[bits])
        found: Dict[int, Any] = {}
        for bits in often:
            if len(found) < self.options.constants and modes.small_imm_code(bits) is None:
                found[bits] = asm.reg(f"constant_{bits:x}_")
                asm.ldi(found[bits], bits)
        return found

    def _index(self, v: int) -> Any:
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

    def _steps(self, asm: "Assembler") -> Dict[int, Any]:
        """Bytes of a group for each size of the results; 0: elements."""
        sizes = {SIZES[each.dtype] for _, each in self.stores} | ({0} if self.indexed else set())
        found = {}
        for size in sorted(sizes):
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

    def _store_states(self, states: List[Any], rows: Any) -> None:
        asm = self.asm
        partial, setup = from_uniforms(asm, "partial", "state_setup")
        line = asm.reg("line")
        asm.ldi(line, LINE)
        for state in states:
            for vector in state.vectors():
                fill(asm, rows, [vector])
                store(asm, [(setup, partial)])
                asm.add(partial, partial, line)

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

    def streams(self, n: int, n_qpus: int, first: int = 0) -> Streams:
        """The streams of a launch over ``n`` >= 1 elements, from number ``first`` of the arrays on.

        Addresses: "in0", "in1", .. of the arguments that are arrays, "out0", .. of the results that
        are, "partial" with room for :attr:`stored` vectors of each part.  Values: "scalars", in the
        order of the arguments.
        """
        takers = self.records(n, min(n_qpus, self.most_qpus))
        arguments = self.graph.arguments
        words: List[List[int]] = []
        places: Dict[str, List[Tuple[int, int]]] = {}
        part = 0
        for q, own in enumerate(takers):
            line = [0] * len(self.scalars)
            row = q * self.rows
            for size in sorted({SIZES[each.dtype] for _, each in self.stores} | {4}):
                line.append(sw.vpm_write(row, size=8 * size, stride=4 // size))
            line.append(len(own))
            for record in own:
                line.append(record.groups)
                at = first + record.first
                if self.indexed:
                    line.append(at)
                if self.reductions:
                    line.append(at + record.count)
                for number in self.arrays:
                    size = SIZES[arguments[number].dtype]
                    for element in (at, at + record.count - 1):
                        places.setdefault(f"in{number}", []).append((q, len(line)))
                        line.append(size * element)
                for place, each in self.stores:
                    size = SIZES[each.dtype]
                    places.setdefault(f"out{place}", []).append((q, len(line)))
                    line.append(size * at)
                    mode = {4: 0, 2: 2, 1: 4}[size]
                    line.append(sw.vdw_store(record.rows, record.depth, row, modew=mode))
                if self.reductions:
                    places.setdefault("partial", []).append((q, len(line)))
                    line.append(0)
                    line.append(sw.vdw_store(1, LANES, row))
            line += parts.finish_words(q, len(takers))
            words.append(line)
        # Parts lie in the order of their elements, whoever computed them.
        if self.reductions:
            order = sorted(
                (record.first, q, i) for q, own in enumerate(takers) for i, record in enumerate(own)
            )
            rank = {(q, i): part for part, (_, q, i) in enumerate(order)}
            counts = [0] * len(takers)
            for q, at in places["partial"]:
                words[q][at] = LINE * self.stored * rank[q, counts[q]]
                counts[q] += 1
        lengths = np.array([len(line) for line in words], dtype=np.int64)
        starts, size = aligned(lengths)
        array = np.zeros(size, dtype=np.int64)
        for start, line in zip(starts, words):
            array[start : start + len(line)] = line
        addresses = {
            name: np.array([starts[q] + at for q, at in where], dtype=np.int64)
            for name, where in places.items()
        }
        values = {}
        if self.scalars:
            number = np.arange(len(self.scalars) * len(words)) % len(self.scalars)
            values["scalars"] = starts.repeat(len(self.scalars)) + number, number
        return Streams(array.astype(np.uint32), starts, addresses, values, lengths)

    def parts(self, n: int, n_qpus: int) -> int:
        """Parts of a launch's reductions."""
        return sum(len(own) for own in self.records(n, min(n_qpus, self.most_qpus)))

    def results(self, stored: np.ndarray) -> List[Any]:
        """The numbers from what all parts stored (uint32)."""
        unroll, at = self.options.unroll, 0
        stored = stored.reshape(-1, self.stored, LANES)
        found = []
        for _, each in self.reductions:
            kind = self._kind(each)
            rows = reduction.rows_of(each.how, kind)
            words = stored[:, at : at + rows * unroll].reshape(-1, rows, unroll, LANES)
            found.append(reduction.joined(each.how, kind, words))
            at += rows * unroll
        return found


def _count_constants(graph: Graph, counts: Dict[int, int]) -> None:
    for node in graph.nodes:
        for each in node.args:
            if graph.nodes[each].op == "const":
                bits = graph.nodes[each].data
                counts[bits] = counts.get(bits, 0) + 1
        if node.op == "loop":
            _count_constants(node.data.body, counts)
