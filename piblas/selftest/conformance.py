"""Operations one by one: 32 pairs of numbers in, two vectors a turn out.

A case is a few lines of QPU text between a fixed beginning (loads two vectors: r0 and ra0, r1 and
rb0) and a fixed end (stores ra1 and rb1).  Its result is a row of words, to be compared with those
of the emulator word for word; the special functions, whose tables nobody has published, are
compared to a relative 2**-10.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from ..isa import modes, ops
from ..isa import setup_words as sw
from .programs import assembled

__all__ = ["CASES", "Case", "Difference", "compare", "expected", "path", "run_case"]

TURNS = 2
LANES = 16


class Case(NamedTuple):
    """``floats``: which of the two sets of input; ``exact``: whether every bit is compared.

    ``open_rule``: the rule of the strict emulator that such a program breaks, because sources
    contradict each other.  A board decides; the stored words are those of the emulator without it.
    """

    name: str
    body: Sequence[str]
    floats: bool = True
    exact: bool = True
    open_rule: str = ""


_FLAGS = [
    "ldi -, r3, 0",
    "nop",
    "add.zs r3, r3, 1",
    "add.ns r3, r3, 2",
    "add.cs r3, r3, 4",
    "mov rb1, r3",
]
"""rb1 = zero, negative and carry flags as bits 0, 1, 2."""
_NO_CARRY = [line for line in _FLAGS if ".cs" not in line]
"""The same for fmul and mul24, for whose carry flag no two sources agree."""


def _op(op: ops.Op) -> Case:
    name = op.name
    if op.unit == ops.MUL and (ops.ADD, name) in ops.BY_NAME:
        name = "m_" + name
    sources = {0: "", 1: " r2, r0", 2: " r2, r0, r1"}[op.nsrc]
    flags = _NO_CARRY if name in ("fmul", "mul24") else _FLAGS
    body = [f"{name}.sf{sources}", "mov ra1, r2", *flags]
    return Case(f"op {name}", body, floats=op.float_in)


def _cases() -> List[Case]:
    cases = [_op(op) for op in (*ops.ADD_OPS, *ops.MUL_OPS) if op.nsrc]
    for pack in modes.PACK_A[1:]:
        before = ["mov ra1, r1", "nop"]
        if pack != "32s":  # saturates integers only
            cases.append(Case(f"pack float {pack}", [*before, f"fadd ra1.{pack}, r0, r1"]))
        cases.append(Case(f"pack int {pack}", [*before, f"add ra1.{pack}, r0, r1"], floats=False))
    for colour in modes.PACK_MUL:
        if colour and colour != "32":
            cases.append(
                Case(f"pack mul {colour}", [f"fmul r2.{colour}, r0, r1", "nop", "mov ra1, r2"])
            )
    for unpack in modes.UNPACK_A[1:]:
        cases.append(Case(f"unpack float {unpack}", [f"fadd ra1, ra0.{unpack}, r1"]))
        cases.append(Case(f"unpack int {unpack}", [f"add ra1, ra0.{unpack}, r1"], floats=False))
    for cond in modes.CONDITIONS[2:]:
        body = ["sub.sf -, r0, r1", "mov ra1, r1", "mov rb1, r0", f"mov.{cond} ra1, r0"]
        cases.append(Case(f"condition {cond}", body, floats=False))
    for amount in range(1, 16):
        body = ["nop", f"m_mov r2, r0 rot {amount}", "mov ra1, r2"]
        cases.append(Case(f"rotate by {amount}", body, floats=False))
    for branch in modes.BRANCH_CONDITIONS:
        if branch:
            body = [
                "sub.sf -, r0, r1", "mov ra1, 1", f"br.{branch} rel taken", "nop", "nop", "nop",
                "mov ra1, 0", "taken:", "nop",
            ]  # fmt: skip
            cases.append(Case(f"branch {branch}", body, floats=False))
    for function in ("recip", "rsqrt", "exp2", "log2"):
        source = ["fmul r2, r0, r0", "nop"] if function != "exp2" else ["mov r2, r1", "nop"]
        body = [*source, f"mov {function}, r2", "nop", "nop", "mov ra1, r4"]
        cases.append(Case(f"sfu {function}", body, exact=False))
    cases.append(Case("r5 quad", ["mov r5quad, r0", "nop", "mov ra1, r5"], floats=False))
    cases.append(Case("r5 replicated", ["mov r5rep, r0", "nop", "mov ra1, r5"], floats=False))
    cases.append(Case("small immediates", ["add ra1, r0, 15", "fadd rb1, r0, 0.5"]))
    for load in ("signed ra1, -, 1 -1 0 -2 1 0 -1 1 0 0 -2 -1 1 1 0 -1",
                 "unsigned ra1, -, 3 2 1 0 1 2 3 0 1 1 2 2 3 3 0 0"):  # fmt: skip
        cases.append(Case(f"load {load.split()[0]}", [f"ldi_{load}"], floats=False))
    cases.append(_vpm("vertical", sw.vpm_write(16, 0, horizontal=False), sw.vpm_read(2, 16)))
    cases.append(_vpm("horizontal", sw.vpm_write(16), sw.vpm_read(2, 16, horizontal=False)))
    cases.append(_vpm("half words", sw.vpm_write(16, size=16), sw.vpm_read(2, 16, size=16)))
    cases.append(_vpm("laned bytes", sw.vpm_write(16, size=8, laned=True), sw.vpm_read(2, 16)))
    block = sw.vdw_stride(0, blockmode=True)
    cases.append(_store("block mode", sw.vdw_store(32, 1, 16), "vdw-block", block))
    column = sw.vdw_store(1, 32, 16, 3, horizontal=False)
    cases.append(_store("column of 32", column, "vdw-deep"))
    corner = sw.vdw_store(2, 16, 16, 15, horizontal=False)
    cases.append(_store("beyond column 15", corner, "vdw-rows"))
    return cases


def _vpm(name: str, write: int, read: int) -> Case:
    """Two vectors written to rows 16, 17 in one manner, read in another; the rest was zeroed."""
    body = [f"ldi -, vpm_wr_setup, {sw.vpm_write(16):#x}"]
    body += 16 * ["mov vpm, 0"]
    body += [f"ldi -, vpm_wr_setup, {write:#x}", "mov vpm, r0", "mov vpm, r1"]
    body += ["nop", "nop", "nop"]
    body += [f"ldi vpm_rd_setup, -, {read:#x}", "nop", "nop", "nop"]
    body += ["mov r2, vpm", "mov r3, vpm", "mov ra1, r2", "mov rb1, r3"]
    return Case(f"VPM {name}", body, floats=False)


def _store(name: str, setup: int, rule: str, stride: int = sw.vdw_stride(0)) -> Case:
    """Stores 32 words out of rows 16 to 47, each of whose words is another, and loads them back."""
    body = [f"ldi -, vpm_wr_setup, {sw.vpm_write(16):#x}", "mov r2, elem_num"]
    body += 32 * ["mov vpm, r2", "add r2, r2, 15", "add r2, r2, 1"]
    body += [f"ldi -, vpm_wr_setup, {stride:#x}", f"ldi -, vpm_wr_setup, {setup:#x}"]
    body += ["mov vdw_addr, rb30", "mov -, vdw_wait"]
    body += [f"ldi vpm_rd_setup, -, {sw.vdr_load(2, LANES, 48, pitch=64):#x}"]
    body += ["mov vdr_addr, rb30", "mov -, vdr_wait"]
    body += [f"ldi vpm_rd_setup, -, {sw.vpm_read(2, 48):#x}", "nop", "nop", "nop"]
    body += ["mov ra1, vpm", "mov rb1, vpm"]
    return Case(f"VPM store {name}", body, floats=False, open_rule=rule)


CASES = tuple(_cases())
_BY_NAME = {case.name: case for case in CASES}


def words(case: Case) -> List[int]:
    """The program of a case; uniforms are input, output, turns and the end's 0."""
    lines = [
        "mov ra30, unif",
        "mov rb30, unif",
        "mov ra29, unif",
        "mov r0, elem_num",
        "shl r0, r0, 2",
        "add ra30, ra30, r0",
        "ldi -, rb29, 64",
        "ldi -, rb28, 128",
        "turn:",
        "mov t0s, ra30",
        "add ra30, ra30, rb29",
        "nop; ldtmu0",
        "mov ra0, r4",
        "mov t0s, ra30",
        "add ra30, ra30, rb29",
        "nop; ldtmu0",
        "mov rb0, r4",
        "mov r1, r4",
        "mov r0, ra0",
        "mov r2, 0",
        "mov ra1, 0",
        "mov rb1, 0",
        "nop",
        *case.body,
        "nop",
        "nop",
        f"ldi -, vpm_wr_setup, {sw.vpm_write(0):#x}",
        "mov vpm, ra1",
        "mov vpm, rb1",
        f"ldi -, vpm_wr_setup, {sw.vdw_store(2, LANES):#x}",
        f"ldi -, vpm_wr_setup, {sw.vdw_stride(0):#x}",
        "mov vdw_addr, rb30",
        "mov -, vdw_wait",
        "mov r0, rb28",
        "add rb30, rb30, r0",
        "sub.sf ra29, ra29, 1",
        "nop",
        "br.any_zc rel turn",
        "nop",
        "nop",
        "nop",
    ]
    return assembled(lines, case.name)


def inputs(floats: bool) -> np.ndarray:
    """Words of (turn, operand, lane): ordinary numbers first, special ones in the second turn."""
    rng = np.random.default_rng(1 if floats else 2)
    data = rng.integers(0, 1 << 32, (TURNS, 2, LANES), np.uint64).astype(np.uint32)
    if floats:
        numbers = (rng.standard_normal((TURNS, 2, LANES)) * 4).astype(np.float32)
        data = numbers.view(np.uint32)
        special = [0, -0.0, 1, -1, 0.5, 2.5, 255, 1e-30, 1e30, 65504, 1e-6, 3.5, -1.5, 1e9, -1e9, 7]
        data[1, 0] = np.array(special, np.float32).view(np.uint32)
        data[1, 1, ::2] = data[1, 0, ::2]
    else:
        special = [0, 1, 2, 31, 32, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000,
                   0xFFFFFFFF, 0x00FFFFFF, 0x80808080, 0x01020304]  # fmt: skip
        data[1, 0] = special
        data[1, 1, ::2] = data[1, 0, ::2]
    return data


def run_case(device: Any, case: Case) -> np.ndarray:
    """The words that a case stores on a device, (turn, vector, lane)."""
    data = inputs(case.floats)
    program = device.load(words(case))
    source, target = device.alloc(data.nbytes), device.alloc(data.nbytes)
    try:
        source.array(np.uint32, data.shape)[...] = data
        target.array(np.uint32, data.shape)[...] = 0xA5A5A5A5
        source.clean()
        target.clean()
        stream = [source.bus_address, target.bus_address, TURNS, 0]
        device.execute(program, [stream], timeout=0.5)
        target.invalidate()
        return target.array(np.uint32, data.shape).copy()
    finally:
        for each in (program, source, target):
            each.free()


class Difference(NamedTuple):
    """A case whose words are not the emulator's."""

    name: str
    words: int
    first: str


def compare(case: Case, got: np.ndarray, wanted: np.ndarray) -> Any:
    """None, or the :class:`Difference`."""
    if case.exact:
        differ = got != wanted
    else:
        one, other = (np.float64(v.view(np.float32)) for v in (got, wanted))
        with np.errstate(invalid="ignore"):
            differ = (np.abs(one - other) > 2.0**-10 * np.abs(other)) & (got != wanted)
    if not differ.any():
        return None
    turn, vector, lane = (int(i[0]) for i in np.nonzero(differ))
    a, b = (int(v) for v in inputs(case.floats)[turn, :, lane])
    first = (
        f"turn {turn}, vector {vector}, lane {lane}, inputs {a:08x} {b:08x}: "
        f"{int(got[turn, vector, lane]):08x}, emulator {int(wanted[turn, vector, lane]):08x}"
    )
    return Difference(case.name, int(differ.sum()), first)


def path() -> str:
    """Where the emulator's words are stored."""
    return os.path.join(os.path.dirname(__file__), "data", "words.json")


def expected() -> Dict[str, np.ndarray]:
    """The emulator's words by case."""
    with open(path(), encoding="ascii") as file:
        rows = json.load(file)
    return {
        name: np.frombuffer(bytes.fromhex(text), ">u4").astype(np.uint32).reshape(TURNS, 2, LANES)
        for name, text in rows.items()
    }
