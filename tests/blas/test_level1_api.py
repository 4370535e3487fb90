"""Level 1 on the emulated QPUs through SciPy's signatures: what is computed, and what is written.

The numbers are small integers, so that every routine but snrm2 is exact and results compare equal;
how exact the kernels are on other numbers is tested with the kernels.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
from scipy.linalg import blas
from test_like_scipy import aligned, outcome, vary, which

import piblas
from bench.null_device import NullDevice
from piblas import BlasError, DeviceError, DeviceTimeout, OutOfDeviceMemory
from piblas.blas.call import NO_LAUNCH
from piblas.dispatch import boards, choose, devices
from piblas.host import outcome as outcomes
from piblas.routines import KERNELS, ROUTINES

F32 = np.float32
NAMES = [n for n in KERNELS if ROUTINES[n].level == 1 and ROUTINES[n].family.scipy]
ASKED = "the emulator was asked for"


@pytest.fixture
def emulator(device, fresh):
    with piblas.use(device):
        yield device


def integers(rng, n):
    return rng.integers(-8, 9, n).astype(F32)


def random_call(rng, row):
    """Arguments by name that a kernel takes, or that are short by one."""
    n = int(rng.choice([1, 2, 15, 16, 17, 40, 200]))
    given = {}
    short = rng.random() < 0.1
    for name in row.arguments[: row.required]:
        if name in "xy":
            inc, off = int(rng.choice([1, 1, 2, 3, -1, -3])), int(rng.choice([0, 0, 1, 5]))
            size = off + (n - 1) * abs(inc) + 1 + int(rng.choice([0, 3])) - (short and n > 1)
            given[name] = vary(rng, "s", integers(rng, size))
            given[f"inc{name}"], given[f"off{name}"] = inc, off
        elif name == "param":
            given[name] = [float(rng.integers(-2, 2)), *integers(rng, 4)]
        else:
            given[name] = float(rng.integers(-4, 5))
    if row.name == "saxpy" and rng.random() < 0.8:
        given["a"] = float(rng.integers(-4, 5))
    given.update({k: int(rng.integers(0, 2)) for k in row.arguments if k[:4] == "over"})
    if "y" not in row.arguments and rng.random() < 0.9:  # going backwards is for two vectors
        given["incx"] = abs(given["incx"])
    if rng.random() < 0.7 or "y" in row.arguments:
        given["n"] = n
    return {name: value for name, value in given.items() if name in row.arguments}


def same(mine, theirs, routine):
    assert type(mine) is type(theirs)
    if routine == "snrm2":
        assert mine == pytest.approx(theirs, rel=1e-6)
    elif isinstance(theirs, np.ndarray):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert mine.flags.c_contiguous
        np.testing.assert_array_equal(mine, theirs)
    else:
        assert mine == theirs


def sweep(name, calls, seed):
    """Compare this many calls; returns how many of them were launches."""
    row = ROUTINES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    piblas.reset_stats()
    for _ in range(calls):
        given = random_call(rng, row)
        ours, theirs = ({k: aligned(v) for k, v in given.items()} for _ in range(2))
        wanted, refused = outcome(getattr(blas, name), row, theirs, row.required)
        done, error = outcome(getattr(piblas, name), row, ours, row.required)
        if refused is not None:
            assert isinstance(error, BlasError) and str(refused) in str(error)
        else:
            assert error is None, (given, error)
            pairs = zip(done, wanted) if isinstance(wanted, tuple) else [(done, wanted)]
            for one, other in pairs:
                same(one, other, name)
                if isinstance(other, np.ndarray):
                    assert which(one, ours) == which(other, theirs)
        for argument, value in theirs.items():
            np.testing.assert_array_equal(ours[argument], value, f"{argument} afterwards: {given}")
    stats = piblas.stats()
    return stats.get("emulator", {}).get(ASKED, 0)


@pytest.mark.parametrize("name", NAMES)
def test_random_calls(name, emulator):
    assert sweep(name, 25, 1) >= 12


@pytest.mark.slow
def test_many_random_calls(emulator):
    total = sum(sweep(name, 400, 2) for name in NAMES)
    print(f"\n{400 * len(NAMES)} calls, {total} of them launches")
    assert total >= 200 * len(NAMES)


# --- what stays with SciPy ----------------------------------------------------------------------

X, Y = np.arange(1, 9, dtype=F32), np.arange(8, dtype=F32)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def overlapping(call):
    both = np.arange(12, dtype=F32)
    return call(both[:8], both[4:])


@pytest.mark.parametrize(
    "call",
    [
        lambda lib: lib.saxpy(X, Y.copy(), n=0),
        lambda lib: lib.sdot(X, Y, n=-1),
        lambda lib: lib.sasum(X, incx=-1),
        lambda lib: lib.sscal(2.0, X.copy(), incx=-2),
        lambda lib: lib.snrm2(X, incx=-1),
        lambda lib: lib.isamax(X, incx=-1),
        lambda lib: lib.saxpy(X.reshape(2, 4), Y.copy()),
        lambda lib: lib.sdot(X + 1j, Y),
        lambda lib: lib.saxpy(X, Y.copy(), a=1j),
        lambda lib: lib.srot(X, Y, "0.5", 0.5),
        lambda lib: lib.saxpy(X, Y.copy(), n=2.0),
        lambda lib: overlapping(lib.saxpy),
        lambda lib: overlapping(lib.sswap),
        lambda lib: lib.sscal(2.0, read_only(X)),
        lambda lib: lib.srotm(X, Y, np.array([-1, 1, 2, 3, 4], complex)),
        lambda lib: lib.sdot(X, Y, n=None, incx=2, incy=2),
    ],
)
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_what_only_scipy_sorts_out(call, emulator, caplog):
    """The result or the refusal is SciPy's; the reason is counted and logged."""
    caplog.set_level("INFO", "piblas")
    try:
        wanted = call(blas)
    except Exception as refused:
        with pytest.raises(BlasError) as caught:
            call(piblas)
        assert str(refused) in str(caught.value)
        assert piblas.stats() == {}
        return
    np.testing.assert_array_equal(call(piblas), wanted)
    reasons = piblas.stats()
    assert reasons in (
        {"cpu": {outcomes.SORT_OUT: 1}},
        {"emulator": {ASKED: 1}},  # n is None: as if it were not given
    )
    assert (outcomes.SORT_OUT in caplog.text) == ("cpu" in reasons)
    assert ("emulator" in reasons) == (call.__code__.co_consts[-1] == ("n", "incx", "incy"))


def test_no_launch_where_none_is_needed(emulator):
    y = Y.copy()
    assert piblas.saxpy(np.full(8, np.nan, F32), y, a=0) is y
    np.testing.assert_array_equal(y, Y)
    assert piblas.stats() == {"cpu": {NO_LAUNCH: 1}}


def test_reports(emulator):
    with piblas.profile() as profile:
        piblas.saxpy(X, Y.copy())
        piblas.isamax(X)
    assert [report.kernel for report in profile.reports] == ["axpy", "iamax"]


def test_wrong_calls_are_type_errors(emulator):
    for call in (lambda: piblas.saxpy(X), lambda: piblas.sdot(X, Y, foo=1)):
        with pytest.raises(TypeError, match="missing required argument|invalid keyword argument"):
            call()


# --- dispatch -----------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch, fresh):
    """ "auto" finds a GPU, which computes nothing."""
    found = NullDevice()
    monkeypatch.setattr(devices, "_open", lambda name: found)
    return found


def fails(error):
    def launch(*args, **kwargs):
        raise error

    return launch


def test_a_demanded_device_that_fails(emulator, monkeypatch):
    monkeypatch.setattr(type(emulator), "execute_list", fails(DeviceTimeout("too long")))
    y = Y.copy()
    with pytest.raises(DeviceTimeout, match="too long"):
        piblas.saxpy(X, y)
    np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize(
    "error, later",
    [(DeviceTimeout("too long"), "the GPU failed: DeviceTimeout"), (OutOfDeviceMemory("full"), "")],
)
def test_a_found_device_that_fails(gpu, monkeypatch, error, later):
    """The call goes to the CPU, and so do all later ones unless only memory was short."""
    choice = choose.Choice("qpu", "axpy", "so")
    monkeypatch.setattr(choose, "choose", lambda *args: choice)
    monkeypatch.setattr(gpu, "execute_list", fails(error))
    y = Y.copy()
    assert piblas.saxpy(X, y) is y
    np.testing.assert_array_equal(y, X + Y)
    assert devices.found().missing.startswith(later)
    assert piblas.stats() == {"cpu": {f"the GPU failed: {type(error).__name__}": 1}}


@pytest.mark.parametrize("board", ["pi1", "auto"])
def test_host_operands_stay_on_the_cpu(gpu, monkeypatch, board):
    monkeypatch.setenv("PIBLAS_BOARD", board)
    y = Y.copy()
    assert piblas.saxpy(X, y) is y
    reason = "predicted faster on the CPU" if board == "pi1" else "no figures for this board"
    ((counted, calls),) = piblas.stats()["cpu"].items()
    assert counted.startswith(reason) and calls == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("board", boards.BOARDS.values(), ids=boards.BOARDS.keys())
def test_staging_never_pays(name, board):
    """Copying a vector to the GPU takes longer than the CPU needs for the whole call."""
    for n in (1, 1000, 10**6, 10**8):
        seconds = choose.predict(choose.Call(name, {"n": n}), board)
        assert seconds["cpu"] < seconds["qpu"]


def test_prediction_by_hand(monkeypatch):
    """saxpy moves 12 bytes an element; a cached copy of n bytes moves 2 n, at 3 x 134 MiB/s."""
    monkeypatch.setattr(choose.predictions, "seconds", lambda *args: 3e-3)
    n = 10**6
    pi1 = boards.BOARDS["pi1"]
    resident = choose.costs(choose.Call("saxpy", {"n": n}, resident=True), pi1)
    assert resident["cpu"].kernel == pytest.approx(12 * n / (6 * 134 * 2**20))
    qpu = resident["qpu"]
    assert (qpu.launch, qpu.copy, qpu.kernel) == (100e-6, 0.0, 3e-3)
    staged = choose.costs(choose.Call("saxpy", {"n": n}), pi1)
    assert staged["qpu"].copy == pytest.approx(12 * n / (134 * 2**20))


# --- counting -----------------------------------------------------------------------------------


def test_calls_are_counted(fresh):
    with piblas.use("cpu"):
        for _ in range(3):
            piblas.saxpy(X, Y.copy())
        piblas.ddot(X, Y)
        with pytest.raises(BlasError, match="argument n = 100"):
            piblas.sdot(X, Y, 100)  # refused calls are not
    assert piblas.stats() == piblas.stats() == {"cpu": {choose.CPU_ASKED: 4}}
    with piblas.use("emulator"):
        piblas.ddot(X, Y)
    with piblas.use("auto"):
        piblas.sdot(X, Y)
    counts = piblas.stats()["cpu"]
    assert counts.pop(choose.CPU_ASKED) == 4 and counts.pop(choose.NO_KERNEL) == 1
    ((reason, calls),) = counts.items()
    assert reason.startswith("no VideoCore IV GPU") and calls == 1
    piblas.reset_stats()
    assert piblas.stats() == {}
    piblas.ddot(X, Y)
    assert sum(piblas.stats()["cpu"].values()) == 1


def test_threads_lose_no_count(fresh):
    def work():
        for _ in range(2000):
            piblas.ddot(X, Y)

    with piblas.use("cpu"):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            piblas.stats()  # reading does not disturb
        assert piblas.stats() == {"cpu": {choose.CPU_ASKED: 8000}}


def test_the_environment_is_heeded(fresh, monkeypatch):
    monkeypatch.setenv("PIBLAS_DEVICE", "cpu")
    piblas.sdot(X, Y)
    assert piblas.stats() == {"cpu": {choose.CPU_ASKED: 1}}


def test_a_demanded_device_that_is_missing(fresh):
    """A routine with a kernel says so; one without has no use for the device."""
    with piblas.use("qpu"):
        with pytest.raises(DeviceError, match="no VideoCore IV GPU"):
            piblas.sdot(X, Y)
        assert piblas.ddot(X, Y) == X @ Y


@pytest.mark.slow
def test_overhead():
    """The bars of bench/cpu_overhead.py, with room for a busy machine."""
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, "-m", "bench.cpu_overhead", "--json"]
    rows = json.loads(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)
    ratios = {
        (row["routine"], row["n"], bool(row["keywords"])): row["ratio"]
        for row in rows if row["target"] == "cpu"
    }  # fmt: skip
    more = {
        (row["target"], row["routine"], row["n"]): row["piblas_seconds"] - row["scipy_seconds"]
        for row in rows if "patched" in row["target"]
    }  # fmt: skip
    print(ratios, more)
    assert len(more) == 8 and max(more.values()) <= 1.5e-6
    assert max(ratios["saxpy", 16, False], ratios["saxpy", 16, True]) <= 3.0
    assert min(ratios["saxpy", 10**6, False], ratios["saxpy", 10**6, True]) <= 1.02
