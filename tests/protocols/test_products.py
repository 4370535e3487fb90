"""Products of device arrays by NumPy's operators and functions: where they run, what they cost, and
other classes that take part."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin

import piblas
from bench.counting import function_calls
from bench.null_device import NullDevice
from piblas import DeviceError, OutOfDeviceMemory
from piblas.driver import Emulator
from piblas.host import arrays
from piblas.host.outcome import NOT_FINITE, WATCHED

F32 = np.float32
ASKED = "the emulator was asked for"


@pytest.fixture(scope="module")
def chip():
    with Emulator(memory=16 << 20, seed=4, timing="off", incoherent=True) as dev:
        yield dev


@pytest.fixture
def device(chip, fresh):
    with piblas.use(chip):
        yield chip


def integers(*shape, seed=1):
    return np.random.default_rng([seed, *shape]).integers(-4, 5, shape).astype(F32)


# --- what a product costs ------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", ((8, 8, 8), (128, 64, 32)))
def test_function_calls(shapes, fresh):
    """At most 20 more than the routine takes by itself."""
    m, n, k = shapes
    device = NullDevice()
    with piblas.use(device):
        a, b = piblas.array(integers(m, k)), piblas.array(integers(k, n))
        x, y = piblas.array(integers(k)), piblas.array(integers(k, seed=2))
        out = piblas.empty((m, n))
        for ours, theirs in (
            (lambda: a @ b, lambda: piblas.sgemm(1.0, b.T, a.T)),
            (lambda: np.matmul(a, b), lambda: piblas.sgemm(1.0, b.T, a.T)),
            (lambda: np.dot(a, b), lambda: piblas.sgemm(1.0, b.T, a.T)),
            (lambda: x @ y, lambda: piblas.sdot(x, y)),
            (
                lambda: np.matmul(a, b, out=out),
                lambda: piblas.sgemm(1.0, b.T, a.T, 0.0, out.T, 0, 0, 1),
            ),
        ):
            ours(), ours()
            launches = device.launches
            counted = function_calls(ours)
            assert device.launches > launches
            theirs(), theirs()
            assert counted <= function_calls(theirs) + 20


def test_no_copy_for_c_order(device, monkeypatch):
    """Operands in device memory in either order go to the kernel as they lie."""
    a, b = piblas.array(integers(70, 33)), piblas.array(integers(33, 90))
    sizes, real = [], type(device).alloc

    def alloc(self, nbytes):
        sizes.append(nbytes)
        return real(self, nbytes)

    for left, right in ((a, b), (a, piblas.array(np.asarray(b), order="F"))):
        with piblas.profile() as profile:
            got = left @ right
        assert got.flags.c_contiguous and got.on_device is device
        kernels = [report.kernel for report in profile.reports]
        assert kernels == ["gemm_pack", "gemm"]
        np.testing.assert_array_equal(got, np.asarray(a) @ np.asarray(b))
    a @ b
    monkeypatch.setattr(type(device), "alloc", alloc)
    a @ b
    assert sizes == [4 * 70 * 90]


# --- where it runs -------------------------------------------------------------------------------


def test_mixed_with_ordinary_arrays(device):
    a, b = integers(20, 30), integers(30, 10)
    for left, right in ((piblas.array(a), b), (a, piblas.array(b))):
        got = left @ right
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, a @ b)
    assert piblas.stats() == {"emulator": {ASKED: 2}}
    a.flags.writeable = False
    np.testing.assert_array_equal(a @ piblas.array(b), a @ b)


def test_calls_go_where_they_are_aimed(chip, fresh):
    a = piblas.array(integers(20, 20), device=chip)
    wanted = np.asarray(a) @ np.asarray(a)
    with piblas.use("cpu"):
        got = a @ a
        assert type(got) is np.ndarray and piblas.stats() == {"cpu": {"the CPU was asked for": 1}}
        np.testing.assert_array_equal(got, wanted)
    with Emulator(memory=1 << 20, timing="off") as other, piblas.use(other):
        got = a @ a
        assert type(got) is np.ndarray  # the operands lie elsewhere
        np.testing.assert_array_equal(got, wanted)
    assert piblas.stats()["emulator"] == {ASKED: 1}


def test_special_values_are_numpys(device):
    a, b, x = integers(20, 30), integers(30, 10), integers(30)
    a[3, 4] = np.nan
    b[5, 6] = np.inf
    with np.errstate(invalid="ignore"):
        for ours, theirs in (
            (piblas.array(a) @ piblas.array(b), a @ b),
            (piblas.array(a) @ piblas.array(x), a @ x),
            (np.vdot(piblas.array(a), piblas.array(a)), np.vdot(a, a)),
        ):
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
            good = ~np.isnan(theirs)
            np.testing.assert_array_equal(np.asarray(ours)[good], np.asarray(theirs)[good])
            assert np.ndim(ours) == 0 or ours.on_device is device
    assert piblas.stats() == {"cpu": {NOT_FINITE: 1, WATCHED: 2}}


def test_a_result_without_room_is_an_ordinary_array(fresh):
    with Emulator(memory=1 << 20, timing="off") as dev, piblas.use(dev):
        x, y = piblas.array(integers(300)), piblas.array(integers(400))
        got = np.outer(x, y)
        assert got.on_device is dev
        del got
        arrays.collect()
        held = []
        while piblas.device_memory().largest > 200 << 10:
            held.append(piblas.empty(piblas.device_memory().largest - (100 << 10), np.uint8))
        got = np.outer(x, y)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, np.outer(np.asarray(x), np.asarray(y)))
        assert list(piblas.stats()) == ["emulator"]
        with pytest.raises(OutOfDeviceMemory):
            held[0].copy()


def test_a_failure_raises_and_changes_nothing(device, monkeypatch):
    a, out = piblas.array(integers(20, 20)), piblas.array(integers(20, 20, seed=2))
    before = np.array(out)

    def execute(self, *args, **kwargs):
        raise DeviceError("the launch fails")

    monkeypatch.setattr(type(device), "execute_list", execute)
    for call in (
        lambda: a @ a, lambda: np.matmul(a, a, out=out), lambda: out.__imatmul__(a),
        lambda: np.einsum("ij,jk", a, a, out=out), lambda: np.dot(a, a, out=out),
    ):  # fmt: skip
        with pytest.raises(DeviceError, match="the launch fails"):
            call()
        np.testing.assert_array_equal(out, before)


# --- a closed device -----------------------------------------------------------------------------


def test_a_closed_device(fresh):
    with Emulator(memory=1 << 20, timing="off") as dev:
        a, x = piblas.array(integers(9, 9), device=dev), piblas.array(integers(9), device=dev)
    wanted = np.array(a)
    with piblas.use(dev):
        for call in (lambda: a @ a, lambda: a @ x, lambda: np.dot(x, x), lambda: piblas.zeros(3),
                     piblas.device_memory):  # fmt: skip
            with pytest.raises(DeviceError, match="this device was closed"):
                call()
    np.testing.assert_array_equal(a, wanted)
    assert a.sum() == wanted.sum() and a.tolist() == wanted.tolist()
    with piblas.use("cpu"):
        np.testing.assert_array_equal(a @ a, wanted @ wanted)
    for made in (a.copy(), a.astype(F32), np.zeros_like(a) + a):
        np.testing.assert_array_equal(made, wanted)
        assert not isinstance(made, piblas.DeviceArray) or made.on_device is None


# --- classes -------------------------------------------------------------------------------------


class Tagged(piblas.DeviceArray):
    """A subclass with an attribute, which views and copies take over."""

    def __array_finalize__(self, parent):
        self.tag = getattr(parent, "tag", "new")


class Counting(piblas.DeviceArray):
    """A subclass that has the protocol and hands it on."""

    seen = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        Counting.seen += 1
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)


def test_a_subclass(device):
    a, b = integers(12, 8), integers(8, 5)
    x = piblas.array(a).view(Tagged)
    x.tag = "mine"
    for view in (x[1:], x.T, x.reshape(8, 12), np.split(x, 2)[0], np.transpose(x)):
        assert type(view) is Tagged and view.on_device is device
    assert x[1:].tag == x.copy().tag == x.astype(F32).tag == "mine"
    assert type(x.copy()) is Tagged and x.copy().on_device is device
    got = x @ piblas.array(b)
    np.testing.assert_array_equal(got, a @ b)
    assert got.on_device is device and list(piblas.stats()) == ["emulator"]
    assert type(x + 1) is np.ndarray
    same = x
    x += 1
    assert x is same and x.tag == "mine"


def test_a_subclass_with_the_protocol(device):
    a = integers(6, 6)
    x, y = piblas.array(a).view(Counting), piblas.array(a)
    before = Counting.seen
    for ours, theirs in ((x @ y, a @ a), (y @ x, a @ a), (x + y, a + a), (y - x, a - a)):
        np.testing.assert_array_equal(np.asarray(ours), theirs)
    assert Counting.seen >= before + 4


class Other(NDArrayOperatorsMixin):
    """A class of somebody else's, which knows what to do with any array."""

    __array_priority__ = 5

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return "other", ufunc.__name__, [type(each).__name__ for each in inputs]

    def __array_function__(self, func, types, args, kwargs):
        return "other", func.__name__


class Refusing:
    __array_ufunc__ = None

    def __rmatmul__(self, left):
        return "refusing"


def test_other_classes_are_asked(device):
    x, other = piblas.array(integers(4, 4)), Other()
    assert x @ other == ("other", "matmul", ["DeviceArray", "Other"])
    assert other @ x == ("other", "matmul", ["Other", "DeviceArray"])
    assert np.add(x, other)[0] == np.dot(x, other)[0] == np.concatenate([x, other])[0] == "other"
    assert x @ Refusing() == "refusing"
    with pytest.raises(TypeError):
        np.matmul(x, Refusing())


# --- threads, processes, the end -----------------------------------------------------------------


def test_threads(device):
    a, b = integers(24, 24), integers(24, 24, seed=3)
    wanted, failures = a @ b, []

    def work(number):
        x, y = piblas.array(a), piblas.array(b)
        for turn in range(25):
            got = (x @ y, np.dot(a, y), np.einsum("ij,jk", x, b), x.copy() @ y)[turn % 4]
            if not np.array_equal(got, wanted):
                failures.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures


def test_fork(device):
    x = piblas.array(integers(16, 16))
    wanted = np.asarray(x) @ np.asarray(x)
    x @ x
    pid = os.fork()
    if pid == 0:
        good = False
        try:
            y = x @ x
            x += 1  # in the child's memory only
            good = np.array_equal(y, wanted) and y.on_device is device
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(pid, 0)[1] == 0
    np.testing.assert_array_equal(x @ x, wanted)


EXITS = """
import warnings, numpy as np, piblas
from piblas.driver import Emulator
a = np.ones((20, 20), np.float32)
{body}
print("done")
"""
BODIES = {
    "use": 'piblas.use("emulator"); x = piblas.array(a); y = x @ x; z = y[1:]',
    "a device of its own": "d = Emulator(memory=1 << 20); x = piblas.array(a, device=d); y = x.T",
    "closed": 'd = Emulator(memory=1 << 20); x = piblas.array(a, device=d); d.close()',
    "a cycle": 'piblas.use("emulator"); x = [piblas.array(a)]; x.append(x); del x',
}


@pytest.mark.parametrize("name", BODIES)
def test_the_end_of_a_process_with_arrays(name):
    """Nothing is printed: no ResourceWarning, no error of a finaliser."""
    code = EXITS.format(body=BODIES[name])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", code],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
