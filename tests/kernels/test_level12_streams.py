"""The uniform streams of levels 1 and 2 and what is made of results, against plain Python.

Array operations must give the same words, tiles and bits as loops over tiles and words, for any
size, storage, number of QPUs and cut into launches, and must not loop themselves.
"""

from __future__ import annotations

import cProfile
import functools

import numpy as np
import plain_streams
import pytest

from piblas.kernels import (
    asum,
    axpby,
    axpy,
    copy,
    dot,
    iamax,
    nrm2,
    panel_plan,
    rot,
    scal,
    storage,
    swap,
    update_plan,
)  # fmt: skip

ELEMENTWISE = (copy, swap, scal, axpy, axpby, rot)
REDUCTIONS = (dot, asum, nrm2, iamax)


def address(rng):
    """A bus address of any word."""
    return 0xC0000000 + 4 * int(rng.integers(0, 1 << 22))


def same(streams, expected):
    assert len(streams) == len(expected)
    for got, want in zip(streams, expected):
        assert got.dtype == np.uint32 and np.array_equal(got, want)


def lengths(rng):
    return int(rng.choice([rng.integers(1, top) for top in (40, 700, 20_000, 1 << 22)]))


def elementwise_case(rng, module):
    """(kernel, options, n, the alignment of the output)."""
    kernel, options = module.KERNEL, module.SPEC.defaults
    if rng.random() < 0.4 and kernel.outputs == 1:
        changes = dict(workers=int(rng.integers(1, 12)), rows=2, ahead=1, asked=0)
        options = module.SPEC.options(watch=bool(rng.integers(2)), **changes)
    return kernel, options.fitted(int(rng.integers(1, 13))), lengths(rng), int(rng.integers(0, 16))


@pytest.mark.parametrize("module", ELEMENTWISE, ids=lambda module: module.SPEC.name)
def test_elementwise_streams(module):
    rng = np.random.default_rng(1)
    for _ in range(60):
        kernel, options, n, alignment = elementwise_case(rng, module)
        streams = kernel.streams(options, n, alignment)
        for _ in range(2):  # for other operands they are filled in again
            inputs = [address(rng) for _ in range(kernel.inputs)]
            outputs = [address(rng) // 64 * 64 + 4 * alignment, address(rng)][: kernel.outputs]
            watch = address(rng)
            constants = rng.uniform(-2, 2, len(kernel.constants)).astype(np.float32)
            at = dict(zip("xy", inputs), watch=watch)
            at.update((f"out{number}", each) for number, each in enumerate(outputs))
            want = plain_streams.elementwise(options, n, constants, inputs, outputs, watch)
            same(streams.filled(at, {"constants": constants}), want)


@pytest.mark.parametrize("module", REDUCTIONS, ids=lambda module: module.SPEC.name)
def test_reduction_streams(module):
    rng = np.random.default_rng(2)
    kernel = module.KERNEL
    for _ in range(60):
        n, n_qpus = lengths(rng), int(rng.integers(1, 13))
        unroll = int(rng.choice([2, 4, 8]))
        options = module.SPEC.options(unroll=unroll, watch=bool(rng.integers(2)))
        streams = kernel.streams(options, n, n_qpus)
        for _ in range(2):
            inputs, out = [address(rng) for _ in range(kernel.inputs)], address(rng)
            constants = rng.uniform(-2, 2, len(kernel.constants)).astype(np.float32)
            at = dict(zip("xy", inputs), out=out)
            want = plain_streams.reduction(kernel, options, n, constants, inputs, out, n_qpus)
            same(streams.filled(at, {"constants": constants}), want)


def storages(rng):
    """A matrix in every kind of storage."""
    m, n = (int(rng.choice([rng.integers(1, top) for top in (20, 150, 700)])) for _ in "mn")
    order, ld = min(n, 500), int(rng.choice([0, 1, 3, 16]))
    kl, ku, k = (int(rng.integers(0, 5)) for _ in range(3))
    yield storage.full(m, n, m + ld)
    yield storage.band(m, n, min(kl, m - 1), min(ku, n - 1), kl + ku + 1 + ld, min(ku, n - 1))
    below, above = m // 2, n // 3
    yield storage.band(m, n, below, above, below + above + 1, above)
    for lower in (True, False):
        k = min(int(rng.choice([0, 2, 20, order])), order - 1)
        below, above = (k, 0) if lower else (0, k)
        for kept in (
            storage.triangle(order, lower, order + ld), storage.packed(order, lower),
            storage.band(order, order, below, above, k + 1, above),
        ):  # fmt: skip
            yield kept
            yield kept.without_diagonal()


def parts(rng, n_tiles):
    """All tiles, and a run of them for a launch that has to be short."""
    begin, end = sorted(int(at) for at in rng.integers(0, n_tiles + 1, 2))
    return [range(n_tiles)] + ([range(begin, end)] if begin < end else [])


def spans(rng, size):
    return tuple(sorted(int(at) for at in rng.integers(0, size + 1, 2)))


@pytest.mark.parametrize("seed", range(8))
def test_product_streams_and_results(seed):
    """About 60 products each, some of a range of rows and columns, some of a part of the tiles."""
    rng = np.random.default_rng([3, seed])
    for kept in storages(rng):
        for use in "nts" if kept.m == kept.n else "nt":
            rows, columns = (0, kept.m), (0, kept.n)
            if rng.random() < 0.3:
                rows, columns = spans(rng, kept.m), spans(rng, kept.n)
            plan = panel_plan.plan(kept, use, rows, columns)
            height = plan.options.height
            width = 16 * max(8, -(-kept.n * -(-kept.m // height) // (16 * panel_plan.TILES)))
            tiles = plain_streams.tiles(kept, height, width, rows, columns)
            assert list(map(tuple, plan.tiles)) == tiles
            check_product(rng, plan, tiles)


def check_product(rng, plan, tiles):
    kept, n_qpus = plan.storage, int(rng.integers(1, 13))
    for part in parts(rng, len(tiles)) if tiles else ():
        streams = plan.streams(n_qpus, part)
        a, x_at, out = (address(rng) for _ in range(3))
        x = rng.uniform(-1, 1, max(kept.m, kept.n)).astype(np.float32)
        want = plain_streams.panel(plan, tiles, a, x_at, x, out, n_qpus, part)
        same(streams.filled({"a": a, "x": x_at, "out": out}, {"x": x}), want)
    stored = rng.uniform(-1, 1, plan.words) * 10.0 ** rng.uniform(-9, 9, plan.words)
    stored = stored.astype(np.float32)
    total, used = plain_streams.joined(plan, tiles, stored)
    assert plan.join(stored).tobytes() == total.tobytes()
    unused = np.delete(np.arange(plan.words), used)
    stored[unused] = np.inf  # nothing has been stored there
    assert not plan.too_large(stored)
    assert plan.join(stored).tobytes() == total.tobytes()
    if used:
        stored[rng.choice(used)] = rng.choice([np.inf, -np.inf, np.nan, -3.4028235e38])
        assert plan.too_large(stored)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("width", (64, update_plan.WIDTH))
def test_update_streams(seed, width, monkeypatch):
    monkeypatch.setattr(update_plan, "WIDTH", width)
    rng = np.random.default_rng([4, seed])
    for kept in storages(rng):
        rank, n_qpus = int(rng.integers(1, 3)), int(rng.integers(1, 13))
        plan = update_plan.plan(kept, rank, n_qpus)
        tiles = plain_streams.whole_tiles(kept, plan.options.height, width)
        assert list(map(tuple, plan.tiles)) == tiles
        for part in parts(rng, len(tiles)) if tiles else ():
            streams = plan.streams(part)
            a, x, y, watch = (address(rng) for _ in range(4))
            factors = rng.uniform(-1, 1, (rank, kept.n)).astype(np.float32)
            mine = tiles[part.start : part.stop]
            want = plain_streams.update(plan, mine, a, [x, y][:rank], factors, watch)
            at = {"a": a, "x": x, "y": y, "watch": watch}
            same(streams.filled(at, dict(zip("st", factors))), want)


# --- what it takes -------------------------------------------------------------------------------


def calls(function):
    """Calls of Python functions and built-in ones that it makes: a measure of the host's time that
    no other process disturbs."""
    profile = cProfile.Profile()
    profile.enable()
    function()
    profile.disable()
    return sum(row.callcount for row in profile.getstats())


@pytest.mark.parametrize("n", (1, 100, 5000, 1 << 24))
@pytest.mark.parametrize("n_qpus", (1, 12))
def test_calls_that_level_1_streams_take(n, n_qpus):
    for module in ELEMENTWISE:
        options = module.SPEC.defaults.fitted(n_qpus)
        assert calls(lambda: module.KERNEL.streams(options, n, 3)) <= 150
    for module in REDUCTIONS:
        assert calls(lambda: module.KERNEL.streams(module.SPEC.defaults, n, n_qpus)) <= 150


@pytest.mark.parametrize("order", (5, 300, 4096))
@pytest.mark.parametrize("n_qpus", (1, 12))
def test_calls_that_level_2_plans_and_streams_take(order, n_qpus):
    for kept, uses in (
        (storage.full(order, order, order), "nt"),
        (storage.triangle(order, True, order).without_diagonal(), "nts"),
        (storage.packed(order, False), "nts"),
        (storage.band(order, order, 4, 2, 7, 2), "nt"),
    ):
        for use in uses:
            assert calls(lambda: panel_plan.plan(kept, use).streams(n_qpus)) <= 300
        for rank in (1, 2):
            assert calls(lambda: update_plan.plan(kept, rank, n_qpus).streams()) <= 300


def test_calls_that_level_2_results_take():
    plan = panel_plan.plan(storage.packed(3000, True), "s")
    stored = np.zeros(plan.words, np.float32)
    assert calls(lambda: (plan.overflowed(stored, 12), plan.join(stored))) <= 60


def test_memory_of_plans_and_streams():
    """What a cache counts is what the arrays take: about 20 bytes for each word of a stream."""
    kept = storage.full(2048, 2048, 2048)
    product, change = panel_plan.plan(kept, "n"), update_plan.plan(kept, 2, 12)
    for plan, streams in ((product, product.streams(12)), (change, change.streams())):
        assert streams.nbytes < streams.kept_bytes < 6 * streams.nbytes
        arrays = [each for each in vars(plan).values() if isinstance(each, np.ndarray)]
        assert plan.kept_bytes == sum(each.nbytes for each in arrays)


def test_plans_can_be_kept_by_what_was_asked():
    """Equal requests have equal keys, the programs' options too."""
    products = functools.lru_cache(maxsize=None)(panel_plan.plan)
    changes = functools.lru_cache(maxsize=None)(update_plan.plan)
    first, second, other = (storage.triangle(300, True, ld) for ld in (304, 304, 305))
    assert products(first, "n", (0, 40)) is products(second, "n", (0, 40))
    assert products(first, "n", (0, 40)) is not products(other, "n", (0, 40))
    assert changes(first, 1, 12) is changes(second, 1, 12) is not changes(first, 2, 12)
    options = {plan.options for plan in (products(first, "n"), products(other, "n"))}
    assert len(options) == 1
