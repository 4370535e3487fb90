"""What a call of a vector function takes on each processor, by the model that dispatch decides by.

CPU: NumPy runs a ufunc for each operation, which reads its operands and writes its result.  For
each of them a call is counted, and the longer of its arithmetic and of its memory traffic.
Arithmetic: one number in the clocks of :data:`CLOCKS`, on one core, at half the multiplications and
additions that ``cpu`` of :mod:`piblas.dispatch.boards` says for all cores (a matrix product does
both in one instruction).  All of it is estimated: nobody has published such figures for these
boards.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from ..dispatch import boards, host_calls
from ..dispatch.boards import Board
from ..dispatch.choose import Cost
from .body import SIZES
from .graph import Graph, Store
from .interpret import last_uses

__all__ = ["CLOCKS", "costs", "cpu_seconds", "moved", "operations"]

CORES: Mapping[str, int] = {"pi0": 1, "pi1": 1}
"""Cores that the figure for matrix products is of; 4 where nothing is said."""

CLOCKS: Mapping[str, float] = {
    "div": 8, "recip": 8, "sqrt": 8, "rsqrt": 16, "exp": 20, "exp2": 20, "log": 20, "log2": 20,
    "sin": 25, "cos": 25, "tanh": 40, "sigmoid": 42, "pow": 50, "asr": 2, "ror": 6, "clz": 8,
    "mul24": 6,
}  # fmt: skip
"""Clocks a number, in units of an addition; 1 for what is not named."""

UFUNC_CALLS = 4
"""Function calls in the interpreter for one ufunc: its own and that of whoever calls it."""

CALLS = 50
"""Function calls of a repeated call, on either processor, besides those for each operation."""

_LEAVES = frozenset(("load", "scalar", "const", "carried", "outer", "result", "bits", "index"))


def operations(graph: Graph, results: Any = None, times: int = 1) -> Dict[str, int]:
    """How often each operation is computed for an element."""
    found: Dict[str, int] = {}
    needed = last_uses(graph, [each.node for each in graph.results] if results is None else results)
    for number, node in enumerate(graph.nodes):
        if needed[number] < 0 or node.op in _LEAVES:
            continue
        if node.op == "loop":
            inside = operations(node.data.body, node.data.carried, times * node.data.count)
            for op, count in inside.items():
                found[op] = found.get(op, 0) + count
        else:
            found[node.op] = found.get(node.op, 0) + times
    return found


def moved(graph: Graph, n: int) -> int:
    """Bytes of the arrays that are loaded and stored."""
    sizes = [SIZES[each.dtype] for each in graph.arguments if each.array]
    sizes += [SIZES[each.dtype] for each in graph.results if isinstance(each, Store)]
    return n * sum(sizes)


def cpu_seconds(graph: Graph, n: int, board: Board) -> float:
    """NumPy's time for the operations of a graph, without the interpreter's."""
    copy = board.copy * 2**20
    cached = 2 * (board.cached * 2**20 or boards.CACHED_COPY * copy)
    rate = board.cpu * 1e9 / CORES.get(board.name, 4) / 2
    total = 0.0
    for op, count in operations(graph).items():
        total += count * n * max(CLOCKS.get(op, 1) / rate, 12 / cached)
    return total


def costs(
    source: Graph, program: Any, n: int, resident: bool, board: Optional[Board]
) -> Dict[str, Cost]:
    """What a call takes on each of the board's processors; ``program`` predicts the QPUs' part."""
    if board is None:
        return {}
    count = sum(operations(source).values())
    found = {
        "cpu": Cost(
            board.call + board.python * (CALLS + UFUNC_CALLS * count), 0.0, 0.0,
            cpu_seconds(source, n, board),
        )
    }  # fmt: skip
    if program is not None:
        staged = 0.0 if resident else moved(program.graph, n) / (board.copy * 2**20)
        found["qpu"] = Cost(
            board.python * (CALLS + host_calls.per_launch()), board.launch, staged,
            program.seconds(n, board),
        )  # fmt: skip
    return found
