"""Random generator programs, each with the result that its calls must give.

A program is a list of steps drawn by hypothesis.  ``Model`` runs the steps twice at once: it calls
the assembler, and it computes every value on virtual registers, knowing nothing of allocation,
scheduling or words.
"""

from __future__ import annotations

import random
from typing import Dict, List, Tuple

import numpy as np
from hypothesis import strategies as st
from plain_qpu import ADD, MUL, holds, lanes, pack, sfu_value, tmu_value, unpack

from piblas.codegen import Assembler
from piblas.isa.ops import ADD_OPS, MUL_OPS

ADD_NAMES = {op.name: op for op in ADD_OPS if op.code in ADD}
MUL_NAMES = {op.name: op for op in MUL_OPS if op.code in MUL}
NAMES = sorted(set(ADD_NAMES) | set(MUL_NAMES)) + ["mov"] * 3
CONDS = ("always", "always", "always", "zs", "zc", "ns", "nc")
UNPACKS = ("16a", "16b", "8dr", "8a", "8b", "8c", "8d")
PACKS = ("16a", "16b", "8888", "8a", "8b", "8c", "8d")
CONSTANTS = (0, 1, 15, -1, -16, 17, 0x12345678, 0xFFFF0000, 255)
FILES = ("any", "any", "any", "AB", "A", "B", "acc")

number = st.integers(0, 1 << 16)
step = st.tuples(
    st.sampled_from(
        ["alu"] * 8
        + ["rotate", "rotate_r5", "r5", "unpack", "pack", "ldi", "element", "request", "pop"]
        + ["sfu", "vpm", "semaphore", "mutex", "if", "pair", "fresh"]
    ),
    number, number, number, number,
)  # fmt: skip
block = st.lists(step, min_size=1, max_size=30)
loop = st.tuples(st.just("loop"), st.integers(1, 3), block)
program = st.tuples(
    st.lists(st.sampled_from(FILES), min_size=3, max_size=9),
    st.lists(st.one_of(block, loop), min_size=1, max_size=4),
)


class Model:
    def __init__(self, files: List[str]) -> None:
        self.asm = Assembler("random")
        self.uniforms: List[int] = []
        self.regs = []
        accumulators = 0
        for i, file in enumerate(files):
            accumulators += file == "acc"
            self.regs.append(
                self.asm.reg(f"x{i}", file="any" if file == "acc" and accumulators > 1 else file)
            )
        self.value: Dict[object, np.ndarray] = {}
        self.z, self.n = np.zeros(16, bool), np.zeros(16, bool)
        self.r4 = self.r5 = lanes(0)
        self.tmu: Dict[int, List[np.ndarray]] = {0: [], 1: []}
        self.out: List[Tuple[str, List[int]]] = []
        self.labels = 0
        self.uniform = 0
        self.emit = True

    # Every call goes through here: once into the assembler, each time it runs into the model.
    def call(self, name: str, *args, **kw) -> None:
        if self.emit:
            getattr(self.asm, name)(*args, **kw)

    def sync(self, unit: str, value) -> None:
        self.out.append((unit, [int(x) for x in lanes(value)]))

    def start(self) -> None:
        asm = self.asm
        for i, reg in enumerate(self.regs):
            self.uniforms.append(1000003 * i * i + 77)
            self.call("mov", reg, asm.unif)
            self.call("add", reg, reg, asm.elem_num)
            self.value[reg] = lanes(self.uniforms[-1] + np.arange(16))
        self.call("ldi_signed", asm.null, [1, 0, -1, -2] * 4, sf=True)
        values = lanes([1, 0, -1, -2] * 4)
        self.z, self.n = values == 0, values >> 31 == 1
        self.call("mov", asm.r5rep, 7)
        self.r5 = lanes(7)
        self.call("mov", asm.t0s, self.regs[0])
        self.sync("request 0", self.value[self.regs[0]])
        self.call("ldtmu", 0)
        self.r4 = tmu_value(self.value[self.regs[0]])
        self.sync("pop 0", 0)

    def source(self, pick: int):
        """An operand and its value."""
        asm, kind = self.asm, pick % 13
        if kind < 7:
            reg = self.regs[pick // 13 % len(self.regs)]
            return reg, self.value[reg]
        if kind < 9:
            constant = CONSTANTS[pick // 13 % len(CONSTANTS)]
            return constant, lanes(constant)
        if kind == 9:
            return asm.elem_num, lanes(np.arange(16))
        if kind == 10:
            return asm.qpu_num, lanes(5)
        return (asm.r4, self.r4) if kind == 11 else (asm.r5, self.r5)

    def assign(self, reg, value, cond: str, sf: bool) -> None:
        where = holds(("never", "always", "zs", "zc", "ns", "nc").index(cond), self.z, self.n)
        value = lanes(value)
        if reg is not None:
            self.value[reg] = np.where(where, value, self.value[reg])
        if sf:
            self.z = np.where(where, value == 0, self.z)
            self.n = np.where(where, value >> 31 == 1, self.n)

    def steps(self, steps) -> None:
        for kind, *picks in steps:
            getattr(self, "do_" + kind)(*picks)

    def do_alu(self, op: int, dst: int, a: int, b: int) -> None:
        name = NAMES[op % len(NAMES)]
        reg = self.regs[dst % len(self.regs)]
        cond = CONDS[op // 64 % len(CONDS)]
        sf = op // 1024 % 4 == 0
        one, x = self.source(a)
        if name == "mov":
            self.call("mov", reg, one, cond=cond, sf=sf)
            self.assign(reg, x, cond, sf)
            return
        row = ADD_NAMES.get(name) or MUL_NAMES[name]
        table = ADD if name in ADD_NAMES else MUL
        if row.nsrc == 1:
            self.call(name, reg, one, cond=cond, sf=sf)
            self.assign(reg, table[row.code](x, x), cond, sf)
            return
        two, y = self.source(b)
        self.call(name, reg, one, two, cond=cond, sf=sf)
        self.assign(reg, table[row.code](x, y), cond, sf)

    def do_fresh(self, op: int, dst: int, a: int, b: int) -> None:
        """A temporary that lives for three operations."""
        temp = self.asm.reg("temp")
        (one, x), (two, y) = self.source(a), self.source(b)
        reg = self.regs[dst % len(self.regs)]
        self.call("xor", temp, one, two)
        self.call("add", reg, temp, reg)
        self.call("mul24", reg, temp, reg)
        product = MUL[2](lanes(x ^ y), lanes((x ^ y) + self.value[reg]))
        self.assign(reg, product, "always", False)

    def do_rotate(self, op: int, dst: int, a: int, b: int) -> None:
        one, x = self.source(a)
        reg = self.regs[dst % len(self.regs)]
        amount = op % 16
        cond = CONDS[b % len(CONDS)]
        self.call("rotate", reg, one, amount, cond=cond)
        self.assign(reg, np.roll(x, amount), cond, False)

    def do_rotate_r5(self, op: int, dst: int, a: int, b: int) -> None:
        reg = self.regs[dst % len(self.regs)]
        one = self.regs[a % len(self.regs)]
        self.call("rotate", reg, one, self.asm.r5)
        self.assign(reg, np.roll(self.value[one], int(self.r5[0]) & 15), "always", False)

    def do_r5(self, op: int, dst: int, a: int, b: int) -> None:
        one, x = self.source(a)
        if op % 2:
            self.call("mov", self.asm.r5rep, one)
            self.r5 = lanes(x[0])
        else:
            self.call("mov", self.asm.r5quad, one)
            self.r5 = np.repeat(x[::4], 4)

    def do_unpack(self, op: int, dst: int, a: int, b: int) -> None:
        reg, one = self.regs[dst % len(self.regs)], self.regs[a % len(self.regs)]
        two, y = self.source(b)
        mode = op % len(UNPACKS)
        self.call("add", reg, one.unpack(UNPACKS[mode]), two)
        self.assign(reg, unpack(self.value[one], mode + 1) + y, "always", False)

    def do_pack(self, op: int, dst: int, a: int, b: int) -> None:
        reg = self.regs[dst % len(self.regs)]
        if not reg.allowed & 0xFFFFFFFF:
            return
        one, x = self.source(a)
        two, y = self.source(b)
        mode = op % len(PACKS)
        self.call("xor", reg.pack(PACKS[mode]), one, two)
        self.assign(reg, pack(self.value[reg], lanes(x ^ y), mode + 1), "always", False)

    def do_ldi(self, op: int, dst: int, a: int, b: int) -> None:
        reg = self.regs[dst % len(self.regs)]
        cond = CONDS[b % len(CONDS)]
        self.call("ldi", reg, a * 4097, cond=cond, sf=b % 5 == 0)
        self.assign(reg, a * 4097, cond, b % 5 == 0)

    def do_element(self, op: int, dst: int, a: int, b: int) -> None:
        reg = self.regs[dst % len(self.regs)]
        values = [(op >> e & 3) - (2 if a % 2 else 0) for e in range(16)]
        self.call("ldi_signed" if a % 2 else "ldi_unsigned", reg, values)
        self.assign(reg, values, "always", False)

    def do_request(self, op: int, dst: int, a: int, b: int) -> None:
        unit = op % 2
        if len(self.tmu[unit]) < 4:
            one, x = self.source(a)
            self.call("mov", self.asm.t1s if unit else self.asm.t0s, one)
            self.tmu[unit].append(tmu_value(x))
            self.sync(f"request {unit}", x)

    def do_pop(self, op: int, dst: int, a: int, b: int) -> None:
        unit = op % 2
        if self.tmu[unit]:
            reg = self.regs[dst % len(self.regs)] if a % 2 else None
            self.call("ldtmu", unit, reg)
            self.r4 = self.tmu[unit].pop(0)
            self.sync(f"pop {unit}", 0)
            if reg is not None:
                self.value[reg] = self.r4

    def do_sfu(self, op: int, dst: int, a: int, b: int) -> None:
        one, x = self.source(a)
        port = ("recip", "rsqrt", "exp2", "log2")[op % 4]
        self.call("mov", getattr(self.asm, port), one)
        self.r4 = sfu_value(x, 52 + op % 4)

    def do_vpm(self, op: int, dst: int, a: int, b: int) -> None:
        one, x = self.source(a)
        self.call("mov", self.asm.vpm, one)
        self.sync("write 48", x)

    def do_semaphore(self, op: int, dst: int, a: int, b: int) -> None:
        self.call("sema_down" if a % 2 else "sema_up", op % 16)
        self.sync(f"semaphore {op % 16 + 16 * (a % 2)}", 0)

    def do_mutex(self, op: int, dst: int, a: int, b: int) -> None:
        if op % 2:
            self.call("mov", self.asm.mutex, 0)
            self.sync("write 51", 0)

    def do_pair(self, op: int, dst: int, a: int, b: int) -> None:
        """An add and a mul operation in one word; both see the old values."""
        count = len(self.regs)
        one, two = self.asm.reg("one"), self.asm.reg("two")
        x, y = self.regs[a % count], self.regs[b % count]
        if self.emit:
            with self.asm.pair():
                self.asm.add(one, x, y)
                self.asm.mul24(two, x, y)
        self.value[one] = lanes(self.value[x] + self.value[y])
        self.value[two] = lanes(MUL[2](self.value[x], self.value[y]))
        reg = self.regs[dst % count]
        self.call("xor", reg, one, two)
        self.assign(reg, self.value[one] ^ self.value[two], "always", False)

    def do_if(self, op: int, dst: int, a: int, b: int) -> None:
        """Skip two operations if all elements of a register are negative."""
        reg, other = self.regs[a % len(self.regs)], self.regs[dst % len(self.regs)]
        self.call("mov", self.asm.null, reg, sf=True)
        self.assign(None, self.value[reg], "always", True)
        self.labels += 1
        name = f"skip{self.labels}"
        self.call("branch", name, cond="all_ns")
        if not self.n.all() or self.emit:
            kept = dict(self.value)
            self.call("add", other, other, 3)
            self.assign(other, self.value[other] + 3, "always", False)
            self.call("xor", reg, reg, other)
            self.assign(reg, self.value[reg] ^ self.value[other], "always", False)
            if self.n.all():
                self.value = kept
        self.call("label", name)

    def loop(self, count: int, body) -> None:
        body = [s for s in body if s[0] not in ("request", "pop")]
        self.labels += 1
        name = f"loop{self.labels}"
        counter = self.asm.reg("counter")
        emit = self.emit
        self.call("ldi", counter, count)
        self.call("label", name)
        for turn in range(count):
            self.emit = emit and turn == 0
            self.steps(body)
            # The counter's flags are those of the last time round.
            self.call("sub", counter, counter, 1, sf=True)
            self.assign(None, lanes(count - turn - 1), "always", True)
            self.call("branch", name, cond="any_zc")
        self.emit = emit

    def finish(self) -> None:
        asm = self.asm
        for unit in (0, 1):
            for _ in list(self.tmu[unit]):
                self.do_pop(unit, 0, 0, 0)
        for reg in self.regs:
            self.call("mov", asm.vpm, reg)
            self.sync("write 48", self.value[reg])
        self.call("end")


def build(drawn) -> Model:
    files, parts = drawn
    model = Model(list(files))
    model.start()
    for part in parts:
        if part[0] == "loop":
            model.loop(part[1], part[2])
        else:
            model.steps(part)
    model.finish()
    return model


def streams(out) -> Dict[str, List]:
    """What each unit saw, in its order; semaphores and the mutex stand in every stream."""
    result: Dict[str, List] = {}
    for unit in ("request 0", "request 1", "write 48"):
        number = unit[-1]
        result[unit] = [
            item
            for item in out
            if item[0] in (unit, f"pop {number}") or item[0].startswith(("semaphore", "write 51"))
        ]
    return result


def long_program(seed: int):
    """A long program of the same kind, from a seed: up to 30 registers, 3 loops, 200 steps."""
    dice = random.Random(seed)
    kinds = ["alu"] * 8 + [
        "rotate", "rotate_r5", "r5", "unpack", "pack", "ldi", "element", "request", "pop",
        "sfu", "vpm", "semaphore", "mutex", "if", "pair", "fresh",
    ]  # fmt: skip

    def steps(count):
        return [
            (dice.choice(kinds), *(dice.randrange(1 << 16) for _ in range(4))) for _ in range(count)
        ]

    parts = []
    for _ in range(3):
        parts.append(steps(dice.randrange(1, 50)))
        parts.append(("loop", dice.randrange(1, 4), steps(dice.randrange(1, 30))))
    return [dice.choice(FILES) for _ in range(dice.randrange(3, 31))], parts
