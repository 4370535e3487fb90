"""One page from a file of ``pytest bench --benchmark-json``: tables, pictures, sources.

    python -m bench report FILE.json -o report.html

The page needs nothing else: pictures are inside, as SVG.
"""

from __future__ import annotations

import argparse
import html
import io
import json
import sys
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

__all__ = ["main", "page"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
.wide { overflow-x: auto; }
td, th { border-bottom: 1px solid #ccc; padding: 0.2rem 0.7rem; text-align: right; }
td, th { white-space: nowrap; }
td:first-child, th:first-child, .facts td { text-align: left; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 0.5rem; }
  table { font-size: 0.8rem; }
  td, th { padding: 0.2rem 0.3rem; }
  .facts td { white-space: normal; overflow-wrap: anywhere; }
}
figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
.kind { color: #555; }
"""
SUITES = {
    "sgemm": "Products: sgemm",
    "level1": "Level 1: vectors",
    "level2": "Level 2: a matrix and vectors",
    "level3": "Level 3: the other products, and solves",
    "host": "The host's work around a launch",
    "emulator": "The emulator",
    "assembler": "The assembler",
    "cpu_overhead": "Calls on the CPU",
}
COLOURS = {"pessimistic": "#999999", "calibrated": "#0b4f6c", "optimistic": "#9ecae1"}

Row = Mapping[str, Any]


def _place(suite: str) -> int:
    names = list(SUITES)
    return names.index(suite) if suite in names else len(names)


def _suite(row: Row) -> str:
    return str(row["fullname"].split("::")[0].rsplit("test_", 1)[1].replace(".py", ""))


def _name(row: Row) -> str:
    """What tells a row from the others of its suite."""
    whole = str(row["name"].replace("test_", "", 1))
    return whole.split("[", 1)[1][:-1] if "[" in whole else whole


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _flat(info: Row) -> Iterator[Tuple[str, Any]]:
    """Columns of a row: figures, of nested ones each under both names."""
    for key in ("cycles", "launches", "rates", "residual", "function_calls", "ratio", "words",
                "instructions_per_second"):  # fmt: skip
        value = info.get(key)
        if not isinstance(value, Mapping):
            if value is not None:
                yield key.replace("_", " "), value
            continue
        for name, each in value.items():
            if isinstance(each, Mapping):
                for what, number in each.items():
                    yield f"{what.replace('_', ' ')}, {name}", number
            else:
                yield f"{key.replace('_', ' ')}, {name}", each


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = [f'<div class="wide {kind}"><table><tr>{cells}</tr>']
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table></div>"])


def _figures(rows: Sequence[Row]) -> str:
    head: List[str] = []
    made = []
    for row in rows:
        made.append(dict(_flat(row["extra_info"])))
        head += [name for name in made[-1] if name not in head]
    body = [
        [_name(row), *(_number(figures[name]) if name in figures else "" for name in head)]
        for row, figures in zip(rows, made)
    ]
    return _table(["", *head], body)


def _predictions(rows: Sequence[Row]) -> str:
    boards = list(rows[0]["extra_info"]["predicted_seconds"])
    body = []
    for row in rows:
        found = row["extra_info"]["predicted_seconds"]
        cells = [
            " / ".join(
                f"{1e3 * found[board][name]:.3g}" if name in found[board] else "-"
                for name in ("qpu", "cpu")
            )
            for board in boards
        ]
        body.append([_name(row), *cells])
    return _table(["QPUs / CPU, ms", *boards], body)


def _picture(rows: Sequence[Row]) -> str:
    """Rates of a suite's rows as bars, one for each timing set."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    unit = "gflops" if _suite(rows[0]) in ("sgemm", "level3") else "gbytes_per_second"
    sets = [name for name in COLOURS if name in rows[0]["extra_info"]["rates"]]
    height = 0.6 + 0.22 * len(rows) * len(sets)
    figure = Figure(figsize=(7, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for number, name in enumerate(sets):
        places = [at + (number - (len(sets) - 1) / 2) * 0.8 / len(sets) for at in range(len(rows))]
        values = [row["extra_info"]["rates"][name][unit] for row in rows]
        axes.barh(places, values, 0.8 / len(sets), color=COLOURS[name], label=name)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel({"gflops": "GFLOPS", "gbytes_per_second": "GB/s of operands and results"}[unit])
    axes.set_title("simulated at 250 MHz, all launches, no host time", fontsize=10)
    axes.legend(title="timing set", fontsize=8)
    out = io.StringIO()
    figure.savefig(out, format="svg")
    return "<figure>" + out.getvalue()[out.getvalue().index("<svg") :] + "</figure>"


def page(data: Mapping[str, Any]) -> str:
    """The page's text."""
    machine = data["machine_info"]
    facts = {
        "piblas": machine.get("piblas"),
        "board": machine.get("board"),
        "processor": machine.get("cpu", {}).get("brand_raw") or machine.get("processor"),
        "Python": machine.get("python"),
        "NumPy": machine.get("numpy"),
        "commit": str(data.get("commit_info", {}).get("id") or "")[:12],
        "date": str(data.get("datetime") or "")[:16],
    }
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>piblas benchmarks</title><style>{STYLE}</style>",
        "<h1>piblas: benchmarks</h1>",
        _table([], [[key, str(value)] for key, value in facts.items() if value], "facts"),
        "<p><b>Simulated</b>: clocks of the emulator's model of the chip; no board took part. "
        "<b>Predicted</b>: simulated clocks, counted function calls, and published or derived "
        "figures of a board. <b>Counted</b>: exact. <b>Measured</b>: on the machine above.</p>",
    ]
    by_suite: Dict[str, List[Row]] = {}
    for row in data["benchmarks"]:
        by_suite.setdefault(_suite(row), []).append(row)
    for suite, rows in sorted(by_suite.items(), key=lambda item: _place(item[0])):
        source = html.escape(str(rows[0]["extra_info"].get("source", "measured on this machine")))
        parts += [f"<h2>{SUITES.get(suite, suite)}</h2>", f"<p class='kind'>{source}</p>"]
        if "cycles" in rows[0]["extra_info"]:
            parts.append(_picture(rows))
        parts.append(_figures(rows))
        if "predicted_seconds" in rows[0]["extra_info"]:
            parts += [
                "<p class='kind'>predicted time of a repeated call from beginning to end</p>",
                _predictions(rows),
            ]
    return "\n".join(parts) + "\n"


def main(argv: Any = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench report")
    parser.add_argument("file")
    parser.add_argument("-o", "--out", default="report.html")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    with open(args.file) as file:
        text = page(json.load(file))
    with open(args.out, "w") as file:
        file.write(text)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
