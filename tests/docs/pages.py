"""The code blocks of a page of documentation, and how they are run.

- ``python``: the blocks of a page share a namespace and run in order; a ``text`` block that follows
  one directly is what it prints.
- ``console``: lines that begin with ``$ `` are commands for a shell, other lines what they print
  (none: it does not matter).
- ``sh``: commands for a machine of the reader's own, to install something; not run.

Expected output is compared as doctest does, with ``...`` for any text and any run of white space
equal to any other.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import linecache
import os
import pathlib
import re
import subprocess
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

ROOT = pathlib.Path(__file__).parent.parent.parent

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """``line`` is where its contents begin; ``directly``: only white space is before it since the
    last block."""

    language: str
    text: str
    line: int
    directly: bool


def blocks(page: pathlib.Path) -> List[Block]:
    """All fenced blocks of a page."""
    text, end, made = page.read_text(), -1, []
    for match in _FENCE.finditer(text):
        indent, language, inside = match.groups()
        inside = re.sub(f"^{indent}", "", inside, flags=re.MULTILINE)
        directly = end >= 0 and not text[end : match.start()].strip()
        made.append(Block(language, inside, text.count("\n", 0, match.start()) + 2, directly))
        end = match.end()
    return made


def pages() -> List[pathlib.Path]:
    """All pages that have blocks to run."""
    found = [page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts]
    return sorted(p for p in found if any(b.language in ("python", "console") for b in blocks(p)))


def check(expected: str, got: str, where: str) -> None:
    """Fail where the output is not what the page says."""
    # A blank line means nothing in a page, and ends the output in doctest.
    example = doctest.Example("", expected.strip() + "\n")
    checker = doctest.OutputChecker()
    if not checker.check_output(example.want, got.strip() + "\n", _FLAGS):
        raise AssertionError(f"{where}:\n{checker.output_difference(example, got, _FLAGS)}")


def _python(page: pathlib.Path, block: Block, names: Dict[str, Any]) -> str:
    name = f"<{page.relative_to(ROOT)}:{block.line}>"
    linecache.cache[name] = (len(block.text), None, block.text.splitlines(True), name)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(block.text, name, "exec"), names)
    return out.getvalue()


def _commands(text: str) -> Iterator[Tuple[str, str]]:
    """(command, expected output) of a console block; a command may go on after a backslash."""
    command, expected = "", ""
    until = ""  # the line that ends a here-document
    going_on = False
    for line in text.splitlines():
        if until or going_on:
            command += "\n" + line
            until = "" if line == until else until
        elif line.startswith("$ "):
            if command:
                yield command, expected
            command, expected = line[2:], ""
            here = re.search(r"<<'(\w+)'$", line)
            until = here.group(1) if here else ""
        else:
            expected += line + "\n"
            continue
        going_on = not until and line.endswith("\\")
    if command:
        yield command, expected


def _console(page: pathlib.Path, block: Block) -> None:
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    for command, expected in _commands(block.text):
        done = subprocess.run(
            ["bash", "-c", command],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=600,
        )  # fmt: skip
        where = f"{page.relative_to(ROOT)}:{block.line}: $ {command}"
        assert done.returncode == 0 or expected.strip(), f"{where}\n{done.stdout}"
        if expected.strip():
            check(expected, done.stdout, where)


def run(page: pathlib.Path) -> None:
    """Run a page's blocks, in the present directory."""
    names: Dict[str, Any] = {"__name__": "__page__"}
    printed = None
    for block in blocks(page):
        if block.language == "python":
            printed = _python(page, block, names)
        elif block.language == "text" and block.directly and printed is not None:
            check(block.text, printed, f"{page.relative_to(ROOT)}:{block.line}")
            printed = None
        else:
            printed = None
            if block.language == "console":
                _console(page, block)
