"""Parts of the programs of vector functions: constants, what is computed once, streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Tuple

import numpy as np

from ..isa import modes
from ..kernels.uniforms import Streams, aligned
from .body import Body
from .emit import Emitter, Supply
from .graph import Graph

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["Words", "constants_of", "store_mode", "uniform_once"]


def store_mode(size: int) -> int:
    """MODEW of a DMA store of elements of so many bytes."""
    return {4: 0, 2: 2, 1: 4}[size]


def constants_of(asm: "Assembler", graph: Graph, most: int) -> Dict[int, Any]:
    """Registers with the ``most`` constants that are used most and are no small immediates."""
    counts: Dict[int, int] = {}
    _count(graph, counts)
    found: Dict[int, Any] = {}
    for bits in sorted(counts, key=lambda bits: -counts[bits]):
        if len(found) < most and modes.small_imm_code(bits) is None:
            found[bits] = asm.reg(f"constant_{bits:x}_")
            asm.ldi(found[bits], bits)
    return found


def _count(graph: Graph, counts: Dict[int, int]) -> None:
    for node in graph.nodes:
        for each in node.args:
            if graph.nodes[each].op == "const":
                bits = graph.nodes[each].data
                counts[bits] = counts.get(bits, 0) + 1
        if node.op == "loop":
            _count(node.data.body, counts)


def uniform_once(asm: "Assembler", body: Body, supply: Supply) -> Dict[int, Any]:
    """What is the same for all elements, computed here: node to register."""
    graph = body.graph
    wanted = [each for each in body.uniform_values() if graph.nodes[each].op != "scalar"]
    once = Emitter(asm, Body(graph, wanted), 1, supply)
    return {number: value[0] for number, value in zip(wanted, once.run())}


class Words:
    """The streams of a launch in the making, word by word for each QPU."""

    def __init__(self, n_qpus: int) -> None:
        self.lines: List[List[int]] = [[] for _ in range(n_qpus)]
        self.places: Dict[str, List[Tuple[int, int]]] = {}
        self.numbers: List[Tuple[int, int, int]] = []

    def add(self, q: int, *words: int) -> None:
        """Words of QPU ``q``."""
        self.lines[q].extend(words)

    def address(self, q: int, name: str, offset: int) -> None:
        """An address: an offset, to which that of an operand is added."""
        self.places.setdefault(name, []).append((q, len(self.lines[q])))
        self.lines[q].append(offset)

    def scalars(self, q: int, count: int) -> None:
        """The function's numbers."""
        for number in range(count):
            self.numbers.append((q, len(self.lines[q]), number))
            self.lines[q].append(0)

    def streams(self) -> Streams:
        """All streams, each on lines of its own."""
        lengths = np.array([len(line) for line in self.lines], dtype=np.int64)
        starts, size = aligned(lengths)
        array = np.zeros(size, dtype=np.int64)
        for start, line in zip(starts, self.lines):
            array[start : start + len(line)] = line
        addresses = {
            name: np.array([starts[q] + at for q, at in where], dtype=np.int64)
            for name, where in self.places.items()
        }
        values = {}
        if self.numbers:
            q, at, number = np.array(self.numbers, dtype=np.int64).T
            values["scalars"] = starts[q] + at, number
        return Streams(array.astype(np.uint32), starts, addresses, values, lengths)
