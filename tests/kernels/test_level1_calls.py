"""Level-1 calls on a device: increments, special values, and arrays left alone on failure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import blas

import piblas
from piblas.driver import Emulator
from piblas.errors import DeviceError
from piblas.host.outcome import TINY, WATCHED
from piblas.kernels import asum, axpy, dot, nrm2, rot, scal


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=16 << 20, seed=23, incoherent=request.param, timing="off") as dev:
        yield dev


def operand(rng, n, inc, low=-1.0, high=1.0):
    """An array that holds n elements with an increment, and some more, and the elements' view."""
    words = (n - 1) * abs(inc) + 1 + int(rng.integers(0, 4)) if n else 3
    array = rng.uniform(low, high, words).astype(np.float32)
    return array, elements(array, n, inc)


def elements(array, n, inc):
    """Element i as BLAS counts, written out."""
    start = 0 if inc > 0 else -(n - 1) * inc
    return array[[start + i * inc for i in range(n)]]


def untouched(before, after, n, inc):
    """All words but the operand's are as before."""
    others = np.ones(before.size, dtype=bool)
    others[[(0 if inc > 0 else -(n - 1) * inc) + i * inc for i in range(n)]] = False
    assert np.array_equal(before[others], after[others])


INCREMENTS = ((1, 1), (2, 1), (-1, 3), (3, -2), (-2, -1), (1, -1))


def launched(kernel, routine, *args, **kwargs):
    """The result of a call, all of which ran on this kernel."""
    with piblas.profile() as profile:
        got = routine(*args, **kwargs)
    assert {report.kernel for report in profile.reports} == {kernel}
    return got


def random_calls(device, seed, turns, longest):
    with piblas.use(device):
        _random_calls(seed, turns, longest)


def _random_calls(seed, turns, longest):
    rng = np.random.default_rng(seed)
    for turn in range(turns):
        n = int(rng.integers(1, longest + 1))
        incx, incy = INCREMENTS[turn % len(INCREMENTS)]
        x, of_x = operand(rng, n, incx)
        y, of_y = operand(rng, n, incy)
        wide_x, wide_y = of_x.astype(np.float64), of_y.astype(np.float64)
        a, c, s = (np.float32(v) for v in rng.uniform(-2, 2, 3))

        steps = {"n": n, "incx": incx, "incy": incy}

        new_x, new_y = x.copy(), y.copy()
        assert launched("copy", piblas.scopy, new_x, new_y, **steps) is new_y
        assert np.array_equal(new_x, x)
        assert np.array_equal(elements(new_y, n, incy), of_x)
        untouched(y, new_y, n, incy)

        new_x, new_y = x.copy(), y.copy()
        launched("swap", piblas.sswap, new_x, new_y, **steps)
        assert np.array_equal(elements(new_y, n, incy), of_x)
        assert np.array_equal(elements(new_x, n, incx), of_y)
        untouched(x, new_x, n, incx)
        untouched(y, new_y, n, incy)

        if incx > 0:  # BLAS defines no other call with one vector
            new_x = x.copy()
            launched("scal", piblas.sscal, a, new_x, n, incx=incx)
            error = np.abs(elements(new_x, n, incx) - float(a) * wide_x)
            assert np.all(error <= scal.error_bound(a, of_x))
            untouched(x, new_x, n, incx)

        new_x, new_y = x.copy(), y.copy()
        launched("axpy", piblas.saxpy, new_x, new_y, a=a, **steps)
        error = np.abs(elements(new_y, n, incy) - (float(a) * wide_x + wide_y))
        assert np.all(error <= axpy.error_bound(a, of_x, of_y)) and np.array_equal(new_x, x)
        untouched(y, new_y, n, incy)

        new_x, new_y = x.copy(), y.copy()
        over = {"overwrite_x": 1, "overwrite_y": 1}
        launched("rot", piblas.srot, new_x, new_y, c, s, **steps, **over)
        h = np.array([c, s, -s, c], dtype=np.float64)
        bounds = rot.error_bound(h, of_x, of_y)
        error = np.abs(elements(new_x, n, incx) - (h[0] * wide_x + h[1] * wide_y))
        assert np.all(error <= bounds[0])
        error = np.abs(elements(new_y, n, incy) - (h[2] * wide_x + h[3] * wide_y))
        assert np.all(error <= bounds[1])

        got = launched("dot", piblas.sdot, x, y, **steps)
        assert abs(got - np.dot(wide_x, wide_y)) <= dot.error_bound(of_x, of_y)
        if incx > 0:
            got = launched("asum", piblas.sasum, x, n, incx=incx)
            assert abs(got - np.abs(wide_x).sum()) <= asum.error_bound(of_x)
            got = launched("nrm2", piblas.snrm2, x, n, incx=incx)
            assert abs(got - np.linalg.norm(wide_x)) <= nrm2.error_bound(of_x)
            got = launched("iamax", piblas.isamax, x, n, incx=incx)
            assert got == np.argmax(np.abs(of_x))


def test_random_calls(device):
    random_calls(device, 77, 40, 300)


@pytest.mark.parametrize("n_qpus", (1, 5))
def test_devices_with_fewer_qpus(n_qpus):
    with Emulator(memory=4 << 20, n_qpus=n_qpus, seed=5, timing="off") as small:
        random_calls(small, 80, 6, 3000)


@pytest.mark.slow
def test_many_longer_calls(device, capsys):
    turns = 60
    random_calls(device, 79, turns, 20_000)
    with capsys.disabled():
        print(f"\nlevel 1: {turns} turns of random calls of up to 20,000 elements")


def test_the_same_bits_on_any_number_of_qpus():
    """Every routine's result, as the public docstrings promise."""
    kept = []
    for n_qpus in (1, 2, 7, 12):
        rng = np.random.default_rng(31)
        emulator = Emulator(memory=2 << 20, n_qpus=n_qpus, seed=n_qpus, timing="off")
        with emulator, piblas.use(emulator):
            got = []
            for n in (5, 300, 2500):
                x, y = (rng.uniform(-1, 1, (2, n)) * 10.0 ** rng.uniform(-9, 9, n)).astype("f4")
                got += [launched("dot", piblas.sdot, x, y), launched("asum", piblas.sasum, x)]
                got += [launched("nrm2", piblas.snrm2, x), launched("iamax", piblas.isamax, x)]
                launched("rot", piblas.srot, x, y, 0.6, -0.8, overwrite_x=1, overwrite_y=1)
                launched("axpy", piblas.saxpy, x, y, a=1.7)
                launched("scal", piblas.sscal, 0.3, x)
                got += [x.tobytes(), y.tobytes()]
        kept.append(got)
    assert kept[0] == kept[1] == kept[2] == kept[3]


@pytest.mark.parametrize("flag", (-2.0, -1.0, 0.0, 1.0))
def test_every_flag_of_srotm(device, flag):
    rng = np.random.default_rng(4)
    for n in (1, 40, 300):
        x, y = rng.uniform(-1, 1, (2, n)).astype(np.float32)
        param = np.array([flag, *rng.uniform(-2, 2, 4)], dtype=np.float32)
        want = blas.srotm(x, y, param)
        with piblas.use(device), piblas.profile() as profile:
            made = piblas.srotm(x, y, param)
        assert (not profile.reports) == (flag == -2)
        for got, exact in zip(made, want):
            np.testing.assert_allclose(got, exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("bad", (np.inf, -np.inf, np.nan, 3.3e38))
def test_special_values_are_as_on_the_cpu(device, fresh, bad):
    rng = np.random.default_rng(6)
    for n in (1, 20, 400):
        x, y = rng.uniform(1, 2, (2, n)).astype(np.float32)
        where = int(rng.integers(n))
        x[where] = bad
        y[where] = 0.0
        calls = [
            lambda lib: lib.sscal(2.0, x.copy()),
            lambda lib: lib.saxpy(x, y.copy(), a=2.0),
            lambda lib: lib.srot(x, y, 2.0, 3.0),
            lambda lib: lib.srotm(x, y, [-1, 2, 3, 4, 5]),
        ]
        # Inf * 0 is 0 on a QPU and NaN by IEEE.
        if not np.isfinite(bad):
            calls += [
                lambda lib: lib.sdot(x, y), lambda lib: lib.sasum(x), lambda lib: lib.snrm2(x)
            ]  # fmt: skip
        piblas.reset_stats()
        with piblas.use(device), np.errstate(all="ignore"):
            for call in calls:
                np.testing.assert_array_equal(call(piblas), call(blas))
            assert piblas.stats() == {"cpu": {WATCHED: len(calls)}}
            assert piblas.isamax(x) == blas.isamax(x) and (np.isnan(bad) or where == blas.isamax(x))
        counted = "cpu" if np.isnan(bad) else "emulator"
        assert sum(piblas.stats()[counted].values()) == 1 + np.isnan(bad) * len(calls)


def test_special_values_change_nothing(device, fresh, monkeypatch):
    """The arrays that the CPU is given, once a launch has met them, are as before."""
    x, y = np.array([1.0, np.nan, 3.0], np.float32), np.ones(3, np.float32)
    kept, given = x.copy(), []
    calls = {
        "sscal": lambda: piblas.sscal(2.0, x),
        "saxpy": lambda: piblas.saxpy(x, y, a=2.0),
        "srot": lambda: piblas.srot(x, y, 0.6, 0.8, overwrite_x=1, overwrite_y=1),
        "sdot": lambda: piblas.sdot(x, y),
    }
    for name, call in calls.items():
        cpu = getattr(piblas, name)
        monkeypatch.setattr(cpu, "_scipy", lambda *args, **kwargs: given.append((x, y)))
        with piblas.use(device), piblas.profile() as profile:
            call()
        assert profile.reports[0].instructions > 0
        np.testing.assert_array_equal(x, kept)
        assert (y == 1).all()
    assert len(given) == len(calls)


@pytest.mark.parametrize("scalar", (np.inf, np.nan))
def test_special_scalars(device, fresh, scalar):
    x = np.array([1.0, -2.0, 0.0], dtype=np.float32)
    y = x[::-1].copy()
    calls = (
        lambda lib: lib.sscal(scalar, x.copy()),
        lambda lib: lib.saxpy(x, y.copy(), a=scalar),
        lambda lib: lib.srot(x, y, scalar, 1.0),
    )
    with piblas.use(device), piblas.profile() as profile:
        for call in calls:
            np.testing.assert_array_equal(call(piblas), call(blas))
    assert piblas.stats() == {"cpu": {WATCHED: 3}} and not profile.reports


def test_overflow_of_a_sum(device, fresh):
    x = np.full(300, 3e38, dtype=np.float32)
    with piblas.use(device), piblas.profile() as profile:
        assert piblas.sasum(x) == np.inf
        assert piblas.sdot(x, -x) == -np.inf
    assert [report.kernel for report in profile.reports] == ["asum", "dot"]
    assert piblas.stats() == {"cpu": {WATCHED: 2}}


@pytest.mark.parametrize("size", (1e-45, 1e-40, 1e-38, 1e-36, 1e-30, 1e-25, 1e-19, 1e-15, 1.0,
                                  1e15, 1e19, 1e25, 1e30, 1e36, 2e37))  # fmt: skip
def test_norms_of_any_size(device, fresh, size):
    rng = np.random.default_rng(8)
    for n in (1, 3, 50, 700):
        x = (size * rng.uniform(-1, 1, n)).astype(np.float32)
        want = np.linalg.norm(x.astype(np.float64))
        with piblas.use(device), piblas.profile() as profile:
            assert abs(piblas.snrm2(x) - want) <= nrm2.error_bound(x)
        assert profile.reports[0].kernel == "nrm2"
    x = np.array([size, 0, 1e-3 * size, 0], dtype=np.float32)
    with piblas.use(device):
        assert abs(piblas.snrm2(x) - np.linalg.norm(x.astype(np.float64))) <= nrm2.error_bound(x)
    on_cpu = piblas.stats().get("cpu", {})
    if size == 1e-45:  # some vectors are all zeros
        assert on_cpu[TINY] > 0
    else:
        assert on_cpu == ({TINY: 5} if size < 1e-29 else {})


def test_norm_beyond_the_largest_float(device, fresh):
    x = np.full(50, 3e38, dtype=np.float32)
    with piblas.use(device):
        assert piblas.snrm2(x) == np.inf
        assert abs(piblas.snrm2(x, 1) - float(x[0])) <= nrm2.error_bound(x[:1])
        assert piblas.snrm2(np.zeros(20, np.float32)) == 0


def test_nothing_to_do(device, fresh):
    x, y = np.ones(3, np.float32), np.zeros(3, np.float32)
    with piblas.use(device), piblas.profile() as profile:
        for n in (0, -2):
            piblas.scopy(x, y, n)
            piblas.sswap(x, y, n)
            piblas.sscal(3.0, x, n)
            piblas.saxpy(x, y, n, 3.0)
            piblas.srot(x, y, 0.0, 1.0, n, overwrite_x=1, overwrite_y=1)
            piblas.srotm(x, y, [-1.0, 2, 2, 2, 2], n, overwrite_x=1, overwrite_y=1)
            assert piblas.sdot(x, y, n) == piblas.sasum(x, n) == piblas.snrm2(x, n) == 0
            assert piblas.isamax(x, n) == blas.isamax(x, n)
        piblas.saxpy(x, y, a=0.0)
    assert np.all(x == 1) and np.all(y == 0) and not profile.reports


def test_a_failed_launch_changes_nothing(device, fresh, monkeypatch):
    x, y = np.ones(40, np.float32), np.full(40, 2, np.float32)

    def fails(*args, **kwargs):
        raise DeviceError("the launch failed")

    monkeypatch.setattr(type(device), "execute_list", fails)
    for call in (
        lambda: piblas.sswap(x, y),
        lambda: piblas.saxpy(x, y, a=2.0),
        lambda: piblas.sdot(x, y),
    ):
        with piblas.use(device), pytest.raises(DeviceError, match="the launch failed"):
            call()
    assert np.all(x == 1) and np.all(y == 2)
