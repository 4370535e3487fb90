"""The choice among the gemm family, and the costs that it goes by."""

from __future__ import annotations

import dataclasses
import json

import pytest

pytest.importorskip("numba")

from bench import costs as bench_costs
from piblas.driver import open_device
from piblas.isa.timing import SETS, memory_rate, timing_set
from piblas.kernels import gemm, gemm_choice, gemm_layout
from piblas.tune import gemm as tune_gemm

COSTS = json.loads(gemm_choice.PATH.read_text())
ANEW = "python -m bench costs makes the costs anew"


def test_clocks_of_a_line_are_those_of_the_timing_sets():
    for name in SETS:
        timing = timing_set(name)
        memory = gemm.LINE * gemm_choice.CLOCK / memory_rate(timing)
        assert gemm_choice.LINE_CLOCKS[name] == (timing.l2_port_line, memory)


def test_every_member_has_its_costs():
    assert tuple(COSTS) == SETS
    for members in COSTS.values():
        assert set(members) == {
            gemm_choice.name_of(dataclasses.replace(options, beta=beta))
            for options in gemm_choice.FAMILY
            for beta in (False, True)
        }, ANEW


@pytest.mark.parametrize("timing", SETS)
def test_costs_are_those_of_the_kernel(timing):
    """Of two members; the slow test does all."""
    for options in (gemm_choice.FAMILY[0], gemm_choice.FAMILY[-1]):
        options = dataclasses.replace(options, beta=False)
        row = COSTS[timing][gemm_choice.name_of(options)]
        found = tune_gemm.costs(timing, options, options.vectors)
        assert found == {part: row[part][-1] for part in row}, ANEW


def test_the_tuning_step_shows_all_members():
    lines = tune_gemm.STEP.text(COSTS, None).splitlines()
    assert len(lines) == 1 + len(COSTS["calibrated"])
    assert all(timing in lines[0] for timing in SETS)


@pytest.mark.slow
def test_the_file_is_what_the_command_writes():
    assert gemm_choice.PATH.read_text() == bench_costs.text(tune_gemm.table()), ANEW


@pytest.mark.parametrize("n", (1, 16, 17, 48, 95, 96, 97, 160, 256, 300, 500, 1000, 1024, 5000))
def test_panels_are_those_of_the_layout(n):
    family = gemm_choice._family(False)
    wide, edges = family.panels(n)
    for i, options in enumerate(family.options):
        q = gemm_layout.packed_words(options, 1, n, 1)[1]
        assert (wide[i], wide[i] + edges[i]) == (q.wide, q.panels), options


@pytest.mark.parametrize("beta", (False, True))
@pytest.mark.parametrize("size", ((1, 1, 1), (8, 96, 4), (100, 300, 50), (1024, 1024, 1024)))
def test_no_other_member_has_a_better_worst_case(size, beta):
    by_set = {
        timing: {
            options: gemm_choice.clocks(options, *size, timing=timing)
            for options in gemm_choice._family(beta).options
        }
        for timing in SETS
    }

    def worst(options):
        return max(clocks[options] / min(clocks.values()) for clocks in by_set.values())

    chosen = gemm_choice.choose(*size, beta)
    assert chosen.beta == beta
    assert worst(chosen) == min(map(worst, by_set["calibrated"]))


def test_batches_take_the_member_with_the_least_work():
    small, large = ((8, 8, 8), 100), ((512, 512, 512), 1)
    assert gemm_choice.choose_for((large,), False) == gemm_choice.choose_for(
        (large, ((8, 8, 8), 1)), False
    )
    assert gemm_choice.choose_for((small,), False) != gemm_choice.choose_for((large,), False)


@pytest.mark.parametrize("m, n, k", ((256, 256, 256), (200, 304, 120), (96, 1024, 363)))
def test_prediction_is_near_the_simulation(m, n, k):
    import numpy as np

    from piblas.host import gemm_staged as host_gemm

    options = gemm_choice.choose(m, n, k, False)
    b, a = np.ones((k, m), np.float32), np.ones((n, k), np.float32)
    c = np.zeros((n, m), np.float32, order="F")
    with open_device("emulator", clock_hz=tune_gemm.CLOCK) as device:
        report = host_gemm.sgemm(device, 1.0, a, b, 0.0, c)
    assert gemm_choice.clocks(options, m, n, k) == pytest.approx(report.cycles, rel=0.05)
    assert isinstance(options, gemm.GemmOptions)
