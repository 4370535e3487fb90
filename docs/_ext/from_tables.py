"""Directives that print tables of the package into pages, so that none can go stale.

    ```{piblas-table} hazards
    ```
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Sequence

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from piblas import config
from piblas.isa import hazards, modes, ops, timing
from piblas.routines import ROUTINES

Rows = Iterator[Sequence[str]]


def _code(text: Any) -> str:
    return f"`{text}`"


def _hazards() -> Rows:
    yield "rule", "level", "what is wrong", "source"
    for rule in hazards.RULES:
        yield rule.id, rule.level, rule.text, rule.source


def _operations() -> Rows:
    yield "operation", "unit", "code", "sources", "operands", "result"
    for op in ops.ADD_OPS + ops.MUL_OPS:
        kinds = ["float" if given else "integer" for given in (op.float_in, op.float_out)]
        yield _code(op.name), op.unit, str(op.code), str(op.nsrc), *kinds


def _signals() -> Rows:
    yield "signal", "code"
    for row in modes.SIGNALS:
        yield _code(row.name), str(row.code)


def _timing() -> Rows:
    yield "parameter", "unit", *timing.SETS, "confidence", "source"
    for row in timing.ROWS:
        yield _code(row.name), row.unit, *map(str, row.values), row.confidence, row.source


def _settings() -> Rows:
    yield "variable", "default", "values", "meaning"
    for row in config.SETTINGS:
        yield (
            _code(row.name),
            _code(row.default) if row.default else "",
            ", ".join(map(_code, row.choices)) or "any text",
            row.meaning,
        )


def _routines() -> Rows:
    yield "routine", "level", "on the QPUs", "what it computes"
    single = [(name, row) for name, row in ROUTINES.items() if row.type == "s"]
    for name, row in sorted(single, key=lambda item: (item[1].level, item[0])):
        yield _code(name), str(row.level), "yes" if row.kernel else "", row.family.meaning


TABLES: Dict[str, Callable[[], Rows]] = {
    "hazards": _hazards,
    "operations": _operations,
    "routines": _routines,
    "settings": _settings,
    "signals": _signals,
    "timing": _timing,
}


class _Written(Directive):
    """A directive that writes Markdown and has it parsed where it is."""

    def lines(self) -> List[str]:
        raise NotImplementedError

    def run(self) -> List[nodes.Node]:
        node = nodes.container()
        self.state.nested_parse(StringList(self.lines(), "piblas tables"), 0, node)
        return node.children


class Table(_Written):
    """``piblas-table NAME``: a table of :data:`TABLES`."""

    required_arguments = 1

    def lines(self) -> List[str]:
        head, *rows = TABLES[self.arguments[0]]()
        made = [head, ["---"] * len(head), *rows]
        return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in made]


class Routines(_Written):
    """``piblas-routines LEVEL``: signature and text of the single-precision routines of a level."""

    required_arguments = 1

    def lines(self) -> List[str]:
        names = [n for n, row in ROUTINES.items() if str(row.level) == self.arguments[0]]
        made = ["```{eval-rst}"]
        for name in sorted(n for n in names if ROUTINES[n].type == "s"):
            made += [f".. autofunction:: piblas.{name}", ""]
        return [*made, "```"]


def _magnitudes(app: Any, what: str, name: str, obj: Any, options: Any, lines: List[str]) -> None:
    """``|x|`` is a magnitude in our docstrings, and a substitution in reStructuredText."""
    for at, line in enumerate(lines):
        pieces = line.split("``")
        pieces[::2] = [piece.replace("|", "\\|") for piece in pieces[::2]]
        lines[at] = "``".join(pieces)


def setup(app: Any) -> Dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("piblas-table", Table)
    app.add_directive("piblas-routines", Routines)
    app.connect("autodoc-process-docstring", _magnitudes)
    return {"parallel_read_safe": True}
