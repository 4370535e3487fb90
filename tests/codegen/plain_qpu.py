"""A plain QPU for the assembler's tests: integer operations, one program, no timing.

It runs finished words, refuses every use of a value whose distance rule is broken, and records what
leaves the QPU.  It shares no code with the assembler; the meaning of an operation is in ``ADD`` and
``MUL``, which the tests also use to compute what a generator's calls should give.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Tuple

import numpy as np

from piblas.isa.instr import Instr, decode

Lanes = np.ndarray
U32 = np.uint32
M32 = 0xFFFFFFFF


def lanes(values) -> Lanes:
    return np.broadcast_to(np.asarray(values, dtype=np.int64) & M32, (16,)).astype(np.int64)


def signed(x: Lanes) -> Lanes:
    return np.where(x >= 1 << 31, x - (1 << 32), x)


def _bytes(f: Callable[[Lanes, Lanes], Lanes]) -> Callable[[Lanes, Lanes], Lanes]:
    def op(a: Lanes, b: Lanes) -> Lanes:
        total = np.zeros(16, dtype=np.int64)
        for shift in (0, 8, 16, 24):
            total |= f(a >> shift & 255, b >> shift & 255) << shift
        return total

    return op


ADD: Dict[int, Callable[[Lanes, Lanes], Lanes]] = {
    12: lambda a, b: a + b,
    13: lambda a, b: a - b,
    14: lambda a, b: a >> (b & 31),
    17: lambda a, b: a << (b & 31),
    18: lambda a, b: np.minimum(signed(a), signed(b)),
    19: lambda a, b: np.maximum(signed(a), signed(b)),
    20: lambda a, b: a & b,
    21: lambda a, b: a | b,
    22: lambda a, b: a ^ b,
    23: lambda a, b: ~a,
    30: _bytes(lambda a, b: np.minimum(a + b, 255)),
    31: _bytes(lambda a, b: np.maximum(a - b, 0)),
}
MUL: Dict[int, Callable[[Lanes, Lanes], Lanes]] = {
    2: lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF),
    4: _bytes(np.minimum),
    5: _bytes(np.maximum),
    6: ADD[30],
    7: ADD[31],
}


def unpack(x: Lanes, mode: int) -> Lanes:
    """The integer unpack modes of file A."""
    if mode in (1, 2):
        half = x >> (16 * (mode - 1)) & 0xFFFF
        return lanes(np.where(half >= 1 << 15, half - (1 << 16), half))
    if mode == 3:
        return (x >> 24) * 0x01010101
    return x if mode == 0 else x >> (8 * (mode - 4)) & 255


def pack(old: Lanes, new: Lanes, mode: int) -> Lanes:
    """The integer pack modes of file A that do not saturate."""
    if mode == 0:
        return new
    if mode == 3:
        return (new & 255) * 0x01010101
    shift, width = (16 * (mode - 1), 16) if mode < 3 else (8 * (mode - 4), 8)
    mask = ((1 << width) - 1) << shift
    return old & ~mask | new << shift & mask


def holds(cond: int, z: Lanes, n: Lanes) -> Lanes:
    return {0: z & ~z, 1: z | ~z, 2: z, 3: ~z, 4: n, 5: ~n}[cond]


def tmu_value(address: Lanes) -> Lanes:
    """What a TMU lookup gives: made up, but different for every address."""
    return lanes(address * 2654435761 + 12345)


def sfu_value(x: Lanes, unit: int) -> Lanes:
    return lanes(x * 40503 + unit)


class Broken(AssertionError):
    """The program relied on something that the QPU does not promise."""


class Machine:
    """Runs one program; ``out`` lists (unit, value) of everything it sent."""

    def __init__(self, words, uniforms, seed: int = 0) -> None:
        self.instrs: List[Instr] = [decode(int(word)) for word in words]
        self.uniforms = [lanes(value) for value in uniforms]
        noise = np.random.default_rng(seed)
        self.file = {f: noise.integers(0, 1 << 32, (32, 16)) for f in "AB"}
        self.acc = noise.integers(0, 1 << 32, (6, 16))
        self.z = noise.integers(0, 2, 16).astype(bool)
        self.n = noise.integers(0, 2, 16).astype(bool)
        self.out: List[Tuple[str, List[int]]] = []
        self.tmu: Dict[int, List[Lanes]] = {0: [], 1: []}
        self.fresh: set = set()  # registers written by the word before
        self.sfu: List[Tuple[int, Lanes]] = []  # (ready at, result)
        self.clock = 0
        self.taken_at: Dict[int, int] = {}

    def run(self, limit: int = 20000) -> List[Tuple[str, List[int]]]:
        pc, jump, end = 0, None, None
        while self.clock < limit:
            instr = self.instrs[pc]
            target = self.step(pc, instr)
            pc += 1
            if target is not None:
                if jump is not None:
                    raise Broken("branch in delay slots")
                jump = [3, target]
            elif jump is not None:
                jump[0] -= 1
                if not jump[0]:
                    pc, jump = jump[1], None
            if end is not None:
                end -= 1
                if not end:
                    return self.out
            if instr.sig == 3:
                end = 2
            self.clock += 1
        raise Broken("runs too long")

    def read_file(self, file: str, addr: int, used: bool) -> Lanes:
        if addr < 32:
            if used and (file, addr) in self.fresh:
                raise Broken(f"{file}{addr} read one word after its write")
            return self.file[file][addr]
        if addr == 38:
            return lanes(np.arange(16)) if file == "A" else lanes(5)
        if addr in (39, 48, 50, 51):
            if addr != 39:
                self.sync(f"read {file}{addr}", 0)
            return lanes(0)
        raise Broken(f"read of {file}{addr}")

    def sync(self, unit: str, value) -> None:
        self.out.append((unit, [int(x) for x in lanes(value)]))

    def operands(self, instr: Instr):
        small = instr.sig == 13
        muxes = (instr.add_a, instr.add_b) if instr.op_add else ()
        muxes += (instr.mul_a, instr.mul_b) if instr.op_mul else ()
        if 32 in (instr.raddr_a, instr.raddr_b if not small else 39):
            uniform = self.uniforms.pop(0)
        a = uniform if instr.raddr_a == 32 else self.read_file("A", instr.raddr_a, 6 in muxes)
        if small:
            code = instr.small_imm
            b = lanes(code if code < 16 else code - 32 if code < 32 else code - 64)
            if 32 <= code < 48:
                raise Broken("float immediate")
        else:
            b = uniform if instr.raddr_b == 32 else self.read_file("B", instr.raddr_b, 7 in muxes)
        if instr.unpack and not instr.pm:
            a = unpack(a, instr.unpack)
        if 4 in muxes and self.sfu:
            raise Broken("r4 read before the special function's result")
        return [*self.acc, a, b]

    def step(self, pc: int, instr: Instr):
        while self.sfu and self.sfu[0][0] <= self.clock:
            self.acc[4] = self.sfu.pop(0)[1]
        if instr.sig == 15:
            return self.branch(pc, instr)
        if instr.sig == 14:
            if instr.load_kind == 4:
                self.sync(f"semaphore {instr.imm & 31}", 0)
            value = lanes(instr.imm)
            if instr.load_kind in (1, 3):
                high = -2 if instr.load_kind == 1 else 2
                bits = [(instr.imm >> e & 1) + high * (instr.imm >> 16 + e & 1) for e in range(16)]
                value = lanes(bits)
            results = [value, value]
            active = [True, True]
        else:
            source = self.operands(instr)
            results = [lanes(0), lanes(0)]
            active = [bool(instr.op_add), bool(instr.op_mul)]
            if instr.op_add:
                results[0] = lanes(ADD[instr.op_add](source[instr.add_a], source[instr.add_b]))
            if instr.op_mul:
                results[1] = lanes(MUL[instr.op_mul](source[instr.mul_a], source[instr.mul_b]))
            if instr.sig == 13 and instr.small_imm >= 48 and instr.op_mul:
                self.rotated(instr)
                amount = instr.small_imm - 48 or int(self.acc[5][0]) & 15
                results[1] = np.roll(results[1], amount)
        conds = [holds(instr.cond_add, self.z, self.n), holds(instr.cond_mul, self.z, self.n)]
        fresh: set = set()
        for i, (addr, file) in enumerate(
            ((instr.waddr_add, instr.file_add), (instr.waddr_mul, instr.file_mul))
        ):
            if active[i]:
                self.write(instr, addr, file, results[i], conds[i], fresh)
        if instr.sf:
            i = 1 if instr.is_alu and not instr.op_add else 0
            self.z = np.where(conds[i], results[i] == 0, self.z)
            self.n = np.where(conds[i], results[i] >> 31 == 1, self.n)
        if instr.sig in (10, 11):
            if self.sfu:
                raise Broken("r4 loaded while a special function runs")
            self.acc[4] = self.tmu[instr.sig - 10].pop(0)
            self.sync(f"pop {instr.sig - 10}", 0)
        self.fresh = fresh
        return None

    def rotated(self, instr: Instr) -> None:
        for mux in (instr.mul_a, instr.mul_b):
            if mux > 3:
                raise Broken("rotation of something but r0..r3")
            if ("acc", mux) in self.fresh:
                raise Broken(f"rotation of r{mux} one word after its write")
        if instr.small_imm == 48 and ("acc", 5) in self.fresh:
            raise Broken("rotation by r5 one word after its write")

    def write(self, instr, addr, file, value, cond, fresh) -> None:
        if addr < 32:
            old = self.file[file][addr]
            if file == "A" and instr.pack and not instr.pm:
                value = pack(old, value, instr.pack)
            self.file[file][addr] = np.where(cond, value, old)
            fresh.add((file, addr))
        elif addr < 36:
            self.acc[addr - 32] = np.where(cond, value, self.acc[addr - 32])
            fresh.add(("acc", addr - 32))
        elif addr == 37:
            new = lanes(value[0]) if file == "B" else np.repeat(value[::4], 4)
            self.acc[5] = np.where(np.repeat(cond[::4], 4), new, self.acc[5])
            fresh.add(("acc", 5))
        elif addr in (56, 60):
            self.tmu[(addr - 56) // 4].append(tmu_value(value))
            self.sync(f"request {(addr - 56) // 4}", value)
        elif 52 <= addr <= 55:
            if self.sfu:
                raise Broken("two special functions at once")
            self.sfu.append((self.clock + 3, sfu_value(value, addr)))
        elif addr != 39:
            self.sync(f"write {file if addr in (49, 50) else ''}{addr}", value)

    def branch(self, pc: int, instr: Instr):
        z, n = self.z, self.n
        self.fresh = set()
        taken = {
            0: z.all(), 1: (~z).all(), 2: z.any(), 3: (~z).any(),
            4: n.all(), 5: (~n).all(), 6: n.any(), 7: (~n).any(), 15: True,
        }[instr.cond_br]  # fmt: skip
        if not taken:
            return None
        offset = instr.imm - ((instr.imm & 0x80000000) << 1)
        base = 8 * (pc + 4) if instr.rel else 0
        if instr.reg:
            base += int(self.file["A"][instr.raddr_a][15])
        for addr, file in ((instr.waddr_add, instr.file_add), (instr.waddr_mul, instr.file_mul)):
            if addr != 39:
                self.write(instr, addr, file, lanes(8 * (pc + 4)), np.ones(16, bool), self.fresh)
        self.taken_at[pc] = self.taken_at.get(pc, 0) + 1
        return (base + offset & M32) // 8
