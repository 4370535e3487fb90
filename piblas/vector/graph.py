"""What a vector function computes, as a graph of values: made by the front ends, lowered to a
program.

A *node* is a value of each element (or a number for all of them).  Its arguments are nodes before
it, so the list of nodes is in order of computation.  Equal nodes are one (common subexpressions);
no constants are folded.

Registers of a QPU hold 32 bits a lane, so a node has one of four *kinds*: ``"f"`` float32, ``"i"``
int32, ``"u"`` uint32, ``"m"`` a mask, which only ``select`` and the logic of masks take.  Arrays
have further types: ``load`` widens uint8, int16 to ``"u"``, ``"i"`` and float16 to ``"f"``, and a
store narrows again (wraps integers; rounds float16 as the pack unit does).

Operations, with the kinds of their arguments and results:

==========================  ==================================================================
``load``                    data = number of the argument (an array)
``scalar``                  data = number of the argument (a number, the same for all elements)
``const``                   data = its 32 bits as an unsigned integer
``index``                   the element's number, "u"
machine operations          those of :data:`piblas.isa.ops` by their names (``fadd`` .. ``clz``,
                            ``fmul``, ``mul24``, ``v8adds`` ..): exactly what the QPU computes
``recip rsqrt exp2 log2``   the special function unit's results, "f" -> "f"
``lt le eq ne``             comparison of two "f", two "i" or two "u": "m".  NaN as the QPU has it
``mand mor mnot``           logic of masks
``select``                  (mask, a, b): a where the mask holds, else b; of the kind of a and b
``bits``                    the same 32 bits as another kind
``loop``                    data = :class:`Loop`; arguments: what its carried values begin with
``carried``                 data = number of the carried value, inside of a loop's body
``outer``                   data = node of the graph around the body
``result``                  data = number of the carried value; argument: the loop
==========================  ==================================================================

Everything else (``DIV``, ``SIN``, 32-bit products, ...) is written with these by
:mod:`.functions`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

__all__ = ["Argument", "Graph", "KINDS", "Loop", "Node", "Reduction", "STORAGE", "Store"]

KINDS = ("f", "i", "u", "m")

STORAGE = {
    "float32": "f", "float16": "f", "int32": "i", "int16": "i", "uint32": "u", "uint8": "u",
}  # fmt: skip
"""The kind of a value that was loaded from an array of each type."""


class Node(NamedTuple):
    """A value: operation, kind, arguments (numbers of earlier nodes), and data of the operation."""

    op: str
    kind: str
    args: Tuple[int, ...] = ()
    data: Any = None


class Argument(NamedTuple):
    """An argument of the function: an array of ``dtype``, or a number of that type."""

    name: str
    dtype: str
    array: bool


class Store(NamedTuple):
    """An array of ``dtype`` as a result, made of ``node``."""

    node: int
    dtype: str


class Reduction(NamedTuple):
    """A number as a result: "sum", "min", "max", "argmin" or "argmax" of ``node`` over all
    elements.

    (A dot product is the sum of products.)
    """

    how: str
    node: int
    dtype: str


@dataclasses.dataclass(frozen=True)
class Loop:
    """``count`` repetitions of ``body``, whose ``carried`` nodes go into the next one."""

    count: int
    body: "Graph"
    carried: Tuple[int, ...]


@dataclasses.dataclass(eq=False)
class Graph:
    """Nodes in order; arguments of the function; results in the order in which they are
    returned."""

    arguments: Tuple[Argument, ...] = ()
    nodes: List[Node] = dataclasses.field(default_factory=list)
    results: List[Any] = dataclasses.field(default_factory=list)
    around: Optional["Graph"] = None

    def __post_init__(self) -> None:
        self._numbers: Dict[Node, int] = {}

    def add(self, op: str, kind: str, *args: int, data: Any = None) -> int:
        """The number of this node, a new one unless there is an equal one."""
        node = Node(op, kind, args, data)
        found = self._numbers.get(node)
        if found is None:
            found = self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
        return found

    def kind(self, number: int) -> str:
        """The kind of a node."""
        return self.nodes[number].kind
