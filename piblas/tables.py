"""Tables that the package keeps as JSON files.

Python's ``json`` compiles regular expressions when it is imported, which takes longer on a small
board than reading the tables.  Where the interpreter has its scanner in C, that is used directly.
"""

from __future__ import annotations

from typing import Any

__all__ = ["load"]


class _Strict:
    """What the scanner asks of a decoder: JSON and nothing else, as Python's own types."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int

    @staticmethod
    def parse_constant(text: str) -> Any:
        raise ValueError(f"{text} is no JSON")


def load(path: str) -> Any:
    """The contents of a JSON file (ASCII) of the package; ValueError where it is none."""
    with open(path, encoding="ascii") as file:
        text = file.read().strip()
    try:
        from _json import make_scanner
    except ImportError:  # another interpreter than CPython
        import json

        return json.loads(text)
    try:
        value, end = make_scanner(_Strict())(text, 0)
    except StopIteration as stop:
        raise ValueError(f"{path}: no JSON at character {stop.value}") from None
    if end != len(text):
        raise ValueError(f"{path}: more than one value, at character {end}")
    return value
