"""What lowering knows about a graph before it writes a program: which nodes count, in which order.

Elements are worked on 16 at a time, as *vectors*; a *group* of one or several vectors goes through
the program together, operation by operation, so that the latency of one vector's operations is
filled with those of the others.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Set, Tuple

from .graph import Graph, Loop, Node, Reduction, Store

__all__ = ["Body", "COMPARISONS", "SIZES", "SPECIAL"]

COMPARISONS = ("lt", "le", "eq", "ne")
SPECIAL = ("recip", "rsqrt", "exp2", "log2")
"""Operations of the special function unit, whose ports have these names."""

SIZES = {"float32": 4, "int32": 4, "uint32": 4, "float16": 2, "int16": 2, "uint8": 1}
"""Bytes of an element."""

LEAVES = ("load", "scalar", "const", "index", "outer", "carried")


class Body:
    """The nodes of a graph, or of a loop's body, that results depend on.

    ``steps`` are node numbers in the order in which code is written, without scalars, constants and
    what an enclosing graph computes; a load comes right before its first use.  ``loops`` maps a
    loop's node to the body within.  ``direct`` are comparisons that only selections use: they are
    made as flags when they are wanted.  ``uniform`` nodes are the same for all elements.
    """

    def __init__(self, graph: Graph, results: List[int], uniform_outside: Any = None) -> None:
        self.graph, self.results = graph, results
        self.inside = uniform_outside is not None
        nodes = graph.nodes
        self.loops: Dict[int, Body] = {}
        reached = self._reached()
        self.uniform: Set[int] = set()
        for number in reached:
            if self._is_uniform(number, nodes[number], uniform_outside):
                self.uniform.add(number)
        for number in reached:
            if nodes[number].op == "loop":
                loop: Loop = nodes[number].data
                self.loops[number] = Body(loop.body, list(loop.carried), self)
        self.direct = self._direct(reached)
        self.steps: List[int] = []
        self._seen: Set[int] = set()
        self.loads: Dict[int, int] = {}
        """Argument to the node that stands for it, in the order of first use."""
        self.index_used = False
        for number in reached:
            if nodes[number].op in LEAVES or nodes[number].op == "bits":
                continue
            self._arguments(number)
            self.steps.append(number)
        for number in results:
            self._need(number)
        self.last = self._last_uses()
        self.scalars = sorted(self._scalars(reached))
        """Arguments that are numbers and are read."""

    # --- what counts ---------------------------------------------------------------------------

    def _reached(self) -> List[int]:
        nodes, found = self.graph.nodes, set()
        stack = list(self.results)
        while stack:
            number = stack.pop()
            if number in found:
                continue
            found.add(number)
            node = nodes[number]
            stack += node.args
            if node.op == "loop":
                stack += [each for each in _outer(node.data.body) if each not in found]
        return sorted(found)

    def _is_uniform(self, number: int, node: Node, outside: Any) -> bool:
        if node.op in ("scalar", "const"):
            return True
        if node.op in ("load", "index", "carried", "loop", "result"):
            return False
        if node.op == "outer":
            return outside is not None and node.data in outside.uniform
        return all(each in self.uniform for each in node.args)

    def _direct(self, reached: List[int]) -> Set[int]:
        """Comparisons all of whose users are selections of this body."""
        nodes = self.graph.nodes
        found = {number for number in reached if nodes[number].op in COMPARISONS}
        for number in reached:
            node = nodes[number]
            if node.op == "loop":
                found -= set(_outer(node.data.body))
            if node.op == "select":
                found -= set(node.args[1:])
            else:
                found -= set(node.args)
        return found - set(self.results)

    def _scalars(self, reached: List[int]) -> Set[int]:
        nodes = self.graph.nodes
        found = {nodes[number].data for number in reached if nodes[number].op == "scalar"}
        for inner in self.loops.values():
            found |= set(inner.scalars)
        return found

    # --- order ---------------------------------------------------------------------------------

    def _arguments(self, number: int) -> None:
        node = self.graph.nodes[number]
        for each in node.args:
            self._need(each)
        if node.op == "loop":
            for each in _outer(node.data.body):
                self._need(each)
            if not self.inside:
                self._hoist(node.data.body)

    def _need(self, number: int) -> None:
        """Have a load written before whoever uses it."""
        node = self.graph.nodes[number]
        if node.op == "load":
            self._load(number, node.data)
        elif node.op == "index":
            self.index_used = True
        elif node.op == "bits" or number in self.direct:
            for each in node.args:
                self._need(each)

    def _load(self, number: int, argument: int) -> None:
        if argument not in self.loads and not self.inside:
            self.loads[argument] = number
            self.steps.append(number)

    def _hoist(self, body: Graph) -> None:
        """Loads within a loop are done before it; the same argument is loaded once."""
        for node in body.nodes:
            if node.op == "load":
                self.loads.setdefault(node.data, -1)
                if self.loads[node.data] == -1:
                    self.loads[node.data] = number = self.graph.add(
                        "load", node.kind, data=node.data
                    )
                    self.steps.append(number)
            elif node.op == "index":
                self.index_used = True
            elif node.op == "loop":
                self._hoist(node.data.body)

    def users(self, number: int) -> Iterator[int]:
        """What a step reads: also what lies under reinterpretations, results of loops and direct
        comparisons, which are no steps of their own."""
        node = self.graph.nodes[number]
        stack = list(node.args)
        if node.op == "loop":
            stack += list(_outer(node.data.body))
            stack += [self.loads[each] for each in loads_in(node.data.body) if each in self.loads]
        while stack:
            each = stack.pop()
            yield each
            if self.graph.nodes[each].op in ("bits", "result") or each in self.direct:
                stack += self.graph.nodes[each].args

    def _last_uses(self) -> Dict[int, int]:
        """Node to the position in ``steps`` of its last use; results live to the end."""
        last: Dict[int, int] = {}
        for position, number in enumerate(self.steps):
            for each in self.users(number):
                last[each] = position
        stack = list(self.results)
        while stack:
            number = stack.pop()
            last[number] = len(self.steps)
            if self.graph.nodes[number].op in ("bits", "result"):
                stack += self.graph.nodes[number].args
        return last

    # --- figures -------------------------------------------------------------------------------

    def pressure(self) -> int:
        """The most values of a vector that are alive at once, without uniform ones."""
        nodes, alive, most = self.graph.nodes, 0, 0
        ends: Dict[int, int] = {}
        carried = len(self.results) if any(node.op == "carried" for node in nodes) else 0
        for position, number in enumerate(self.steps):
            inside = 0
            node = nodes[number]
            if number in self.loops:
                inside = self.loops[number].pressure()
            if number not in self.uniform and number not in self.direct:
                values = len(self.loops[number].results) if number in self.loops else 1
                if node.op == "result":
                    values = 0  # its loop holds it
                end = self.last.get(number, -1)
                if values and end >= position:
                    alive += values
                    ends[end] = ends.get(end, 0) + values
            most = max(most, alive + inside)
            alive -= ends.pop(position, 0)
        return most + carried

    def spills(self, room: int) -> Dict[int, int]:
        """Nodes to keep in memory of the QPU between their uses so that at most ``room`` values of
        a vector are in registers at once, as far as that is possible: node to its slot.

        Of the values that live across the fullest step, the one that is read last goes.
        """
        nodes, count = self.graph.nodes, len(self.steps)
        born = {number: position for position, number in enumerate(self.steps)}
        reads: Dict[int, List[int]] = {}
        for position, number in enumerate(self.steps):
            for each in self.users(number):
                reads.setdefault(each, []).append(position)
        kept = {
            number
            for number in self.steps
            if number not in self.uniform
            and number not in self.direct
            and nodes[number].op not in ("loop", "result")
            and nodes[number].kind != "m"
        }
        size = [0] * (count + 1)

        def count_in(number: int, by: int) -> None:
            for position in range(born[number], self.last.get(number, born[number]) + 1):
                size[position] += by

        for number in born:
            if number not in self.uniform and number not in self.direct:
                count_in(number, len(self.loops[number].results) if number in self.loops else 1)
        spilled: List[int] = []
        while True:
            fullest = max(range(count), key=lambda position: size[position], default=0)
            if not count or size[fullest] <= room:
                break
            across = [
                number
                for number in kept
                if born[number] < fullest < self.last.get(number, -1)
                and fullest not in reads.get(number, ())
            ]
            if not across:
                break
            gone = max(across, key=lambda number: min(p for p in (*reads.get(number, ()), count)
                                                      if p > fullest))  # fmt: skip
            kept.discard(gone)
            count_in(gone, -1)
            for position in {born[gone], *reads.get(gone, ())}:
                size[position] += 1
            spilled.append(gone)
        # Slots are used again after the last use.
        slots: Dict[int, int] = {}
        free: List[int] = []
        ends: List[Tuple[int, int]] = []
        for number in sorted(spilled, key=born.__getitem__):
            for end, slot in [each for each in ends if each[0] < born[number]]:
                free.append(slot)
                ends.remove((end, slot))
            slot = free.pop() if free else len(ends)
            slots[number] = slot
            ends.append((self.last.get(number, -1), slot))
        return slots

    def uniform_values(self) -> List[int]:
        """Uniform nodes (not constants) that others read, or that are results."""
        nodes = self.graph.nodes
        found = {
            each
            for number in self.steps
            if number not in self.uniform
            for each in self.users(number)
            if each in self.uniform and nodes[each].op not in ("const", "bits")
        }
        found |= {each for each in self.results if each in self.uniform}
        return sorted(found)


def _outer(body: Graph) -> Iterator[int]:
    """Nodes of the graph around that a loop's body, or a loop within, refers to."""
    for node in body.nodes:
        if node.op == "outer":
            yield node.data


def loads_in(body: Graph) -> List[int]:
    """The arguments that a loop's body, or a loop within, loads."""
    found: Dict[int, None] = {}
    for node in body.nodes:
        if node.op == "load":
            found[node.data] = None
        elif node.op == "loop":
            found.update(dict.fromkeys(loads_in(node.data.body)))
    return list(found)


def of_graph(graph: Graph) -> Body:
    """The body of a whole function."""
    return Body(graph, [result.node for result in graph.results])


def stores(graph: Graph) -> List[Tuple[int, Store]]:
    """The arrays among the results, with their places."""
    return [(i, each) for i, each in enumerate(graph.results) if isinstance(each, Store)]


def reductions(graph: Graph) -> List[Tuple[int, Reduction]]:
    """The numbers among the results, with their places."""
    return [(i, each) for i, each in enumerate(graph.results) if isinstance(each, Reduction)]
