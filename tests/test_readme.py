"""The README's commands are those that .ci/run runs; its figures are those that the code gives."""

from __future__ import annotations

import json
import pathlib
import re

from piblas import cli

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->"
SIZES = (64, 256, 512)
PLACES = ("", "piblas")


def commands():
    return re.findall(r"```sh\n(.*?)\n```", README.read_text(), re.DOTALL)


def test_two_commands():
    demo, tests = commands()
    assert demo.startswith("python3 -m venv ") and demo.endswith("piblas demo")
    assert tests.startswith("python3 -m venv ") and tests.endswith("-m pytest -n auto")


def test_ci_runs_the_second():
    assert commands()[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_files_exist():
    """What README links to, and the files of the tree that the pages name."""
    text = README.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert {"docs/boards.png", "docs/install.md"} <= set(links)
    assert not [link for link in links if not (ROOT / link).exists()]
    named = set()
    for page in (README, *sorted((ROOT / "docs").rglob("*.md"))):
        pattern = r"(?<![\w/.~-])(?:piblas|tests|bench|isa)/[\w/]+\.(?:py|json|qasm|png)\b"
        named |= set(re.findall(pattern, page.read_text()))
    assert "piblas/dispatch/boards.py" in named
    missing = [name for name in named if not any((ROOT / at / name).exists() for at in PLACES)]
    assert not missing


def test_front_door():
    assert len(README.read_text().splitlines()) < 150


def test_results(capsys, fresh, pytestconfig):
    """The table between the markers is what ``piblas demo`` says; --update-golden writes it."""
    rows = [
        "| simulated at 250 MHz, `piblas demo --size N` | instructions, 12 QPUs "
        "| pessimistic | calibrated | optimistic |",
        "|---|---|---|---|---|",
    ]
    for size in SIZES:
        assert cli.main(["demo", "--size", str(size), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["clock_hz"] == 250e6
        cells = []
        for timing in ("pessimistic", "calibrated", "optimistic"):
            seconds = facts["simulated_seconds"][timing]
            cells.append(f"{1e3 * seconds:.3f} ms, {2e-9 * size**3 / seconds:.2f} GFLOPS")
        rows.append(
            f"| sgemm {size} x {size} x {size} | {facts['instructions']:,} | {' | '.join(cells)} |"
        )
    now = "\n".join(rows) + "\n"
    text = README.read_text()
    before, rest = text.split(BEGIN)
    kept, after = rest.split(END)
    if pytestconfig.getoption("--update-golden"):
        README.write_text(before + BEGIN + now + END + after)
        return
    assert kept == now, "pytest --update-golden rewrites the table"
