"""Instructions by what they cost: blocks, source lines, single words, an annotated listing.

Counts of several launches add up where they ran the same code.  Executed words are matched with the
programs that this process has built (:func:`piblas.kernels.spec.built`), which know the generator's
source line of every word; code of other origin is shown without.

A block is a run of words that were issued equally often: a loop's body, mostly.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..codegen import Program
from ..driver.detail import Hot
from ..driver.device import RunReport
from ..isa.disasm import disassemble
from ..kernels import spec
from .tables import Table

__all__ = ["HotProgram", "Places", "annotated", "facts", "hot_programs", "hot_tables"]

_WORD = 8
_NAMED = 2
"""Causes that a row names."""


@dataclass(frozen=True)
class HotWord:
    """A word of a program: its index, how often it was issued, clocks by cause."""

    index: int
    word: int
    issued: int
    clocks: np.ndarray

    @property
    def total(self) -> int:
        return int(self.clocks.sum())


class HotProgram:
    """What one program's words cost over all launches.

    ``program`` is None if its generator is not known; ``words`` are the executed ones, by index.
    """

    def __init__(
        self, name: str, program: Optional[Program], causes: Tuple[str, ...], words: List[HotWord]
    ) -> None:
        self.name, self.program, self.causes, self.words = name, program, causes, words
        self.total = sum(word.total for word in words)

    def source(self, index: int) -> str:
        """The generator's "file:line" of a word."""
        return os.path.basename(self.program.source_map.get(index, "")) if self.program else ""

    def text(self, word: HotWord) -> str:
        return disassemble(word.word)

    def share(self, clocks: int) -> str:
        return f"{clocks / self.total:.1%}" if self.total else ""

    def waits(self, clocks: np.ndarray) -> str:
        """The largest waits among clocks by cause, as text."""
        order = np.argsort(-clocks, kind="stable")
        named = [i for i in order if clocks[i] and self.causes[i] != "issue"][:_NAMED]
        return ", ".join(f"{self.causes[i]} {clocks[i]:,}" for i in named)

    def blocks(self) -> List[List[HotWord]]:
        """Runs of words with equal counts."""
        blocks: List[List[HotWord]] = []
        for word in self.words:
            last = blocks[-1][-1] if blocks else None
            if last and last.index + 1 == word.index and last.issued == word.issued:
                blocks[-1].append(word)
            else:
                blocks.append([word])
        return blocks


# --- from reports ------------------------------------------------------------------------------


def _regions(hot: Hot) -> List[Tuple[int, slice]]:
    """(address of its first word, its rows) of each program of a launch."""
    starts = sorted(set(hot.starts))
    edges = list(np.searchsorted(hot.addresses, starts)) + [len(hot.addresses)]
    edges[0] = 0  # code below the first start is counted with it
    return [
        (start, slice(first, last))
        for start, first, last in zip(starts, edges, edges[1:])
        if last > first
    ]


def _find(built: Sequence[Program], indices: np.ndarray, words: np.ndarray) -> Optional[Program]:
    """The program that has these words at these indices."""
    if not len(indices) or indices[0] < 0:
        return None
    for program in built:
        if indices[-1] < len(program.words) and np.array_equal(program.words[indices], words):
            return program
    return None


def _clocks(hot: Hot) -> Mapping[str, np.ndarray]:
    """Clocks by cause; without a clock model, those that the issues alone take."""
    return hot.stalls or {"issue": 4 * hot.issued}


class _Sum:
    """Counts of one program, launch after launch; the key of a word is (index, word)."""

    def __init__(self, name: str, program: Optional[Program]) -> None:
        self.name, self.program = name, program
        self.issued: Dict[Tuple[int, int], int] = {}
        self.clocks: Dict[Tuple[int, int], np.ndarray] = {}

    def add(self, indices: np.ndarray, hot: Hot, rows: slice, causes: Tuple[str, ...]) -> None:
        zeros = np.zeros(len(hot.addresses), dtype=np.int64)
        stalls = _clocks(hot)
        clocks = np.stack([stalls.get(cause, zeros)[rows] for cause in causes], axis=1)
        words, issued = hot.words[rows].tolist(), hot.issued[rows].tolist()
        for i, key in enumerate(zip(indices.tolist(), words)):
            self.issued[key] = self.issued.get(key, 0) + issued[i]
            self.clocks[key] = self.clocks.get(key, 0) + clocks[i]


def hot_programs(reports: Sequence[RunReport]) -> List[HotProgram]:
    """The programs of all launches that counted instructions, the costliest first."""
    counted = [(report.kernel, report.hot) for report in reports if report.hot is not None]
    names = dict.fromkeys(cause for _, hot in counted for cause in _clocks(hot))
    causes = tuple(names)
    built = spec.built()
    sums: Dict[Any, _Sum] = {}
    for kernel, hot in counted:
        for start, rows in _regions(hot):
            indices = (hot.addresses[rows] - start) // _WORD
            program = _find(built, indices, hot.words[rows])
            name = program.name if program else (kernel or f"code at {start:#010x}")
            key = id(program) if program else start
            sums.setdefault(key, _Sum(name, program)).add(indices, hot, rows, causes)
    programs = [
        HotProgram(
            each.name,
            each.program,
            causes,
            [HotWord(*key, each.issued[key], each.clocks[key]) for key in sorted(each.issued)],
        )
        for each in sums.values()
    ]
    return sorted(programs, key=lambda each: -each.total)


class Places:
    """What is at an address of a launch: instruction and source line."""

    def __init__(self, reports: Sequence[RunReport]) -> None:
        self._known: Dict[int, Dict[str, str]] = {}
        built = spec.built()
        for hot in (report.hot for report in reports if report.hot is not None):
            for start, rows in _regions(hot):
                addresses, words = hot.addresses[rows], hot.words[rows]
                program = _find(built, (addresses - start) // _WORD, words)
                for address, word in zip(addresses.tolist(), words.tolist()):
                    offset = address - start
                    place = {"offset": f"{offset:04x}", "instruction": disassemble(word)}
                    if program and offset // _WORD in program.source_map:
                        source = program.source_map[offset // _WORD]
                        place["generator"] = os.path.basename(source)
                    self._known[address] = place

    def at(self, address: int) -> Dict[str, str]:
        """Facts for the reader; just the address where no instruction was counted."""
        return self._known.get(address, {"address": f"{address:#010x}"})


# --- tables ------------------------------------------------------------------------------------


def blocks_table(hot: HotProgram, limit: int = 8) -> Table:
    """Blocks by their clocks."""
    rows: List[Tuple[str, ...]] = []
    for block in sorted(hot.blocks(), key=lambda block: -sum(word.total for word in block)):
        clocks = np.sum([word.clocks for word in block], axis=0)
        total, issued = int(clocks.sum()), block[0].issued
        if not total or len(rows) == limit:
            break
        slots = 4 * len(block)
        rows.append(
            (
                f"{_WORD * block[0].index:04x}..{_WORD * block[-1].index:04x}",
                f"{len(block)}",
                f"{issued:,}",
                hot.share(total),
                f"{slots}",
                f"{total / issued:.1f}" if issued else "",
                hot.waits(clocks),
            )
        )
    title = f"Blocks of {hot.name}"
    columns = ("address", "words", "passes", "clocks", "issue/pass", "clocks/pass", "waits")
    return Table(title, "<>>>>><", columns, rows)


def lines_table(hot: HotProgram, limit: int = 10) -> Table:
    """Source lines of the generator by their clocks."""
    lines: Dict[str, List[HotWord]] = {}
    if hot.program is None:
        return Table("", "", (), [])
    for word in hot.words:
        # The assembler's own words, such as nops in delay slots, come from no line.
        lines.setdefault(hot.source(word.index) or "-", []).append(word)
    order = sorted(lines.items(), key=lambda item: -sum(word.total for word in item[1]))
    rows = []
    for source, words in order[:limit]:
        clocks = np.sum([word.clocks for word in words], axis=0)
        issued = sum(word.issued for word in words)
        rows.append(
            (
                source,
                f"{len(words)}",
                f"{issued:,}",
                f"{int(clocks.sum()):,}",
                hot.share(int(clocks.sum())),
                hot.waits(clocks),
            )
        )
    columns = ("generator", "words", "issued", "clocks", "share", "waits")
    return Table(f"Source lines of {hot.name}", "<>>>><", columns, rows)


def words_table(hot: HotProgram, limit: int = 15) -> Table:
    """Single instructions by their clocks."""
    rows = []
    for word in sorted(hot.words, key=lambda word: -word.total)[:limit]:
        rows.append(
            (
                f"{_WORD * word.index:04x}",
                f"{word.issued:,}",
                f"{word.total:,}",
                hot.share(word.total),
                hot.waits(word.clocks),
                hot.text(word),
                hot.source(word.index),
            )
        )
    columns = ("address", "issued", "clocks", "share", "waits", "instruction", "generator")
    return Table(f"Instructions of {hot.name}", "<>>><<<", columns, rows)


def hot_tables(hot: HotProgram, limit: int = 15) -> List[Table]:
    """Blocks, source lines and instructions; ``limit`` of the latter."""
    tables = [blocks_table(hot), lines_table(hot, min(limit, 10)), words_table(hot, limit)]
    return [table for table in tables if table.rows]


def facts(hot: HotProgram) -> Dict[str, Any]:
    """Every executed word as plain values, for JSON."""
    rows = []
    for word in hot.words:
        row = {
            "offset": _WORD * word.index,
            "word": f"{word.word:016x}",
            "text": hot.text(word),
            "issued": word.issued,
            "clocks": {c: int(n) for c, n in zip(hot.causes, word.clocks) if n},
        }
        if hot.source(word.index):
            row["generator"] = hot.source(word.index)
        rows.append(row)
    return {"program": hot.name, "clocks": hot.total, "words": rows}


_MARK = 10
_HEADER = "share       address       issued        clocks  instruction"


def annotated(hot: HotProgram) -> str:
    """The program's listing with issue counts, clocks and waits beside each word.

    Words that never ran are there too, without counts, where the program is known.
    """
    by_index: Dict[int, List[HotWord]] = {}
    for word in hot.words:
        by_index.setdefault(word.index, []).append(word)
    labels: Dict[int, List[str]] = {}
    if hot.program:
        for label, index in hot.program.labels.items():
            labels.setdefault(index, []).append(label)
        words = {i: int(word) for i, word in enumerate(hot.program.words[: hot.program.length])}
    else:
        words = {}
    most = max((word.total for word in hot.words), default=0) or 1
    lines = [f"# {hot.name}: {hot.total:,} clocks on all QPUs", _HEADER]
    for index in sorted({*words, *by_index}):
        lines += [f"{label}:" for label in labels.get(index, ())]
        for word in by_index.get(index) or [HotWord(index, words[index], 0, np.zeros(0, int))]:
            mark = "#" * round(_MARK * word.total / most)
            counts = f"{word.issued:>12,}  {word.total:>12,}" if word.issued else f"{'':26}"
            text = f"{hot.text(word):<60}  {hot.source(index):<16}"
            waits = hot.waits(word.clocks) if word.issued else ""
            row = f"{mark:<{_MARK}}  {_WORD * index:04x}  {counts}  {text}  {waits}"
            lines.append(row.rstrip())
    return "\n".join(lines) + "\n"
