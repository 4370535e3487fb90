"""Small loops, each of which mostly costs what one or two timing parameters say.

A bench is a body that every QPU repeats; what is measured is the time of a turn, from the
difference between two numbers of turns, so that the launch and the beginning cost nothing.

Memory: the body may use ra20 (address of the region plus 4 times the element, or 64 times where it
gathers), rb20 (the same without the elements), rb21 (the region's size minus 1), rb22 (64, or 1024
where it gathers) and ra21 (an offset that :data:`_STEP` moves by that, within the region).
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..isa import setup_words as sw
from ..isa.instr import NOP, encode
from .programs import assembled

__all__ = ["BENCHES", "Bench", "NOT_SHOWN", "ROWS_OF", "bench", "per_turn", "words"]

KIB = 1024


class Bench(NamedTuple):
    """A loop and what it shows.

    - ``parameters``: rows of :mod:`piblas.isa.timing`, the main one first;
    - ``region``: bytes of memory that the turns go through, a power of two; ``apart``: every QPU
      has its own; ``gathers``: each element looks up a line of its own;
    - ``first``, ``last``: lines round the loop; ``other``: the body of QPU 1, where it differs;
    - ``stream``: uniforms that a turn takes;
    - ``turns``: the longer count on a board, worth about a hundredth of a second.
    """

    name: str
    parameters: Tuple[str, ...]
    what: str
    body: Sequence[str]
    n_qpus: int = 1
    region: int = 64
    apart: bool = False
    first: Sequence[str] = ()
    last: Sequence[str] = ()
    other: Sequence[str] = ()
    gathers: bool = False
    stream: int = 0
    turns: int = 20000


_STEP = ["add ra21, ra21, rb22", "nop", "and ra21, ra21, rb21", "nop"]
_LOOKUP = ["mov r0, ra21", "add t0s, ra20, r0"]
_WAIT = ["nop; ldtmu0"]


def _lookups(count: int = 4) -> List[str]:
    """``count`` lookups of a line each, one after the other, and a step behind each."""
    return count * [*_LOOKUP, *_STEP, *_WAIT]


def _ahead(count: int = 4) -> List[str]:
    """As many lookups, with four more under way."""
    return count * ["mov r0, ra21; ldtmu0", "add t0s, ra20, r0", *_STEP]


_FILL = 4 * ["mov r0, ra21", "add t0s, ra20, r0", *_STEP]
_DRAIN = 4 * _WAIT


def _new_stream() -> List[str]:
    """Four times: go to the next line of the region and read a uniform there."""
    return 4 * ["mov r0, rb20", "add unif_addr, ra21, r0", *_STEP[:3], "mov r1, unif"]


def _load(rows: int, length: int) -> List[str]:
    return [
        f"ldi vpm_rd_setup, -, {sw.vdr_load(rows, length, pitch=64):#x}",
        "mov vdr_addr, rb20",
        "mov -, vdr_wait",
    ]


def _store(rows: int, length: int) -> List[str]:
    return [
        f"ldi -, vpm_wr_setup, {sw.vdw_store(rows, length):#x}",
        f"ldi -, vpm_wr_setup, {sw.vdw_stride(64 - 4 * length):#x}",
        "mov vdw_addr, ra22",
        "mov -, vdw_wait",
    ]


def _vpm_reads(count: int) -> List[str]:
    setup = f"ldi vpm_rd_setup, -, {sw.vpm_read(count):#x}"
    return [setup, "nop", "nop", "nop", *count * ["mov r0, vpm"]]


def _nops(count: int) -> List[str]:
    """As data words: thousands of lines would take long to parse on a board."""
    return [".word " + ", ".join(count * [hex(encode(NOP))])]


def _stream(name: str, nops: int) -> Bench:
    body = 16 * ["mov r0, unif", *nops * ["nop"]]
    what = f"uniforms one after the other, {nops} instructions between"
    rows = ("uniform_sdram", "uniform_fifo") if nops == 0 else ("uniform_fifo", "uniform_sdram")
    return Bench(name, rows, what, body, stream=16, turns=6000)


BENCHES: Tuple[Bench, ...] = (
    Bench("issue", ("issue",), "32 instructions that wait for nothing", 32 * ["nop"]),
    _stream("uniform_stream", 0),
    _stream("uniform_stream_4", 4),
    Bench("uniform_hit", ("uniform_cache_hit", "uniform_restart"),
          "streams anew in one line, which the uniforms cache has", _new_stream(), region=64),
    Bench("uniform_4k", ("uniform_cache_lines",), "streams anew in 4 KiB",
          _new_stream(), region=4 * KIB, turns=6000),
    Bench("uniform_l2", ("uniform_l2", "uniform_restart"), "streams anew in 16 KiB, which L2 has",
          _new_stream(), region=16 * KIB, turns=6000),
    Bench("uniform_sdram", ("uniform_restart", "uniform_sdram"), "streams anew in 512 KiB",
          _new_stream(), region=512 * KIB, turns=6000),
    Bench("tmu_hit", ("tmu_hit",), "lookups of one line, each awaited", _lookups(), region=64),
    Bench("tmu_rate", ("tmu_rate",), "lookups of one line by the four QPUs of each slice, "
          "four under way in each", _ahead(), 12, 64, first=_FILL, last=_DRAIN),
    Bench("tmu_l2", ("tmu_l2",), "lookups in 16 KiB, which L2 has, each awaited",
          _lookups(), region=16 * KIB),
    Bench("tmu_gather", ("tmu_miss_block", "tmu_l2"), "lookups of 16 lines each in 16 KiB, which "
          "L2 has, four under way", _ahead(), region=16 * KIB, first=_FILL, last=_DRAIN,
          gathers=True),
    Bench("tmu_sdram", ("tmu_sdram",), "lookups in 512 KiB, each awaited",
          _lookups(), region=512 * KIB, turns=6000),
    Bench("l2_port", ("l2_port_line",), "the same by 12 QPUs", _ahead(), 12, 16 * KIB,
          first=_FILL, last=_DRAIN, gathers=True, turns=1500),
    Bench("l2_conflicts", ("l2_sets",), "lookups in 32 KiB, each awaited",
          _lookups(), region=32 * KIB, turns=6000),
    Bench("sdram", ("sdram_rate",), "lookups of 12 QPUs in 64 KiB each, four under way",
          _ahead(), 12, 64 * KIB, apart=True, first=_FILL, last=_DRAIN, turns=4000),
    Bench("vpm_read_setup", ("vpm_read_setup",), "a read setup and one vector", _vpm_reads(1)),
    Bench("vpm_port", ("vpm_port",), "12 QPUs read 16 vectors of the VPM", _vpm_reads(16), 12,
          turns=6000),
    Bench("dma_load_rows", ("dma_load_row",), "DMA loads of 16 rows of 16 words", _load(16, 16),
          region=KIB, turns=6000),
    Bench("dma_load_words", ("dma_load_word",), "DMA loads of 16 rows of a word", _load(16, 1),
          region=KIB, turns=6000),
    Bench("dma_load_one", ("dma_load_start",), "DMA loads of one row", _load(1, 16), region=KIB),
    Bench("dma_store_rows", ("dma_store_row",), "DMA stores of 16 rows of 16 words",
          _store(16, 16), region=KIB, turns=6000),
    Bench("dma_store_words", ("dma_store_word",), "DMA stores of 16 rows of a word",
          _store(16, 1), region=KIB, turns=6000),
    Bench("dma_store_one", ("dma_store_start",), "DMA stores of one row", _store(1, 16),
          region=KIB),
    Bench("icache_l2", ("icache_l2", "icache_ahead"), "1024 instructions, twice the cache",
          _nops(1024), turns=600),
    Bench("icache_sdram", ("icache_sdram",), "8192 instructions, twice L2", _nops(8192),
          turns=80),
    Bench("mutex", ("mutex",), "the mutex, taken and given back", 4 * ["mov -, mutex",
          "mov mutex, 0"]),
    Bench("semaphore", ("semaphore",), "two QPUs hand each other semaphores",
          ["sema_up 0", "sema_down 1"], 2, other=["sema_down 0", "sema_up 1"]),
    Bench("sfu", ("sfu",), "special functions of the four QPUs of each slice",
          4 * ["mov recip, r1", "nop", "nop", "mov r0, r4"], 12),
)  # fmt: skip

_BY_NAME = {row.name: row for row in BENCHES}
ROWS_OF = {name: row for row in reversed(BENCHES) for name in row.parameters}
"""The first bench that shows a parameter."""
for _row in BENCHES:
    ROWS_OF[_row.parameters[0]] = _row


NOT_SHOWN = {
    "memory_others": "what others take of sdram_rate: the bench sdram sees what they leave",
    "launch_mailbox": "a time of the host, see launch_1_us there",
    "launch_registers": "a time of the host, see launch_1_us there",
}
"""Rows that no loop on a QPU can show, and why."""


def bench(name: str) -> Bench:
    return _BY_NAME[name]


def words(row: Bench) -> List[int]:
    """The program; uniforms: region, its size - 1, place to store, turns, QPU (0 or not), ..., and
    the end's."""
    lines = [
        "mov tmu_noswap, 1",
        "mov rb20, unif",
        "mov rb21, unif",
        "mov ra22, unif",
        "mov ra23, unif",
        "mov.sf ra24, unif",
        "mov r0, elem_num",
        f"shl r0, r0, {6 if row.gathers else 2}",
        "mov r1, rb20",
        "add ra20, r0, r1",
        f"ldi -, rb22, {1024 if row.gathers else 64}",
        "mov ra21, 0",
        "mov r1, 1.0",
        "nop",
        *row.first,
    ]
    if row.other:
        lines += ["mov.sf -, ra24", "br.any_zc rel other", "nop", "nop", "nop"]
    lines += _loop("turn", row.body)
    if row.other:
        lines += ["br.always rel done", "nop", "nop", "nop", *_loop("other", row.other), "done:"]
    lines += row.last
    if not row.stream and "unif_addr" in " ".join(row.body):
        # Back to the stream of the launch, whose address is its last but one uniform.
        lines += ["mov unif_addr, rb23", "nop", "nop"]
        lines.insert(6, "mov rb23, unif")
    return assembled(lines, row.name)


def _loop(label: str, body: Sequence[str]) -> List[str]:
    loop = ["sub.sf ra23, ra23, 1", "nop", f"br.any_zc rel {label}", "nop", "nop", "nop"]
    return [f"{label}:", *body, *loop]


def _streams(row: Bench, base: int, out: int, turns: int, ends: Sequence[int]) -> List[Any]:
    """The uniforms of each QPU; ``ends`` are addresses of the end's word, for those that leave
    their stream."""
    made = []
    for qpu in range(row.n_qpus):
        start = base + (row.region * qpu if row.apart else 0)
        head = [start, row.region - 1, out, turns, qpu]
        if ends:
            head.append(ends[qpu])
        end = 0xFFFFFFFF if qpu else row.n_qpus - 1
        made.append(np.array([*head, *[0] * (row.stream * turns), end], np.uint32))
    return made


def run(device: Any, row: Bench, program: Any, buffers: Any, turns: int) -> Any:
    """One launch; the report."""
    memory, out, tail = buffers
    ends = []
    if "unif_addr" in " ".join(row.body):
        ends = [tail.bus_address + 64 * qpu for qpu in range(row.n_qpus)]
        words_ = tail.array(np.uint32, 16 * row.n_qpus)
        words_[:] = 0xFFFFFFFF
        words_[0] = row.n_qpus - 1
        tail.clean()
    streams = _streams(row, memory.bus_address, out.bus_address, turns, ends)
    return device.execute(program, streams, timeout=10.0)


def per_turn(
    device: Any, row: Bench, turns: Tuple[int, int], repeats: int = 1
) -> Tuple[float, float, Any]:
    """Seconds of a turn, how far repetitions scatter (in seconds of a turn), and a report of the
    longer launch.

    The best of ``repeats`` launches of each length, because what disturbs only adds.
    """
    size = row.region * (row.n_qpus if row.apart else 1)
    held: List[Any] = []
    try:
        for nbytes in (max(size, 4 * KIB), 4 * KIB, 4 * KIB):
            buffer = device.alloc(nbytes)
            held.append(buffer)
            buffer.array(np.uint32)[...] = 0
            buffer.clean()
        buffers = tuple(held)
        program = device.load(words(row))
        held.append(program)
        best, scatter, report = [], 0.0, None
        for count in turns:
            reports = [run(device, row, program, buffers, count) for _ in range(repeats)]
            report = min(reports, key=lambda one: one.seconds)
            best.append(report.seconds)
            scatter += sorted(one.seconds for one in reports)[repeats // 2] - best[-1]
        longer = turns[1] - turns[0]
        return (best[1] - best[0]) / longer, scatter / longer, report
    finally:
        for each in held:
            each.free()
