"""Streams of gemm and of its packing by array operations: word for word those of plain loops, and
in how many function calls."""

from __future__ import annotations

import cProfile
import dataclasses
import pstats

import gemm_pack_slow
import gemm_slow
import numpy as np
import pytest

from piblas.isa import setup_words as sw
from piblas.kernels import (
    gemm,
    gemm_choice,
    gemm_layout,
    gemm_schedule,
    gemm_segments,
    gemm_sources,
    gemm_streams,
    triangle,
    uniforms,
)  # fmt: skip

P, Q, D, OWN = 0xC0001000, 0xC1000040, 0xC2000004, 0xC3000000
REST, WATCH, SUMS = 0xC4000000, 0xC5000000, 0xC6000000
LIMIT, WAVES = 1e20, gemm_streams.BARRIER_WAVES
F32 = np.float32


def filled(streams, addresses, **values):
    out = np.full(streams.words.size, 0xDEADBEEF, dtype=np.uint32)
    given = {name: np.array(value, F32) for name, value in values.items()}
    streams.fill(out, {**addresses, uniforms.OWN: OWN}, given)
    return out, streams.entries(OWN)


def check(
    options, tiles, slow_tiles, n_qpus, skew, barriers=WAVES, names="pqd", alpha=1.5, beta=-2,
    block=0, reads=True,
):  # fmt: skip
    """Word by word; the words and the address of each stream."""
    streams = gemm_streams.streams(
        options, tiles, n_qpus, skew, barriers, (*names, "watch"), block, reads
    )
    want, starts = gemm_slow.words(
        options, slow_tiles, np.ravel(alpha)[0], np.ravel(beta)[0], n_qpus, skew, barriers, OWN,
        LIMIT, WATCH, block, reads, SUMS,
    )  # fmt: skip
    addresses = {**dict(zip(names, (P, Q, D))), "watch": WATCH, gemm_streams.REST: REST}
    addresses[gemm_streams.SUMS] = SUMS
    values = {"alpha": np.ravel(alpha), "beta": np.ravel(beta), "limit": [LIMIT]}
    got, entries = filled(streams, addresses, **values)
    assert entries == starts and got.size == want.size
    assert np.array_equal(got, want), np.flatnonzero(got != want)[:9]
    return want


def case(rng, most):
    """Options, sizes, QPUs, skew and barriers of a random launch."""
    tile = gemm_choice.FAMILY[rng.integers(len(gemm_choice.FAMILY))]
    if rng.random() < 0.2:
        unroll = int(rng.choice([2, 6]))
        tile = gemm.GemmOptions(rows=5, vectors=3, reach=1, single=0, unroll=unroll)
    edge = int(rng.integers(0, tile.vectors))
    beta, blocks = ((False, False), (True, False), (True, True))[rng.integers(3)]
    options = dataclasses.replace(tile, edge=edge, beta=beta, blocks=blocks)
    m, n, k = (int(x) for x in rng.integers(1, most, 3))
    k = int(rng.integers(1, 9)) if rng.random() < 0.2 else k
    n_qpus = 12 if rng.random() < 0.4 else int(rng.integers(1, 13))
    return options, (m, n, k), n_qpus, int(rng.choice([0, 1, WAVES, WAVES, WAVES]))


def blocks(rng, options):
    """Steps of a block, and whether D counts: what streams() takes last."""
    if not options.blocks:
        return {}
    block = int(rng.integers(4 * options.unroll, 200)) if rng.random() < 0.8 else 0
    return {"block": block, "reads": bool(rng.integers(2))}


def skew_of(rng, options, p, q):
    return int(rng.choice([gemm_schedule.skew_of(options, p, q), 0, 4, 7]))


@pytest.mark.parametrize("seed", range(12))
def test_products(seed):
    rng = np.random.default_rng(seed)
    for most in (30, 200, 600) * 8:
        options, (m, n, k), n_qpus, barriers = case(rng, most)
        p, q = gemm_layout.packed_words(options, m, n, k)
        skew, ldd = skew_of(rng, options, p, q), n + int(rng.choice([0, 3, 2000, 20000]))
        iterations = p.steps // options.unroll
        split_k = int(rng.choice([1, 1, min(2, iterations), min(5, iterations)]))
        slow = gemm_slow.grid(options, p, q, P, Q, D, ldd, skew, split_k=split_k)
        tiles = gemm_schedule.dense_tiles(options, p, q, ldd, skew, split_k=split_k)
        check(options, tiles, slow, n_qpus, skew, barriers, **blocks(rng, options))
        if len(slow) > 24:  # a launch of some of them
            check(options, tiles.part(range(12, 25)), slow[12:25], n_qpus, skew, barriers)


@pytest.mark.parametrize("seed", range(8))
def test_products_of_a_q_in_place(seed):
    rng = np.random.default_rng(seed)
    for most in (30, 200, 600) * 6:
        options, (m, n, k), n_qpus, barriers = case(rng, most)
        k = max(k, options.unroll)
        p, q = gemm_layout.packed_words(options, m, n, k)
        p = gemm_sources.folded(p, k, options.unroll)
        source = gemm_sources.InPlace(q, k, 64 * int(rng.integers(-70, 70)))
        skew, ldd = skew_of(rng, options, p, q), n + int(rng.choice([0, 3, 2000, 20000]))
        slow = gemm_slow.in_place(options, p, source, P, Q, REST, D, ldd, skew)
        tiles = gemm_sources.tiles(options, p, source, ldd, skew)
        check(options, tiles, slow, n_qpus, skew, barriers, **blocks(rng, options))


@pytest.mark.parametrize("n_qpus", range(1, 13))
def test_every_number_of_qpus(n_qpus):
    for beta in (False, True):
        options = gemm.SPEC.options(edge=2, beta=beta)
        p, q = gemm_layout.packed_words(options, 170, 400, 300)
        for skew in (0, 8):
            slow = gemm_slow.grid(options, p, q, P, Q, D, 400, skew)
            tiles = gemm_schedule.dense_tiles(options, p, q, 400, skew)
            check(options, tiles, slow, n_qpus, skew)


def test_barriers_are_among_the_words():
    """Or the comparisons above would not see them."""
    options = gemm.SPEC.options(beta=False)
    p, q = gemm_layout.packed_words(options, 12 * options.rows, 10 * options.columns, 200)
    tiles = gemm_schedule.dense_tiles(options, p, q, 10 * options.columns, 8)
    slow = gemm_slow.grid(options, p, q, P, Q, D, 10 * options.columns, 8)
    sizes = [
        check(options, tiles, slow, 12, 8, barriers).size for barriers in (0, WAVES)
    ]
    assert sizes[1] - sizes[0] == 2 * 12 * 3  # at waves 4 and 8 of 10


@pytest.mark.parametrize("block", (16, 48, 64, 188))
def test_barriers_in_the_middle_of_blocks(block):
    """Every QPU of a wave has one, where its second run begins: at the end of a block, for some."""
    options = gemm.SPEC.options(blocks=True)
    p, q = gemm_layout.packed_words(options, 12 * options.rows, 10 * options.columns, 200)
    tiles = gemm_schedule.dense_tiles(options, p, q, 10 * options.columns, 4)
    slow = gemm_slow.grid(options, p, q, P, Q, D, 10 * options.columns, 4)
    sizes = [
        check(options, tiles, slow, 12, 4, barriers, block=block).size for barriers in (0, WAVES)
    ]
    assert sizes[1] - sizes[0] == 2 * 12 * 3


@pytest.mark.parametrize("seed", range(6))
def test_triangles(seed):
    rng = np.random.default_rng(seed)
    for most in (30, 200, 400) * 4:
        options, (m, n, k), n_qpus, barriers = case(rng, most)
        p, q = gemm_layout.packed_words(options, m, m, k)
        skew = skew_of(rng, options, p, q)
        for lower in (False, True):
            places = list(gemm_slow.half(options, p, q, lower))
            slow = gemm_slow.grid(options, p, q, P, Q, D, m + 2, skew, places)
            ranges = triangle.half(options, p, q, lower)
            tiles = gemm_schedule.dense_tiles(options, p, q, m + 2, skew, ranges)
            check(options, tiles, slow, n_qpus, skew, barriers, **blocks(rng, options))
        p, q = gemm_layout.packed_words(options, m, n, m)
        slow = gemm_slow.grid(options, p, q, P, Q, D, n, skew, list(gemm_slow.ramp(options, p, q)))
        tiles = gemm_schedule.dense_tiles(options, p, q, n, skew, triangle.ramp(options, p, q))
        check(options, tiles, slow, n_qpus, skew, barriers, **blocks(rng, options))


@pytest.mark.parametrize("seed", range(4))
def test_solves(seed):
    rng = np.random.default_rng(seed)
    for most in (40, 300, 500):
        any_options, (n, m, _), n_qpus, _ = case(rng, most)
        any_options = dataclasses.replace(any_options, blocks=False)
        for options in (any_options, triangle.choose(n, m)):
            p, q = gemm_layout.packed_words(options, n, m, n)
            skew = gemm_schedule.skew_of(options, p, q)
            steps = list(triangle.solve(options, p, q, skew))
            slow = list(gemm_slow.solve(options, p, q, P, Q, D, skew))
            assert len(steps) == len(slow)
            for step, (tiles, added, apart) in zip(steps, slow):
                assert (step.added, step.skew) == (added, apart)
                own = dataclasses.replace(options, beta=added)
                addresses = {"p": P, "r": Q, "x": D, "watch": WATCH}
                streams = gemm_streams.streams(
                    own, step.tiles, n_qpus, step.skew, 0, step.names
                )
                got = filled(streams, addresses, alpha=[1], beta=[1], limit=[LIMIT])
                want = gemm_slow.words(
                    own, tiles, 1, 1, n_qpus, apart, 0, OWN, LIMIT, WATCH
                )
                assert np.array_equal(got[0], want[0]) and got[1] == want[1]


def lines(words):
    return -(-words // 16) * 16


@pytest.mark.parametrize("seed", range(8))
def test_batches(seed):
    rng = np.random.default_rng(seed)
    for most in (20, 150) * 4:
        options, _, n_qpus, _ = case(rng, most)
        count = int(rng.integers(1, 20))
        sizes = [tuple(int(x) for x in rng.integers(1, most, 3)) for _ in range(count)]
        sizes = [sizes[i] for i in rng.integers(0, rng.integers(1, count + 1), count)]
        alpha, beta = rng.standard_normal((2, count)).astype(F32)
        found = gemm_schedule.batch(options, sizes)
        layouts = [gemm_layout.packed_words(options, *size) for size in sizes]
        assert [found.layouts[kind] for kind in found.kind] == layouts
        skew = min(gemm_schedule.skew_of(options, p, q) for p, q in layouts)
        at, slow = np.zeros(3, int), []
        for i, ((m, n, _), (p, q)) in enumerate(zip(sizes, layouts)):
            assert at.tolist() == [found.p_at[i], found.q_at[i], found.d_at[i]]
            addresses = (np.array([P, Q, D]) + 4 * at).tolist()
            slow += [
                dataclasses.replace(tile, alpha=alpha[i], beta=beta[i])
                for tile in gemm_slow.grid(options, p, q, *addresses, n, skew)
            ]
            at += [lines(p.words), lines(q.words), lines(m * n)]
        assert at.tolist() == [found.p_at[-1], found.q_at[-1], found.d_at[-1]]
        assert found.skew == skew
        check(
            options, found.tiles, slow, n_qpus, skew, alpha=alpha, beta=beta,
            **blocks(rng, options),
        )  # fmt: skip


WIDTHS = (2, 3, 5, 7, 8, 9, 10, 12, 14, 15, 16, 32, 48, 64, 80, 96, 128)


def operands(rng):
    for number in range(int(rng.integers(1, 4))):
        width = int(rng.choice(WIDTHS))
        edge = 16 * int(rng.integers(0, width // 16)) if width > 16 else 0
        length = int(rng.integers(1, rng.choice([20, 150, 600])))
        k = int(rng.integers(1, rng.choice([20, 100, 1000])))
        unroll, wide = int(rng.choice((2, 4, 6))), rng.random() < 0.05
        if wide:  # a matrix whose order changes
            width, length, edge, unroll = 700, 700, 0, 1
        ld = (k if wide else max(k, length)) + int(rng.integers(1, 9))
        step, along = (4, 4 * ld) if wide or rng.random() < 0.5 else (4 * ld, 4)
        step = -step if not wide and rng.random() < 0.1 else step
        along = -along if rng.random() < 0.1 else along
        layout = gemm_layout.Packed(length, -(-k // unroll) * unroll, width, edge)
        look, most = bool(rng.random() < 0.7), ""
        if layout.steps > unroll and not number and not edge and not wide:  # for a Q in place
            most = "most" if rng.random() < 0.7 else ""
            if layout.steps > k and rng.random() < 0.7:
                layout = dataclasses.replace(layout, fold=layout.steps - unroll)
        at = 4 * int(rng.integers(0, 50)), 64 * int(rng.integers(0, 5))
        names = f"a{number}", f"p{number}"
        yield gemm_segments.Operand(layout, k, at[0], step, along, at[1], *names, look, most)


@pytest.mark.parametrize("seed", range(10))
def test_packing(seed):
    rng = np.random.default_rng(seed)
    for _ in range(25):
        own, n_qpus = list(operands(rng)), int(rng.integers(1, 13))
        addresses, whole = {"watch": WATCH, "most": REST}, []
        for number, operand in enumerate(own):
            a, p = 0xC0000000 + (number << 24), 0xD0000000 + (number << 24)
            addresses.update({operand.source: a, operand.packed: p})
            at = {"address": a + operand.address, "out": p + operand.out}
            whole.append(dataclasses.replace(operand, **at))
        got = filled(gemm_segments.streams(own, n_qpus), addresses)
        want = gemm_pack_slow.words(whole, n_qpus, OWN, REST, WATCH)
        assert got[1] == want[1] and np.array_equal(got[0], want[0]), own


# --- bad input, predictions ----------------------------------------------------------------------


def test_impossible_tiles_are_refused():
    options = gemm.SPEC.options(beta=False)
    p, q = gemm_layout.packed_words(options, 16, 96, 8)
    with pytest.raises(ValueError, match="split_k = 3 leaves parts of 8 steps empty"):
        gemm_schedule.dense_tiles(options, p, q, 96, 0, split_k=3)
    with pytest.raises(ValueError, match="split_k is for all tiles"):
        ranges = gemm_schedule.all_tiles(p, q, 0, 4)
        gemm_schedule.dense_tiles(options, p, q, 96, 0, ranges, split_k=2)
    with pytest.raises(ValueError, match="vdw_stride setup: stride = -4 does not fit"):
        tiles = gemm_schedule.dense_tiles(options, p, q, 15, 0)
        gemm_streams.streams(options, tiles, 12, 0)


def test_setup_words_by_arrays():
    units, y = np.arange(1, 129), np.arange(128)
    want = [sw.vdw_store(int(u), 16, int(r)) for u, r in zip(units, y)]
    assert sw.pack_arrays("vdw", units=units, depth=16, horiz=1, y=y).tolist() == want
    for bad in (dict(units=0 * units), dict(units=129), dict(y=y + 1)):
        with pytest.raises(ValueError, match="does not fit"):
            sw.pack_arrays("vdw", **{"units": 1, "depth": 1, **bad})
    with pytest.raises(ValueError, match="no field 'rows'"):
        sw.pack_arrays("vdw", rows=1)


@pytest.mark.parametrize("beta", (False, True))
def test_predicted_clocks_of_tiles(beta):
    """Those of a product of a tile's size on one QPU."""
    options = gemm.SPEC.options(edge=2, beta=beta)
    p, q = gemm_layout.packed_words(options, 205, 333, 205)
    tiles = gemm_schedule.dense_tiles(options, p, q, 333, 4, triangle.ramp(options, p, q))
    found = gemm_choice.clocks_of_tiles(options, tiles)
    assert len(set(tiles.columns.tolist())) > 1 and len(set(tiles.rows.tolist())) > 1
    for t, clocks in enumerate(found):
        size = int(tiles.rows[t]), int(tiles.columns[t]), int(tiles.steps[:, t].sum())
        assert clocks == pytest.approx(gemm_choice.clocks(options, *size, n_qpus=1), rel=1e-12)


# --- function calls ------------------------------------------------------------------------------


def calls(work):
    """Calls of Python and built-in functions, with caches as in a new process."""
    for cached in (gemm_layout.cover, gemm_streams._record, gemm_streams._delay):
        cached.cache_clear()
    profile = cProfile.Profile()
    profile.enable()
    work()
    profile.disable()
    return pstats.Stats(profile).total_calls


@pytest.mark.parametrize("beta", (False, True))
@pytest.mark.parametrize("m, k, n", ((512, 512, 512), (96, 363, 3072), (3072, 363, 96)))
def test_a_product_takes_few_function_calls(m, k, n, beta):
    options = gemm_choice.choose(m, n, k, beta)

    def product():
        p, q = gemm_layout.packed_words(options, m, n, k)
        skew = gemm_schedule.skew_of(options, p, q)
        tiles = gemm_schedule.dense_tiles(options, p, q, n, skew)
        gemm_streams.streams(options, tiles, 12, skew)

    def packing():
        p, q = gemm_layout.packed_words(options, m, n, k)
        gemm_segments.streams(
            (
                gemm_segments.Operand(p, k, 0, 4, 4 * k, 0, "a", "p"),
                gemm_segments.Operand(q, k, 0, 4 * n, 4, 0, "b", "q"),
            ),
            12,
        )

    product(), packing()  # what NumPy does for the first time
    assert calls(lambda: (product(), packing())) <= 800
    assert calls(product) <= 450


def test_a_solve_takes_few_function_calls():
    n = 256
    options = triangle.choose(n, n)

    def solve():
        p, q = gemm_layout.packed_words(options, n, n, n)
        for step in triangle.solve(options, p, q, gemm_schedule.skew_of(options, p, q)):
            own = dataclasses.replace(options, beta=step.added)
            gemm_streams.streams(own, step.tiles, 12, step.skew, 0, step.names)

    solve()
    assert calls(solve) <= 1500
