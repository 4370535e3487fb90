"""From a graph to programs: which kernel, with which options, and the words of its program.

A program depends on the graph alone.  It is assembled once and kept as the package's own kernels
are (:mod:`piblas.kernels.store`), by a hash of the graph.  How many values fit the registers is
known for sure when they have been allocated, so the ways to write a program are tried one after the
other, the fastest first; which one was taken is written after the program's end.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from typing import Any, Dict, List, Sequence

import numpy as np

from ..errors import AssemblerError, PiblasError
from ..isa.timing import timing_set
from ..kernels import store
from ..kernels.parts import QPUS, TMU_DEPTH
from . import cost, own, pipeline
from .body import SIZES, Body, of_graph, reductions, stores
from .graph import Graph
from .long import Long
from .own import Own

__all__ = ["Function", "Lowered", "TooManyValues", "key_of"]

LONG = 800
"""Operations from which on a program is assembled in pieces."""
TWO = 20000
"""Operations up to which such a program works on two vectors at a time: that takes twice as long to
assemble."""
PIPED = 400
"""Operations up to which a program is a pipeline, whose producers have them eight times."""

MARK = 0x7669626C61730000
"""Above the number of the way that was taken, in the word after the program."""

_LINE_WORDS = 8
_SLOW, _SLOW_CLOCK = timing_set("pessimistic"), 250e6


class TooManyValues(PiblasError, ValueError):
    """A function that keeps more values at a time than registers and the VPM have room for."""


def key_of(graph: Graph) -> str:
    """A hash of all that decides what a graph's program is; names of arguments do not."""
    found = hashlib.sha256()
    _feed(found, graph)
    return found.hexdigest()


def _feed(found: Any, graph: Graph) -> None:
    found.update(repr([(each.dtype, each.array) for each in graph.arguments]).encode())
    for node in graph.nodes:
        if node.op == "loop":
            found.update(repr((node.op, node.args, node.data.count, node.data.carried)).encode())
            _feed(found, node.data.body)
        else:
            found.update(repr(tuple(node)).encode())
    found.update(repr([(type(each).__name__, *each) for each in graph.results]).encode())


@functools.lru_cache(maxsize=None)
def _sources() -> str:
    """A hash over the sources in this package that a program depends on."""
    found = hashlib.sha256()
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        for name in sorted(os.listdir(folder)):
            if name.endswith(".py"):
                with open(os.path.join(folder, name), "rb") as file:
                    found.update(b"%s\n%s" % (name.encode(), file.read()))
    except OSError:  # a package in an archive, which nobody edits
        return ""
    return found.hexdigest()


class Lowered:
    """The program of a graph.

    It takes the place of a :class:`~piblas.kernels.spec.KernelSpec` in a launch: ``name`` and
    ``words``.
    """

    def __init__(self, function: "Function", kind: str, ways: List[Any]) -> None:
        self.graph, self.body, self.work = function.graph, function.body, function.work
        self.n_qpus, self.key, self.kind, self.ways = function.n_qpus, function.key, kind, ways
        qpus = f" {self.n_qpus}" if kind in cost.PIPES else ""
        self.name = f"vector {kind}{qpus} {self.key[:16]}"
        self._lock = threading.Lock()
        self._words: Any = None
        self._kernel: Any = None

    @property
    def kernel(self) -> Any:
        """The kernel that was assembled, whose streams a launch takes."""
        if self._kernel is None:
            self._assembled()
        return self._kernel

    def longest_seconds(self, n: int) -> float:
        """Seconds that a launch of ``n`` elements takes at most, however slow board and memory."""
        cycles = cost.cycles(self.work, n, self.kind, self.n_qpus, _SLOW, _SLOW_CLOCK)
        return 1.4 * cycles / _SLOW_CLOCK

    def words(self, options: Any = None) -> np.ndarray:
        """The program (uint64)."""
        if self._words is None:
            self._assembled()
        return self._words

    def _assembled(self) -> None:
        with self._lock:
            if self._words is not None:
                return
            words = store.load(f"{self.name} {self.key} {_sources()}", self._assemble)
            self._kernel = self._way(int(words[-_LINE_WORDS]) ^ MARK)
            self._words = words

    def _way(self, number: int) -> Any:
        """A kernel; those that look for values to put elsewhere are made when they are wanted."""
        way = self.ways[number]
        if isinstance(way, functools.partial):
            way = self.ways[number] = way()
        return way

    def _assemble(self) -> np.ndarray:
        for way in range(len(self.ways)):
            words = self._tried(self._way(way))
            if words is not None:
                tail = np.full(_LINE_WORDS, MARK | way, dtype=np.uint64)
                return np.concatenate((words, tail))
        raise TooManyValues(
            "a vector function keeps too many values at a time: it fits neither the registers nor "
            "the VPM; store some of them to arrays, and go on with those in a second function"
        )

    def _tried(self, kernel: Any) -> Any:
        if kernel.most_qpus < 1:
            return None
        try:
            return kernel.assemble(self.name).words
        except AssemblerError as error:
            if "out of registers" not in str(error):
                raise
            return None


def _registers(graph: Graph, body: Body) -> int:
    """Registers that hold no values: addresses, counters, numbers."""
    arrays = [graph.arguments[number].dtype for number in body.loads]
    sizes = {SIZES[each.dtype] for _, each in stores(graph)}
    return (
        2 * len(arrays)
        + sum(SIZES[dtype] < 4 for dtype in arrays)
        + 2 * len({SIZES[dtype] for dtype in arrays})
        + len(stores(graph))
        + 3 * len(sizes)
        + len(body.scalars)
        + 8
    )


def _own(graph: Graph, body: Body, unrolls: Sequence[int], code: float) -> List[Any]:
    """Ways in which every QPU works on its own."""
    fixed = _registers(graph, body)
    joined = sum(2 if each.how not in ("min", "max") else 1 for _, each in reductions(graph))
    hoisted = len([n for n in body.uniform_values() if graph.nodes[n].op != "scalar"])
    each = body.pressure() + joined
    kernel = Long if code > LONG else Own
    found: List[Any] = []
    for unroll in unrolls:
        room = 60 - fixed - hoisted - unroll * each - (6 if joined else 0)
        if room >= 0:
            found.append(kernel(graph, body, own.Options(unroll, True, min(room, 24))))
    if fixed + each <= 76:  # more than there are, as the estimate is no bound
        found.append(kernel(graph, body, own.Options(1, True, 0)))
        found.append(kernel(graph, body, own.Options(1, False, 0)))
    for room in (32, 24, 16, 10, 6):
        found.append(functools.partial(kernel, graph, body, own.Options(1, False, 0, room)))
    for room in (32, 16, 8, 4) if code <= LONG else ():
        found.append(functools.partial(Own, graph, body, own.Options(1, False, 0, room, True)))
    return found


def _piped(graph: Graph, body: Body, kind: str, n_qpus: int) -> List[Any]:
    """Ways to write a store pipeline."""
    results = len(stores(graph))
    workers, rows = cost.PIPES[kind]
    hoisted = len([n for n in body.uniform_values() if graph.nodes[n].op != "scalar"])
    free = 58 - _registers(graph, body) - hoisted - rows * results
    pace = cost.pace(kind, max(SIZES[each.dtype] for _, each in stores(graph)))
    found = []
    for unroll in (4, 2, 1)[rows == 2 :]:
        room = free - unroll * body.pressure()
        if room >= 0:
            options: Any = pipeline.Options(
                workers=workers, rows=rows, ahead=TMU_DEPTH, asked=0, pace=pace,
                unroll=unroll, constants=min(room, 24),
            )  # fmt: skip
            found.append(pipeline.Pipeline(graph, body, options.fitted(n_qpus)))
    return found


class Function:
    """The programs of a graph on a device of ``n_qpus``, chosen by the number of elements."""

    def __init__(self, graph: Graph, n_qpus: int) -> None:
        self.graph, self.n_qpus = graph, n_qpus
        self.body = of_graph(graph)
        self.work = cost.work_of(graph, self.body)
        self.key = key_of(graph)
        self._made: Dict[str, Lowered] = {}

    def kind(self, n: int) -> str:
        """The kernel that takes least time for ``n`` elements."""
        work = self.work
        kinds = list(cost.KINDS)
        piped = 1 <= len(work.sizes) <= 2 and not work.states and len(self.body.loads) <= 8
        if not piped or work.code > PIPED:
            kinds = kinds[2:]
        elif self.n_qpus < 12 or not cost.whole_rows("wide", work.sizes):
            kinds.remove("wide")
        if work.code > LONG:
            return "own2" if work.code <= TWO else "own1"
        kinds = [kind for kind in kinds if kind[:3] != "own" or int(kind[3:]) * work.code <= 1600]
        kinds = kinds or ["own1"]
        # The bits of a sum depend on the vectors of a group, and not on the number of QPUs.
        n_qpus = QPUS if work.states else self.n_qpus
        return min(kinds, key=lambda kind: cost.cycles(work, n, kind, n_qpus))

    def program(self, n: int) -> Lowered:
        """The program for ``n`` elements."""
        kind = self.kind(n)
        found = self._made.get(kind)
        if found is None:
            graph, body = self.graph, self.body
            ways = _piped(graph, body, kind, self.n_qpus) if kind in cost.PIPES else []
            unrolls = {"own1": (1,), "own2": (2, 1)}.get(kind, (4, 2, 1))
            ways += _own(graph, body, unrolls, self.work.code)
            found = self._made.setdefault(kind, Lowered(self, kind, ways))
        return found

    def cycles(self, n: int, timing: Any = None, clock: float = 250e6) -> float:
        """Estimated cycles of a launch (:func:`piblas.vector.cost.cycles`)."""
        return cost.cycles(self.work, n, self.kind(n), self.n_qpus, timing, clock)

    def seconds(self, n: int, board: Any) -> float:
        """Estimated seconds of a launch on a board, without what starting it takes."""
        clock = 1e6 * board.clock
        return self.cycles(n, None, clock) / clock
