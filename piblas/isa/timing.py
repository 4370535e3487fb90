"""What the parts of the chip cost in time: one row a parameter, three values a row.

The guide gives structure and a few counts; most latencies are published measurements of others, or
derived from such measurements, or guesses.  Each row says which, and spans a range: the set
``calibrated`` is the most probable value, ``pessimistic`` and ``optimistic`` are the ends.  A
result should be given for all three.

Units: "clk" is a clock of the V3D block, four of them an instruction slot; "ns" are times of the
memory outside the block, which do not scale with its clock; "MB/s" is 10**6 bytes a second.

Three readings of the published line rates are possible (:data:`READINGS`): the memory limits them
("memory", the default), or a port from L2 to all first-level caches that hands out a line every 8
clk ("port"), or TMUs that stand still for 30 clk at every miss ("blocking").  Only the first
reproduces all the published sgemms: ``python -m bench calibrate`` shows what the others miss.  A
conclusion should hold under all three.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Tuple, Union

from ..errors import PiblasError

__all__ = [
    "CAUSES", "READINGS", "ROWS", "SETS", "Row", "Timing", "TimingError", "memory_rate",
    "timing_set",
]  # fmt: skip

SETS = ("pessimistic", "calibrated", "optimistic")

CAUSES = (
    "issue", "uniform", "tmu", "l2_port", "sdram", "vpm_read", "dma", "mutex", "semaphore",
    "icache", "sfu", "idle",
)  # fmt: skip
"""What the clocks of a QPU go to; each clock belongs to exactly one.

"issue" is an instruction's own four clocks.  A wait for a TMU result or a uniform is split: what
its line waited for memory is "sdram", for the port from L2 "l2_port", the rest "tmu" or "uniform".
  "vpm_read" is any wait for the VPM's port, "idle" the time behind a program's end.
"""

DOCUMENTED, MEASURED, DERIVED, GUESSED = "documented", "measured", "derived", "guessed"


class TimingError(PiblasError, ValueError):
    """A timing set that does not exist, or a parameter with an impossible value."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A parameter: its values in the order of :data:`SETS`, unit, source and confidence.

    ``grows`` is +1 where a larger value means a slower chip, -1 where it means a faster one, and 0
    for sizes of caches, where neither is certain.
    """

    name: str
    unit: str
    values: Tuple[int, int, int]
    confidence: str
    source: str
    grows: int = 1


_QU3 = "efficiency of uniform streams, imrc.noip.me/blog/vc4/QU3,4,5,6"
_FORUM = "stall counts in doe300/VC4C doc/TODO.txt, after a forum post of Sugizaki"
_QT31 = "counters over access patterns, imrc.noip.me/blog/vc4/QT31"
_ADDENDUM = "maazl/vc4asm doc/VideoCoreIV-addendum.html"

ROWS: Tuple[Row, ...] = (
    # --- issue
    Row("issue", "clk", (4, 4, 4), DOCUMENTED, "guide, p. 15; one instruction in 4 clk"),
    # --- uniforms
    Row("uniform_fifo", "words", (2, 2, 2), MEASURED,
        "words fetched ahead, imrc.noip.me/blog/vc4/QI3", 0),
    Row("uniform_cache_lines", "lines", (16, 64, 64), GUESSED,
        "1 to 4 KiB a slice, direct mapped; nothing published", 0),
    Row("uniform_cache_hit", "clk", (16, 8, 4), GUESSED,
        "line in the uniforms cache to FIFO; nothing published"),
    Row("uniform_l2", "clk", (48, 30, 16), GUESSED,
        "line in L2 to FIFO; nothing published"),
    Row("uniform_sdram", "ns", (52, 108, 152), DERIVED,
        "with uniform_l2 61, 57, 54 clk a line at 250 MHz: fits " + _QU3),
    Row("uniform_restart", "ns", (1000, 700, 300), DERIVED,
        "more for the first line after a write of the uniforms address: fits py-videocore's sgemm, "
        "which writes it once a step; its five lines take 92 clk on average at 250 MHz, and 50 to "
        "110 are what its published times allow.  That it is the first line which takes longer, "
        "and not each a little, is an assumption"),
    # --- TMU
    Row("tmu_hit", "clk", (36, 36, 36), MEASURED, "9 slots from request to result; " + _FORUM),
    Row("tmu_rate", "clk", (20, 16, 8), DERIVED,
        "a request; 6 TMUs at 1 texel/clk are the advertised 1.5 Gtexel/s"),
    Row("tmu_l2", "clk", (34, 24, 18), DERIVED,
        "more for a line in L2; between 9 slots (hit) and 20 slots (memory), " + _FORUM),
    Row("tmu_sdram", "ns", (240, 108, 104), DERIVED,
        "more for a line in memory; 20 slots from request to result, " + _FORUM),
    Row("tmu_miss_block", "clk", (0, 0, 0), DERIVED,
        "time a TMU stands still at a miss; the other reading of l2_port_line"),
    # --- L2 and memory
    Row("l2_sets", "sets", (128, 128, 512), MEASURED,
        "32 KiB with a question mark, 4 ways; " + _ADDENDUM + "; " + _QT31, 0),
    Row("l2_port_line", "clk", (10, 6, 4), DERIVED,
        "a line, for the whole GPU; 4 to 10 are suggested by qmkl pull request 30, pi-gemm and "
        "qmkl issue 42; beyond 6 a gather of A costs time, which it does not (qmkl pull request "
        "40: RNN = RTN)"),
    Row("sdram_rate", "MB/s", (1000, 2300, 3000), DERIVED,
        "fits qmkl pull request 40: 15.8 GFLOPS move 2.2 GB/s of A, B and C, as B shares no lines "
        "in 32 KiB of L2; 3600 MB/s is the peak of 450 MHz LPDDR2.  High: read rates of the CPUs "
        "and that kernel with a larger L2 would give 1000 to 2200, but with 2200 it reaches 15.0 "
        "GFLOPS, 1.05 times those of its longer loop, and published are 15.8 and 1.126 times; "
        "nobody has measured the QPUs' rate", -1),
    Row("memory_others", "MB/s", (0, 0, 0), DERIVED,
        "what display and CPU take of sdram_rate, at most half of it; a plane of 1920 x 1080 x 32 "
        "bit at 60 Hz takes 498.  A workload, not a property of the chip: 0 unless said"),
    # --- VPM and DMA
    Row("vpm_read_setup", "clk", (24, 24, 16), MEASURED,
        "5 slots between a read setup and its first vector, imrc.noip.me/blog/vc4/QV56"),
    Row("vpm_port", "clk", (16, 4, 4), GUESSED, "a vector, all QPUs together; nothing published"),
    Row("dma_load_row", "clk", (20, 20, 20), MEASURED, "5 slots a row of 16 words; " + _FORUM),
    Row("dma_load_word", "clk", (8, 8, 8), MEASURED, "2 slots a row of one word; " + _FORUM),
    Row("dma_load_start", "clk", (24, 24, 24), MEASURED, "6 slots a transfer; " + _FORUM),
    Row("dma_store_row", "clk", (28, 14, 14), MEASURED, "3.5 slots a row of 16 words; " + _FORUM),
    Row("dma_store_word", "clk", (16, 8, 8), MEASURED, "2 slots a row of one word; " + _FORUM),
    Row("dma_store_start", "clk", (80, 40, 40), MEASURED,
        "10 slots a transfer, " + _FORUM + "; twice that in mn416/QPULib's stores of one row"),
    # --- instruction cache
    Row("icache_l2", "clk", (45, 30, 16), GUESSED, "a line from L2; nothing published"),
    Row("icache_sdram", "ns", (180, 120, 60), GUESSED, "more for a line in memory"),
    Row("icache_ahead", "lines", (0, 1, 1), GUESSED,
        "lines fetched ahead; straight code seems not to stall, imrc.noip.me/blog/vc4/QI3", -1),
    # --- synchronisation and SFU
    Row("mutex", "clk", (40, 8, 4), GUESSED,
        "an acquisition; nothing published, nor who is next: here who had it least recently"),
    Row("semaphore", "clk", (0, 0, 0), MEASURED,
        "two QPUs hand over every 7 instructions at 0.9999 of issue, imrc.noip.me/blog/vc4/QI10"),
    Row("sfu", "clk", (16, 16, 4), GUESSED,
        "an operation, one SFU a slice; \"4 instructions, cannot be pipelined\" second hand"),
    # --- launches
    Row("launch_mailbox", "us", (150, 100, 80), MEASURED,
        "a launch through the firmware, raspberrypi/userland hello_fft/gpu_fft.txt"),
    Row("launch_registers", "us", (25, 20, 10), DERIVED,
        "a launch through V3D registers, from batch times in gpu_fft.txt"),
)  # fmt: skip
"""All parameters of the model."""

READINGS: Mapping[str, Mapping[str, Tuple[int, int, int]]] = {
    "memory": {},
    "port": {"l2_port_line": (10, 8, 8)},
    "blocking": {"l2_port_line": (0, 0, 0), "tmu_miss_block": (30, 30, 30)},
}
"""Readings of the published line rates: what each changes, in the order of :data:`SETS`."""

_BY_NAME: Dict[str, Row] = {row.name: row for row in ROWS}
_SMALLEST = {
    "issue": 1, "uniform_fifo": 0, "uniform_cache_lines": 1, "l2_sets": 1, "sdram_rate": 1,
}  # fmt: skip
_LARGEST = {"uniform_cache_lines": 64, "l2_sets": 512, "icache_ahead": 4, "uniform_fifo": 16}
_POWERS = ("uniform_cache_lines", "l2_sets")


def _check(self: Any) -> None:
    for row in ROWS:
        value = getattr(self, row.name)
        low, high = _SMALLEST.get(row.name, 0), _LARGEST.get(row.name, 1_000_000)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            raise TimingError(
                f"timing: {row.name} = {value!r} {row.unit}: choose an integer, {low} to {high}"
            )
        if row.name in _POWERS and value & (value - 1):
            raise TimingError(f"timing: {row.name} = {value} is no power of two")


_fields: List[Any] = [("name", str, "custom")]
_fields += [(row.name, int, row.values[SETS.index("calibrated")]) for row in ROWS]

Timing: Any = dataclasses.make_dataclass(
    "Timing",
    _fields,
    frozen=True,
    namespace={
        "__doc__": "One attribute a row of :data:`ROWS`, and the set's ``name``.",
        "__post_init__": _check,
        "__module__": __name__,
    },
)


def timing_set(name: str = "calibrated", reading: str = "memory", **changes: int) -> Any:
    """The set ``name`` under one of the :data:`READINGS`, with some parameters changed."""
    if name not in SETS:
        raise TimingError(f"timing = {name!r}: choose off, {', '.join(SETS)} or a Timing")
    if reading not in READINGS:
        raise TimingError(f"reading = {reading!r}: choose {', '.join(READINGS)}")
    for key in changes:
        if key not in _BY_NAME:
            raise TimingError(f"timing: there is no parameter {key!r}")
    column = SETS.index(name)
    values: Dict[str, Union[int, str]] = {row.name: row.values[column] for row in ROWS}
    values.update({key: row[column] for key, row in READINGS[reading].items()})
    values.update(changes)
    label = name if reading == "memory" else f"{name}, {reading}"
    values["name"] = f"{label}, changed" if changes else label
    return Timing(**values)


def memory_rate(timing: Any) -> float:
    """Bytes a second that memory has for the QPUs: what others leave, at least half."""
    return 1e6 * max(timing.sdram_rate - timing.memory_others, timing.sdram_rate / 2)
