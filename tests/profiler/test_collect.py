"""The wish to collect, the bins of the timeline, and the table of counters."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.driver import collect
from piblas.driver.detail import Timeline
from piblas.emu import probe
from piblas.errors import DeviceError
from piblas.isa.counters import COUNTERS, ROWS
from piblas.isa.timing import CAUSES
from piblas.profiler import profile

from . import synthetic


def test_wishes_add_up_and_end():
    assert collect.wanted() == frozenset()
    with collect.collecting("hot"):
        with collect.collecting("timeline", "hot"):
            assert collect.wanted() == {"hot", "timeline"}
        assert collect.wanted() == {"hot"}
    assert collect.wanted() == frozenset()


def test_a_wish_ends_with_an_exception():
    with pytest.raises(ZeroDivisionError), collect.collecting("hot"):
        raise ZeroDivisionError
    assert collect.wanted() == frozenset()


def test_unknown_wish():
    with pytest.raises(DeviceError, match="nothing to collect is called 'tea': choose hot, time"):
        with collect.collecting("tea"):
            pass


def test_a_profile_asks_only_for_detail():
    with profile():
        assert collect.wanted() == frozenset()
    with profile(detail=True):
        assert collect.wanted() == {"hot", "timeline"}
    assert collect.wanted() == frozenset()


def booked(doings, segments=probe.SEGMENTS):
    """The timeline of what QPUs did in every clock, booked wait by wait."""
    TB, TS = probe.new(len(doings), len(CAUSES), segments)
    waits, ends = [], []
    for qpu, doing in enumerate(doings):
        alive = doing[doing != synthetic.IDLE]
        ends.append(len(alive))
        edges = np.flatnonzero(np.diff(alive)) + 1
        starts, stops = np.r_[0, edges], np.r_[edges, len(alive)]
        for start, stop in zip(starts.tolist(), stops.tolist()):
            if alive[start] != synthetic.ISSUE:
                waits.append((qpu, int(alive[start]), start, stop, 8 * start))
    waits.sort(key=lambda wait: wait[2])
    for wait in waits:
        probe.wait(TB, TS, *wait)
    return Timeline(**probe.timeline(TB, TS, doings.shape[1], ends, CAUSES)), waits


@pytest.mark.parametrize("rounds", [1, 40])
def test_bins(program, rounds):
    _, doings = synthetic.launch(program.words[: program.length], seed=rounds, rounds=rounds)
    timeline, waits = booked(doings)
    assert timeline.clocks.shape[1] <= probe.BINS and timeline.width >= 64
    assert (timeline.clocks == synthetic.bins(doings, timeline.width)).all()
    assert timeline.causes == CAUSES and timeline.dropped == 0
    long = [wait for wait in waits if wait[3] - wait[2] >= probe.SHORTEST]
    assert timeline.segments.tolist() == [list(wait) for wait in long]


def test_bins_widen_beyond_the_last_wait():
    doings = np.full((2, 64 * probe.BINS * 3), synthetic.ISSUE)
    doings[:, 5:9] = CAUSES.index("tmu")
    timeline, _ = booked(doings)
    assert timeline.width == 256
    assert (timeline.clocks == synthetic.bins(doings, 256)).all()


def test_segments_that_find_no_room(program):
    _, doings = synthetic.launch(program.words[:100], n_qpus=2)
    timeline, waits = booked(doings, segments=7)
    long = [wait for wait in waits if wait[3] - wait[2] >= probe.SHORTEST]
    assert len(timeline.segments) == 7 and timeline.dropped == len(long) - 7 > 0


def test_an_empty_wait_is_none():
    TB, TS = probe.new(1, len(CAUSES))
    probe.wait(TB, TS, 0, 3, 100, 100, 0)
    assert probe.timeline(TB, TS, 200, [200], CAUSES)["clocks"][0, :, 0].sum() == 200


def test_counters():
    numbers = [row.number for row in ROWS]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 29
    assert {row.name for row in ROWS} == {row.name for row in COUNTERS.values()}
    assert len({row.name for row in ROWS}) == len(ROWS)
