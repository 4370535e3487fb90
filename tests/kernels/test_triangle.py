"""Triangles on the gemm kernel: the tiles, the steps of each, and a solve's blocks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from piblas.driver import Emulator
from piblas.host import batch, triangles
from piblas.host import gemm_staged as host_gemm
from piblas.host.runner import runner_of
from piblas.kernels import (
    gemm,
    gemm_choice,
    gemm_error,
    gemm_layout,
    gemm_schedule,
    reference,
    triangle,
)  # fmt: skip

F32 = np.float32


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=32 << 20, seed=11, incoherent=request.param) as dev:
        yield dev


def tuples(ranges):
    return list(zip(*(column.tolist() for column in ranges)))


def layouts(options, m, n, k):
    return gemm_layout.packed_words(options, m, n, k)


@pytest.mark.parametrize("lower", (False, True))
@pytest.mark.parametrize("n", (1, 7, 8, 9, 95, 96, 97, 200, 333))
@pytest.mark.parametrize("tile", gemm_choice.FAMILY, ids=lambda t: f"{t.rows}x{t.vectors}")
def test_half_has_the_tiles_that_meet_the_triangle(tile, n, lower):
    options = dataclasses.replace(tile, edge=-(-n // 16) % tile.vectors)
    p, q = layouts(options, n, n, 5)
    mask = np.tri(n, dtype=bool) if lower else np.tri(n, dtype=bool).T
    want = {
        (i, j)
        for j in range(q.panels)
        for i in range(p.panels)
        if mask[i * p.width : (i + 1) * p.width, j * q.width : (j + 1) * q.width].any()
    }
    places = tuples(triangle.half(options, p, q, lower))
    assert {place[:2] for place in places} == want and len(places) == len(want)
    assert all(place[2:] == (0, p.steps) for place in places)


@pytest.mark.parametrize("n", (1, 9, 97, 130, 333))
@pytest.mark.parametrize("tile", gemm_choice.FAMILY, ids=lambda t: f"{t.rows}x{t.vectors}")
def test_ramp_reaches_the_diagonal(tile, n):
    """Each tile once, with every step that is not zero, in whole iterations; hardly more."""
    p, q = layouts(tile, n, 200, n)
    places = tuples(triangle.ramp(tile, p, q))
    assert sorted(place[:2] for place in places) == sorted(
        (i, j) for j in range(q.panels) for i in range(p.panels)
    )
    for i, _, low, high in places:
        assert low == 0 and high % tile.unroll == 0
        assert min((i + 1) * tile.rows, n) <= high <= p.steps
        assert high < (i + gemm_schedule.QPUS) * tile.rows + tile.unroll


@pytest.mark.parametrize("tile", gemm_choice.FAMILY, ids=lambda t: f"{t.rows}x{t.vectors}")
def test_blocks_are_whole_panels_and_iterations(tile):
    block = triangle.block_of(tile)
    assert block % tile.rows == 0 and block % tile.unroll == 0
    assert triangle.BLOCK / 2 < block <= triangle.BLOCK


def test_a_solve_computes_each_element_once():
    """R: every element below the first block once; X: every element once; nothing beyond n."""
    n, m = 300, 100
    options = triangle.choose(n, m)
    p, q = layouts(options, n, m, n)
    steps = list(triangle.solve(options, p, q, 0))
    assert [step.added for step in steps] == [False, True, False, True, False]
    for added, name, first in ((True, "r", triangle.block_of(options)), (False, "x", 0)):
        times = np.zeros(q.words, int)
        for tiles in (step.tiles for step in steps if step.added == added):
            for at, rows, columns, ldd in zip(tiles.d_at, tiles.rows, tiles.columns, tiles.ldd):
                for row in range(rows):
                    times[at // 4 + row * ldd :][:columns] += 1
        assert {step.names[2] for step in steps if step.added == added} == {name}
        want = gemm_layout.unpack(q, times.astype(F32))
        assert np.all(want[first:n] == 1) and np.all(want[:first] == 0) and np.all(want[n:] == 0)
        assert times.sum() == (n - first) * m


def test_unpack_undoes_pack():
    rng = np.random.default_rng(0)
    for k, length in ((1, 1), (5, 16), (8, 97), (9, 200)):
        options = gemm.SPEC.options(edge=1)
        for layout in layouts(options, length, length, k):
            operand = rng.standard_normal((k, length)).astype(F32)
            packed = np.full(layout.words, np.nan, F32)
            gemm_layout.pack(layout, operand, packed)
            assert np.array_equal(gemm_layout.unpack(layout, packed)[:k], operand)


def test_padding_is_cleared_and_nothing_else():
    for k, length in ((1, 1), (5, 16), (8, 97), (9, 200), (4, 96)):
        layout = layouts(gemm.SPEC.options(edge=1), length, length, k)[1]
        operand = np.full((k, length), 7, F32)
        packed, cleared = np.full(layout.words, np.nan, F32), np.full(layout.words, 7, F32)
        gemm_layout.pack(layout, operand, packed)
        gemm_layout.clear_padding(layout, cleared)
        end = layout.steps * layout.first(layout.panels)
        rows = gemm_layout.unpack(layout, cleared)
        assert np.all(rows == 7) and np.sum(cleared[:end] == 7) == rows.size


def test_inverted():
    rng = np.random.default_rng(0)
    t = np.tril(rng.standard_normal((50, 50)) / 50 + np.eye(50)).astype(F32)
    factors = triangle.inverted(t, 16)
    for begin in range(0, 50, 16):
        own = slice(begin, begin + 16)
        inverse = np.linalg.inv(t[own, own].astype(np.float64))
        np.testing.assert_allclose(factors[own, own], inverse, rtol=1e-6, atol=1e-12)
        assert np.array_equal(factors[own, :begin], -t[own, :begin])
        assert not factors[own, begin + 16 :].any()
    t[3, 3] = 1e-40
    assert not np.isfinite(triangle.inverted(t, 16)).all()


# --- on the device --------------------------------------------------------------------------------


def staged(device, alpha, a, b, tiles, beta=0.0, c=None):
    """(alpha * a @ b + beta * c in these tiles, the reports)."""
    (m, k), n, runner, reports = a.shape, b.shape[1], runner_of(device), []
    own = device.n_qpus, device.clock_hz, None
    shape = host_gemm.Dense(m, n, k, c is not None, tiles, "fast", *own)
    runner.begin()
    return host_gemm.staged(runner, shape, alpha, a.T, b, beta, c, reports).copy(), reports


def solved(device, t, g):
    """(x, the right-hand sides that each block was solved for, the reports)."""
    n, m = g.shape
    target = triangles.Target(True, False, (n, m))
    solve = triangles.Solve(n, m, True, False, False, False, target, device, "fast")
    runner = runner_of(device)
    runner.begin()
    x, reports = solve(runner, (1.0, t, g))
    q, r = layouts(triangle.choose(n, m), n, m, n)[1], runner._scratch["r"]
    r.buffer.invalidate()
    return x, gemm_layout.unpack(q, r.floats[: q.words])[:n], reports


SIZES = ((1, 1), (7, 17), (96, 95), (130, 40), (257, 120))


@pytest.mark.parametrize("n, m", SIZES)
def test_products(device, n, m):
    rng = np.random.default_rng(n)
    t = np.tril(rng.standard_normal((n, n))).astype(F32)
    b = rng.standard_normal((n, m)).astype(F32)
    got, reports = staged(device, -1.5, t, b, "ramp")
    none = np.zeros((n, m))
    error = np.abs(got - reference.sgemm(-1.5, t, b, 0, none))
    assert np.all(error <= gemm_error.error_bound(-1.5, t, b, 0, none)) and len(reports) == 1


@pytest.mark.parametrize("n, m", SIZES)
def test_solutions(device, n, m):
    rng = np.random.default_rng(n)
    t = np.tril(rng.standard_normal((n, n)) / n + 2 * np.eye(n)).astype(F32)
    g = rng.standard_normal((n, m)).astype(F32)
    x, rest, reports = solved(device, t, g)
    options = triangle.choose(n, m)
    block = triangle.block_of(options)
    bound = triangle.residual_bound(t, x, g, block)
    assert np.all(np.abs(t.astype(np.float64) @ x - g) <= bound)
    assert len(reports) == 2 * -(-n // block) - 1
    for begin in range(0, n, block):
        want = g[begin : begin + block] - t[begin : begin + block, :begin] @ x[:begin]
        np.testing.assert_allclose(rest[begin : begin + block], want, atol=1e-4)


@pytest.mark.parametrize("lower", (False, True))
def test_half_products_leave_out_what_is_not_wanted(device, lower):
    rng = np.random.default_rng(1)
    n, k = 400, 8
    a, c = rng.standard_normal((n, k)).astype(F32), rng.standard_normal((n, n)).astype(F32)
    got, reports = staged(device, 1.0, a, a.T, "lower" if lower else "upper", 2.0, c)
    wanted = np.tri(n, dtype=bool) if lower else np.tri(n, dtype=bool).T
    error = np.abs(got - reference.sgemm(1.0, a, a.T, 2.0, c))[wanted]
    assert np.all(error <= gemm_error.error_bound(1.0, a, a.T, 2.0, c)[wanted])
    assert reports[0].bytes["vpm_dma_store"] < 0.7 * 4 * n * n


def test_no_step_beyond_the_ramp(device):
    """Half of the lines of Q are asked for, and a few more."""
    rng = np.random.default_rng(1)
    n, m = 480, 96
    t = np.tril(rng.standard_normal((n, n))).astype(F32)
    b = rng.standard_normal((n, m)).astype(F32)
    _, (half,) = staged(device, 1.0, t, b, "ramp")
    _, (full,) = staged(device, 1.0, t, b, "all")
    assert half.bytes["tmu"] < 0.65 * full.bytes["tmu"]


def test_batch_of_any_shapes(device):
    rng = np.random.default_rng(3)
    products = []
    for index in range(15):
        m, n, k = (int(x) for x in rng.integers(1, 100, 3))
        a, b, c = (rng.standard_normal(s).astype(F32) for s in ((m, k), (k, n), (m, n)))
        beta = float(index % 3)
        products.append(batch.Each(1.5 - index, a, b, beta, c if beta else None))
    runner, reports = runner_of(device), []
    runner.begin()
    results = batch.products(runner, products, reports)
    assert len(reports) == 1
    for (alpha, a, b, beta, c), got in zip(products, results):
        c = np.zeros(got.shape, F32) if c is None else c
        error = np.abs(got - reference.sgemm(alpha, a, b, beta, c))
        assert np.all(error <= gemm_error.error_bound(alpha, a, b, beta, c))
