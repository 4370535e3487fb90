"""Pictures: files of the right kind, drawn from the right numbers, and clear refusals."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

from piblas.driver.device import RunReport
from piblas.errors import PiblasError
from piblas.isa.timing import CAUSES, timing_set
from piblas.profiler import Profile, pictures, timeline
from piblas.profiler.figures import Figures
from piblas.profiler.roofs import roofs

from . import synthetic

MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("ending", sorted(MAGIC))
@pytest.mark.parametrize("kind", ["timeline", "roofline", "heat"])
def test_files(profile, tmp_path, kind, ending):
    path = tmp_path / "new folder" / f"{kind}.{ending}"
    assert getattr(profile, kind)(path) == str(path)
    data = path.read_bytes()
    assert data.startswith(MAGIC[ending]) and len(data) > 5000


def test_svg_holds_the_texts(profile, tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        text = open(profile.timeline(tmp_path / "t.svg"), encoding="utf-8").read()
        roofs = open(profile.roofline(tmp_path / "r.svg"), encoding="utf-8").read()
        heat = open(profile.heat(tmp_path / "h.svg"), encoding="utf-8").read()
    figures = profile.figures
    for each in (text, roofs, heat):
        assert "simulated, timing set" in each and "calibrated" in each and "250 MHz" in each
        assert "sgemm 6 x 7 x 8 (NN)" in each
    total = sum(figures.stalls.values())
    for cause, clocks in figures.stalls.items():
        assert f"{cause} {clocks / total:.1%}" in text
    assert "QPU 5" in text and "QPU 6" not in text
    assert f"this run: {figures.flop_rate / 1e9:.2f} GFLOPS" in roofs
    assert f"memory: {figures.flops / 3840:.2f} flops a byte" in roofs
    assert "peak of 6 QPUs: 12.0 GFLOPS" in roofs
    assert any(f">{name}<" in heat for name in ("next", "store", "store_done"))


def test_lanes(made):
    report, doings = made
    edges, clocks, causes = timeline.lanes(Figures([report]))
    assert edges[0] == 0 and edges[-1] == report.cycles and (np.diff(edges) > 0).all()
    assert causes == CAUSES
    assert (clocks.sum(axis=2) == np.diff(edges)).all()
    assert (clocks.sum(axis=1)[:, synthetic.IDLE] == (doings == synthetic.IDLE).sum(axis=1)).all()


def test_lanes_of_launches_with_fewer_qpus(made, program):
    few, _ = synthetic.launch(program.words[:64], n_qpus=2, seed=3)
    edges, clocks, _ = timeline.lanes(Figures([made[0], few]))
    assert edges[-1] == made[0].cycles + few.cycles
    assert (clocks.sum(axis=2) == np.diff(edges)).all()  # QPUs without a program idle


def test_roofs(made):
    report, _ = made
    l2, memory = roofs(Figures([report]))
    assert (l2.carried, l2.rate) == (12800, 64 * 250e6 / report.timing.l2_port_line)
    assert (memory.carried, memory.rate) == (3840, report.timing.sdram_rate * 1e6)
    blocking = report.replaced(timing=timing_set("calibrated", "blocking"))
    assert [each.name for each in roofs(Figures([blocking]))] == ["memory"]
    assert roofs(Figures([RunReport(n_qpus=1, seconds=1.0)])) == []


def test_roofline_without_paths(made, tmp_path):
    """A measured launch: a rate and a peak, no known path."""
    profile = Profile()
    profile.flops = 10**6
    profile.reports.append(RunReport(n_qpus=12, clock_hz=250e6, seconds=0.001))
    assert open(profile.roofline(tmp_path / "r.png"), "rb").read(4) == MAGIC["png"][:4]


def test_every_cause_has_a_colour():
    assert set(pictures.COLOURS) == set(CAUSES)
    assert len(set(pictures.COLOURS.values())) == len(CAUSES)
    order = pictures.stacked(["idle", "tea", "issue", "dma"])
    assert list(order) == ["issue", "dma", "tea", "idle"]
    assert pictures.colour("tea") not in pictures.COLOURS.values()


# --- refusals ------------------------------------------------------------------------------------


def test_wrong_ending(profile, tmp_path):
    with pytest.raises(PiblasError, match=r"x\.bmp: a picture's name ends in \.png, \.svg, \.pdf"):
        profile.timeline(tmp_path / "x.bmp")


def test_no_matplotlib(profile, tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError("No module named 'matplotlib'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(PiblasError, match=r"pictures need matplotlib .* pip install '\.\[bench\]'"):
        profile.roofline(tmp_path / "x.png")


def test_no_detail(made, tmp_path):
    profile = Profile()
    profile.reports.append(made[0].replaced(hot=None, timeline=None))
    with pytest.raises(PiblasError, match="no timeline: profile with detail=True"):
        profile.timeline(tmp_path / "x.png")
    for ask in (lambda: profile.heat(tmp_path / "x.png"), profile.hot, profile.listing):
        with pytest.raises(PiblasError, match="no instruction was counted: profile with detail="):
            ask()
    with pytest.raises(PiblasError, match="no roofline: it needs the time and the flops"):
        profile.roofline(tmp_path / "x.png")
