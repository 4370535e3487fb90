"""QPU instructions a second of the emulator, on one core of this machine."""

import pytest

from bench import emulator


@pytest.mark.parametrize("timing", ["off", "calibrated"])
def test_emulator(benchmark, full, timing):
    size = 512 if full else 128
    rate = benchmark.pedantic(emulator.measure_sgemm, (size, timing, 3), rounds=1)
    benchmark.extra_info["source"] = "measured on this machine"
    benchmark.extra_info["instructions_per_second"] = rate
