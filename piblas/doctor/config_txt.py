"""The firmware's configuration, config.txt: which of its lines are in force on this board.

A section begins with a filter in brackets, and its lines count where the filter holds.  Filters of
different kinds add up until ``[all]`` resets them, and one replaces another of its kind; a board
may answer to several names (a 3 B+ to ``[pi3]`` and ``[pi3+]``).  What only the boot knew (a
monitor, a pin, a retried boot) cannot be decided afterwards: such lines may be in force, and name
their section.  (raspberrypi/documentation: computers/config_txt/conditional.adoc; that filters of
two pins replace each other: raspberrypi/firmware issue 1569.)
"""

from __future__ import annotations

import os
import re
from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Set, Tuple

from ..driver import soc

__all__ = ["CONFIGS", "ConfigLine", "config_lines", "config_path"]

CONFIGS = ("/boot/firmware/config.txt", "/boot/config.txt")
"""From Bookworm on; up to Bullseye."""
_LENGTH = 98
"""The firmware ignores the rest of a line."""
_DEPTH = 8
"""Files that include each other end here."""

# What each model answers to, by a pattern of its name in the device tree; the first match counts.
_MODELS: Tuple[Tuple[str, str], ...] = (
    (r"Compute Module 5", "pi5 cm5"),
    (r"Pi 500", "pi5 pi500"),
    (r"Pi 5\b", "pi5"),
    (r"Compute Module 4S", "pi4 cm4s"),
    (r"Compute Module 4", "pi4 cm4"),
    (r"Pi 400", "pi4 pi400"),
    (r"Pi 4\b", "pi4"),
    (r"Compute Module 3", "pi3"),
    (r"Pi 3 Model [AB]( Plus|\+)", "pi3 pi3+"),
    (r"Pi 3\b", "pi3"),
    (r"Pi 2\b", "pi2"),
    (r"Pi Zero 2", "pi0 pi0w pi02"),
    (r"Pi Zero W", "pi0 pi0w"),
    (r"Pi Zero", "pi0"),
    (r"Pi (Model [AB]|Compute Module)", "pi1"),
)
_NAMES: FrozenSet[str] = frozenset(" ".join(names for _, names in _MODELS).split())
# Settings of which every line counts; of any other the last one does.
_ADDED = frozenset({"dtoverlay", "dtparam", "device_tree_overlay", "device_tree_param", "gpio"})

_FILTER = re.compile(r"\[([^\]]*)\]")
_INCLUDE = re.compile(r"include\s+(\S+)")


class ConfigLine(NamedTuple):
    """``section`` names the filters of a line that may or may not be in force, or is empty."""

    path: str
    number: int
    text: str
    section: str = ""

    def __str__(self) -> str:
        under = f" under {self.section}" if self.section else ""
        return f'line {self.number} of {self.path}, "{self.text}"{under}'


class _Board(NamedTuple):
    """What filters ask about a board; None is unknown."""

    names: Optional[FrozenSet[str]]
    type: Optional[int]
    serial: Optional[int]


def _this_board() -> _Board:
    model = soc.model()
    names = next((names for pattern, names in _MODELS if re.search(pattern, model)), None)
    revision = int.from_bytes(soc.read("system", "linux,revision"), "big")
    serial = soc.read("serial-number").rstrip(b"\0").decode("ascii", "replace")
    return _Board(
        None if names is None else frozenset(names.split()),
        revision >> 4 & 0xFF if revision >> 23 & 1 else None,  # codes of the first boards have none
        int(serial, 16) if re.fullmatch("[0-9a-fA-F]+", serial) else None,
    )


def _judge(text: str, here: _Board) -> Tuple[str, Optional[bool]]:
    """The kind of a filter, and whether it holds; None if that cannot be known."""
    name, equals, value = text.partition("=")
    if text == "none":
        return "none", False
    if text in _NAMES:
        return "model", None if here.names is None else text in here.names
    if name == "board-type" and equals:
        known = here.type is not None and re.fullmatch(r"0x[0-9a-fA-F]+|\d+", value)
        return "model", int(value, 0) == here.type if known else None
    if re.fullmatch(r"0x[0-9a-fA-F]+", text):
        serial = int(text, 16)
        same = None if here.serial is None else serial in (here.serial, here.serial & 0xFFFFFFFF)
        return "serial", same
    return re.split(r"[\d=:<>!]", text)[0], None


class _Section:
    """The filters that the lines at hand are under."""

    def __init__(self) -> None:
        self.filters: Dict[str, Tuple[str, Optional[bool]]] = {}

    def enter(self, text: str, here: _Board) -> None:
        if text == "all":
            self.filters.clear()
            return
        kind, holds = _judge(text, here)
        self.filters.pop(kind, None)
        self.filters[kind] = f"[{text}]", holds

    @property
    def excluded(self) -> bool:
        return any(holds is False for _, holds in self.filters.values())

    @property
    def open_filters(self) -> str:
        """The filters that cannot be decided."""
        return " ".join(text for text, holds in self.filters.values() if holds is None)


def config_path() -> str:
    """The firmware's configuration, or where it would be."""
    return next((path for path in CONFIGS if os.path.exists(path)), CONFIGS[0])


def _lines(path: str, section: _Section, here: _Board, depth: int = 0) -> Iterator[ConfigLine]:
    """The settings of a file and of those that it includes, without those out of force."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        text = line.strip()[:_LENGTH]
        opened = _FILTER.match(text)
        included = _INCLUDE.match(text)
        if opened:
            section.enter(opened.group(1).strip(), here)
        elif not text or text.startswith("#") or section.excluded:
            continue
        elif included and depth < _DEPTH:
            name = os.path.join(os.path.dirname(config_path()), included.group(1))
            yield from _lines(name, section, here, depth + 1)
        else:
            yield ConfigLine(path, number, text, section.open_filters)


def config_lines(pattern: str, sure: bool = False) -> List[ConfigLine]:
    """Lines that begin with the pattern and are in force, or with ``sure=False`` may be."""
    found: List[ConfigLine] = []
    settled: Set[str] = set()  # settings that a later line has the last word on
    for line in reversed(list(_lines(config_path(), _Section(), _this_board()))):
        key = line.text.partition("=")[0]
        if key not in _ADDED and key in settled:
            continue
        if not line.section:
            settled.add(key)
        if re.match(pattern, line.text) and not (sure and line.section):
            found.append(line)
    return found[::-1]
