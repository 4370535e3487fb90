"""Published loops, re-created for timing: same instruction counts, same paths, same tile.

Two sgemm loops stand for published ones: both keep a tile of 16 x 64 in the registers, the 16 rows
of A in the elements of a vector, and multiply 96 x 363 by 363 x n with QPU (i, j) of 2 x 6.

- ``uniform``: B comes as 64 uniforms a step, the address is rewritten at each step; 67
  instructions.
- ``rotate``: B comes as four vectors through TMU1, elements are spread by rotations; 164, 158 or
  126 instructions a step, of which 64 multiply and add and 32 rotate.

Either takes A through TMU0, as a gather with A's stride ("RNN") or as contiguous lines ("RTN").  A
QPU goes along a row of tiles before it goes down, as the published programs do; a tile ends under
the mutex with four blocks of 16 x 16 through the VPM, in and out.  The loops move the data of a
product but do not compute it: a few sums give way to counters and addresses, and results are not
used.  The tiles of C lie one behind the other.

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
    """A published sgemm: its loop, instructions a step of k, columns of B, QPUs."""

    loop: str
    instructions: int
    columns: int = 3072
    n_qpus: int = 12
    gathers: bool = True

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


def _fma(index: int, factor: str) -> str:
    """One of the 64: a sum in a register, and the next product."""
    place = f"rb{index % 24}"
    return f"fadd {place}, {place}, r3; fmul r3, r2, {factor}"


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


def _rotate_loop(case: Sgemm, lines: List[str]) -> None:
    """Four vectors of B: for each a result, a request for the next step, 8 rotations, 16 FMA."""
    plain = case.instructions - 96
    chunk = []
    for vector in range(4):
        part = [
            "nop; ldtmu1",
            "mov r0, r4; m_mov t1s, ra25",
            "add ra25, ra25, rb25",
        ]
        if vector == 0:
            part = ["nop; ldtmu0", "mov r2, r4; m_mov t0s, r1", "add r1, r1, rb31", *part]
        if vector == 3:
            part += ["sub.sf ra26, ra26, 1", "add ra25, ra25, rb24"]
        body = []
        for pair in range(8):
            index = 16 * vector + 2 * pair
            body += [f"m_mov r5rep, r0 rot {1 + (2 * pair + vector) % 15}"]
            body += [_fma(index, "r5"), _fma(index + 1, "r5")]
        chunk.append((part, body))
    used = sum(len(part) for part, _ in chunk) + 1
    spare = plain - used
    for vector, (part, _) in enumerate(chunk):
        part += ["nop"] * (spare // 4 + (vector < spare % 4))
    lines += ["mov ra26, r0"]
    lines += ["mov t0s, r1", "add r1, r1, rb31"]
    for _ in range(4):
        lines += ["mov t1s, ra25", "nop", "add ra25, ra25, rb25", "nop"]
    lines += ["add ra25, ra25, rb24", "nop"]
    top = len(lines)
    for part, body in chunk:
        lines += part + body
    tail = lines[-3:]
    del lines[-3:]
    lines += [branch(lines, top), *tail]
    assert len(lines) - top == case.instructions
    lines += ["nop; ldtmu0"] + ["nop; ldtmu1"] * 4


def _epilogue(lines: List[str]) -> None:
    """Four blocks of 16 x 16: from memory, multiply and add, back to memory.

    The loads are started one behind the other; a store runs while the next block is computed.
    """
    lines += ["mov -, mutex", "mov ra29, ra28"]
    for block in range(COLUMNS // 16):
        lines += [
            f"ldi -, vpm_rd_setup, {sw.vdr_load(16, 16, 16 * block, pitch=64):#x}",
            "mov vdr_addr, ra29",
            "add ra29, ra29, rb26",
            "nop",
        ]
    for block in range(COLUMNS // 16):
        if block == 3:
            lines += ["mov -, vdr_wait"]
        lines += [
            f"ldi -, vpm_rd_setup, {sw.vpm_read(16, 16 * block):#x}",
            f"ldi -, vpm_wr_setup, {sw.vpm_write(16 * block):#x}",
            "nop",
            "nop",
        ]
        for row in range(16):
            lines += ["fmul r3, r2, vpm", f"fadd vpm, rb{row}, r3"]
        lines += [
            f"ldi -, vpm_wr_setup, {sw.vdw_store(16, 16, 16 * block):#x}",
            f"ldi -, vpm_wr_setup, {sw.vdw_stride(0):#x}",
            "mov vdw_addr, ra28",
            "add ra28, ra28, rb26",
        ]
    lines += ["mov -, vdw_wait", "mov mutex, 0"]


def sgemm_program(case: Sgemm) -> List[int]:
    """The program of a case; its stream holds three addresses a tile and is read anew by address.

    ra25 B, ra26 and r0 counters, ra27 stream, ra28 C, r1 A, r2 vector of A; rb24 to the next row of
    B, rb25 and rb26 strides, rb29 tiles, rb30 1, rb31 to the next element or row of A.
    """
    uniform = case.loop == "uniform"
    lines = ["mov tmu_noswap, 1"]
    lines += [f"mov {name}, unif" for name in ("ra27", "rb29", "rb24", "rb31", "rb27", "rb28")]
    lines += ["ldi rb25, -, 64", "ldi rb26, -, 1024", "mov rb30, 1"]
    tile = len(lines)
    lines += ["mov unif_addr, ra27", "ldi r0, -, 12", "add ra27, ra27, r0", "nop"]
    # Lane e of A is e rows further on, or e elements; lane e of B e elements where it is a vector.
    lines += ["mov r1, unif", "mov ra25, unif", "mov ra28, unif"]
    lines += ["mul24 r3, elem_num, rb27", "nop", "add r1, r1, r3"]
    lines += ["mul24 r3, elem_num, rb28", "nop", "add ra25, ra25, r3"]
    lines += [f"ldi r0, -, {K}", "nop"]
    (_uniform_loop if uniform else _rotate_loop)(case, lines)
    _epilogue(lines)
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
                table += [a.bus_address + first, b.bus_address + 4 * column]
                table += [c.bus_address + 4096 * done]
                done += 1
            buffer = device.alloc(4 * len(table) + 64)
            buffer.array(np.uint32, len(table))[:] = table
            tables.append(buffer)
            lane_of_a, step_of_a = (4 * K, 4) if case.gathers else (4, 4 * M)
            next_row = pitch if uniform else pitch - 256
            words_ = [buffer.bus_address, len(table) // 3, next_row, step_of_a, lane_of_a]
            streams.append([*words_, 0 if uniform else 4])
        return device.execute(program, streams, timeout=1e6)
