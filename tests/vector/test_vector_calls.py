"""Calls of vector functions: lengths, views, device memory, dispatch, fallback, what they cost."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from front import floats, same

import piblas
from bench import counting
from bench.null_device import NullDevice
from piblas import config
from piblas.dispatch import devices
from piblas.driver import Emulator
from piblas.errors import DeviceError, VectorError
from piblas.host.arrays import DeviceArray
from piblas.vector import Function, fuse

SAXPY = ["VLOAD", "SFMUL", "VFADD", "STORE"]
GUARD = np.float32(-12345.0)
rng = np.random.default_rng(11)


def vectors(n, seed=0):
    made = np.random.default_rng(seed)
    return made.integers(-500, 500, (2, n)).astype(np.float32)


LENGTHS = [*range(0, 40), 47, 48, 49, 63, 64, 65, 127, 128, 129, 191, 192, 193, 383, 384, 385, 575,
           576, 577, 767, 768, 769, 999, 1000]  # fmt: skip


@pytest.mark.parametrize("n", LENGTHS)
def test_lengths_with_guard_words(n, on_chip):
    """Small whole numbers: exact on any processor.  Nothing is written around the result."""
    x, y = vectors(n, n)
    saxpy = Function(SAXPY)
    room = np.full(n + 64, GUARD)
    out = room[32 : 32 + n]
    assert saxpy(x, 3.0, y, out=out) is out
    assert same(out, 3 * x + y)
    assert (room[:32] == GUARD).all() and (room[32 + n :] == GUARD).all()
    inside = piblas.empty(n + 64)
    inside[...] = GUARD
    part = inside[16 : 16 + n]
    saxpy(piblas.array(x), 3.0, piblas.array(y), out=part)
    assert same(np.asarray(part), 3 * x + y)
    assert (inside[:16] == GUARD).all() and (inside[16 + n :] == GUARD).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "int32", "uint32", "float32"])
def test_every_length(dtype, on_chip):
    add = fuse(lambda x, y: x + y)
    for n in range(0, 1001):
        x, y = (rng.integers(0, 60, n).astype(dtype) for _ in range(2))
        room = np.full(n + 40, 77, dtype)
        add(x, y, out=room[20 : 20 + n])
        assert same(room[20 : 20 + n], x + y)
        assert (room[:20] == 77).all() and (room[20 + n :] == 77).all()


VIEWS = {
    "offset": lambda base: base[7:207],
    "stride": lambda base: base[3:603:3],
    "backwards": lambda base: base[250:50:-1],
    "column": lambda base: base[:600].reshape(200, 3)[:, 1],
    "matrix": lambda base: base[:200].reshape(10, 20),
    "fortran": lambda base: base[:200].reshape(20, 10).T,
    "cube": lambda base: base[:400].reshape(5, 8, 10)[:, ::2],
    "repeated": lambda base: np.broadcast_to(base[:20], (10, 20)),
}


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8"])
def test_views(view, dtype, resident, on_chip):
    """As arguments and as results, in ordinary and in device memory."""
    base = rng.integers(0, 100, 700).astype(dtype)
    if resident:
        base = piblas.array(base, dtype)
    x = VIEWS[view](base)
    plain = np.array(x)
    found = fuse(lambda x: x + x)(x)
    assert same(np.asarray(found), plain + plain)
    if view != "repeated":
        room = np.full(700, 55, dtype)
        if resident:
            room = piblas.array(room, dtype)
        out = VIEWS[view](room)
        assert fuse(lambda x: x + x)(x, out=out) is out
        assert same(np.array(out), plain + plain)
        assert np.count_nonzero(np.asarray(room) != 55) <= out.size
        VIEWS[view](room)[...] = 55
        assert (np.asarray(room) == 55).all()
    assert same(np.array(x), plain)


def test_lists_other_byte_order_and_subclasses(on_chip):
    double = Function(["VLOAD", ("FMUL", 2.0), "STORE"])
    x = np.arange(20, dtype=np.float32)
    for _ in range(2):
        assert same(double(x.astype(">f4")), 2 * x)
        assert same(double(np.asmatrix(x)), 2 * x.reshape(1, -1))
    with pytest.raises(VectorError, match="float64"):
        double([1.0, 2.0])
    assert same(Function(["VLOAD", ("ADD", 1), "STORE"])(np.array([1, 2], "i4").tolist()
                if np.array([1]).dtype == np.int32 else np.array([1, 2], "i4")),
                np.array([2, 3], "i4"))  # fmt: skip
    frozen = x.copy()
    frozen.flags.writeable = False
    assert same(double(frozen), 2 * x)
    with pytest.raises(VectorError, match="byte order"):
        double(x, out=np.empty(20, ">f4"))


def test_where_results_lie(on_chip):
    """Of device memory only: there; else in ordinary memory."""
    x, y = vectors(100)
    saxpy = Function(SAXPY)
    there = saxpy(piblas.array(x), 2.0, piblas.array(y))
    assert isinstance(there, DeviceArray) and there.on_device is on_chip
    assert type(saxpy(piblas.array(x), 2.0, y)) is np.ndarray
    again = saxpy(there, 2.0, there)
    assert same(np.asarray(again), 3 * (2 * x + y))


def test_in_place(on_chip):
    for place in (np.array, piblas.array):
        x, y = (place(each) for each in vectors(1000))
        wanted = 2 * np.array(x) + np.array(y)
        assert Function(SAXPY)(x, 2.0, y, out=x) is x
        assert same(np.asarray(x), wanted)
        mask = place(np.zeros(1000), "uint8") if place is piblas.array else np.zeros(1000, "u1")
        fuse(lambda m, x: m | (x > 0))(mask.view(bool), x, out=mask.view(bool))
        assert np.array_equal(np.asarray(mask) != 0, wanted > 0)


def test_one_and_twelve_qpus_give_the_same_bits(fresh):
    x, y = floats(700, 1), floats(700, 2)
    ops = ["VLOAD", "SIN", "VFMUL", "STORE", "SUM", ("FADD", 1.0), "EXP", "STORE", "ARGMAX"]
    found = []
    for n_qpus in (1, 5, 12):
        with Emulator(memory=8 << 20, n_qpus=n_qpus, timing="off", seed=3) as device:
            with piblas.use(device):
                found.append(Function(ops, precise=True)(x, y))
    for other in found[1:]:
        assert all(same(a, b) for a, b in zip(found[0], other))


# --- dispatch -----------------------------------------------------------------------------------


def test_the_cpu_on_demand(fresh):
    x, y = vectors(50)
    with piblas.use("cpu"):
        assert same(Function(SAXPY)(x, 2.0, y), 2 * x + y)
    assert piblas.stats() == {"cpu": {"the CPU was asked for": 1}}


def test_stats_and_profile(on_chip):
    x, y = vectors(50)
    saxpy = Function(SAXPY, name="axpy")
    with piblas.profile() as p:
        saxpy(x, 2.0, y)
        saxpy(x[:0], 2.0, y[:0])
    assert len(p.reports) == 1 and p.reports[0].kernel.startswith("vector ")
    assert piblas.stats() == {
        "emulator": {"the emulator was asked for": 1}, "cpu": {"no elements": 1}
    }  # fmt: skip


class Failing(NullDevice):
    """A GPU whose launches fail."""

    def execute_list(self, *args, **kwargs):
        raise DeviceError("broken")


def test_a_failing_gpu_under_auto(fresh, monkeypatch):
    """The CPU computes the call; arrays are as NumPy leaves them."""
    device = Failing()
    monkeypatch.setitem(devices._opened, "qpu", device)
    monkeypatch.setenv("PIBLAS_BOARD", "pi1")
    config.forget()
    monkeypatch.setattr("piblas.vector.costs.cpu_seconds", lambda *args: 1e9)
    x, y = vectors(50)
    out = np.full(50, GUARD)
    with piblas.use("auto"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert same(Function(SAXPY)(x, 2.0, y, out=out), 2 * x + y)
    assert piblas.stats() == {"cpu": {"the GPU failed: DeviceError": 1}}
    with piblas.use(device), pytest.raises(DeviceError, match="broken"):
        Function(SAXPY)(x, 2.0, y)


def test_auto_goes_by_the_prediction(fresh, monkeypatch):
    device = NullDevice()
    monkeypatch.setitem(devices._opened, "qpu", device)
    monkeypatch.setenv("PIBLAS_BOARD", "pi1")
    config.forget()
    saxpy = Function(SAXPY)
    n = 1 << 20
    x, y = piblas.array(np.zeros(n), device=device), piblas.array(np.zeros(n), device=device)
    with piblas.use("auto"):
        saxpy(x, 2.0, y)
        saxpy(x[:100], 2.0, y[:100])
    assert piblas.stats() == {
        "qpu": {"predicted faster on the QPUs": 1}, "cpu": {"predicted faster on the CPU": 1}
    }  # fmt: skip


def test_why(fresh):
    saxpy = Function(SAXPY)
    for found in (
        saxpy.why(n=1 << 20, board="pi1", resident=True),
        piblas.why(saxpy, n=1 << 20, board="pi1", resident=True),
    ):
        assert found.backend == "qpu" and found.reason == "predicted faster on the QPUs"
        assert set(found.parts) == {"cpu", "qpu"} and found.parts["qpu"].copy == 0
        assert found.seconds["qpu"] == found.parts["qpu"].seconds > 0
    small = saxpy.why(n=10, board="pi1")
    assert small.backend == "cpu" and small.parts["qpu"].copy > 0
    assert piblas.why(saxpy, n=10, device="emulator").backend == "emulator"
    x, y = vectors(64)
    assert saxpy.why(x, 2.0, y, device="cpu").reason == "the CPU was asked for"
    assert saxpy.why(n=0, device="emulator").reason == "no elements"
    fused = fuse(lambda a, x, y: a * x + y)
    with pytest.raises(VectorError, match="why wants the arguments of a call"):
        fused.why(n=5)
    assert fused.why(2.0, x, y, board="pi3").backend == "cpu"
    for wrong in ({}, {"n": -1}, {"n": 1.5}):
        with pytest.raises(VectorError, match="why wants the arguments, or a number of elements"):
            saxpy.why(**wrong)
    with pytest.raises(piblas.BlasError, match="board"):
        saxpy.why(n=5, board="pi9")


def test_more_work_takes_longer():
    """Predictions grow with the number of elements and of operations, on both processors."""
    short, long = Function(SAXPY), Function([*SAXPY[:-1], *[("FADD", 1.0), ("FMUL", 2.0)] * 40,
                                             "STORE"])  # fmt: skip
    for backend in ("cpu", "qpu"):
        times = [short.why(n=n, board="pi2").seconds[backend] for n in (100, 10**5, 10**6, 10**7)]
        assert times == sorted(times)
        one, other = (each.why(n=10**6, board="pi2").seconds[backend] for each in (short, long))
        assert one < other


# --- what a repeated call costs -----------------------------------------------------------------

MOST = 60


def repeated(call):
    call()
    call()
    return counting.function_calls(call)


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("given_out", [False, True])
def test_function_calls_of_a_repeated_call(given_out, resident, fresh):
    device = NullDevice()
    x, y = vectors(5000)
    out = np.empty(5000, np.float32)
    if resident:
        x, y, out = (piblas.array(each, device=device) for each in (x, y, out))
    with piblas.use(device):
        for saxpy in (Function(SAXPY), fuse(lambda x, a, y: a * x + y)):
            if given_out:
                found = repeated(lambda: saxpy(x, 2.0, y, out=out))
            else:
                found = repeated(lambda: saxpy(x, 2.0, y))
            # The result's memory is allocated, and that of the result before is freed.
            allocating = 4 if resident and not given_out else 0
            assert found <= MOST + allocating, (saxpy, found)


def test_jobs_are_kept_and_bounded(on_chip, monkeypatch):
    from piblas.blas import call

    double = Function(["VLOAD", "SFMUL", "STORE"])
    monkeypatch.setattr(call, "KEPT_JOBS", 3)
    for n in range(1, 9):
        double(np.ones(n, np.float32), 2.0)
        double(np.ones(n, np.float32), 3.0)
    assert len(devices.now().jobs) <= 3
    assert piblas.stats()["emulator"]["the emulator was asked for"] == 16
