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
from typing import Any, List, Tuple

import numpy as np

from ..errors import AssemblerError, PiblasError
from ..kernels import store
from .body import SIZES, Body, of_graph, reductions, stores
from .graph import Graph, Node
from .own import Options, Own

__all__ = ["Lowered", "TooManyValues", "key_of"]

MARK = 0x7669626C61730000
"""Above the number of the way that was taken, in the word after the program."""

_LINE_WORDS = 8


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

    def __init__(self, graph: Graph, ways: List[Any], kind: str, key: str) -> None:
        self.graph, self.ways = graph, ways
        self.key = key
        self.name = f"vector {kind} {self.key[:16]}"
        self._lock = threading.Lock()
        self._words: Any = None
        self._kernel: Any = None

    @property
    def kernel(self) -> Any:
        """The kernel that was assembled, whose streams a launch takes."""
        if self._kernel is None:
            self._assembled()
        return self._kernel

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
            way = int(words[-_LINE_WORDS]) ^ MARK
            self._kernel = self.ways[way]
            self._words = words

    def _assemble(self) -> np.ndarray:
        for way, kernel in enumerate(self.ways):
            words = self._tried(kernel)
            if words is not None:
                tail = np.full(_LINE_WORDS, MARK | way, dtype=np.uint64)
                return np.concatenate((words, tail))
        raise TooManyValues(
            "a vector function keeps too many values at a time: it fits neither the registers nor "
            "the VPM; store some of them to arrays, and go on with those in a second function"
        )

    def _tried(self, kernel: Any) -> Any:
        try:
            return kernel.assemble(self.name).words
        except AssemblerError as error:
            if "out of registers" not in str(error):
                raise
            return None


def ways_of(graph: Graph, body: Body) -> List[Any]:
    """The kernels to try for a graph, the fastest first."""
    arrays = [graph.arguments[number].dtype for number in body.loads]
    fixed = 2 * len(arrays) + sum(SIZES[dtype] < 4 for dtype in arrays)
    fixed += 2 * len({SIZES[dtype] for dtype in arrays})
    fixed += 2 * len(stores(graph)) + 2 * len({SIZES[each.dtype] for _, each in stores(graph)})
    fixed += sum(not each.array for each in graph.arguments) + 8
    joined = sum(2 if each.how not in ("min", "max") else 1 for _, each in reductions(graph))
    fixed += 4 if joined else 0
    hoisted = len([n for n in body.uniform_values() if graph.nodes[n].op != "scalar"])
    each = body.pressure() + joined
    found = []
    for unroll in (4, 2, 1):
        room = 60 - fixed - hoisted - unroll * each
        if room >= 0:
            found.append(Own(graph, body, Options(unroll, True, min(room, 24))))
    found.append(Own(graph, body, Options(1, True, 0)))
    found.append(Own(graph, body, Options(1, False, 0)))
    return found


def lowered(graph: Graph) -> Lowered:
    """The program of a graph in which every QPU works on its own."""
    return Lowered(graph, ways_of(graph, of_graph(graph)), "own", key_of(graph))
