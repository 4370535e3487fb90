"""Published loops, re-created for timing: same instruction counts, same paths, same tile.

Two sgemm loops stand for published ones: both keep a tile of 16 x 64 in the registers, the 16 rows
of A in the elements of a vector, and multiply 96 x 363 by 363 x n with QPU (i, j) of 2 x 6.

- ``uniform``: B comes as 64 uniforms a step, the address is rewritten at each step; 67
  instructions.
- ``rotate``: B comes as four vectors through the TMUs, elements of A are spread by rotations; 166
  to 115 instructions a step, of which 64 multiply and add and 64 or 32 rotate.

Either takes A through TMU0, as a gather with A's stride ("RNN") or as contiguous lines ("RTN"); B
may be gathered too ("RNT").  Requests, results, branches and DMA transfers stand where they stand
in the published programs: where a step asks for its lines decides what it waits.  A QPU goes along
a row of tiles before it goes down, as they do; a tile ends under the mutex with four blocks of
16 x 16 through the VPM, in and out.  The loops move the data of a product but do not compute it: a
few sums give way to counters and addresses, and results are not used.  The tiles of C lie one
behind the other.

Three micro-benchmarks: a stream of uniforms, DMA loads, two QPUs that hand each other semaphores.
"""

from __future__ import annotations

import dataclasses
from typing import Any, List, Optional

import numpy as np

from piblas.driver import Emulator
from piblas.driver.device import RunReport
from piblas.isa import setup_words as sw
from piblas.isa.instr import encode
from piblas.isa.parse import parse

__all__ = ["Sgemm", "dma_loads", "ping_pong", "run_sgemm", "uniform_stream"]

M, K = 96, 363
ROWS, COLUMNS = 16, 64
SPLIT = 2, 6
END = ["nop; thrend", "nop", "nop"]


def words(lines: List[str]) -> List[int]:
    """Instruction words of text."""
    return [encode(parse(line)) for line in lines]


def branch(lines: List[str], to: int, cond: str = "any_zc") -> str:
    """A branch behind ``lines`` to the line with index ``to``."""
    return f"br.{cond} rel {8 * (to - len(lines) - 4):+d}"


# --- micro-benchmarks ----------------------------------------------------------------------------


def uniform_stream(timing: Any, clock_hz: float, reads: int, nops: int, turns: int = 300) -> float:
    """Share of issue of one QPU: a loop of ``reads`` uniforms, ``nops`` behind each, and 4 more."""
    lines = ["ldi r0, -, %d" % turns, "mov r1, 1", "nop"]
    top = len(lines)
    for index in range(reads):
        last = index + 1 == reads
        lines += ["sub.sf r0, r0, r1; m_mov r2, unif" if last else "mov r2, unif"]
        lines += ["nop"] * nops
    lines += [branch(lines, top), "nop", "nop", "nop", *END]
    with Emulator(memory=1 << 20, timing=timing, clock_hz=clock_hz) as device:
        program = device.load(words(lines))
        report = device.execute(program, [np.zeros(reads * turns, np.uint32)], timeout=1e6)
        assert report.instructions is not None and report.cycles is not None
        return 4 * report.instructions / report.cycles


def dma_loads(timing: Any, clock_hz: float, turns: int = 300) -> float:
    """Bytes a second that one QPU loads in blocks of 16 x 16 words, waiting for each."""
    lines = [
        "mov r1, unif",
        f"ldi -, vpm_rd_setup, {sw.vdr_load(16, 16, pitch=64):#x}",
        f"ldi r0, -, {turns}",
        "nop",
    ]
    top = len(lines)
    lines += ["mov vdr_addr, r1", "mov -, vdr_wait", "sub.sf r0, r0, 1"]
    lines += [branch(lines, top), "nop", "nop", "nop", *END]
    with Emulator(memory=1 << 20, timing=timing, clock_hz=clock_hz) as device:
        data = device.alloc(1024)
        report = device.execute(device.load(words(lines)), [[data.bus_address]], timeout=1e6)
        assert report.seconds is not None
        return 1024 * turns / report.seconds


def ping_pong(timing: Any, clock_hz: float, turns: int = 100000) -> float:
    """Share of issue of two QPUs that wait for each other every 7 instructions."""
    lines = ["mov r0, unif", "mov r1, 1", "mov.sf -, unif"]
    start = len(lines)
    lines += ["", "nop", "nop", "nop"]
    loops = []
    for semaphores in (("sema_up 0", "sema_down 1"), ("sema_down 0", "sema_up 1")):
        loops.append(len(lines))
        lines += [*semaphores, "sub.sf r0, r0, r1"]
        lines += [branch(lines, loops[-1]), "nop", "nop", "nop", *END]
    lines[start] = branch(lines[:start], loops[1])
    with Emulator(memory=1 << 20, timing=timing, clock_hz=clock_hz) as device:
        report = device.execute(device.load(words(lines)), [[turns, 0], [turns, 1]], timeout=1e6)
        assert report.cycles is not None
        return 7 * 4 * turns / report.cycles


# --- sgemm ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Sgemm:
    """A published sgemm: its loop, instructions a step, columns of B, QPUs, what it gathers."""

    loop: str
    instructions: int
    columns: int = 3072
    n_qpus: int = 12
    gathers: bool = True
    gathers_b: bool = False

    @property
    def steps(self) -> int:
        """Steps of k that the busiest QPU runs."""
        return K * len(self.tiles(0))

    @property
    def flops(self) -> int:
        """Operations of the whole product."""
        return 2 * M * K * self.columns

    def tiles(self, qpu: int) -> List[Any]:
        """(row, column) of each tile of a QPU."""
        parts = SPLIT if self.n_qpus > 1 else (1, 1)
        high, wide = M // parts[0], self.columns // parts[1]
        top, left = qpu // parts[1] * high, qpu % parts[1] * wide
        return [
            (top + row, left + column)
            for row in range(0, high, ROWS)
            for column in range(0, wide, COLUMNS)
        ]


def _fma(index: int, factor: str, vector: str = "r2") -> str:
    """One of the 64: a sum in a register, and the next product."""
    place = f"rb{index % 24}"
    return f"fadd {place}, {place}, r3; fmul r3, {vector}, {factor}"


def _uniform_loop(case: Sgemm, lines: List[str]) -> None:
    """67 instructions: 64 products with uniforms, address, branch, request of A."""
    assert case.instructions == 67
    fma = [_fma(index, "unif") for index in range(64)]
    fma[10] = "add r1, r1, rb31; fmul r3, r2, unif"
    fma[20] = "sub.sf r0, r0, rb30; fmul r3, r2, unif"
    fma[63] += "; ldtmu0"
    move = ["mov unif_addr, ra25; m_mov r2, r4"]
    between = ["add ra25, ra25, rb24; m_mov t0s, r1"]
    lines += ["mov t0s, r1", "add r1, r1, rb31", "nop; ldtmu0"]
    lines += [*move, *between, "nop", *fma[:2]]
    top = len(lines)
    lines += [*fma[2:], *move]
    lines += [branch(lines, top), *between, *fma[:2]]
    assert len(lines) - top == 67
    lines += ["nop; ldtmu0"]


def _rotations(vectors: int) -> List[str]:
    """Elements 1 to 15 of A: a rotation into r5 and, for each vector of B, a FMA."""
    lines = []
    for turn in range(1, 16):
        lines += [f"m_mov r5rep, r2 rot {turn}"]
        lines += [_fma(16 * vector + turn, "r5", "r4") for vector in range(vectors)]
    return lines


def _one_by_one() -> List[str]:
    """129 instructions: each vector of B has rotations of its own and comes just before them."""
    lines = ["m_mov r5rep, r2; ldtmu1"]
    for vector in range(4):
        lines += ["fmul r3, r4, r5", *_rotations(1)]
        take = "; m_mov r5rep, r2; ldtmu1" if vector < 3 else ""
        lines += [f"fadd ra{vector}, ra{vector}, r3{take}"]
    return lines


def _in_pairs(first: int) -> List[str]:
    """97 instructions: two vectors of B share rotations, the first of a pair through this TMU."""
    lines = [f"m_mov r5rep, r2; ldtmu{first}"]
    for pair in range(2):
        lines += ["mov ra30, r4; fmul r3, r4, r5; ldtmu1", _fma(pair, "r5", "r4")]
        lines += _rotations(2)
        take = f"; m_mov r5rep, r2; ldtmu{first}" if pair == 0 else ""
        lines += [f"fadd ra{pair}, ra{pair}, r3{take}"]
    return lines


# Behind the products of a step: requests of B for the next step, the result of A for that, A's
# request for the step after it, the counter; then the branch and its three.
_B_BY_TMU1 = [
    *["nop"] * 2, "mov r0, ra25", "mov t1s, r0", *["add r0, r0, rb25", "mov t1s, r0"] * 3,
    "nop; ldtmu0", "mov r2, r4", "add ra25, ra25, rb24", *["nop"] * 8, "add r1, r1, rb31",
    "mov t0s, r1", "nop", "sub.sf ra26, ra26, 1",
]  # fmt: skip
_B_BY_BOTH = [
    "mov r0, ra25", "nop; ldtmu0", "mov r2, r4", "add r0, r0, rb25; m_mov t0s, r0",
    "add r0, r0, rb25; m_mov t1s, r0", "add r0, r0, rb25; m_mov t0s, r0", "mov t1s, r0",
    "add ra25, ra25, rb24", *["nop"] * 4, "add r1, r1, rb31", "sub.sf ra26, ra26, 1",
]  # fmt: skip


def _rotate_loop(case: Sgemm, lines: List[str]) -> None:
    """Four vectors of B a step, spread by rotations of A.

    164 and 158 instructions rotate anew for each, 126 and 115 for two; 115 asks both TMUs for B
    in turn.  Requests and results have the places of the published loops.
    """
    both = case.instructions == 115
    body = _one_by_one() if case.instructions > 126 else _in_pairs(0 if both else 1)
    tail = list(_B_BY_BOTH if both else _B_BY_TMU1)
    body += tail[:12] + ["nop"] * (case.instructions - len(body) - len(tail) - 4) + tail[12:]
    step = [*body, "", "nop" if not both else "mov t0s, r1", "nop", "nop"]
    assert len(step) == case.instructions
    units = (0, 1, 0, 1) if both else (1, 1, 1, 1)
    lines += ["mov ra26, r0; m_mov r0, r1", "mov t0s, r0", "add r1, r1, rb31", "mov r0, ra25"]
    for unit in units:
        lines += [f"add r0, r0, rb25; m_mov t{unit}s, r0"]
    lines += ["nop; ldtmu0", "mov r2, r4; m_mov t0s, r1", "add ra25, ra25, rb24", "nop"]
    top = len(lines)
    lines += body
    lines += [branch(lines, top), *step[-3:]]
    lines += ["nop; ldtmu0"] + [f"nop; ldtmu{unit}" for unit in units]


def _load_block(block: int) -> List[str]:
    """Start the load of a block of C; 4 instructions, as many as a store."""
    return [
        f"ldi -, vpm_rd_setup, {sw.vdr_load(16, 16, 16 * block, pitch=64):#x}",
        "mov vdr_addr, ra29",
        "add ra29, ra29, rb26",
        "nop",
    ]


def _update_block(block: int) -> List[str]:
    """Multiply and add a block of C in the VPM, 16 rows."""
    lines = [
        f"ldi -, vpm_rd_setup, {sw.vpm_read(16, 16 * block):#x}",
        f"ldi -, vpm_wr_setup, {sw.vpm_write(16 * block):#x}",
        "nop",
        "nop",
    ]
    for row in range(16):
        lines += ["fmul r3, r2, vpm", f"fadd vpm, rb{row}, r3"]
    return lines


def _store_block(block: int) -> List[str]:
    return [
        f"ldi -, vpm_wr_setup, {sw.vdw_store(16, 16, 16 * block):#x}",
        f"ldi -, vpm_wr_setup, {sw.vdw_stride(0):#x}",
        "mov vdw_addr, ra28",
        "add ra28, ra28, rb26",
    ]


def _epilogue(case: Sgemm, lines: List[str]) -> None:
    """Four blocks of 16 x 16: from memory, multiply and add, back to memory, under the mutex.

    ``uniform`` starts the loads one behind the other; ``rotate`` works out setups first, 170
    instructions, and loads a block while it updates the one before.  A store runs meanwhile.
    """
    blocks = range(COLUMNS // 16)
    rotate = case.loop == "rotate"
    lines += ["nop"] * (170 if rotate else 0) + ["mov -, mutex", "mov ra29, ra28"]
    if rotate:
        lines += _load_block(0) + ["mov -, vdr_wait"]
    else:
        lines += [line for block in blocks for line in _load_block(block)]
    for block in blocks:
        if rotate and block < 3:
            lines += _load_block(block + 1)
        elif block == 3 and not rotate:
            lines += ["mov -, vdr_wait"]
        lines += _update_block(block)
        if block:
            lines += ["mov -, vdw_wait"]
        lines += _store_block(block)
        if rotate and block < 3:
            lines += ["mov -, vdr_wait"]
    lines += ["mov -, vdw_wait", "mov mutex, 0"]


def sgemm_program(case: Sgemm) -> List[int]:
    """The program of a case; its stream holds three addresses a tile and is read anew by address.

    ra25 B, ra26 and r0 counters, ra27 stream, ra28 C, r1 A, r2 vector of A; rb24 to the next row of
    B, rb25 and rb26 strides, rb29 tiles, rb30 1, rb31 to the next element or row of A.
    """
    uniform = case.loop == "uniform"
    lines = ["mov tmu_noswap, 1"]
    names = ("ra27", "rb29", "rb24", "rb31", "rb27", "rb28", "rb25")
    lines += [f"mov {name}, unif" for name in names]
    lines += ["ldi rb26, -, 1024", "mov rb30, 1"]
    tile = len(lines)
    lines += ["mov unif_addr, ra27", "ldi r0, -, 12", "add ra27, ra27, r0", "nop"]
    # Lane e of A is e rows further on, or e elements; lane e of B e elements where it is a vector.
    lines += ["mov r1, unif", "mov ra25, unif", "mov ra28, unif"]
    lines += ["mul24 r3, elem_num, rb27", "nop", "add r1, r1, r3"]
    lines += ["mul24 r3, elem_num, rb28", "nop", "add ra25, ra25, r3"]
    lines += [f"ldi r0, -, {K}", "nop"]
    (_uniform_loop if uniform else _rotate_loop)(case, lines)
    _epilogue(case, lines)
    lines += ["mov r0, rb29", "nop", "sub.sf rb29, r0, rb30"]
    lines += [branch(lines, tile), "nop", "nop", "nop", *END]
    return words(lines)


def run_sgemm(case: Sgemm, timing: Any, clock_hz: float, memory: Optional[int] = None) -> RunReport:
    """Run a case on operands of zeros."""
    a_bytes = 4 * M * K + 4096
    b_bytes = 4 * K * case.columns + 2 * 4 * case.columns
    c_bytes = 4 * M * case.columns
    size = memory or a_bytes + b_bytes + c_bytes + (1 << 20)
    uniform = case.loop == "uniform"
    with Emulator(memory=size, timing=timing, clock_hz=clock_hz) as device:
        a, b, c = (device.alloc(nbytes) for nbytes in (a_bytes, b_bytes, c_bytes))
        program = device.load(sgemm_program(case))
        tables, streams, done = [], [], 0
        pitch = 4 * case.columns
        for qpu in range(case.n_qpus):
            table = []
            for row, column in case.tiles(qpu):
                first = 4 * row * K if case.gathers else 4 * row
                left = 4 * column * K if case.gathers_b else 4 * column
                table += [a.bus_address + first, b.bus_address + left]
                table += [c.bus_address + 4096 * done]
                done += 1
            buffer = device.alloc(4 * len(table) + 64)
            buffer.array(np.uint32, len(table))[:] = table
            tables.append(buffer)
            lane_of_a, step_of_a = (4 * K, 4) if case.gathers else (4, 4 * M)
            lane_of_b, step_of_b = (4 * K, 4) if case.gathers_b else (0 if uniform else 4, pitch)
            words_ = [buffer.bus_address, len(table) // 3, step_of_b, step_of_a]
            streams.append([*words_, lane_of_a, lane_of_b, 16 * lane_of_b])
        return device.execute(program, streams, timeout=1e6)
