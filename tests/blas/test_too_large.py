"""Operands that are larger than device memory: in blocks at level 3, streamed at levels 1 and 2."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import blas

import piblas
from piblas import DeviceError, OutOfDeviceMemory
from piblas.driver import Emulator
from piblas.host import arrays, pieces
from piblas.host.outcome import NO_ROOM, NOT_FINITE, OVERFLOW, WATCHED
from piblas.host.runner import runner_of

F32 = np.float32
ASKED = "the emulator was asked for"
KIB = 1 << 10


@pytest.fixture(scope="module")
def chip():
    """200 KB, some of which programs and uniforms take."""
    with Emulator(memory=200 * KIB, seed=6, timing="off", incoherent=True) as dev:
        yield dev


@pytest.fixture
def small(chip, fresh):
    runner_of(chip).abandon()
    with piblas.use(chip):
        yield chip


@pytest.fixture(scope="module")
def middle():
    """1 MB, for operands that are there."""
    with Emulator(memory=1024 * KIB, seed=7, timing="off", incoherent=True) as dev:
        yield dev


def integers(*shape, seed=1, most=4):
    made = np.random.default_rng([seed, *shape]).integers(-most, most + 1, shape)
    return np.asfortranarray(made.astype(F32))


N, M = 300, 192
LONG, OTHER = integers(40_000), integers(40_000, seed=2)
A = integers(N, N)
S, B, C = integers(M, M), integers(M, 200, seed=2), integers(M, 200, seed=3)
X, Y = integers(N), integers(N, seed=2)
BAND = integers(61, N)
WORDS = integers(N * (N + 1) // 2)
WIDE = integers(3, 20_000)
STEADY = A / F32(4 * N) + 2 * np.eye(N, dtype=F32, order="F")
STEADY_S = np.asfortranarray(STEADY[:M, :M])
STEADY_BAND = np.asfortranarray(np.vstack([BAND[:60] / F32(4 * N), np.full((1, N), 2, F32)]))


def steady_words(lower):
    words, at = WORDS / F32(4 * N), 0
    for j in range(N):
        words[at if lower else at + j] = 2
        at += N - j if lower else j + 1
    return words


EXACTLY = {
    "sdot": lambda lib: lib.sdot(LONG, OTHER),
    "sdot backwards": lambda lib: lib.sdot(LONG, OTHER, incy=-1),
    "sdot, offsets": lambda lib: lib.sdot(LONG, OTHER, n=19_000, incx=2, offy=7),
    "sasum": lambda lib: lib.sasum(LONG),
    "isamax": lambda lib: lib.isamax(np.r_[LONG, F32(9), LONG, F32(9)]),
    "saxpy": lambda lib: lib.saxpy(LONG, OTHER.copy(), a=2.0),
    "saxpy, strides": lambda lib: lib.saxpy(LONG, OTHER.copy(), 19_000, 2.0, incx=2, incy=-2),
    "sscal": lambda lib: lib.sscal(3.0, LONG.copy()),
    "scopy": lambda lib: lib.scopy(LONG, OTHER.copy()),
    "sswap": lambda lib: np.array(lib.sswap(LONG.copy(), OTHER.copy())),
    "srot": lambda lib: np.array(lib.srot(LONG, OTHER, 2.0, 3.0)),
    "srotm": lambda lib: np.array(lib.srotm(LONG, OTHER, [-1, 2, 3, 1, 2])),
    "sgemv": lambda lib: lib.sgemv(2.0, A, X, beta=3.0, y=Y),
    "sgemv, rows together": lambda lib: lib.sgemv(2.0, A.T, X, trans=1),
    "sgemv, wide": lambda lib: lib.sgemv(1.0, WIDE, LONG[:20_000]),
    "sgemv, tall": lambda lib: lib.sgemv(1.0, WIDE.T, X[:3]),
    "sgemv, wide, transposed": lambda lib: lib.sgemv(1.0, WIDE, X[:3], trans=1),
    "sgbmv": lambda lib: lib.sgbmv(N, N, 30, 30, 1.0, BAND, X),
    "ssymv": lambda lib: lib.ssymv(2.0, A, X, lower=1, beta=1.0, y=Y),
    "sspmv": lambda lib: lib.sspmv(N, 2.0, WORDS, X),
    "ssbmv": lambda lib: lib.ssbmv(60, 2.0, BAND, X, lower=1),
    "strmv": lambda lib: lib.strmv(A, X, lower=1, trans=1),
    "strmv, unit": lambda lib: lib.strmv(A, X, diag=1),
    "stpmv": lambda lib: lib.stpmv(N, WORDS, X),
    "stbmv": lambda lib: lib.stbmv(60, BAND, X, trans=1),
    "sger": lambda lib: lib.sger(2.0, X, Y, a=A),
    "ssyr": lambda lib: lib.ssyr(2.0, X, a=A, lower=1),
    "ssyr2": lambda lib: lib.ssyr2(2.0, X, Y, a=A),
    "sspr": lambda lib: lib.sspr(N, 2.0, X, WORDS),
    "sspr2": lambda lib: lib.sspr2(N, 2.0, X, Y, WORDS, lower=1),
    "sgemm": lambda lib: lib.sgemm(2.0, S, B, beta=3.0, c=C),
    "sgemm, transposed": lambda lib: lib.sgemm(1.0, B, S, trans_a=1, trans_b=1),
    "sgemm, long k": lambda lib: lib.sgemm(1.0, WIDE, WIDE, trans_b=1),
    "sgemm, overwritten": lambda lib: lib.sgemm(
        1.0, S, B, 1.0, C.copy(order="F"), overwrite_c=1
    ),
    "sgemm, row": lambda lib: lib.sgemm(1.0, X[None, :M], B),
    "ssymm": lambda lib: lib.ssymm(2.0, S, B, lower=1),
    "ssymm, right": lambda lib: lib.ssymm(2.0, S, B.T, beta=1.0, c=C.T, side=1),
    "ssyrk": lambda lib: lib.ssyrk(2.0, S),
    "ssyrk, lower": lambda lib: lib.ssyrk(1.0, B, trans=1, lower=1),
    "ssyr2k": lambda lib: lib.ssyr2k(2.0, S, S.T, beta=1.0, c=S, lower=1),
    "strmm": lambda lib: lib.strmm(2.0, S, B, lower=1),
    "strmm, right": lambda lib: lib.strmm(2.0, S, B.T, side=1, trans_a=1, diag=1),
}
NEARLY = {
    "snrm2": lambda lib: lib.snrm2(LONG),
    "strsv": lambda lib: lib.strsv(STEADY, X),
    "strsv, lower, transposed": lambda lib: lib.strsv(STEADY, X, lower=1, trans=1),
    "stbsv": lambda lib: lib.stbsv(60, STEADY_BAND, X),
    "stpsv": lambda lib: lib.stpsv(N, steady_words(False), X),
    "stpsv, lower": lambda lib: lib.stpsv(N, steady_words(True), X, lower=1, trans=1),
    "strsm": lambda lib: lib.strsm(2.0, STEADY_S, B),
    "strsm, right": lambda lib: lib.strsm(2.0, STEADY_S, B.T, side=1, lower=1, trans_a=1),
}


@pytest.mark.parametrize("name", (*EXACTLY, *NEARLY))
def test_routine(name, small):
    call = EXACTLY.get(name) or NEARLY[name]
    wanted = call(blas)
    runner = runner_of(small)
    got = call(piblas)
    if name in EXACTLY:
        np.testing.assert_array_equal(got, wanted)
    else:
        scale = np.max(np.abs(wanted))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * scale)
    assert piblas.stats() == {"emulator": {ASKED: 1}}
    assert runner.cut == 0 and not runner.active


def test_the_routines_are_all_that_have_a_kernel():
    named = {name.split(",")[0].split()[0] for name in (*EXACTLY, *NEARLY)}
    from piblas.routines import KERNELS

    assert set(KERNELS) - named == {"saxpby"}  # which SciPy has not


def test_saxpby(small):
    got = piblas.saxpby(LONG, OTHER.copy(), a=2.0, b=-3.0)
    np.testing.assert_array_equal(got, 2 * LONG - 3 * OTHER)


def test_many_products(small):
    """A batch that is too large, and one of whose members is."""
    a, b = integers(40, 30, 20), integers(40, 20, 50, seed=2)
    got = piblas.sgemm_batch_strided(1.0, a, b)
    np.testing.assert_array_equal(got, a @ b)
    got = piblas.sgemm_batch(2.0, [S, a[0], S], [B, b[0], S], [1.0, 0.0, 0.0], [C, None, None])
    np.testing.assert_array_equal(got[0], 2 * (S @ B) + C)
    np.testing.assert_array_equal(got[1], 2 * (a[0] @ b[0]))
    np.testing.assert_array_equal(got[2], 2 * (S @ S))
    assert piblas.stats() == {"emulator": {ASKED: 2}}


def test_operands_by_numpy(small):
    a = piblas.array(integers(100, 100))
    np.testing.assert_array_equal(a @ B[:100], np.asarray(a) @ B[:100])
    np.testing.assert_array_equal(a @ a, np.asarray(a) @ np.asarray(a))
    assert list(piblas.stats()) == ["emulator"]


# --- operands in device memory -------------------------------------------------------------------


def filled(device, left):
    """Arrays that leave no piece of memory larger than ``left`` bytes."""
    held = []
    runner_of(device).abandon()
    arrays.collect()
    while piblas.device_memory(device).largest > left:
        largest = piblas.device_memory(device).largest
        held.append(piblas.empty(max(largest - left, 1), np.uint8, device=device))
    return held


@pytest.mark.parametrize("beta", (0.0, 1.0))
def test_products_in_device_memory(middle, fresh, beta):
    """Room for the operands and the result, none for what the kernels pack."""
    with piblas.use(middle):
        a, b = piblas.array(integers(100, 170)), piblas.array(integers(170, 90, seed=2))
        c = piblas.array(integers(100, 90, seed=3))
        wanted = np.asarray(a) @ np.asarray(b) + F32(beta) * np.asarray(c)
        held = filled(middle, 100 * KIB)
        with piblas.profile() as profile:
            got = piblas.sgemm(1.0, a, b, beta, c, overwrite_c=1)
        assert got is c and len(profile.reports) > 2 and held
        np.testing.assert_array_equal(c, wanted)
        assert piblas.stats() == {"emulator": {ASKED: 1}}


@pytest.mark.parametrize("spoilt", ("nan", "overflow", "failure"))
def test_a_result_in_device_memory_comes_back(middle, fresh, spoilt, monkeypatch):
    with piblas.use(middle):
        a, b = piblas.array(integers(100, 170)), piblas.array(integers(170, 90, seed=2))
        c = piblas.array(integers(100, 90, seed=3))
        if spoilt == "nan":
            a[99, 169] = np.nan
        elif spoilt == "overflow":
            a[99, 169] = b[169, 89] = 1e30
        before = np.array(c)
        wanted = blas.sgemm(1.0, np.asarray(a), np.asarray(b), 0.5, before)
        held = filled(middle, 100 * KIB)
        real, count = type(middle).execute_list, []

        def execute(self, *args, **kwargs):
            count.append(1)
            if spoilt == "failure" and len(count) == 6:
                raise DeviceError("the sixth launch fails")
            return real(self, *args, **kwargs)

        monkeypatch.setattr(type(middle), "execute_list", execute)
        if spoilt == "failure":
            with pytest.raises(DeviceError, match="sixth"):
                piblas.sgemm(1.0, a, b, 0.5, c, overwrite_c=1)
            np.testing.assert_array_equal(c, before)
        else:
            piblas.sgemm(1.0, a, b, 0.5, c, overwrite_c=1)
            np.testing.assert_array_equal(c, wanted)
            reason = NOT_FINITE if spoilt == "nan" else OVERFLOW
            assert piblas.stats() == {"cpu": {reason: 1}}
        assert len(count) > 2 and held


def test_vectors_in_device_memory_with_ordinary_ones(middle, fresh):
    """One operand is where it is used, the other is streamed."""
    with piblas.use(middle):
        x = piblas.array(LONG)
        held = filled(middle, 100 * KIB)
        y = OTHER.copy()
        assert piblas.saxpy(x, y, a=2.0) is y
        np.testing.assert_array_equal(y, 2 * LONG + OTHER)
        assert piblas.saxpy(OTHER, x, a=3.0) is x
        np.testing.assert_array_equal(x, 3 * OTHER + LONG)
        assert piblas.sdot(OTHER, x) == blas.sdot(OTHER, 3 * OTHER + LONG) and held
        assert piblas.stats() == {"emulator": {ASKED: 3}}


def test_a_copy_without_room(middle, fresh):
    with piblas.use(middle):
        a = piblas.array(integers(100, 170))
        held = filled(middle, 100 * KIB)
        got = piblas.somatcopy(2.0, a, 1)
        np.testing.assert_array_equal(got, 2 * np.asarray(a).T)
        assert piblas.stats() == {"cpu": {NO_ROOM: 1}} and held


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("at", (0, -1))
@pytest.mark.parametrize("bad", (np.inf, np.nan))
def test_special_values_in_any_piece(small, at, bad):
    """The CPU computes the call, of operands that are as they were."""
    long, a = LONG.copy(), A.copy(order="F")
    long[at], a[at, at] = bad, bad
    corner = a[-M:, -M:] if at else a[:M, :M]
    for call in (
        lambda lib: lib.saxpy(long, OTHER.copy(), a=2.0), lambda lib: lib.sdot(long, OTHER),
        lambda lib: lib.snrm2(long), lambda lib: lib.sgemv(1.0, a, X),
        lambda lib: lib.sger(1.0, X, Y, a=a), lambda lib: lib.sgemm(1.0, corner, B),
    ):  # fmt: skip
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(call(piblas), call(blas))
    assert piblas.stats() == {"cpu": {WATCHED: 5, NOT_FINITE: 1}}


def test_an_overflow_of_the_sum_of_pieces(small):
    """Each block of k gives a number, all together do not."""
    row, column = np.full((2, 20_000), 2e17, F32), np.full((20_000, 2), 2e17, F32)
    got = piblas.sgemm(1.0, row, column)
    assert np.isinf(got).all() and piblas.stats() == {"cpu": {OVERFLOW: 1}}


@pytest.mark.parametrize("name", ("saxpy", "sswap", "sgemv", "sger", "ssyr2", "sgemm", "strsm"))
def test_a_failure_half_way_changes_nothing(name, small, monkeypatch):
    long, other, y = LONG.copy(), OTHER.copy(), Y.copy()
    a, t, b, c = (matrix.copy(order="F") for matrix in (STEADY, STEADY_S, B, C))
    call = {
        "saxpy": lambda: piblas.saxpy(long, other, a=2.0),
        "sswap": lambda: piblas.sswap(long, other),
        "sgemv": lambda: piblas.sgemv(1.0, a, X, beta=1.0, y=y, overwrite_y=1),
        "sger": lambda: piblas.sger(1.0, X, Y, a=a, overwrite_a=1),
        "ssyr2": lambda: piblas.ssyr2(1.0, X, Y, a=a, overwrite_a=1),
        "sgemm": lambda: piblas.sgemm(1.0, t, b, 1.0, c, overwrite_c=1),
        "strsm": lambda: piblas.strsm(1.0, t, b, overwrite_b=1),
    }[name]
    real, launches = type(small).execute_list, []

    def execute(self, *args, **kwargs):
        launches.append(1)
        if len(launches) == 3:
            raise DeviceError("the third launch fails")
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(type(small), "execute_list", execute)
        with pytest.raises(DeviceError, match="third"):
            call()
    for array, before in ((long, LONG), (other, OTHER), (y, Y), (a, STEADY), (b, B), (c, C)):
        np.testing.assert_array_equal(array, before)
    assert runner_of(small).cut == 0
    np.testing.assert_array_equal(piblas.sgemm(1.0, S, B), S @ B)


def test_a_device_without_any_room(small):
    """Nothing is left for pieces, however small."""
    held = filled(small, 0) + filled(small, 0)
    y = OTHER.copy()
    for call in (lambda: piblas.sgemm(1.0, S, B), lambda: piblas.saxpy(LONG, y)):
        with pytest.raises(OutOfDeviceMemory, match="no room for"):
            call()
    np.testing.assert_array_equal(y, OTHER)
    del held[:]
    np.testing.assert_array_equal(piblas.sgemm(1.0, S, B), S @ B)


def test_lengths_of_pieces():
    assert pieces.halved((1000, 10, 400), 0) == [1000, 10, 400]
    assert pieces.halved((1000, 10, 400), 1) == [576, 10, 400]
    assert pieces.halved((1000, 10, 400), 2) == [384, 10, 400]
    assert pieces.halved((1000, 10, 400), 3) == [384, 10, 384]
    assert pieces.halved((40, 10), 1) == [20, 10] and pieces.halved((40, 10), 99) == [10, 10]
    assert pieces.ranges(3, 10, 3) == [slice(3, 6), slice(6, 9), slice(9, 10)]
