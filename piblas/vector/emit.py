"""Write the operations of a graph for a group of vectors, through the assembler.

Every value of a group has a register for each of its vectors; those that are the same for all
elements have one.  Operations are written vector by vector in turn, so that the scheduler finds
independent ones next to each other.

A comparison sets flags; masks that only selections use stay flags, others become registers of 0
and -1.  The flags of an order are C of an operation that compares (fact: exact for all operands)::

    a < b, float   C of fmax(b, a), which is b > a by sign and magnitude
    a < b, int32   C of max(b, a)
    a < b, uint32  C of sub(a, b), the borrow
    a = b, float   C of fmax(a, b), then where it is clear C of fmax(b, a): set where they differ
    a = b, others  Z of xor(a, b)
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from .body import COMPARISONS, LEAVES, SPECIAL, Body

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["Emitter", "Supply"]

Values = List[Any]
"""What holds a value of each vector of the group: registers, or constants."""


class Supply:
    """Where leaves of the graph come from.

    ``load(argument, vector)`` pops the next vector of an array; ``index(vector)`` is a register
    with the elements' numbers; ``scalars`` maps an argument to its register, ``constants`` bits to
    one (others are small immediates or loaded where they are used).  ``spill(slot, values)`` keeps
    a value in memory of the QPU, and ``reload(slot)`` brings it back.
    """

    spill: Callable[[int, Values], None]
    reload: Callable[[int], Values]
    unpack: Optional[Callable[[int], Any]] = None
    """Takes the place of ``scalars`` where numbers are found anew for each use."""

    def __init__(
        self,
        load: Callable[[int, int], Any],
        index: Callable[[int], Any],
        scalars: Dict[int, Any],
        constants: Dict[int, Any],
    ) -> None:
        self.load, self.index, self.scalars, self.constants = load, index, scalars, constants
        self.labels = itertools.count()


class Emitter:
    """Writes one group of ``unroll`` vectors of a body; see the module's text."""

    def __init__(
        self,
        asm: "Assembler",
        body: Body,
        unroll: int,
        supply: Supply,
        around: Optional["Emitter"] = None,
        carried: Optional[List[Values]] = None,
        uniform: Optional[Dict[int, Any]] = None,
    ) -> None:
        self.asm, self.body, self.unroll, self.supply = asm, body, unroll, supply
        self.around, self.carried = around, carried or []
        self.values: Dict[int, Values] = {}
        for number, register in (uniform or {}).items():
            self.values[number] = [register] * unroll
        self.flags: Optional[Tuple[int, int]] = None  # the comparison and vector they are of
        self.targets: Dict[int, Values] = {}
        self.outside: Dict[int, Values] = {}  # values of the graph around, read before a loop
        self.spills: Dict[int, int] = {}  # nodes that are kept in rows of the VPM
        self.brief = False  # leaves are found anew for each use, which saves registers
        self.after_step: Callable[[int], None] = lambda position: None

    def run(self) -> List[Values]:
        """Write all steps; where the results are."""
        self.write()
        return [self.value(number) for number in self.body.results]

    def write(self) -> None:
        """Write all steps."""
        for position, number in enumerate(self.body.steps):
            if number not in self.values:
                self._step(number)
                if number in self.spills:
                    self.supply.spill(self.spills[number], self.values.pop(number))
                self.after_step(position)

    def aim(self, targets: List[Values]) -> None:
        """Have the results of this group written to these registers where that is possible; those
        that are may be anywhere else."""
        nodes, results = self.body.graph.nodes, self.body.results
        for result, values in zip(results, targets):
            plain = nodes[result].op not in ("loop", "result", "bits", *LEAVES)
            if plain and results.count(result) == 1 and result not in self.body.uniform:
                self.targets[result] = values

    # --- values --------------------------------------------------------------------------------

    def value(self, number: int) -> Values:
        """Where a node's value is; leaves are found here."""
        found = self.values.get(number)
        if found is None:
            if number in self.spills:
                return self.supply.reload(self.spills[number])
            found = self._leaf(number)
            if not self.brief or self.body.graph.nodes[number].op == "const":
                self.values[number] = found
        return found

    def _leaf(self, number: int) -> Values:
        node = self.body.graph.nodes[number]
        if node.op == "const":
            return [self.constant(node.data)] * self.unroll
        if node.op == "scalar":
            if self.supply.unpack is not None:
                return [self.supply.unpack(node.data)] * self.unroll
            return [self.supply.scalars[node.data]] * self.unroll
        if node.op == "index":
            return [self.supply.index(vector) for vector in range(self.unroll)]
        if node.op == "bits":
            return self.value(node.args[0])
        if node.op == "carried":
            return self.carried[node.data]
        if node.op == "outer":
            return self.outside[node.data]
        if node.op == "load":
            return self.loaded(node.data)
        if node.op == "result":
            return self.value(node.args[0])[node.data]
        if node.op in COMPARISONS:
            return self._mask(number)
        raise AssertionError(f"{node.op} was not written before its use")

    def loaded(self, argument: int) -> Values:
        """A vector of an array, which was loaded before the outermost loop."""
        if self.around is not None:
            return self.around.loaded(argument)
        return self.value(self.body.loads[argument])

    def constant(self, bits: int) -> Any:
        """A register that holds a constant, or the number itself."""
        return self.supply.constants.get(bits, bits)

    def _fresh(self, number: int) -> Values:
        target = self.targets.get(number)
        if target is not None:
            return target
        if number in self.body.uniform:
            return [self.asm.reg(f"uniform{number}")] * self.unroll
        return self.asm.regs(f"value{number}_", self.unroll)

    def _vectors(self, number: int) -> range:
        """The vectors to write code for: one if the value is the same for all."""
        return range(1 if number in self.body.uniform else self.unroll)

    # --- steps ---------------------------------------------------------------------------------

    def _step(self, number: int) -> None:
        node = self.body.graph.nodes[number]
        if number in self.body.direct or node.op == "result":
            return
        if node.op == "loop":
            self.values[number] = self._loop(number)
        elif node.op == "load":
            self.values[number] = [
                self.supply.load(node.data, vector) for vector in range(self.unroll)
            ]
        elif node.op in COMPARISONS:
            self.values[number] = self._mask(number)
        elif node.op == "select":
            self.values[number] = self._select(number)
        elif node.op in SPECIAL:
            made = self._fresh(number)
            (source,) = (self.value(each) for each in node.args)
            for v in self._vectors(number):
                self.asm.mov(getattr(self.asm, node.op), source[v])
                self.asm.mov(made[v], self.asm.r4)
            self.values[number] = made
        else:
            self.values[number] = self._operation(number)

    def _operation(self, number: int) -> Values:
        node = self.body.graph.nodes[number]
        name = {"mand": "and", "mor": "or", "mnot": "not"}.get(node.op, node.op)
        method = getattr(self.asm, name)
        sources = [self.value(each) for each in node.args]
        made = self._fresh(number)
        if len(sources) == 1:
            for v in self._vectors(number):
                method(made[v], sources[0][v])
        else:
            first, second = sources
            for v in self._vectors(number):
                method(made[v], first[v], second[v])
        return made

    # --- masks ---------------------------------------------------------------------------------

    def _compare(self, number: int, v: int) -> Tuple[str, str]:
        """Have the flags say where a comparison or mask holds: (condition, its inverse)."""
        asm, node = self.asm, self.body.graph.nodes[number]
        if node.op not in COMPARISONS or number not in self.body.direct:
            if self.flags != (number, v):
                asm.mov(asm.null, self.value(number)[v], sf=True)
                self.flags = number, v
            return "zc", "zs"
        conds = self._conditions(node)
        if self.flags != (number, v):
            self._set_flags(number, v)
            self.flags = number, v
        return conds

    def _conditions(self, node: Any) -> Tuple[str, str]:
        kind = self.body.graph.nodes[node.args[0]].kind
        if node.op in ("eq", "ne"):
            conds = ("zs", "zc") if kind != "f" else ("cc", "cs")
        else:
            conds = ("cs", "cc")
        return conds if node.op in ("lt", "eq") else conds[::-1]

    def _set_flags(self, number: int, v: int) -> None:
        asm, node = self.asm, self.body.graph.nodes[number]
        a, b = (self.value(each)[v] for each in node.args)
        kind = self.body.graph.nodes[node.args[0]].kind
        if node.op in ("eq", "ne"):
            if kind != "f":
                asm.xor(asm.null, a, b, sf=True)
            else:
                asm.fmax(asm.null, a, b, sf=True)
                asm.fmax(asm.null, b, a, sf=True, cond="cc")
            return
        if node.op == "le":  # where b < a does not hold
            a, b = b, a
        if kind == "u":
            asm.sub(asm.null, a, b, sf=True)
        else:
            (asm.fmax if kind == "f" else asm.max)(asm.null, b, a, sf=True)

    def _mask(self, number: int) -> Values:
        """A comparison as registers of 0 and -1."""
        made = self._fresh(number)
        holds, fails = self._conditions(self.body.graph.nodes[number])
        for v in self._vectors(number):
            self._set_flags(number, v)
            self.flags = None
            self.asm.mov(made[v], -1, cond=holds)
            self.asm.mov(made[v], 0, cond=fails)
        return made

    def _select(self, number: int) -> Values:
        mask, *sources = self.body.graph.nodes[number].args
        first, second = (self.value(each) for each in sources)
        made = self._fresh(number)
        for v in self._vectors(number):
            holds, fails = self._compare(mask, v)
            # A target that is one of the sources is a value carried around a loop.
            if made[v] is not second[v]:
                if made[v] is first[v]:
                    self.asm.mov(made[v], second[v], cond=fails)
                    continue
                self.asm.mov(made[v], second[v], cond=fails)
            self.asm.mov(made[v], first[v], cond=holds)
        return made

    # --- loops ---------------------------------------------------------------------------------

    def _loop(self, number: int) -> Any:
        """The carried values after the last repetition, as a list of values."""
        asm, node = self.asm, self.body.graph.nodes[number]
        inner, count = self.body.loops[number], node.data.count
        begins = [self.value(each) for each in node.args]
        if count == 0:
            return begins
        carried = []
        for c, values in enumerate(begins):
            registers = asm.regs(f"carried{number}_{c}_", self.unroll)
            for register, value in zip(registers, values):
                asm.mov(register, value)
            carried.append(registers)
        outside = {each: self.value(each) for each in self._outside(inner)}
        counter = asm.reg(f"count{number}")
        asm.ldi(counter, count)
        label = f"loop{next(self.supply.labels)}"
        asm.label(label)
        self.flags = None
        emitter = Emitter(asm, inner, self.unroll, self.supply, self, carried)
        emitter.outside, emitter.brief = outside, self.brief
        emitter.targets = _targets(inner, carried)
        results = emitter.run()
        self._carry(carried, results)
        asm.sub(counter, counter, 1, sf=True)
        asm.branch(label, cond="any_zc")
        self.flags = None
        return carried

    def _outside(self, inner: Body) -> List[int]:
        return [node.data for node in inner.graph.nodes if node.op == "outer"]

    def _carry(self, carried: List[Values], results: List[Values]) -> None:
        """Results of a repetition become the carried values of the next, all at once."""
        asm = self.asm
        moves = [
            (register, value)
            for registers, values in zip(carried, results)
            for register, value in zip(registers, values)
            if register is not value
        ]
        written = {id(register) for register, _ in moves}
        copied = []
        for register, value in moves:
            if id(value) in written:
                copy = asm.reg("copy")
                asm.mov(copy, value)
                value = copy
            copied.append((register, value))
        for register, value in copied:
            asm.mov(register, value)


def _targets(inner: Body, carried: List[Values]) -> Dict[int, Values]:
    """Nodes that may be computed right into the register of a carried value: nobody reads the old
    value after them."""
    nodes = inner.graph.nodes
    place = {number: position for position, number in enumerate(inner.steps)}
    found: Dict[int, Values] = {}
    for c, result in enumerate(inner.results):
        node = nodes[result]
        plain = node.op not in ("loop", "result", "load") and result in place
        if not plain or inner.results.count(result) > 1 or result in inner.uniform:
            continue
        last = -1
        for number, other in enumerate(nodes):
            if other.op == "carried" and other.data == c:
                last = max(last, inner.last.get(number, -1))
        if last <= place[result]:
            found[result] = carried[c]
    return found
