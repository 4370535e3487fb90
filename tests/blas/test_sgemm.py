"""piblas.sgemm behaves as scipy.linalg.blas.sgemm does, on the CPU and on the emulated QPUs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.linalg import blas

import piblas
from bench.null_device import NullDevice
from piblas import BlasError, DeviceError, DeviceTimeout, OutOfDeviceMemory
from piblas.blas import level3
from piblas.blas.arguments import ComplexWarning
from piblas.dispatch import devices

F32 = np.float32


def small(*shape, order="C", seed=0):
    """Small integers: their products and sums are exact in float32, so results compare equal."""
    values = np.random.default_rng(seed).integers(-8, 9, shape)
    return np.array(values, dtype=F32, order=order)


@pytest.fixture(params=["cpu", "emulator"])
def backend(request, fresh):
    """Calls go to the CPU, or to the emulated QPUs."""
    if request.param == "cpu":
        with piblas.use("cpu"):
            yield "cpu"
    else:
        with piblas.use(request.getfixturevalue("device")):
            yield "emulator"


A, B, C = small(5, 7, seed=1), small(7, 4, seed=2), small(5, 4, seed=3)

# Calls that both libraries take; the results must be equal.
CALLS = {
    "plain": dict(alpha=1, a=A, b=B),
    "alpha": dict(alpha=-2.5, a=A, b=B),
    "beta": dict(alpha=1, a=A, b=B, beta=0.5, c=C),
    "beta without c": dict(alpha=1, a=A, b=B, beta=3),
    "c without beta": dict(alpha=1, a=A, b=B, c=C),
    "NaN in c, beta 0": dict(alpha=1, a=A, b=B, beta=0, c=np.full((5, 4), np.nan, F32)),
    "trans a": dict(alpha=1, a=A.T, b=B, trans_a=1),
    "trans b": dict(alpha=1, a=A, b=B.T.copy(), trans_b=1),
    "trans both, code 2": dict(alpha=1, a=A.T.copy(), b=B.T, trans_a=2, trans_b=2),
    "Fortran order": dict(alpha=1, a=np.asfortranarray(A), b=np.asfortranarray(B), beta=1, c=C),
    "strided": dict(alpha=1, a=small(10, 21)[::2, ::3], b=small(7, 8)[:, ::-2]),
    "float64": dict(alpha=1.0, a=A.astype(np.float64), b=B.astype(np.float64)),
    "ints": dict(alpha=1, a=A.astype(int), b=B.astype(np.int8), beta=2, c=C.astype(int)),
    "bools": dict(alpha=True, a=A > 0, b=B),
    "lists": dict(alpha=1, a=A.tolist(), b=B.tolist(), beta=1, c=C.tolist()),
    "big-endian": dict(alpha=1, a=A.astype(">f4"), b=B, beta=1, c=C.astype(">f4")),
    "NumPy scalars": dict(alpha=np.float64(2), a=A, b=B, trans_a=np.int64(0)),
    "arrays of one": dict(alpha=np.array([2.0]), a=A, b=B, beta=np.array(3.0), c=C),
    "a list of one": dict(alpha=[2], a=A, b=B),
    "None for beta, c": dict(alpha=1, a=A, b=B, beta=None, c=None),
    "trans as float": dict(alpha=1, a=A.T, b=B, trans_a=1.0),
    "trans None": dict(alpha=1, a=A, b=B, trans_a=None),
    "overwrite 2": dict(alpha=1, a=A, b=B, overwrite_c=2),
    "vector a": dict(alpha=1, a=[1, 2, 3], b=small(1, 4)),
    "vector a transposed": dict(alpha=1, a=[1, 2, 3], b=small(3, 4), trans_a=1),
    "vector b": dict(alpha=1, a=A, b=np.arange(7)),
    "outer product": dict(alpha=1, a=[1, 2, 3], b=[4, 5], trans_b=1),
    "scalars": dict(alpha=1, a=2.0, b=3.0),
    "vector c": dict(alpha=1, a=A, b=np.arange(7), beta=1, c=np.arange(5)),
    "axes of length 1": dict(alpha=1, a=A[None], b=B[:, None, :]),
    "c with an axis of length 1": dict(alpha=1, a=A, b=B, beta=1, c=C[..., None]),
    "masked": dict(alpha=1, a=np.ma.array(A, mask=A > 2), b=B),
    "m = 0": dict(alpha=1, a=np.zeros((0, 7)), b=B),
    "n = 0": dict(alpha=1, a=A, b=np.zeros((7, 0))),
    "k = 0": dict(alpha=1, a=np.zeros((5, 0)), b=np.zeros((0, 4))),
    "k = 0 with c": dict(alpha=1, a=np.zeros((5, 0)), b=np.zeros((0, 4)), beta=2, c=C),
    "all 0": dict(alpha=1, a=np.zeros((0, 0)), b=np.zeros((0, 0))),
    "alpha = 0": dict(alpha=0, a=A, b=B, beta=2, c=C),
    "alpha = 0, beta = 1": dict(alpha=0, a=A, b=B, beta=1, c=C),
    "1 x 1 x 1": dict(alpha=3, a=[[2]], b=[[5]]),
    "Inf in a": dict(alpha=1, a=np.where(A == A[0, 0], np.inf, A), b=B),
    "NaN in b": dict(alpha=1, a=A, b=np.where(B == B[0, 0], np.nan, B)),
    "Inf in c": dict(alpha=1, a=A, b=B, beta=1, c=np.where(C == C[0, 0], np.inf, C)),
    "Inf alpha": dict(alpha=np.inf, a=A, b=B),
    "alpha beyond float32": dict(alpha=1e300, a=np.ones((2, 2)), b=np.ones((2, 2))),
    "result overflows": dict(alpha=1, a=np.full((2, 3), 1e30), b=np.full((3, 2), 1e30)),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", CALLS)
def test_equals_scipy(backend, name):
    call = CALLS[name]
    kept = [np.array(call[x]) if call.get(x) is not None else None for x in "abc"]
    want = blas.sgemm(**call)
    got = piblas.sgemm(**call)
    assert got.dtype == want.dtype and got.shape == want.shape
    assert got.flags.f_contiguous
    assert_array_equal(got, want)
    for x, before in zip("abc", kept):
        if before is not None:
            assert_array_equal(np.array(call[x]), before)


def test_positional(backend):
    got = piblas.sgemm(2.0, A.T, B.T, 3.0, C, 1, 1, 0)
    assert_array_equal(got, 2 * A @ B + 3 * C)


def test_the_emulated_qpus_did_it(device, fresh):
    """The cases above would prove nothing if the CPU computed them."""
    with piblas.use(device), piblas.profile() as profile:
        piblas.sgemm(1, A, B)
    assert [report.kernel for report in profile.reports] == ["gemm"]
    assert piblas.stats() == {device.name: {f"the {device.name} was asked for": 1}}


def test_alpha_0_reads_neither_operand(backend):
    """As the reference BLAS says; SciPy's OpenBLAS spreads the NaN."""
    nan = np.full((5, 7), np.nan)
    assert_array_equal(piblas.sgemm(0, nan, B), np.zeros((5, 4)))
    assert_array_equal(piblas.sgemm(0.0, nan, B, 2, C), 2 * C)
    assert_array_equal(piblas.sgemm(np.nan, np.zeros((5, 0)), np.zeros((0, 4)), 2, C), 2 * C)


def test_an_empty_c_is_taken(backend):
    """SciPy 1.17 refuses an empty c of the right shape."""
    got = piblas.sgemm(1, np.zeros((0, 7)), B, 2.0, np.zeros((0, 4), F32))
    assert got.shape == (0, 4)


def test_complex_matrices_warn(backend):
    for call in (dict(a=A + 1j, b=B), dict(a=A, b=B, beta=1, c=C + 1j)):
        with pytest.warns(ComplexWarning, match="discards the imaginary part"):
            got = piblas.sgemm(1, **call)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_array_equal(got, blas.sgemm(1, **call))
    with pytest.warns(ComplexWarning, match="discards the imaginary part"):
        assert_array_equal(piblas.sgemm(np.complex64(2 + 2j), A, B), 2 * A @ B)
    with pytest.warns(ComplexWarning, match="discards the imaginary part"):
        assert_array_equal(piblas.sgemm(2 + 2j, A, B), 2 * A @ B)


# --- c ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_overwrites_a_fortran_ordered_c(backend, beta):
    c = np.array(C, order="F")
    got = piblas.sgemm(1, A, B, beta, c, overwrite_c=1)
    assert got is c
    assert_array_equal(c, A @ B + beta * C)


def test_returns_the_subclass_that_it_overwrites(backend):
    c = np.array(C, order="F").view(np.matrix)
    assert piblas.sgemm(1, A, B, 1, c, overwrite_c=1) is c
    assert_array_equal(np.asarray(c), A @ B + C)


def test_overwrites_a_vector(backend):
    c = np.ones(5, F32)
    got = piblas.sgemm(1, A, np.arange(7), 1, c, overwrite_c=1)
    assert got is c
    assert_array_equal(c, A @ np.arange(7) + 1)


def unaligned():
    raw = np.zeros(4 * 20 + 1, np.uint8)[1:].view(F32).reshape((5, 4), order="F")
    raw[...] = C
    return raw


def read_only():
    c = np.array(C, order="F")
    c.flags.writeable = False
    return c


@pytest.mark.parametrize(
    "c",
    [
        C.copy(),
        np.array(C, dtype=np.float64, order="F"),
        np.array(C, dtype=">f4", order="F"),
        np.array(np.pad(C, 2), order="F")[2:-2, 2:-2],
        unaligned(),
        read_only(),
    ],
    ids=["C order", "float64", "big-endian", "part of a matrix", "unaligned", "read-only"],
)
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_other_c_are_copied(backend, c, beta):
    """overwrite_c allows and does not demand.  (SciPy does write a read-only c: not followed.)"""
    before = c.copy()
    got = piblas.sgemm(1, A, B, beta, c, overwrite_c=1)
    assert not np.may_share_memory(got, c)
    assert_array_equal(got, A @ B + beta * C)
    assert_array_equal(c, before)


def test_without_overwrite_c_is_kept(backend):
    c = np.array(C, order="F")
    got = piblas.sgemm(1, A, B, 1, c)
    assert not np.may_share_memory(got, c)
    assert_array_equal(c, C)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_c_may_be_an_operand_too(backend, beta):
    """SciPy reads what it has overwritten; here every operand counts as it was."""
    x = small(6, 6, order="F", seed=7)
    before = x.copy()
    got = piblas.sgemm(1, x, x, beta, x, trans_b=1, overwrite_c=1)
    assert got is x
    assert_array_equal(x, before @ before.T + beta * before)


# --- special values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, reason",
    [
        (CALLS["Inf in a"], level3.NOT_FINITE),
        (CALLS["NaN in b"], level3.NOT_FINITE),
        (CALLS["Inf in c"], level3.NOT_FINITE),
        (CALLS["Inf alpha"], level3.NOT_FINITE),
        (CALLS["result overflows"], level3.OVERFLOW),
    ],
    ids=["a", "b", "c", "alpha", "result"],
)
def test_special_values_go_to_the_cpu(device, fresh, call, reason):
    with piblas.use(device):
        piblas.sgemm(**call)
    assert piblas.stats() == {"cpu": {reason: 1}}


def test_nan_in_an_unread_c_is_no_reason(device, fresh):
    with piblas.use(device):
        piblas.sgemm(**CALLS["NaN in c, beta 0"])
    assert list(piblas.stats()) == [device.name]


def test_overflow_starts_from_the_old_c(device, fresh):
    big = np.full((2, 2), 1e30, F32)
    c = np.asfortranarray(small(2, 2))
    with piblas.use(device):
        got = piblas.sgemm(1, big, big, 1, c, overwrite_c=1)
    assert got is c and np.isinf(c).all()


# --- failures -----------------------------------------------------------------------------------


def test_too_large_for_the_device(fresh):
    """On a device that was asked for, with no room even for pieces: OutOfDeviceMemory, and c as it
    was."""
    c = np.ones((200, 200), F32, order="F")
    x = np.ones((200, 200), F32)
    with piblas.driver.Emulator(memory=1 << 14) as tiny, piblas.use(tiny):
        with pytest.raises(OutOfDeviceMemory):
            piblas.sgemm(1, x, x, 1, c, overwrite_c=1)
    assert (c == 1).all()


class Failing(NullDevice):
    """Stands for a GPU found by "auto" that fails."""

    def __init__(self, monkeypatch, error):
        super().__init__()
        self.calls = 0
        self.error = error
        monkeypatch.setattr(devices, "open_device", lambda name: self)
        monkeypatch.setattr(devices, "_opened", {})
        monkeypatch.setenv("PIBLAS_BOARD", "pi1")

    def alloc(self, nbytes):
        self.calls += 1
        raise self.error


def test_auto_falls_back_when_memory_is_short(fresh, quick_host, monkeypatch, caplog):
    """One call goes to the CPU; the next may be smaller and is tried again."""
    gpu = Failing(monkeypatch, OutOfDeviceMemory("no room for 4 bytes"))
    x = small(64, 64)
    for _ in range(2):
        before = gpu.calls
        caplog.clear()
        assert_array_equal(piblas.sgemm(1, x, x), x @ x)
        assert gpu.calls > before
        assert [(r.levelname, r.name) for r in caplog.records] == [("WARNING", "piblas")]
        assert "no room for 4 bytes" in caplog.text
    assert piblas.stats() == {"cpu": {"the GPU failed: OutOfDeviceMemory": 2}}


def test_auto_gives_a_failed_gpu_up(fresh, quick_host, monkeypatch, caplog):
    """One warning, then the CPU, until a device is asked for again."""
    gpu = Failing(monkeypatch, DeviceTimeout("no end after 10 s"))
    c = np.array(small(64, 64), order="F")
    x, before = small(64, 64), c.copy()
    assert_array_equal(piblas.sgemm(1, x, x, 1, c, overwrite_c=1), x @ x + before)
    assert_array_equal(piblas.sgemm(1, x, x), x @ x)
    assert gpu.calls == 1 and len(caplog.records) == 1
    assert "calls go to the CPU from now on: the GPU failed: DeviceTimeout" in caplog.text
    piblas.use("auto")
    piblas.sgemm(1, x, x)
    assert gpu.calls == 2


def test_a_device_that_was_asked_for_raises(fresh, monkeypatch):
    Failing(monkeypatch, DeviceTimeout("no end after 10 s"))
    c = np.array(small(8, 8), order="F")
    before = c.copy()
    with piblas.use("qpu"), pytest.raises(DeviceTimeout, match="no end after 10 s"):
        piblas.sgemm(1, small(8, 8), small(8, 8), 1, c, overwrite_c=1)
    assert_array_equal(c, before)


def test_a_missing_gpu_that_was_asked_for_raises(fresh, monkeypatch):
    monkeypatch.setenv("PIBLAS_DEVICE", "qpu")
    with pytest.raises(DeviceError, match="no VideoCore IV GPU"):
        piblas.sgemm(1, A, B)


# --- wrong arguments ------------------------------------------------------------------------------

CF = np.array(C, order="F")

WRONG = {
    "alpha text": (dict(alpha="2"), "alpha", "'2': wants a number"),
    "alpha None": (dict(alpha=None), "alpha", "None: wants a number"),
    "alpha many": (dict(alpha=[1, 2]), "alpha", "wants a number"),
    "alpha array": (dict(alpha=np.ones(2)), "alpha", r"\(2,\): wants one number, not an array"),
    "alpha huge": (dict(alpha=10**400), "alpha", "wants a number"),
    "beta text": (dict(beta="x"), "beta", "'x': wants a number"),
    "a None": (dict(a=None), "a", "wants a matrix"),
    "a text": (dict(a="abc"), "a", "'abc': wants a matrix of numbers"),
    "a ragged": (dict(a=[[1, 2], [3]]), "a", "wants a matrix of numbers"),
    "a object": (dict(a=object()), "a", "'<object>': wants a matrix of numbers"),
    "a three axes": (dict(a=np.ones((2, 2, 2))), "a", r"\(2, 2, 2\): wants at most two axes"),
    "b rows": (dict(b=np.ones((6, 4))), "b", r"\(6, 4\): op\(a\) is 5 x 7, so op\(b\) has"),
    "b rows transposed": (dict(trans_b=1), "b", r"\(4, 7\): op\(a\) is 5 x 7, so op\(b\)"),
    "c rows": (dict(c=np.ones((4, 4))), "c", r"\(4, 4\): the result is 5 x 4"),
    "c transposed": (dict(c=C.T), "c", r"\(4, 5\): the result is 5 x 4"),
    "c wrong, not read": (dict(c=np.ones((4, 4)), beta=0), "c", "the result is 5 x 4"),
    "c vector": (dict(c=np.ones(20)), "c", r"\(20,\): the result is 5 x 4"),
    "c text": (dict(c="abc"), "c", "wants a matrix of numbers"),
    "trans_a 3": (dict(trans_a=3), "trans_a", r"3: wants 0 \(as it is\), 1 or 2"),
    "trans_b -1": (dict(trans_b=-1), "trans_b", "-1: wants 0"),
    "trans_b text": (dict(trans_b="T"), "trans_b", "'T': wants an integer"),
    "trans_b 1.5": (dict(trans_b=1.5), "trans_b", "1.5: wants an integer"),
    "trans_b NaN": (dict(trans_b=np.nan), "trans_b", "nan: wants an integer"),
    "trans_b huge": (dict(trans_b=10**30), "trans_b", "wants 0"),
    "overwrite_c text": (dict(overwrite_c="x"), "overwrite_c", "'x': wants an integer"),
    "first in BLAS order": (dict(trans_a=9, trans_b=9, a=None), "trans_a", "9: wants 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(backend, name):
    changes, argument, message = WRONG[name]
    c = CF.copy(order="F")
    call = dict(alpha=1, a=A, b=B, beta=1.0, c=c, overwrite_c=1)
    call.update(changes)
    with pytest.raises(BlasError, match=f"sgemm: argument {argument} = .*{message}") as caught:
        piblas.sgemm(**call)
    assert (caught.value.routine, caught.value.argument) == ("sgemm", argument)
    assert isinstance(caught.value, ValueError)
    assert_array_equal(c, C)


@pytest.mark.parametrize("args", [(), (1,), (1, A)])
def test_missing_arguments(args):
    with pytest.raises(TypeError, match="missing"):
        piblas.sgemm(*args)
