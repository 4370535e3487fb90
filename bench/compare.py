"""Two files of ``pytest bench --benchmark-json``: what changed beyond what chance explains.

    python -m bench compare BEFORE.json AFTER.json

Cycles, words and function calls are exact and flagged from a change of 3 % on; times as ratios of
two things that ran in turn from 15 % on, as machines are noisy.  Times of this machine alone are
not compared.  Exit code 1 if something became worse, or rows are missing; what became better is
printed as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Tuple

__all__ = ["Change", "changes", "main"]

EXACT, RATIO = 0.03, 0.15
LIMITS = {"cycles": EXACT, "launches": 0.0, "function_calls": EXACT, "words": EXACT, "ratio": RATIO}
"""What is compared, and from which relative change on it is flagged.  Less is better in each."""


class Change(NamedTuple):
    """A figure of a row that changed beyond its limit."""

    row: str
    figure: str
    before: float
    after: float

    @property
    def worse(self) -> bool:
        return self.after > self.before

    def __str__(self) -> str:
        share = f"{self.after / self.before - 1:+.1%}" if self.before else "from 0"
        verdict = "WORSE " if self.worse else "better"
        return f"{verdict} {self.row}: {self.figure} {self.before:g} -> {self.after:g} ({share})"


def _figures(info: Mapping[str, Any]) -> Iterator[Tuple[str, str, float]]:
    """(kind, name, value) of everything that is compared in a row."""
    for kind in LIMITS:
        value = info.get(kind)
        if isinstance(value, Mapping):
            for name, each in value.items():
                yield kind, f"{kind}, {name}", each
        elif value is not None:
            yield kind, kind, value


def _rows(data: Mapping[str, Any]) -> Dict[str, Mapping[str, Any]]:
    return {row["fullname"]: row["extra_info"] for row in data["benchmarks"]}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Tuple[List[Change], List[str]]:
    """(changes beyond the limits, rows that only the first file has)."""
    old, new = _rows(before), _rows(after)
    found = []
    for row in old.keys() & new.keys():
        now = {name: value for _, name, value in _figures(new[row])}
        for kind, name, value in _figures(old[row]):
            if name in now and abs(now[name] - value) > LIMITS[kind] * abs(value):
                found.append(Change(row, name, value, now[name]))
    return sorted(found), sorted(old.keys() - new.keys())


def main(argv: Any = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench compare")
    parser.add_argument("before")
    parser.add_argument("after")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    files = []
    for path in (args.before, args.after):
        with open(path) as file:
            files.append(json.load(file))
    found, missing = changes(*files)
    for change in found:
        print(change)
    for row in missing:
        print(f"MISSING {row}")
    worse = [change for change in found if change.worse]
    print(f"{len(worse)} worse, {len(found) - len(worse)} better, {len(missing)} missing")
    return int(bool(worse or missing))


if __name__ == "__main__":
    sys.exit(main())
