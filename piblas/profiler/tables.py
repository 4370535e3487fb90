"""The summary of a profile as tables, and their plain text."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

from ..isa.counters import COUNTERS
from .figures import Figures, counter_name
from .roofs import roofs

__all__ = ["Table", "bar", "cause_text", "plain", "summary", "time_text"]

_CAUSES = {
    "issue": "issuing instructions",
    "uniform": "uniforms that have not arrived",
    "tmu": "TMU requests and results",
    "l2_port": "the port from L2 to the TMU caches",
    "sdram": "lines from memory",
    "vpm_read": "VPM reads",
    "dma": "DMA between VPM and memory",
    "mutex": "the mutex",
    "semaphore": "semaphores",
    "icache": "instruction fetches",
    "sfu": "the special function unit",
    "idle": "idle after the program's end",
}
_BAR = 24


class Table(NamedTuple):
    """Rows of texts under a title; ``align`` has "<" or ">" for each column."""

    title: str
    align: str
    columns: Tuple[str, ...]
    rows: Sequence[Tuple[str, ...]]


def cause_text(cause: str) -> str:
    """What a QPU waited for."""
    return _CAUSES.get(cause, cause)


def time_text(seconds: float) -> str:
    """Seconds with a fitting unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= scale:
            return f"{seconds / scale:.4g} {unit}"
    return f"{seconds / 1e-9:.4g} ns"


def bar(share: float, width: int = _BAR) -> str:
    """A share of 1 as a bar of "#"; anything above nothing shows."""
    return "#" * max(round(share * width), int(share > 0))


def plain(table: Table) -> str:
    """A table as text."""
    rows = ([table.columns] if any(table.columns) else []) + list(table.rows)
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [table.title]
    for row in rows:
        cells = (f"{cell:{side}{width}}" for cell, side, width in zip(row, table.align, widths))
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def heading(figures: Figures) -> str:
    """What ran, and where the figures come from."""
    kernels = ", ".join(
        f"{count} launches of kernel {name}" if count > 1 else f"kernel {name}"
        for name, count in figures.kernels.items()
    )
    qpus = f"{figures.n_qpus} QPU{'s' * (figures.n_qpus > 1)}"
    first = f"{figures.title}: {kernels}" if figures.title else kernels
    return f"{first} on {qpus}\n{figures.how}"


def summary(figures: Figures) -> List[Table]:
    """The tables of the summary; what the reports do not hold is left out."""
    tables = [_results(figures), _causes(figures), _paths(figures), _counters(figures)]
    return [table for table in tables if table is not None and table.rows]


def _results(figures: Figures) -> Table:
    rows: List[Tuple[str, ...]] = []
    if figures.seconds is not None:
        note = "the launch itself not included" if figures.origin == "simulated" else ""
        clocks = f"{figures.cycles:,} clocks" if figures.cycles is not None else ""
        rows.append(("time", time_text(figures.seconds), ", ".join(filter(None, (clocks, note)))))
    elif figures.issue_cycles and figures.clock_hz:
        least = figures.issue_cycles / figures.clock_hz
        rows.append(("time", "at least " + time_text(least), "if nothing ever waited"))
    rate, peak, issue = figures.flop_rate, figures.peak_rate, figures.issue_rate
    if rate:
        notes = [f"{figures.flops_kind} flops"]
        if peak:
            qpus = f"{figures.n_qpus} QPU{'s' * (figures.n_qpus > 1)}"
            notes.insert(0, f"{rate / peak:.1%} of the peak of {qpus}, {peak / 1e9:.1f}")
        rows.append(("rate", f"{rate / 1e9:.2f} GFLOPS", ", ".join(notes)))
    if issue:
        note = "these instructions, if nothing ever waited"
        rows.append(("", f"{issue / 1e9:.2f} GFLOPS", note))
    if figures.useful_flops and figures.executed_flops is not None:
        more = figures.executed_flops / figures.useful_flops - 1
        note = f"{more:.1%} more than the {figures.useful_flops:,} of the routine"
        if more < 0:  # comparisons are no flops, and of a solve the host computes a part
            note = f"{1 + more:.1%} of the {figures.useful_flops:,} of the routine"
        rows.append(("executed", f"{figures.executed_flops:,} flops", note))
    if figures.instructions is not None:
        note = ""
        if figures.cycles:
            share = 4 * figures.instructions / (figures.cycles * figures.n_qpus)
            note = f"in {share:.1%} of all slots"
        rows.append(("instructions", f"{figures.instructions:,}", note))
    waits = {cause: n for cause, n in (figures.stalls or {}).items() if cause != "issue"}
    if any(waits.values()):
        cause = max(waits, key=lambda name: waits[name])
        share = waits[cause] / sum((figures.stalls or {}).values())
        rows.append(("longest wait", f"{share:.1%}", f"{cause}: {cause_text(cause)}"))
    for path in roofs(figures):
        carried, _, limit = path.text(figures.seconds or 1.0).partition(" of ")
        rows.append((path.name, f"{carried} MB/s", f"of {limit} that the timing set allows"))
    return Table("Result", "<><", ("", "", ""), rows)


def _causes(figures: Figures) -> Optional[Table]:
    if figures.stalls is None:
        return None
    total = sum(figures.stalls.values()) or 1
    rows = []
    per_qpu = figures.qpu_stalls
    for cause, clocks in figures.stalls.items():
        if not clocks:
            continue
        row: Tuple[str, ...] = (cause, f"{clocks:,}", f"{clocks / total:.1%}", bar(clocks / total))
        if per_qpu is not None:
            own = per_qpu[cause]
            row += (f"{own.min():,} to {own.max():,}",)
        rows.append((clocks, row + (cause_text(cause),)))
    rows.sort(key=lambda item: (item[1][0] != "issue", -item[0]))
    spread = ("of one QPU",) if per_qpu is not None else ()
    return Table(
        f"Where the clocks of the QPUs went ({total:,} in all)",
        "<>><" + ">" * len(spread) + "<",
        ("cause", "clocks", "share", "") + spread + ("waiting for",),
        [row for _, row in rows],
    )


def _paths(figures: Figures) -> Optional[Table]:
    if figures.bytes is None:
        return None
    rows = []
    for path, count in figures.bytes.items():
        if not count:
            continue
        rate = f"{count / figures.seconds / 1e6:,.0f} MB/s" if figures.seconds else ""
        flops = (f"{figures.flops / count:.2f}",) if figures.flops else ()
        rows.append((path, f"{count:,}", rate) + flops)
    columns: Tuple[str, ...] = ("path", "bytes", "rate")
    if figures.flops:
        columns += (f"{figures.flops_kind} flops a byte",)
    return Table("Bytes by path", "<>>>", columns, rows)


def _counters(figures: Figures) -> Optional[Table]:
    if figures.counters is None:
        return None
    rows = [
        (
            str(number),
            counter_name(number),
            f"{value:,}",
            COUNTERS[number].meaning if number in COUNTERS else "",
        )
        for number, value in sorted(figures.counters.items())
    ]
    return Table("V3D performance counters", "><><", ("id", "name", "count", "counts"), rows)


def text(figures: Figures, tables: Sequence[Table]) -> str:
    """Heading and tables as plain text."""
    return "\n\n".join([heading(figures)] + [plain(table) for table in tables])
