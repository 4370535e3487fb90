"""sgemm of resident operands that are read where they lie: results, launches, Inf and NaN."""

from __future__ import annotations

import numpy as np
import pytest
from resident_matrices import F32, Held
from scipy.linalg import blas

import piblas
from piblas import DeviceTimeout
from piblas.blas import level3
from piblas.driver import Emulator
from piblas.host import arrays, limits
from piblas.host import gemm_resident as host_gemm
from piblas.host.plan import PLANS
from piblas.kernels import gemm_error, gemm_layout, gemm_sources, reference


@pytest.fixture(scope="module", params=((False, 3), (True, 5)), ids=("coherent", "incoherent"))
def chip(request):
    incoherent, seed = request.param
    with Emulator(
        memory=32 << 20, seed=seed, incoherent=incoherent, strict=True, timing="off"
    ) as dev:
        yield dev


@pytest.fixture
def device(chip, fresh):
    with piblas.use(chip):
        yield chip


@pytest.fixture
def lying(monkeypatch):
    """Counts the products whose Q was read in place."""
    found, real = [], gemm_sources.tiles
    PLANS.clear()

    def tiles(*args):
        found.append(args)
        return real(*args)

    monkeypatch.setattr(gemm_sources, "tiles", tiles)
    return found


def values(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).uniform(-1, 1, shape).astype(F32)


@pytest.fixture
def magnitudes(monkeypatch):
    """The largest magnitudes that the launches of products told, of (operands, sums)."""
    found, real = [], host_gemm._fits

    def fits(alpha, beta, operands, sums, result):
        found.append((operands, sums))
        return real(alpha, beta, operands, sums, result)

    monkeypatch.setattr(host_gemm, "_fits", fits)
    return found


@pytest.fixture
def product(magnitudes):
    """Run one and compare; the bits of the result."""

    def run(device, m, n, k, pitch=None, before=0, alpha=1.5, beta=0.0):
        a, b, c = values(m, k, seed=1), values(k, n, seed=2), values(m, n, seed=3)
        held = Held(device, a, k + 3, 5), Held(device, b, pitch, before), Held(device, c, n + 2, 1)
        host_gemm.sgemm_resident(device, alpha, held[0].array, held[1].array, beta, held[2].array)
        got = held[2].array.copy()
        error = np.abs(got - reference.sgemm(alpha, a, b, beta, c))
        assert (error <= gemm_error.error_bound(alpha, a, b, beta, c)).all()
        assert np.array_equal(held[0].array, a) and np.array_equal(held[1].array, b)
        operands, sums = magnitudes[-1]
        assert operands <= 1 and sums < 2.0**127
        for each in held:
            each.check()
        return got

    return run


@pytest.mark.parametrize(
    "n, pitch, before",
    (
        pytest.param(96, 96, 0, id="no gap"),
        pytest.param(96, 128, 16, id="a gap, and an offset"),
        pytest.param(192, 1024, 32, id="rows a cache apart"),
        pytest.param(256, 2048, 0, id="two widths"),
        pytest.param(100, 112, 0, id="a packed panel too"),
        pytest.param(113, 128, 16, id="and one word in a line"),
    ),
)
@pytest.mark.parametrize("m, k", ((1, 4), (7, 5), (8, 6), (9, 7), (40, 33), (97, 64)))
def test_rows_of_whole_lines(device, lying, product, m, n, k, pitch, before):
    product(device, m, n, k, pitch, before, beta=0.5 if k % 2 else 0.0)
    whole = gemm_layout.packed_words(lying[0][0], m, n, k)[1] if lying else None
    assert lying or whole is None
    assert all(source.count for _, _, source, *_ in lying)


def test_most_of_them_are_read_in_place(device, lying, product):
    for m, n, k, pitch in ((96, 192, 36, 192), (40, 96, 33, 1024), (9, 256, 7, 2048)):
        before = len(lying)
        product(device, m, n, k, pitch)
        assert len(lying) == before + 1


@pytest.mark.parametrize("k", range(1, 10))
def test_every_depth(device, product, k):
    product(device, 20, 96, k, 96)
    product(device, 20, 96, k, 160, 16, beta=-1.0)


@pytest.mark.parametrize(
    "n, pitch, before", ((96, 97, 0), (96, 96, 1), (96, 96, 8), (15, 16, 0), (96, 100, 4))
)
def test_other_rows_are_packed(device, lying, product, n, pitch, before):
    product(device, 20, n, 12, pitch, before)
    assert not lying


def test_bits_do_not_depend_on_qpus(lying, product):
    """Nor on what was in memory before."""
    found = []
    for n_qpus, seed in ((1, 1), (5, 2), (12, 3)):
        with Emulator(memory=16 << 20, n_qpus=n_qpus, seed=seed, timing="off") as dev:
            found.append(product(dev, 50, 256, 70, 256, beta=0.25))
    assert len(lying) == 3
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_an_operand_that_overlaps_the_result_is_not_read_in_place(device, lying):
    data = values(96, 96)
    held = piblas.array(data, order="F")
    assert piblas.sgemm(1.0, held, held, 0.0, held, overwrite_c=1) is held
    assert not lying and piblas.stats().keys() == {"emulator"}
    bound = gemm_error.error_bound(1.0, data, data, 0.0, np.zeros_like(data))
    assert (np.abs(held - data.astype(np.float64) @ data) <= bound).all()


@pytest.mark.parametrize("failing", (1, 2))
@pytest.mark.parametrize("m, n", ((1, 1), (3, 200), (64, 64), (37, 130)))
def test_a_copy_of_the_result(device, monkeypatch, m, n, failing):
    """The first launch makes it, and c comes back when the second one has failed after its work."""
    data, real = values(m, n), type(device).execute_list
    for order in "CF":
        c = piblas.array(data, order=order)
        a, b = piblas.array(values(m, 9)), piblas.array(values(9, n))
        launches = []

        def execute(self, *args, c=c, launches=launches):
            report = real(self, *args)
            launches.append(1)
            if len(launches) == failing:
                arrays.located(c)[0].buffer.invalidate()
                assert np.array_equal(c, data) == (failing == 1)
                raise DeviceTimeout("too long")
            return report

        monkeypatch.setattr(type(device), "execute_list", execute)
        with pytest.raises(DeviceTimeout):
            host_gemm.sgemm_resident(device, 1.0, a, b, 0.0, c, given=True)
        assert len(launches) == failing
        np.testing.assert_array_equal(c, data)


# --- through piblas.sgemm -------------------------------------------------------------------------


def rows(data):
    """A row-major array in device memory whose rows begin on lines, NaN between them."""
    height, width = data.shape
    wide = piblas.empty((height, -(-width // 16) * 16), order="C")
    wide[:, width:] = np.nan
    wide[:, :width] = data
    return wide[:, :width]


def call(a, b, alpha=1.0, beta=0.0, c=None):
    """(a @ b as piblas has it, as SciPy has it) for row-major a and b: Q is b, in place."""
    wanted = blas.sgemm(alpha, b.T, a.T, beta, None if c is None else c.T.copy(order="F"))
    held = None if c is None else piblas.array(c.T, order="F")
    got = piblas.sgemm(alpha, rows(b).T, rows(a).T, beta, held, overwrite_c=int(c is not None))
    return np.array(got).T, wanted.T, held


@pytest.mark.parametrize("beta, given", ((0.0, False), (0.0, True), (0.5, True), (0.5, False)))
@pytest.mark.parametrize("order", "CF")
def test_two_launches(device, monkeypatch, beta, given, order):
    launches, real = [], type(device).execute_list

    def execute(self, *args, **kwargs):
        launches.append(1)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(device), "execute_list", execute)
    a, b = (piblas.array(values(48, 48, seed=seed), order=order) for seed in (1, 2))
    c = piblas.array(np.asfortranarray(values(48, 48, seed=3))) if given else None
    piblas.sgemm(1.0, a, b, beta, c, overwrite_c=1)
    assert piblas.stats().keys() == {"emulator"}
    assert len(launches) == 2


M, N, K = 19, 116, 14
"""Two panels, of which the last is packed, and a last iteration that is not whole."""


@pytest.mark.parametrize("bad", (np.inf, -np.inf, np.nan))
@pytest.mark.parametrize("where", ("a", "b"))
@pytest.mark.parametrize("at", ("first", "last", "tail", "last column", "inside"))
def test_special_values(device, lying, bad, where, at):
    a, b = values(M, K), values(K, N, seed=1)
    operand = {"a": a, "b": b}[where]
    place = {
        "first": (0, 0), "last": (-1, -1), "tail": (-1, 0), "last column": (0, -1),
        "inside": (operand.shape[0] // 2, operand.shape[1] // 2),
    }[at]  # fmt: skip
    operand[place] = bad
    got, wanted, _ = call(a, b)
    assert len(lying) == 1
    np.testing.assert_array_equal(got, wanted)
    assert piblas.stats() == {"cpu": {level3.NOT_FINITE: 1}}


@pytest.mark.parametrize("small", (0.0, -0.0, 1e-40, -1e-45))
@pytest.mark.parametrize("bad", (np.inf, np.nan))
@pytest.mark.parametrize("step, column", ((0, 0), (5, 95), (K - 1, 3), (K - 2, 50), (7, N - 1)))
def test_special_values_that_meet_nothing_but_zeros(device, lying, small, bad, step, column):
    """The QPU's product with 0 or a denormal is 0; IEEE's is NaN or Inf."""
    a, b = values(M, K), values(K, N, seed=1)
    a[:, step] = small
    b[step, column] = bad
    got, wanted, _ = call(a, b)
    assert len(lying) == 1 and not np.isfinite(wanted[:, column]).any()
    np.testing.assert_array_equal(got, wanted)
    assert piblas.stats() == {"cpu": {level3.NOT_FINITE: 1}}


def test_zeros_alone_are_no_reason_for_the_cpu(device, lying):
    a, b = values(M, K), values(K, N, seed=1)
    a[:, 3] = a[:, K - 1] = 0
    got, wanted, _ = call(a, b)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    a[:] = 0
    got, _, _ = call(a, b)
    assert not got.any()
    assert len(lying) == 1 and piblas.stats().keys() == {"emulator"}


@pytest.mark.parametrize("bad", (np.inf, np.nan))
def test_a_zero_row_of_b_that_meets_special_values(device, lying, bad):
    a, b = values(M, K), values(K, N, seed=1)
    b[6], a[4, 6] = 0, bad
    got, wanted, _ = call(a, b)
    np.testing.assert_array_equal(got, wanted)
    assert len(lying) == 1 and piblas.stats() == {"cpu": {level3.NOT_FINITE: 1}}


@pytest.mark.parametrize("alpha, beta", ((1e-40, 1.0), (1.0, 1e-40)))
@pytest.mark.parametrize("where", "abc")
def test_denormal_factors_hide_nothing(device, alpha, beta, where):
    data = {"a": values(M, K), "b": values(K, N), "c": values(M, N)}
    data[where][2, 3] = np.inf
    got, wanted, held = call(data["a"], data["b"], alpha, beta, data["c"])
    np.testing.assert_array_equal(got, wanted)
    assert piblas.stats() == {"cpu": {level3.NOT_FINITE: 1}}


@pytest.mark.parametrize("bad", (np.inf, np.nan))
def test_special_values_in_c(device, bad):
    a, b, c = values(M, K), values(K, N), values(M, N)
    c[M - 1, N - 1] = bad
    got, wanted, _ = call(a, b, 1.0, 0.5, c)
    np.testing.assert_array_equal(got, wanted)
    assert piblas.stats() == {"cpu": {level3.NOT_FINITE: 1}}
    piblas.reset_stats()
    got, wanted, _ = call(a, b, 1.0, 0.0, c)  # which does not count it
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert piblas.stats().keys() == {"emulator"}


@pytest.mark.parametrize(
    "alpha, size, beta, old",
    (
        pytest.param(1.0, 1e20, 0.0, 1.0, id="a sum"),
        pytest.param(1e10, 1e15, 0.0, 1.0, id="alpha times it"),
        pytest.param(1.0, 1e19, 2.0, 3e38, id="beta times c"),
        pytest.param(-1.0, 1.3e19, 1.0, -2e38, id="both together"),
    ),
)
def test_overflow(device, alpha, size, beta, old):
    """In one element; c comes back, for the CPU to use."""
    a, b, c = values(M, K), values(K, N), values(M, N)
    a[5], b[:, 70], c[5, 70] = 0, 0, old
    a[5, 6], b[6, 70] = size, size
    got, wanted, held = call(a, b, alpha, beta, c)
    assert np.isinf(wanted).sum() == 1
    np.testing.assert_array_equal(got, wanted)
    assert piblas.stats() == {"cpu": {level3.OVERFLOW: 1}}


def test_large_numbers_that_do_not_overflow(device):
    a, b, c = values(M, K), values(K, N), values(M, N)
    a[5], b[:, 70] = 0, 0
    a[5, 6], b[6, 70], c[4, 4] = 1e19, 1e19, 3e38
    got, wanted, _ = call(a, b, 1.0, 1.0, c)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    assert piblas.stats().keys() == {"emulator"}


@pytest.mark.parametrize("good", (0, 1))
@pytest.mark.parametrize("cut", (False, True))
def test_a_launch_that_fails_leaves_the_result(device, monkeypatch, good, cut):
    """Also where the product takes several pairs of launches."""
    if cut:
        monkeypatch.setattr(device, "longest_launch", 1.0, raising=False)
        monkeypatch.setattr(limits, "blocks", lambda m, n, *_: [
            (slice(0, m // 2), slice(0, n)), (slice(m // 2, m), slice(0, n))
        ])  # fmt: skip
        good += 2
    a, b, c = values(M, K), values(K, N), values(M, N)
    held = piblas.array(c.T, order="F")
    real, launches = type(device).execute_list, []

    def execute(self, *args, **kwargs):
        launches.append(1)
        if len(launches) > good:
            if len(launches) % 2 == 0:
                held[0, 0] = 77  # as far as the product came
            raise DeviceTimeout("too long")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(device), "execute_list", execute)
    with pytest.raises(DeviceTimeout):
        piblas.sgemm(1.0, rows(b).T, rows(a).T, 0.5, held, overwrite_c=1)
    np.testing.assert_array_equal(held, c.T)
