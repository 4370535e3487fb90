"""The level-2 kernels on the device contract: any storage, shape and alignment, nothing else read.

Matrices lie inside buffers full of guard words, and so do the words of their arrays that stand for
no stored element: a guard word is a NaN, which a product would show.  Results are held against
float64 and the error bounds in the kernels' modules.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_level1 import GUARD, Operand

from piblas.driver import Emulator
from piblas.kernels import (
    gemv,
    ger,
    panel,
    panel_plan,
    spec,
    storage,
    symv,
    syr,
    trmv,
    update,
    update_plan,
)  # fmt: skip
from piblas.kernels.stream import OVERFLOW

SHAPES = (
    (1, 1), (1, 40), (40, 1), (2, 3), (15, 17), (16, 16), (17, 15), (33, 70), (64, 5), (65, 64),
    (128, 128), (129, 130), (31, 200), (300, 150), (520, 20),
)  # fmt: skip
USES = {"n": gemv.SPEC, "t": gemv.SPEC, "s": symv.SPEC}


@pytest.fixture(scope="module")
def device():
    with Emulator(memory=16 << 20, seed=31, timing="off") as dev:
        yield dev


_loaded = {}


def loaded(dev, kernel, options):
    """The kernel's program in the device's memory, loaded once."""
    key = id(dev), kernel.name, options
    if key not in _loaded:
        _loaded[key] = dev, dev.load(kernel.program(options).words)
    return _loaded[key][1]


def indices(kept):
    """Rows and columns of the stored elements, column by column."""
    i, j = np.mgrid[: kept.m, : kept.n]
    there = (kept.low <= i - j) & (i - j <= kept.high)
    return i.T[there.T], j.T[there.T]


def place(kept, i, j):
    return kept.first + i + kept.step * j + kept.growth * (j * (j - 1) // 2)


class Matrix:
    """Random elements where a storage has some, guard words between them."""

    def __init__(self, rng, kept, spread=1.0, low=-1.0):
        self.kept = kept
        i, j = indices(kept)
        self.at = place(kept, i, j)
        values = rng.uniform(low, 1, i.size) * 10.0 ** rng.uniform(-spread / 2, spread / 2, i.size)
        self.words = np.full(max(int(self.at.max(initial=0)) + 1, 1), GUARD).view(np.float32)
        self.words[self.at] = values
        self.dense = np.zeros((kept.m, kept.n), dtype=np.float32)
        self.dense[i, j] = values
        self.i, self.j = i, j


def storages(rng, m, n):
    """The ways to store an m x n matrix, and square ones of order n, if that is not too much."""
    order = min(n, 3000)
    ld = int(rng.choice([0, 1, 3, 16]))
    kl, ku, k = (int(rng.integers(0, 5)) for _ in range(3))
    yield storage.full(m, n, m + ld)
    yield storage.band(m, n, min(kl, m - 1), min(ku, n - 1), kl + ku + 1 + ld, min(ku, n - 1))
    below, above = m // 2, min(n // 3, 1000)
    yield storage.band(m, n, below, above, below + above + 1, above)
    for lower in (True, False):
        yield storage.triangle(order, lower, order + ld)
        yield storage.packed(order, lower)
        k = min(int(rng.choice([0, 2, 20, order])), order - 1)
        below, above = (k, 0) if lower else (0, k)
        yield storage.band(order, order, below, above, k + 1, above)


def multiply(dev, matrix, use, x, kept=None, n_qpus=12, shift=0, **ranges):
    """(product in double precision, plan, report, whether an overflow is suspected)."""
    kept = kept or matrix.kept
    plan = panel_plan.plan(kept, use, **ranges)
    if not len(plan.tiles):
        return np.zeros(kept.n if use == "t" else kept.m), plan, None, False
    of_a = Operand(dev, matrix.words, shift)
    padded = np.zeros(max(kept.m + plan.options.height, x.size), np.float32)
    padded[: x.size] = x
    of_x = Operand(dev, padded, shift)
    out = Operand(dev, np.full(plan.words, GUARD).view(np.float32))
    at = {"a": of_a.address, "x": of_x.address, "out": out.address}
    streams = plan.streams(n_qpus).filled(at, {"x": x})
    report = dev.execute(loaded(dev, USES[use], plan.options), streams)
    stored = out.check()
    for operand, before in ((of_a, matrix.words), (of_x, padded)):
        assert np.array_equal(operand.check().view(np.uint32), before.view(np.uint32))
    for operand in (of_a, of_x, out):
        operand.buffer.free()
    return plan.join(stored), plan, report, plan.overflowed(stored, n_qpus)


def reference(dense, use, x):
    wide = dense.astype(np.float64)
    return matrix_of(wide, use) @ x


def matrix_of(dense, use):
    return dense if use == "n" else dense.T if use == "t" else dense + dense.T


def check_product(dev, rng, kept, use, spread=1.0, low=-1.0, **how):
    """Run a product and compare with float64: the largest error in units of its bound."""
    matrix = Matrix(rng, kept, spread, low)
    x = (rng.uniform(low, 1, kept.m if use == "t" else kept.n)).astype(np.float32)
    x *= (10.0 ** rng.uniform(-spread / 2, spread / 2, x.size)).astype(np.float32)
    got, plan, report, overflow = multiply(dev, matrix, use, x, **how)
    assert not overflow
    want = reference(matrix.dense, use, x.astype(np.float64))
    bound = panel.error_bound(plan.depth, 1.0, matrix_of(matrix.dense, use), x)
    error = np.abs(got.astype(np.float32) - want)
    assert np.all(error <= bound)
    return np.max(error / bound), report


def some_storages(rng, m, n, few):
    made = list(storages(rng, m, n))
    return [made[i] for i in rng.permutation(len(made))[: 4 if few else None]]


def products(dev, m, n, few=True):
    rng = np.random.default_rng([m, n])
    for kept in some_storages(rng, m, n, few):
        for use in "nts" if kept.m == kept.n and not kept.is_full else "nt":
            if use == "s":
                if kept.low < 0 < kept.high:
                    continue  # no triangle
                kept = kept.without_diagonal()
            shift, n_qpus = int(rng.integers(0, 16)), int(rng.choice([1, 5, 12]))
            check_product(dev, rng, kept, use, shift=shift, n_qpus=n_qpus)


@pytest.mark.parametrize("m, n", SHAPES)
def test_products(device, m, n):
    products(device, m, n)


@pytest.mark.parametrize("use", "nts")
def test_products_do_not_depend_on_qpus(device, use):
    rng = np.random.default_rng(3)
    for kept in (storage.full(200, 300, 203), storage.triangle(260, True, 260)):
        if use == "s":
            kept = storage.triangle(260, False, 261).without_diagonal()
        matrix = Matrix(rng, kept)
        x = rng.uniform(-1, 1, kept.m if use == "t" else kept.n).astype(np.float32)
        first, *others = (multiply(device, matrix, use, x, n_qpus=q)[0] for q in (1, 2, 5, 12))
        assert all(np.array_equal(first, other) for other in others)


def test_ranges_of_rows_and_columns(device):
    """What a solver needs: a part of the matrix, with x beyond it."""
    rng = np.random.default_rng(4)
    for kept in (storage.triangle(300, True, 300), storage.packed(300, False)):
        matrix = Matrix(rng, kept)
        x = rng.uniform(-1, 1, 300).astype(np.float32)
        for rows, columns in (((128, 256), (0, 128)), ((3, 40), (20, 290)), ((0, 0), (0, 300))):
            part = np.zeros_like(matrix.dense)
            part[slice(*rows), slice(*columns)] = matrix.dense[slice(*rows), slice(*columns)]
            for use in "nt":
                got, plan, _, _ = multiply(device, matrix, use, x, rows=rows, columns=columns)
                want = reference(part, use, x.astype(np.float64))
                bound = panel.error_bound(plan.depth, 1.0, matrix_of(part, use), x)
                assert np.all(np.abs(got - want) <= bound)


def updated(dev, matrix, vectors, factors, n_qpus=12, shift=0):
    """(the words of A afterwards, report, whether an overflow is suspected)."""
    kept = matrix.kept
    plan = update_plan.plan(kept, len(vectors), n_qpus)
    of_a = Operand(dev, matrix.words, shift)
    padded = [np.r_[v, np.zeros(plan.options.height, np.float32)] for v in vectors]
    operands = [Operand(dev, v, shift) for v in padded]
    watch = Operand(dev, np.zeros(plan.watch_words, np.float32))
    at = dict(zip("xy", (o.address for o in operands)), a=of_a.address, watch=watch.address)
    streams = plan.streams().filled(at, dict(zip("st", map(np.ascontiguousarray, factors))))
    kernel = ger.SPEC if len(vectors) == 1 else syr.SPEC
    report = dev.execute(loaded(dev, kernel, plan.options), streams)
    for operand, before in zip(operands, padded):
        assert np.array_equal(operand.check(), before)
    suspected = plan.overflowed(watch.check())
    words = of_a.check()
    for operand in (of_a, watch, *operands):
        operand.buffer.free()
    return words, report, suspected


def check_update(dev, rng, kept, rank, spread=1.0, low=-1.0, **how):
    """Run an update and compare with float64: the largest error in units of its bound."""
    matrix = Matrix(rng, kept, spread, low)
    pairs = []
    for _ in range(rank):
        sizes = 10.0 ** rng.uniform(-spread / 4, spread / 4, kept.m + kept.n)
        both = (rng.uniform(low, 1, kept.m + kept.n) * sizes).astype(np.float32)
        pairs.append((both[: kept.m], both[kept.m :]))
    words, report, overflow = updated(dev, matrix, *zip(*pairs), **how)
    assert not overflow
    others = np.ones(words.size, dtype=bool)
    others[matrix.at] = False
    assert np.all(words.view(np.uint32)[others] == GUARD)
    want = matrix.dense.astype(np.float64)
    want += sum(np.outer(x.astype(np.float64), y) for x, y in pairs)
    bound = update.error_bound(matrix.dense, 1.0, pairs)
    error = np.abs(words[matrix.at] - want[matrix.i, matrix.j])
    assert np.all(error <= bound[matrix.i, matrix.j])
    return np.max(error / bound[matrix.i, matrix.j], initial=0), report


def updates(dev, m, n, few=True):
    rng = np.random.default_rng([7, m, n])
    for kept in some_storages(rng, m, n, few):
        rank, n_qpus = int(rng.integers(1, 3)), int(rng.choice([1, 12] if few else [1, 2, 5, 12]))
        check_update(dev, rng, kept, rank, shift=int(rng.integers(0, 16)), n_qpus=n_qpus)


@pytest.mark.parametrize("m, n", SHAPES)
def test_updates(device, m, n):
    updates(device, m, n)


@pytest.mark.parametrize("seed", (1, 3, 5))
def test_updates_read_nothing_that_is_being_stored(seed):
    """A QPU that has no column of a phase leaves those of the others alone: with turns of any
    length, a read of words that are on their way to memory faults."""
    with Emulator(memory=8 << 20, seed=seed, timing="off", quantum=16) as dev:
        for m, n in ((20, 3), (64, 9), (130, 3), (130, 17), (250, 9), (600, 5)):
            for rank in (1, 2):
                check_update(dev, np.random.default_rng(seed), storage.full(m, n, m), rank)


def test_caches_apart_from_memory():
    with Emulator(memory=8 << 20, seed=32, incoherent=True, timing="off") as dev:
        for shape in ((17, 15), (130, 40)):
            products(dev, *shape)
            updates(dev, *shape)


@pytest.mark.slow
@pytest.mark.parametrize("incoherent", (False, True))
def test_every_storage_of_many_shapes(incoherent):
    rng = np.random.default_rng(1)
    more = [tuple(int(v) for v in rng.integers(1, 301, 2)) for _ in range(20)]
    with Emulator(memory=128 << 20, seed=31, incoherent=incoherent, timing="off") as dev:
        for m, n in (*SHAPES, *more, (1, 3000), (3000, 1), (5, 20_000), (1030, 40)):
            products(dev, m, n, few=False)
            updates(dev, m, n, few=False)


@pytest.mark.parametrize("rank", (1, 2))
def test_updates_do_not_depend_on_qpus(device, rank):
    rng = np.random.default_rng(8)
    kept = storage.triangle(290, True, 293)
    matrix = Matrix(rng, kept)
    vectors = rng.uniform(-1, 1, (2 * rank, 290)).astype(np.float32)
    first, *others = (
        updated(device, matrix, vectors[:rank], vectors[rank:], n_qpus=q)[0] for q in (1, 2, 12)
    )
    for other in others:
        assert np.array_equal(first.view(np.uint32), other.view(np.uint32))


def test_nothing_but_stored_elements_is_read():
    """The other words were never written, and a read of one is a fault."""
    with Emulator(memory=4 << 20, seed=3, timing="off", trap_uninitialised=True) as dev:
        rng = np.random.default_rng(5)
        for kept in (kept for shape in ((5, 9), (70, 40)) for kept in storages(rng, *shape)):
            matrix = Matrix(rng, kept)
            of_a = dev.alloc(4 * matrix.words.size + 256)
            places = of_a.array(np.float32, (matrix.words.size,), offset=68)
            for at in matrix.at:
                places[at] = 1.0
            of_a.clean()
            for use in "nt":
                plan = panel_plan.plan(kept, use)
                words = kept.m + plan.options.height
                of_x, out = dev.alloc(4 * words), dev.alloc(4 * plan.words)
                of_x.array(np.float32)[:] = 1.0
                of_x.clean()
                x = np.ones(kept.n, np.float32)
                at = {"a": of_a.bus_address + 68, "x": of_x.bus_address, "out": out.bus_address}
                streams = plan.streams(12).filled(at, {"x": x})
                dev.execute(loaded(dev, gemv.SPEC, plan.options), streams)
                of_x.free()
                out.free()
            of_a.free()


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", (0.0, 30.0))
@pytest.mark.parametrize("use", "nts")
def test_product_bounds_are_not_slack(device, use, spread):
    """They hold, and errors come within a factor 100 of them, on ill-scaled data too."""
    rng = np.random.default_rng(6)
    kept = storage.triangle(290, True, 290).without_diagonal() if use == "s" else None
    for low in (-1.0, 0.5):
        worst = max(
            check_product(
                device, rng, kept or storage.full(150, 290, 150), use, spread=spread, low=low
            )[0]
            for _ in range(3)
        )
        assert 0.01 < worst <= 1


@pytest.mark.parametrize("spread", (0.0, 60.0))
@pytest.mark.parametrize("rank", (1, 2))
def test_update_bounds_are_not_slack(device, rank, spread):
    rng = np.random.default_rng(7)
    kept = storage.full(150, 90, 150)
    assert 0.01 < check_update(device, rng, kept, rank, spread=spread)[0] <= 1


def test_denormals_count_as_zero(device):
    rng = np.random.default_rng(8)
    matrix = Matrix(rng, storage.full(40, 30, 40))
    tiny = np.float32(1e-40)
    matrix.words[:] = tiny
    x = np.full(30, 1e30, np.float32)
    got, plan, _, _ = multiply(device, matrix, "n", x)
    assert np.array_equal(got, np.zeros(40))
    matrix.dense[:] = tiny
    want = matrix.dense.astype(np.float64) @ x
    assert np.all(np.abs(got - want) <= panel.error_bound(plan.depth, 1.0, matrix.dense, x))
    words, _, _ = updated(device, matrix, [np.zeros(40, np.float32)], [x])
    assert np.array_equal(words.view(np.uint32), np.zeros(1200, np.uint32))


@pytest.mark.parametrize("bad", (np.inf, -np.inf, np.nan, 3.3e38))
def test_special_values_are_noticed(device, bad):
    """Wherever one stands in A, even against a zero of x, and where products overflow."""
    rng = np.random.default_rng(9)
    for kept in (storage.full(50, 40, 50), storage.triangle(150, False, 150)):
        matrix = Matrix(rng, kept, low=0.5)
        x = np.full(kept.m + kept.n, 2.0, np.float32)
        where = int(rng.integers(matrix.at.size))
        matrix.words[matrix.at[where]] = bad
        if not np.isfinite(bad):
            x[:] = 0
        for use in "nt":
            assert multiply(device, matrix, use, x[: kept.m if use == "t" else kept.n])[3]
        vectors = np.full((2, max(kept.m, kept.n)), x[0], np.float32)
        factor = np.float32(1e38 if np.isfinite(bad) else 1)
        assert updated(device, matrix, [vectors[0, : kept.m]], [factor * vectors[1, : kept.n]])[2]


def test_special_values_outside_do_not_matter(device):
    """The other triangle may hold anything (the guard words are NaN)."""
    rng = np.random.default_rng(10)
    kept = storage.triangle(100, True, 100)
    matrix = Matrix(rng, kept)
    assert np.isnan(matrix.words).any()
    assert not multiply(device, matrix, "n", np.ones(100, np.float32))[3]
    assert not updated(device, matrix, *np.ones((2, 1, 100), np.float32))[2]
    assert not np.isnan(np.array([OVERFLOW], np.uint32).view(np.float32))[0]


# --- shape of the programs -----------------------------------------------------------------------


def test_tiles_cover_what_is_stored_once():
    rng = np.random.default_rng(11)
    for shape in SHAPES:
        for kept in storages(rng, *shape):
            i, j = indices(kept)
            want = np.zeros((kept.m, kept.n), dtype=int)
            want[i, j] = 1
            inside = want.astype(bool)
            for plan in (panel_plan.plan(kept, "n"), update_plan.plan(kept, 1, 12)):
                count = np.zeros_like(want)
                for top, rows, left, columns in plan.tiles:
                    tile = np.s_[top : top + rows, left : left + columns]
                    count[tile] += 1
                    assert inside[tile].any(axis=0).all()
                    if isinstance(plan, update_plan.UpdatePlan):
                        assert inside[tile].all()
                assert np.array_equal(count * want, want)


def test_a_matrix_is_read_once(device):
    rng = np.random.default_rng(12)
    for use, kept in (
        ("n", storage.full(512, 256, 512)),
        ("t", storage.full(512, 256, 512)),
        ("s", storage.triangle(512, True, 512).without_diagonal()),
    ):
        _, report = check_product(device, rng, kept, use)
        plan = panel_plan.plan(kept, use)
        columns = sum(columns + 1 + (use != "n") for _, _, _, columns in plan.tiles)
        assert report.bytes["tmu"] == 64 * plan.options.vectors * columns
        assert report.bytes["vpm_dma_store"] <= 4 * plan.words
        assert report.bytes["vpm_dma_load"] == 0


def test_an_update_stores_each_element_once(device):
    rng = np.random.default_rng(13)
    for kept in (storage.full(300, 100, 300), storage.packed(120, True)):
        _, report = check_update(device, rng, kept, 1)
        watched = 4 * update_plan.plan(kept, 1, 12).watch_words
        assert report.bytes["vpm_dma_store"] == 4 * indices(kept)[0].size + watched


def test_many_tiles_stay_few():
    """The host's share is small however long a matrix is, and the bound grows slowly."""
    for m, n in ((1, 4 << 20), (16, 1 << 18), (2048, 2048), (4096, 4096), (1 << 22, 1)):
        plan = panel_plan.plan(storage.full(m, n, m), "n")
        assert len(plan.tiles) <= max(panel_plan.TILES + 64, -(-m // 128))
        assert plan.depth <= 400
    assert panel_plan.plan(storage.full(2048, 2048, 2048), "n").depth == 23
    assert panel_plan.plan(storage.full(2048, 2048, 2048), "t").depth == 9
    assert panel_plan.plan(storage.triangle(3000, True, 3000), "s").depth == 23


@pytest.mark.parametrize("bad", (dict(use="x"), dict(vectors=3), dict(vectors=16)))
def test_impossible_panels(bad):
    with pytest.raises(ValueError, match="no kernel has"):
        gemv.SPEC.options(**bad)


@pytest.mark.parametrize("bad", (dict(rank=3), dict(vectors=5), dict(workers=4), dict(alone=True)))
def test_impossible_updates(bad):
    with pytest.raises(ValueError, match="no kernel has"):
        ger.SPEC.options(**bad)


def test_all_are_registered():
    assert {s.SPEC.name for s in (gemv, symv, trmv, ger, syr)} <= set(spec.names())


@pytest.mark.parametrize("use", "nt")
@pytest.mark.parametrize("ld", (512, 515))
def test_products_near_the_limit(use, ld):
    """At least 85 % of the rate at which the modelled memory delivers A, on its lines or not."""
    with Emulator(memory=16 << 20, timing="calibrated") as dev:
        kept = storage.full(512, 512, ld)
        _, report = check_product(dev, np.random.default_rng(1), kept, use)
        memory = 4 * 512 * 512 / (report.timing.sdram_rate * 1e6) * dev.clock_hz
    assert memory / report.cycles >= 0.85
