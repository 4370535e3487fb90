"""The benchmark of packing: its figures hang together."""

from __future__ import annotations

import pytest

from bench import pack
from piblas.isa import timing


@pytest.mark.parametrize("name", timing.SETS)
def test_no_faster_than_the_store_engine(name):
    clocks, limit, product = pack.measure((64, 90, 200), "length", "k", name, True)
    assert 0 < limit < clocks
    assert product > 0


def test_limit_counts_lines_and_transfers():
    rates = timing.timing_set("calibrated")
    assert pack.store_limit(256, rates) == 16 * 14 + 40
    assert pack.store_limit(257, rates) == 17 * 14 + 2 * 40
