"""What is kept between calls of levels 1 and 2 (jobs by key, plans, scratch memory, streams) never
shows: a call gives what it would give as the first one."""

from __future__ import annotations

import gc
import os
import signal
import threading
import warnings

import numpy as np
import pytest
from scipy.linalg import blas

import piblas
from piblas import DeviceError, OutOfDeviceMemory
from piblas.blas import call as blas_call
from piblas.blas.call import KEPT_JOBS, NO_LAUNCH
from piblas.dispatch import devices
from piblas.driver import Emulator
from piblas.host import arrays, runner
from piblas.host.outcome import SORT_OUT
from piblas.host.runner import Runner, runner_of

F32 = np.float32
ASKED = "the emulator was asked for"


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def chip(request):
    with Emulator(memory=16 << 20, seed=3, timing="off", incoherent=request.param) as dev:
        yield dev


@pytest.fixture
def device(chip, fresh):
    with piblas.use(chip):
        yield chip


def integers(*shape, seed=1):
    return np.random.default_rng([seed, *shape]).integers(-8, 9, shape).astype(F32)


def both(call):
    """The result here and SciPy's, which must be equal."""
    got, wanted = call(piblas), call(blas)
    np.testing.assert_array_equal(got, wanted)
    return got


# --- keys ----------------------------------------------------------------------------------------


def test_integers_in_arrays_count_by_value(device):
    """An array without axes is an integer for SciPy; two of them differ in their value only."""
    x, y = integers(40), integers(40, seed=2)
    for n in (5, 7, 40):
        both(lambda lib, n=n: lib.sdot(x, y, n=np.array(n)))
        both(lambda lib, n=n: lib.saxpy(x, y.copy(), np.array(n), 2.0))
    for step in (1, 2, 3):
        both(lambda lib, step=step: lib.scopy(x, y.copy(), 5, incx=np.array(step)))
    a = integers(40, 40)
    for flag in (0, 1):
        both(lambda lib, flag=flag: lib.sgemv(1.0, a, x, trans=np.array(flag)))
        both(lambda lib, flag=flag: lib.ssymv(1.0, a, x, lower=np.array(flag)))
        there = y.copy()
        got = piblas.sgemv(1.0, a, x, y=there, beta=1.0, overwrite_y=np.array(flag))
        assert (got is there) == (flag == 1)
    held = piblas.array([5, 7], np.int64)
    for at in (0, 1):
        both(lambda lib, at=at: lib.sdot(x, y, n=held[at : at + 1].reshape(())))


def test_views_of_any_class_are_told_from_other_arrays(device):
    """A view of device memory whose base is of another class, then an array that looks the same."""

    class Other(np.ndarray):
        pass

    held = piblas.array(integers(64))
    turned = held.view(Other)[:50].view(np.ndarray)
    ordinary = integers(64)[:50]
    for first, second in ((turned, ordinary), (ordinary, turned)):
        for each in (first, second):
            each = each[:48]
            assert piblas.sasum(each) == blas.sasum(np.array(each))
    matrix = piblas.array(integers(8, 8), order="F")
    turned, ordinary = matrix.view(Other).view(np.ndarray), np.asfortranarray(integers(8, 8))
    for each in (turned, ordinary, turned[:, :8], ordinary[:, :8], turned):
        both(lambda lib, each=each: lib.sgemv(1.0, each, integers(8)))


LOOKS = {
    "float64": lambda v: v.astype(np.float64),
    "int8": lambda v: v.astype(np.int8),
    "int64": lambda v: v.astype(np.int64),
    "bool": lambda v: v > 0,
    "big-endian": lambda v: v.astype(">f4"),
    "float16": lambda v: v.astype(np.float16),
    "list": lambda v: v.tolist(),
    "unaligned": lambda v: _unaligned(v),
    "read-only": lambda v: _read_only(v),
    "every second": lambda v: np.repeat(v, 2, axis=0)[::2],
    "backwards": lambda v: v[::-1].copy()[::-1],
    "broadcast": lambda v: np.broadcast_to(v[:1], v.shape),
    "resident": lambda v: piblas.array(v),
    "resident, a part": lambda v: piblas.array(np.concatenate([v, v]))[3 : 3 + len(v)],
    "resident, every second": lambda v: piblas.array(np.repeat(v, 2, axis=0))[::2],
    "resident, backwards": lambda v: piblas.array(v)[::-1],
    "resident, read-only": lambda v: _read_only(piblas.array(v)),
    "its own": lambda v: v.copy(),
    "matrix": lambda v: np.asmatrix(v) if v.ndim == 2 else v.copy(),
    "Fortran": lambda v: v.copy(order="F"),
    "memmap": lambda v: _memmap(v),
}


def _unaligned(values):
    made = np.empty(values.nbytes + 1, np.uint8)[1:].view(F32).reshape(values.shape)
    made[...] = values
    return made


def _read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def _memmap(values):
    import tempfile

    with tempfile.TemporaryFile() as file:
        made = np.memmap(file, F32, "w+", shape=values.shape)
    made[...] = values
    return made


def test_every_look_in_any_order(device):
    """Arrays of one shape that differ in type, place, flags or strides, one after the other, in
    arguments that are read and in those that are written."""
    rng = np.random.default_rng(7)
    x, y, a = integers(33), integers(33, seed=4), integers(33, 33)
    names = list(LOOKS)
    for turn in range(120):
        look_x, look_y, look_a = (LOOKS[names[i]] for i in rng.integers(0, len(names), 3))
        over = int(rng.integers(0, 2))
        if turn % 3 == 0:
            calls = [lambda lib, x, y, a: lib.sdot(x, y), lambda lib, x, y, a: lib.sasum(x)]
        elif turn % 3 == 1:
            calls = [
                lambda lib, x, y, a: lib.srot(x, y, 2.0, 3.0, overwrite_x=over, overwrite_y=over),
                lambda lib, x, y, a: lib.saxpy(x, y, a=3.0),
            ]
        else:
            calls = [
                lambda lib, x, y, a: lib.sgemv(
                    2.0, a, x, beta=3.0, y=y, trans=over, overwrite_y=over
                ),
                lambda lib, x, y, a: lib.strmv(a, x, overwrite_x=over),
                lambda lib, x, y, a: lib.ssyr(2.0, x, a=a, overwrite_a=over),
            ]
        for call in calls:
            ours = look_x(x), look_y(y), look_a(a)
            theirs = [_as_ordinary(look(v)) for look, v in
                      ((look_x, x), (look_y, y), (look_a, a))]  # fmt: skip
            got, refused = _tried(call, piblas, ours)
            wanted, too = _tried(call, blas, theirs)
            assert (refused is None) == (too is None), (refused, too)
            if too is None:
                np.testing.assert_array_equal(got, wanted)
            for one, other in zip(ours, theirs):
                np.testing.assert_array_equal(one, other)


def _as_ordinary(value):
    """The same in ordinary memory, with the same strides and flags as far as SciPy minds them."""
    if not isinstance(value, arrays.DeviceArray):
        return value
    plain = value.view(np.ndarray)
    made = np.empty_like(plain) if plain.flags.forc else _strided_like(plain)
    made[...] = plain
    made.flags.writeable = plain.flags.writeable
    return made


def _strided_like(array):
    if array.strides[0] < 0:
        return np.empty(array.shape, F32)[::-1]
    return np.empty((2 * array.shape[0], *array.shape[1:]), F32)[::2]


def _tried(call, library, given):
    try:
        return call(library, *given), None
    except (TypeError, ValueError, piblas.PiblasError, blas.__dict__.get("error", ())) as error:
        return None, error
    except Exception as error:  # SciPy's own
        assert "error" in type(error).__name__.lower(), error
        return None, error


def test_the_same_call_with_the_same_object_twice(device):
    """Overlap is a matter of the objects, not of their kind."""
    x, y = integers(30), integers(30, seed=5)
    for _ in range(2):
        got = piblas.saxpy(x, y.copy(), a=2.0)
        np.testing.assert_array_equal(got, 2 * x + y)
        own = x.copy()
        np.testing.assert_array_equal(piblas.saxpy(own, own, a=2.0), blas.saxpy(x, x.copy(), a=2.0))
        shared = np.concatenate([x, y])
        again = shared.copy()
        piblas.sswap(shared[:40], shared[20:])
        blas.sswap(again[:40], again[20:])
        np.testing.assert_array_equal(shared, again)
        held = piblas.array(x)
        assert piblas.saxpy(held, held, a=2.0) is held
        np.testing.assert_array_equal(held, 3 * x)
        a = np.asfortranarray(integers(30, 30))
        row = a[:, 3]
        want = blas.sger(1.0, row.copy(), y, a=a.copy(order="F"))
        np.testing.assert_array_equal(piblas.sger(1.0, row, y, a=a.copy(order="F")), want)
    counted = piblas.stats()
    assert counted["cpu"] == {SORT_OUT: 6} and sum(counted["emulator"].values()) == 4


def test_jobs_are_bounded(device):
    x = integers(4)
    for number in range(KEPT_JOBS + 50):
        piblas.sdot(x, x, n=-number)  # SciPy refuses none of them
    assert len(devices.now().jobs) <= KEPT_JOBS
    for number in range(50):
        with piblas.use(device):
            piblas.sgemv(1.0, np.eye(4, dtype=F32), x)
    assert len(runner_of(device)._ready) <= runner.KEPT_READY


# --- scalars -------------------------------------------------------------------------------------

SCALARS = (
    2, True, F32(2), np.float64(2), np.float16(2), np.int8(-128), np.uint8(3), np.uint64(3),
    np.longdouble(2), 2.0, -0.0, 0.0,
)  # fmt: skip


@pytest.mark.parametrize("value", SCALARS, ids=lambda value: f"{type(value).__name__} {value}")
def test_scalars_of_every_type(device, value):
    x, y, a = integers(20), integers(20, seed=6), integers(20, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in (
            lambda lib: lib.saxpy(x, y.copy(), a=value), lambda lib: lib.sscal(value, x.copy()),
            lambda lib: lib.srot(x, y, value, value), lambda lib: lib.srot(x, y, 2.0, value),
            lambda lib: lib.sgemv(value, a, x, beta=value, y=y),
            lambda lib: lib.sger(value, x, y, a=a), lambda lib: lib.ssyr2(value, x, y, a=a),
        ):  # fmt: skip
            both(call)
    assert SORT_OUT not in piblas.stats().get("cpu", {})


@pytest.mark.parametrize("value", (10**400, -(10**400), 1e300, 10**39, -1e39, 2**1000, np.inf))
def test_scalars_beyond_float32(device, value):
    x, y, a = integers(20), integers(20, seed=6), integers(20, 20)
    for call in (
        lambda lib: lib.saxpy(x, y.copy(), a=value), lambda lib: lib.sscal(value, x.copy()),
        lambda lib: lib.srot(x, y, 1.0, value), lambda lib: lib.sgemv(1.0, a, x, beta=value, y=y),
        lambda lib: lib.sgemv(value, a, x), lambda lib: lib.ssyr(value, x, a=a),
    ):  # fmt: skip
        with np.errstate(all="ignore"):
            try:
                wanted = call(blas)
            except Exception:  # more than a double holds
                with pytest.raises(piblas.PiblasError):
                    call(piblas)
                continue
            np.testing.assert_array_equal(call(piblas), wanted)
    assert "emulator" not in piblas.stats()


def test_a_factor_that_rounds_to_0_reads_nothing(device):
    nan, y = np.full(20, np.nan, F32), integers(20)
    tiny = 1e-46
    for _ in range(2):
        np.testing.assert_array_equal(piblas.saxpy(nan, y.copy(), a=tiny), y)
        a = integers(20, 20)
        np.testing.assert_array_equal(piblas.sger(tiny, nan, nan, a=a), a)
        np.testing.assert_array_equal(piblas.ssyr(tiny, nan, a=a), a)
        np.testing.assert_array_equal(piblas.sgemv(tiny, a * nan, nan, beta=1.0, y=y), y)
    assert piblas.stats() == {"cpu": {NO_LAUNCH: 8}}


def test_an_update_at_the_limit_of_float32(device):
    """The factor is rounded before the product is looked at."""
    x = np.ones(20, F32)
    x[3] = F32(2)
    half = float(np.finfo(F32).max) / 2
    for alpha in (half, np.nextafter(half, 1e39), half * (1 + 2**-24), half * (1 + 2**-23)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            both(lambda lib, alpha=alpha: lib.sger(alpha, np.ones(20, F32), x))


def test_the_sign_of_0_is_not_forgotten(device):
    """0.0 equals -0.0, but the words of the streams differ (products on QPUs are 0.0 for both)."""
    x = np.full(20, 3, F32)
    piblas.sscal(2.0, x.copy())
    (table,) = list(runner_of(device)._tables.values())[-1]
    (words,) = {tuple(index) for index, _ in table.launch.streams.values.values()}
    for a in (0.0, -0.0, 0.0):
        assert not piblas.sscal(a, x.copy()).any()
        held = table.array[list(words)]
        assert (held == np.array(a, F32).view(np.uint32)).all()


# --- memory --------------------------------------------------------------------------------------


def test_operands_of_other_devices_are_copied(device):
    with Emulator(memory=1 << 20, timing="off", seed=5) as other:
        x, y = (piblas.array(integers(50, seed=s), device=other) for s in (1, 2))
        here = piblas.array(integers(50, seed=3))
        for _ in range(2):
            both(lambda lib: lib.sdot(x, here))
            both(lambda lib: lib.sdot(here, x))
            both(lambda lib: lib.saxpy(x, np.array(y), a=2.0))
            with piblas.use(other):
                both(lambda lib: lib.sdot(x, here))
        want = np.array(x) * 2 + np.array(y)
        assert piblas.saxpy(x, y, a=2.0) is y
        np.testing.assert_array_equal(y, want)
    both(lambda lib: lib.sdot(x, here))  # of a closed device
    with piblas.use(other), pytest.raises(DeviceError, match="closed"):
        piblas.sdot(x, here)


def test_a_closed_device_lets_go(fresh):
    dev = Emulator(memory=1 << 20, timing="off")
    with piblas.use(dev):
        piblas.sdot(np.ones(5, F32), np.ones(5, F32))
        kept = runner_of(dev)
        dev.close()
        assert not (kept._scratch or kept._tables or kept._ready) and not kept.scratch_bytes
        for _ in range(2):
            with pytest.raises(DeviceError, match="closed"):
                piblas.sdot(np.ones(5, F32), np.ones(5, F32))


def test_large_scratch_memory_is_given_up(device, monkeypatch):
    monkeypatch.setattr(blas_call, "KEPT_SCRATCH", 1 << 16)
    kept, x, a = runner_of(device), integers(100), integers(300, 300)
    piblas.sgemv(1.0, a, integers(300))
    piblas.sdot(x, x)
    assert kept.scratch_bytes > 0
    kept.release()
    gc.collect()
    arrays.collect()
    free = device._heap.free
    for _ in range(2):
        np.testing.assert_array_equal(piblas.sgemv(1.0, a, integers(300)), a @ integers(300))
        assert kept.scratch_bytes == 0 and not kept._scratch
    kept.release()
    assert device._heap.free == free


def garbage(device):
    """Fill what is kept between calls with words that would be noticed."""
    filled = 0
    rng = np.random.default_rng(1)
    for room in runner_of(device)._scratch.values():
        bad = np.array([0x7FC00000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x4B000000], np.uint32)
        room.words[:] = rng.choice(bad, room.words.size)
        room.buffer.clean()
        filled += 1
    return filled


CALLS = {
    "saxpy": lambda lib, n: lib.saxpy(integers(n), integers(n, seed=2), a=2.0),
    "sscal": lambda lib, n: lib.sscal(2.0, integers(n)),
    "sswap": lambda lib, n: lib.sswap(integers(n), integers(n, seed=2)),
    "srot": lambda lib, n: lib.srot(integers(n), integers(n, seed=2), 2.0, 3.0),
    "sdot": lambda lib, n: lib.sdot(integers(n), integers(n, seed=2)),
    "sasum": lambda lib, n: lib.sasum(integers(n)),
    "isamax": lambda lib, n: lib.isamax(integers(n)),
    "sgemv": lambda lib, n: lib.sgemv(2.0, integers(n, n + 3), integers(n + 3)),
    "sgemv transposed": lambda lib, n: lib.sgemv(2.0, integers(n, n + 3), integers(n), trans=1),
    "sgbmv": lambda lib, n: lib.sgbmv(n, n, 2, 1, 1.0, integers(n, n)[:4], integers(n)),
    "ssymv": lambda lib, n: lib.ssymv(2.0, integers(n, n), integers(n)),
    "ssbmv": lambda lib, n: lib.ssbmv(3, 2.0, integers(n, n)[:4], integers(n)),
    "sspmv": lambda lib, n: lib.sspmv(n, 2.0, integers(n * (n + 1) // 2), integers(n)),
    "strmv": lambda lib, n: lib.strmv(integers(n, n), integers(n), lower=1),
    "stbmv": lambda lib, n: lib.stbmv(3, integers(n, n)[:4], integers(n), diag=1),
    "stpmv": lambda lib, n: lib.stpmv(n, integers(n * (n + 1) // 2), integers(n), trans=1),
    "strsv": lambda lib, n: lib.strsv(np.eye(n, dtype=F32) + np.eye(n, k=1), integers(n)),
    "sger": lambda lib, n: lib.sger(2.0, integers(n), integers(n + 3), a=integers(n, n + 3)),
    "ssyr": lambda lib, n: lib.ssyr(2.0, integers(n), a=integers(n, n)),
    "ssyr2": lambda lib, n: lib.ssyr2(2.0, integers(n), integers(n, seed=2), a=integers(n, n)),
    "sspr": lambda lib, n: lib.sspr(n, 2.0, integers(n), integers(n * (n + 1) // 2)),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_left_of_earlier_calls_is_not_used(name, device):
    """Infinities, NaN and large numbers in all that is kept; calls of other sizes in between."""
    call = CALLS[name]
    for n in (150, 70, 151, 20, 150, 6):
        both(lambda lib, n=n: call(lib, n))
        assert garbage(device)
        both(lambda lib, n=n: call(lib, n))
        garbage(device)
    both(lambda lib: call(lib, 150))
    assert "cpu" not in piblas.stats() or name == "strsv"  # of which a short one takes no launch


@pytest.mark.parametrize("n_qpus", (1, 5, 12))
def test_and_not_on_fewer_qpus(n_qpus, fresh):
    with Emulator(memory=4 << 20, n_qpus=n_qpus, timing="off", seed=4) as dev, piblas.use(dev):
        for n in (150, 20):
            for call in CALLS.values():
                both(lambda lib, n=n, call=call: call(lib, n))
                garbage(dev)


# --- shortage, failures, threads -----------------------------------------------------------------


def test_a_shortage_in_the_middle_of_a_call(fresh, monkeypatch):
    """Memory for the matrix is there, that for the next piece is not until others are given up, or
    not in one piece until all are."""
    with Emulator(memory=1 << 20, timing="off", seed=4) as dev, piblas.use(dev):
        emptied, real = [], Runner.abandon
        monkeypatch.setattr(Runner, "abandon", lambda self: emptied.append(real(self)))
        for n in (100, 230, 60, 300, 400, 150, 430, 300):
            for name in ("sgemv", "sgemv transposed", "sger", "strsv", "saxpy", "ssyr2"):
                both(lambda lib, n=n, name=name: CALLS[name](lib, n))
        assert emptied
        with pytest.raises(OutOfDeviceMemory):
            piblas.empty((600, 600))
        both(lambda lib: lib.sgemv(1.0, np.ones((600, 600), F32), np.ones(600, F32)))
        both(lambda lib: CALLS["sgemv"](lib, 400))
        assert len(piblas.stats()) <= 2


def test_every_allocation_may_fail(fresh, monkeypatch):
    """The call is refused, the next one is right, whichever allocation had no room."""
    with Emulator(memory=4 << 20, timing="off", seed=4) as dev, piblas.use(dev):
        real, left = dev.alloc, [0]

        def alloc(nbytes):
            left[0] -= 1
            if left[0] <= 0:
                raise OutOfDeviceMemory("full")
            return real(nbytes)

        monkeypatch.setattr(dev, "alloc", alloc)
        for name in ("sdot", "saxpy", "sgemv transposed", "ssyr2", "strsv"):
            for fail in range(1, 12):
                runner_of(dev).release()
                dev.kept.clear()
                assert not runner_of(dev)._scratch
                left[0] = fail
                try:
                    both(lambda lib, name=name: CALLS[name](lib, 300))
                    assert left[0] > 0
                    break
                except OutOfDeviceMemory:
                    left[0] = 1000
                    both(lambda lib, name=name: CALLS[name](lib, 300))
            else:
                pytest.fail("every allocation failed")
            assert fail > 2


@pytest.mark.parametrize("name", ("saxpy", "sdot", "sgemv transposed", "sger"))
def test_memory_of_a_failed_launch_is_not_used_again(name, fresh, monkeypatch):
    """It may go on for good, and write there; the device knows when it has ended."""
    with Emulator(memory=4 << 20, timing="off", seed=4) as dev, piblas.use(dev):
        both(lambda lib: CALLS[name](lib, 90))
        kept = runner_of(dev)
        assert kept._scratch and kept._tables

        def fails(*args, **kwargs):
            raise piblas.DeviceTimeout("too long")

        with monkeypatch.context() as patch:
            patch.setattr(dev, "execute_list", fails)
            with pytest.raises(piblas.DeviceTimeout):
                CALLS[name](piblas, 90)
        assert not (kept._scratch or kept._tables or kept._ready)
        both(lambda lib: CALLS[name](lib, 90))


def test_a_shortage_in_another_thread_waits_for_no_call(device):
    """It frees nothing of a call that is on its way, and is not held up by it."""
    kept = runner_of(device)
    both(lambda lib: CALLS["sgemv"](lib, 90))
    with devices.lock(device):
        held = dict(kept._scratch)
        failed = []

        def asks():
            try:
                device.alloc(1 << 30)
            except OutOfDeviceMemory:
                failed.append(1)

        thread = threading.Thread(target=asks)
        thread.start()
        thread.join(30)
        assert failed and kept._scratch == held and kept._tables
    with pytest.raises(OutOfDeviceMemory):
        device.alloc(1 << 30)
    assert not kept._scratch and not kept._tables


def test_threads(device):
    """Calls of several shapes at once, one device, with shortages in between."""
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        names = list(CALLS)
        for _ in range(12):
            name, n = names[rng.integers(len(names))], int(rng.integers(2, 120))
            if not np.array_equal(CALLS[name](piblas, n + 4), CALLS[name](blas, n + 4)):
                wrong.append((name, n))
            if rng.random() < 0.2:
                try:
                    device.alloc(1 << 30)
                except OutOfDeviceMemory:
                    pass

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_fork_in_the_middle_of_a_call(device, monkeypatch):
    """The child computes with its own copy of the emulator, though nobody ended the call there."""
    both(lambda lib: CALLS["sgemv"](lib, 60))
    real, status, forked = device.execute_list, [], []

    def forks(*args, **kwargs):
        if not forked:
            forked.append(1)  # in the child, too, which forks no more
            child = os.fork()
            if child == 0:
                signal.alarm(100)
                code = 1
                try:
                    wrong = []
                    # Another thread than the one that holds the locks.
                    thread = threading.Thread(target=lambda: wrong.append(_all_right()))
                    thread.start()
                    thread.join(60)
                    code = 0 if wrong == [True] else 2
                finally:
                    os._exit(code)
            status.append(os.waitpid(child, 0)[1])
        return real(*args, **kwargs)

    monkeypatch.setattr(device, "execute_list", forks)
    both(lambda lib: CALLS["sgemv"](lib, 70))
    assert status == [0] and _all_right()


def _all_right():
    names = ("saxpy", "sgemv", "sger")
    return all(np.array_equal(CALLS[n](piblas, 70), CALLS[n](blas, 70)) for n in names)


def test_arrays_that_are_gone_are_freed_by_a_call(device):
    x = integers(10)
    piblas.sdot(x, x)
    free = device._heap.free
    held = piblas.zeros(5000)
    assert device._heap.free < free
    del held
    gc.collect()
    piblas.sdot(x, x)
    assert device._heap.free == free
