"""Bytes by path of real kernels: what has to move, and the lines that caches fetched again.

What has to move is counted here from operands, executed words and streams, not from the clock's own
counters.  A second run with an L2 that holds everything tells lines that are new from refetches.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

import piblas
from piblas.cli import calls
from piblas.driver import Emulator
from piblas.isa.timing import CAUSES, timing_set

LINE = 64
L2_HITS, L2_MISSES = 28, 29
FIRST_LEVEL_MISSES = (21, 23, 25)
HOLDS_ALL = 512
"""Sets of an L2 of 128 KiB."""


class Recorder(Emulator):
    """Keeps the addresses of the uniform streams of the last launch."""

    streams: tuple = ()

    def execute_list(self, address, count, timeout=10.0, **options):
        self.streams = tuple(self.machine.words(address, 2 * count)[::2].tolist())
        return super().execute_list(address, count, timeout, **options)


def launch(routine, sizes, beta=0.0, n_qpus=12, **changes):
    """The report of a routine's only launch, and the addresses of the uniform streams."""
    run = calls.prepare(routine, getattr(piblas, routine), sizes, calls.Options(beta=beta))
    timing = timing_set("calibrated", **changes)
    with Recorder(memory=16 << 20, timing=timing, n_qpus=n_qpus) as device, piblas.use(device):
        with piblas.profile(detail=True) as profile:
            run()
        (report,) = profile.reports
        return report, device.streams


def code_lines(report) -> int:
    """Lines that hold an executed word, and those behind them, which are fetched ahead."""
    lines = set((report.hot.addresses[report.hot.issued > 0] // LINE).tolist())
    return len(lines | {line + 1 for line in lines})


def uniform_lines(report) -> int:
    """Lines of the streams, each on lines of its own: a FIFO holds two words more than are read."""
    return sum(-(-(qpu["uniforms"] + 2) // 16) for qpu in report.per_qpu)


def check_accounts(report):
    """What holds for every launch."""
    assert tuple(report.stalls) == CAUSES
    assert sum(report.stalls.values()) == report.cycles * report.n_qpus
    moved, counters = report.bytes, report.counters
    asked = sum(counters[number] for number in FIRST_LEVEL_MISSES)
    assert asked == counters[L2_HITS] + counters[L2_MISSES]
    assert moved["l2"] == LINE * asked
    assert moved["tmu"] == 4 * counters[24]
    assert moved["sdram_write"] == moved["vpm_dma_store"]
    assert moved["sdram_read"] == LINE * counters[L2_MISSES] + moved["vpm_dma_load"]


@pytest.mark.parametrize("n_qpus", [1, 5, 12])
@pytest.mark.parametrize("n", [1600, 19200])
def test_dot_reads_each_line_once(n, n_qpus):
    report, _ = launch("sdot", {"n": n}, n_qpus=n_qpus)
    check_accounts(report)
    data = 2 * n // 16
    uniforms = uniform_lines(report)
    assert report.bytes["sdram_read"] == LINE * (data + code_lines(report) + uniforms)
    assert report.counters[25] == data
    assert report.bytes["vpm_dma_load"] == 0
    assert report.bytes["sdram_write"] <= LINE * 5 * 12  # sums, whatever n is


@pytest.mark.parametrize("n_qpus", [1, 5, 12])
@pytest.mark.parametrize("n", [1600, 19200])
def test_copy_reads_and_writes_each_line_once(n, n_qpus):
    report, _ = launch("scopy", {"n": n}, n_qpus=n_qpus)
    check_accounts(report)
    uniforms = uniform_lines(report)
    ahead = 1  # behind the end of x
    code = code_lines(report)
    lines = report.bytes["sdram_read"] // LINE - n // 16 - ahead - uniforms
    assert code - 1 <= lines <= code  # the end is reached before the line behind it is asked for
    assert report.bytes["sdram_write"] == 4 * n
    assert report.bytes["vpm_dma_load"] == 0


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("m, n, k", [(48, 96, 64), (96, 120, 64)])
def test_gemm_reads_its_operands_and_what_l2_lost(m, n, k, beta):
    sizes = {"m": m, "n": n, "k": k}
    report, streams = launch("sgemm", sizes, beta)
    roomy, _ = launch("sgemm", sizes, beta, l2_sets=HOLDS_ALL)
    for each in (report, roomy):
        check_accounts(each)
        assert each.bytes["sdram_write"] == 4 * m * n
        assert each.bytes["vpm_dma_load"] == (4 * m * n if beta else 0)
    assert report.bytes["tmu"] == roomy.bytes["tmu"]
    stream_lines = np.ptp(streams) * len(streams) / (len(streams) - 1) / LINE
    must = (m * k + k * n) / 16 + code_lines(roomy) + stream_lines
    new = roomy.counters[L2_MISSES]
    # Panels are padded to whole lines and tiles, and read one step beyond the last.
    assert must - 4 <= new <= 1.08 * must
    again = report.counters[L2_MISSES] - new
    assert again > 0 and report.bytes["sdram_read"] > roomy.bytes["sdram_read"]
