"""What the comparison of two benchmark files flags, and the report made of one."""

from __future__ import annotations

import copy
import dataclasses
import html.parser
import json
import re

import pytest

pytest.importorskip("numba")

from bench import compare, report
from bench.suites import rows
from piblas.host.plan import PLANS
from piblas.kernels import axpy
from piblas.kernels.spec import KernelSpec

ROW = {
    "name": "test_sgemm[128x128x128-resident]",
    "fullname": "bench/suites/test_sgemm.py::test_sgemm[128x128x128-resident]",
    "extra_info": {
        "source": "simulated",
        "cycles": {"calibrated": 100_000, "optimistic": 90_000},
        "launches": {"calibrated": 2, "optimistic": 2},
        "rates": {
            name: {"gflops": 10.0, "gbytes_per_second": 1.0, "share_of_limit": 0.5}
            for name in ("calibrated", "optimistic")
        },
        "residual": 1e-6,
        "predicted_seconds": {"pi1": {"cpu": 1e-3, "qpu": 2e-3}, "pi3": {"cpu": 1e-3}},
    },
}
HOST = {
    "name": "test_host[saxpy]",
    "fullname": "bench/suites/test_host.py::test_host[saxpy]",
    "extra_info": {"function_calls": {"repeated": 46}, "ratio": {"repeated call / loop": 1.0}},
}


def data():
    return copy.deepcopy({"machine_info": {"piblas": "0"}, "benchmarks": [ROW, HOST]})


def changed(**figures):
    """A second file in which the figures of one kind are multiplied."""
    after = data()
    for row in after["benchmarks"]:
        for kind, factor in figures.items():
            for name in row["extra_info"].get(kind, {}):
                row["extra_info"][kind][name] *= factor
    return after


@pytest.mark.parametrize(
    "figures, worse, better",
    [
        ({}, 0, 0),
        ({"cycles": 1.02}, 0, 0),
        ({"cycles": 1.031}, 2, 0),
        ({"cycles": 0.9}, 0, 2),
        ({"launches": 1.5}, 2, 0),
        ({"function_calls": 1.05}, 1, 0),
        ({"ratio": 1.1}, 0, 0),
        ({"ratio": 1.2}, 1, 0),
        ({"ratio": 0.5}, 0, 1),
    ],
)
def test_changes(figures, worse, better):
    found, missing = compare.changes(data(), changed(**figures))
    assert not missing
    assert sum(change.worse for change in found) == worse
    assert sum(not change.worse for change in found) == better


def test_command(tmp_path, capsys):
    files = []
    for number, each in enumerate((data(), changed(cycles=1.04), {**data(), "benchmarks": [ROW]})):
        files.append(str(tmp_path / f"{number}.json"))
        (tmp_path / f"{number}.json").write_text(json.dumps(each))
    assert compare.main([files[0], files[0]]) == 0
    assert compare.main(files[:2]) == 1
    assert "WORSE" in capsys.readouterr().out
    assert compare.main([files[0], files[2]]) == 1
    assert "MISSING" in capsys.readouterr().out
    assert compare.main([files[2], files[0]]) == 0  # new rows are fine


def test_a_slower_kernel_is_flagged(monkeypatch):
    """Simulated rows themselves: saxpy's kernel with pauses between two grants."""

    def file():
        PLANS.clear()
        cycles = rows.simulate("saxpy", {"n": 1 << 14}, True, "calibrated").cycles
        return {"benchmarks": [{"fullname": "saxpy", "extra_info": {"cycles": {"all": cycles}}}]}

    before = file()
    assert compare.changes(before, file()) == ([], [])
    own = axpy.SPEC
    options = dataclasses.replace(own.defaults, pace=own.defaults.pace + 12)
    slow = KernelSpec(own.name, own.routines, own.generate, options, own.summary)
    monkeypatch.setattr(axpy, "SPEC", slow)
    found, _ = compare.changes(before, file())
    monkeypatch.undo()
    PLANS.clear()
    assert [change.worse for change in found] == [True]
    assert found[0].after < 2 * found[0].before


class Tags(html.parser.HTMLParser):
    """Fails on a table whose rows are not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag in ("table", "tr", "td", "th", "div", "figure", "svg"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and tag in ("table", "tr", "td", "th", "div", "figure", "svg"):
            assert self.open.pop() == tag


def test_report(tmp_path):
    pytest.importorskip("matplotlib")
    source = tmp_path / "data.json"
    source.write_text(json.dumps(data()))
    page = tmp_path / "report.html"
    assert report.main([str(source), "-o", str(page)]) == 0
    text = page.read_text()
    tags = Tags()
    tags.feed(text)
    assert not tags.open and {"table", "svg"} <= tags.seen
    assert "128x128x128-resident" in text and "100,000" in text and "simulated" in text
    assert not re.findall(r"(?:src|href)=.https?:", text)  # nothing is loaded from elsewhere
