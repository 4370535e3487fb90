"""sgemm_batch, sgemm_batch_strided, somatcopy: on the CPU and on the emulated QPUs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_sgemm_random import F32, Guarded, check_residual, values

import piblas
from piblas import BlasError, DeviceTimeout, OutOfDeviceMemory
from piblas.blas import level3
from piblas.routines import EXTENSIONS


@pytest.fixture(params=["cpu", "emulator"])
def backend(request, fresh):
    with piblas.use("cpu" if request.param == "cpu" else request.getfixturevalue("device")):
        yield request.param


def small(*shape, seed=0):
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(F32)


@pytest.mark.parametrize("name", EXTENSIONS)
def test_names(name):
    function = getattr(piblas, name)
    assert function.__name__ == name and name in dir(piblas)
    assert getattr(piblas.blas, name) is function


# --- sgemm_batch ----------------------------------------------------------------------------------


def test_batch(backend):
    """Each product as sgemm has it, with factors and transposes of its own."""
    a = [small(3, 5), small(20, 7, seed=1).T, small(40, 2, seed=2)]
    b = [small(5, 4), small(20, 17, seed=4), small(100, 2, seed=5).astype(int)]
    c = [np.asfortranarray(small(3, 4)), small(7, 17).astype(float), small(40, 100)]
    kept = [x.copy() for x in c]
    alphas, betas, trans_b = [1, 0.5, -2], (2, 0, 1), [0, 0, 1]
    want = [
        piblas.sgemm(x, y, z, beta, old, 0, t)
        for x, y, z, beta, old, t in zip(alphas, a, b, betas, kept, trans_b)
    ]
    got = piblas.sgemm_batch(alphas, a, b, betas, c, trans_b=trans_b, overwrite_c=1)
    for one, other in zip(got, want):
        assert_array_equal(one, other)
        assert one.dtype == F32 and one.flags.f_contiguous
    assert got[0] is c[0] and got[1] is not c[1] and got[2] is not c[2]
    assert_array_equal(c[1], kept[1])


def test_batch_in_one_launch(device, fresh):
    x = [small(9, 9, seed=seed) for seed in range(50)]
    with piblas.use(device), piblas.profile() as profile:
        got = piblas.sgemm_batch(1, x, x[::-1])
    assert [report.kernel for report in profile.reports] == ["gemm"]
    assert piblas.stats() == {"emulator": {"the emulator was asked for": 1}}
    for one, y, z in zip(got, x, x[::-1]):
        assert_array_equal(one, y @ z)


def test_nothing_to_multiply(backend):
    """alpha = 0 or an empty operand among others: neither a nor b is read."""
    nan = np.full((3, 3), np.nan, F32)
    a = [nan, small(3, 3), small(3, 0), small(0, 4)]
    b = [nan, small(3, 3), small(0, 3), small(4, 2)]
    c = [small(3, 3), small(3, 3), small(3, 3), np.zeros((0, 2))]
    got = piblas.sgemm_batch([0, 1, 1, 1], a, b, 2, c)
    assert_array_equal(got[0], 2 * c[0])
    assert_array_equal(got[1], a[1] @ b[1] + 2 * c[1])
    assert_array_equal(got[2], 2 * c[2])
    assert got[3].shape == (0, 2)
    assert piblas.sgemm_batch(1, [], []) == []


def test_results_that_are_operands(backend):
    """Every operand counts as it was before the call."""
    x, y = (np.asfortranarray(small(6, 6, seed=seed)) for seed in (1, 2))
    before = x.copy(), y.copy()
    got = piblas.sgemm_batch(1, [y, x], [y, x], 1, [x, y], overwrite_c=1)
    assert got[0] is x and got[1] is y
    assert_array_equal(x, before[1] @ before[1] + before[0])
    assert_array_equal(y, before[0] @ before[0] + before[1])


@pytest.mark.parametrize("seed", range(4))
def test_random_batches(device, fresh, seed):
    random_batches(device, seed, 8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_random_batches(device, fresh, seed):
    """20 x 20 launches of up to 12 products."""
    random_batches(device, seed, 20)


def random_batches(device, seed, launches):
    rng = np.random.default_rng(seed)
    for _ in range(launches):
        count = int(rng.integers(1, 13))
        sizes = [rng.choice([0, 1, 7, 8, 16, 17, 33, 60, 97], 3) for _ in range(count)]
        trans_a, trans_b = (int(x) for x in rng.integers(0, 2, 2))
        a = [Guarded(rng, (k, m) if trans_a else (m, k)) for m, n, k in sizes]
        b = [Guarded(rng, (n, k) if trans_b else (k, n)) for m, n, k in sizes]
        c = [Guarded(rng, (m, n)) for m, n, k in sizes]
        alpha = [float(F32(x)) for x in rng.choice([0, 1, -1, 0.3], count)]
        beta = [float(F32(x)) for x in rng.choice([0, 0, 1, 0.3], count)]
        operands = ([x.matrix for x in each] for each in (a, b))
        with piblas.use(device):
            got = piblas.sgemm_batch(
                alpha, *operands, beta, [x.matrix for x in c], trans_a, trans_b
            )
        for one, x, y, z, factor, scale in zip(got, a, b, c, alpha, beta):
            for operand in (x, y, z):
                operand.check()
            left = x.before.T if trans_a else x.before
            right = y.before.T if trans_b else y.before
            check_residual(one, factor, left, right, scale, z.before)


@pytest.mark.parametrize("n_qpus", [1, 5])
def test_any_number_of_qpus_gives_the_same_bits(device, fresh, n_qpus):
    rng = np.random.default_rng(6)
    a, b = ([values(rng, (40, 40)) for _ in range(7)] for _ in "ab")
    with piblas.use(device):
        twelve = piblas.sgemm_batch(1.5, a, b)
    with piblas.driver.Emulator(memory=8 << 20, n_qpus=n_qpus, seed=2) as few, piblas.use(few):
        got = piblas.sgemm_batch(1.5, a, b)
    for one, other in zip(got, twelve):
        assert_array_equal(one.view(np.uint32), other.view(np.uint32))


def test_batches_with_caches_apart(fresh):
    with piblas.driver.Emulator(memory=8 << 20, incoherent=True, seed=3) as chip:
        random_batches(chip, 50, 4)


# --- sgemm_batch_strided --------------------------------------------------------------------------


def test_strided(backend):
    a, b = small(6, 5, 7), small(6, 7, 4, seed=1)
    got = piblas.sgemm_batch_strided(2, a, b)
    assert_array_equal(got, 2 * a @ b)
    assert got.dtype == F32 and got[3].flags.f_contiguous
    a_turned, b_turned = a.transpose(0, 2, 1), b.transpose(0, 2, 1)
    turned = piblas.sgemm_batch_strided(2, a_turned, b_turned, 0, None, 1, 2)
    assert_array_equal(turned, got)
    every = piblas.sgemm_batch_strided(1, a[::-2, :, ::2], b[::-2, ::2])
    assert_array_equal(every, a[::-2, :, ::2] @ b[::-2, ::2])


def test_one_matrix_for_all(backend):
    a, b = small(5, 7), small(6, 7, 4, seed=1)
    assert_array_equal(piblas.sgemm_batch_strided(1, a, b), a @ b)
    assert_array_equal(piblas.sgemm_batch_strided(1, a[None], b), a @ b)
    wide = np.broadcast_to(a, (6, 5, 7))  # a stride of 0
    assert_array_equal(piblas.sgemm_batch_strided(1, wide, b[0]), wide @ b[0])


@pytest.mark.parametrize("fit", (True, False))
def test_strided_overwrite(backend, fit):
    a, b = small(6, 5, 7), small(6, 7, 4, seed=1)
    old = small(6, 5, 4, seed=2)
    c = old.transpose(0, 2, 1).copy().transpose(0, 2, 1) if fit else old.copy()
    got = piblas.sgemm_batch_strided(1, a, b, 2, c, overwrite_c=1)
    assert (got is c) == fit
    assert_array_equal(got, a @ b + 2 * old)
    if not fit:
        assert_array_equal(c, old)


def test_empty_strided(backend):
    assert piblas.sgemm_batch_strided(1, np.ones((0, 2, 3)), np.ones((0, 3, 4))).shape == (0, 2, 4)
    assert_array_equal(
        piblas.sgemm_batch_strided(1, np.ones((2, 2, 0)), np.ones((2, 0, 4))), np.zeros((2, 2, 4))
    )


# --- special values, failures ---------------------------------------------------------------------


@pytest.mark.parametrize("bad, reason", [(np.nan, level3.NOT_FINITE), (3e38, level3.OVERFLOW)])
def test_special_values_go_to_the_cpu(device, fresh, bad, reason):
    a = [small(4, 4), np.full((4, 4), bad, F32)]
    c = [np.asfortranarray(small(4, 4)) for _ in a]
    with np.errstate(over="ignore"):
        want = [x @ x + small(4, 4) for x in a]
    with piblas.use(device):
        got = piblas.sgemm_batch(1, a, a, 1, c, overwrite_c=1)
    for one, other in zip(got, want):
        assert_array_equal(one, other)
    assert piblas.stats() == {"cpu": {reason: 1}}


def test_failures_leave_every_c(device, fresh, monkeypatch):
    def fails(*args, **kwargs):
        raise DeviceTimeout("no end after 10 s")

    monkeypatch.setattr(type(device), "execute_list", fails)
    c = [np.ones((4, 4), F32, order="F") for _ in range(3)]
    x = 3 * [small(4, 4)]
    with piblas.use(device), pytest.raises(DeviceTimeout):
        piblas.sgemm_batch(1, x, x, 1, c, overwrite_c=1)
    assert all((each == 1).all() for each in c)


def test_too_large_for_the_device(fresh):
    x = np.ones((30, 60, 60), F32)
    with piblas.driver.Emulator(memory=1 << 17) as tiny, piblas.use(tiny):
        assert (piblas.sgemm_batch_strided(1, x, x) == 60).all()
    with piblas.driver.Emulator(memory=1 << 14) as tiny, piblas.use(tiny):
        with pytest.raises(OutOfDeviceMemory):
            piblas.sgemm_batch_strided(1, x, x)


X = [small(2, 3), small(2, 3)]
Y = [small(3, 2), small(3, 2)]
OK = dict(alpha=1, a=X, b=Y)

WRONG = {
    "a text": (dict(a="text"), "a", "wants a sequence of matrices"),
    "a number": (dict(a=3), "a", "wants a sequence of matrices"),
    "a member": (dict(a=[X[0], "x"]), r"a\[1\]", "wants a matrix of numbers"),
    "b too few": (dict(b=Y[:1]), "b", "a holds 2 matrices"),
    "b rows": (dict(b=[Y[0], X[0]]), r"b\[1\]", "op.a. is 2 x 3, so op.b. has to have 3 rows"),
    "c too many": (dict(c=3 * [None]), "c", "a holds 2 matrices"),
    "c shape": (dict(c=[None, X[0]]), r"c\[1\]", "the result is 2 x 2"),
    "alpha too few": (dict(alpha=[1]), "alpha", "one for each of 2"),
    "alpha text": (dict(alpha="x"), "alpha", "wants a number"),
    "beta too many": (dict(beta=[1, 2, 3]), "beta", "one for each of 2"),
    "trans": (dict(trans_a=[0, 5]), "trans_a", "wants 0"),
    "overwrite": (dict(overwrite_c="x"), "overwrite_c", "wants an integer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(backend, name):
    call, argument, text = WRONG[name]
    c = [np.ones((2, 2), F32, order="F") for _ in range(2)]
    with pytest.raises(BlasError, match=f"sgemm_batch: argument {argument} = .*{text}"):
        piblas.sgemm_batch(**{**OK, "c": c, "overwrite_c": 1, **call})
    assert all((each == 1).all() for each in c)


WRONG_STRIDED = {
    "a text": (dict(a="text"), "a", "wants numbers"),
    "a one axis": (dict(a=np.ones(3)), "a", "wants three axes"),
    "b rows": (dict(b=np.ones((2, 4, 5))), "b", "op.a. is 2 x 3, so op.b. has to have 3 rows"),
    "b count": (dict(b=np.ones((3, 3, 5))), "b", "a holds 2 matrices"),
    "c shape": (dict(c=np.ones((2, 2, 3))), "c", "the result is 2 x 2 x 2"),
    "c two axes": (dict(c=np.ones((2, 2))), "c", "the result is 2 x 2 x 2"),
    "trans_b": (dict(trans_b=3), "trans_b", "wants 0"),
    "beta": (dict(beta="x"), "beta", "wants a number"),
}


@pytest.mark.parametrize("name", WRONG_STRIDED)
def test_wrong_arguments_strided(backend, name):
    call, argument, text = WRONG_STRIDED[name]
    given = {**dict(alpha=1, a=np.stack(X), b=np.stack(Y)), **call}
    with pytest.raises(BlasError, match=f"sgemm_batch_strided: argument {argument} = .*{text}"):
        piblas.sgemm_batch_strided(**given)


# --- somatcopy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trans", (0, 1, 2))
@pytest.mark.parametrize("alpha", (1, 2.5, 0))
def test_somatcopy(backend, alpha, trans):
    for a in (small(5, 7), small(5, 7).T, small(10, 14)[::2, ::-3], small(4, 5).astype(int)):
        got = piblas.somatcopy(alpha, a, trans)
        assert_array_equal(got, F32(alpha) * (a.T if trans else a))
        assert got.dtype == F32 and got.flags.f_contiguous and not np.may_share_memory(got, a)


def test_somatcopy_special_values(backend):
    a = np.array([[np.nan, np.inf], [-0.0, 1e-40]], F32)
    assert_array_equal(piblas.somatcopy(1, a).view(np.uint32), a.view(np.uint32))
    assert_array_equal(piblas.somatcopy(0, a), np.zeros((2, 2)))
    assert_array_equal(piblas.somatcopy(2, a, 1), 2 * a.T)
    assert piblas.somatcopy(1, np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    "call, argument",
    [
        (("x", X[0]), "alpha"),
        ((1, "text"), "a"),
        ((1, np.ones((2, 2, 2))), "a"),
        ((1, X[0], 3), "trans"),
    ],
)
def test_somatcopy_wrong_arguments(backend, call, argument):
    with pytest.raises(BlasError, match=f"somatcopy: argument {argument} = "):
        piblas.somatcopy(*call)
