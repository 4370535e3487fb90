"""ssymm, ssyrk, ssyr2k, strmm, strsm on the emulated QPUs: SciPy's signatures, rules and errors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.linalg import blas
from test_like_scipy import aligned, outcome, random_call, which

import piblas
from piblas import BlasError, DeviceError, DeviceTimeout, OutOfDeviceMemory
from piblas.blas import level3, triangles
from piblas.dispatch import devices
from piblas.host.outcome import SORT_OUT
from piblas.host.plan import PLANS
from piblas.host.runner import Runner
from piblas.routines import ROUTINES

F32 = np.float32
NAMES = ("ssymm", "ssyrk", "ssyr2k", "strmm", "strsm")
ASKED = "the emulator was asked for"


@pytest.fixture
def emulator(device, fresh):
    with piblas.use(device):
        yield device


def small(*shape, seed=0):
    """Small integers, so that results are exact."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(F32)


A, B, C = small(5, 5, seed=1), small(5, 5, seed=2), small(5, 5, seed=3)
T = np.tril(A, -1) + np.eye(5, dtype=F32) * 2

OPERANDS = {
    "ssymm": dict(a=A, b=B),
    "ssyrk": dict(a=A),
    "ssyr2k": dict(a=A, b=B),
    "strmm": dict(a=T, b=B, lower=1),
    "strsm": dict(a=T, b=B, lower=1),
}


def close(one, other):
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.flags.f_contiguous == other.flags.f_contiguous
    np.testing.assert_allclose(one, other, atol=2e-3 * np.max(np.abs(other), initial=1e-3))


def sweep(name, calls, seed):
    """Calls of both libraries with equal arguments, right and wrong ones; how many on the QPUs."""
    row = ROUTINES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    piblas.reset_stats()
    for _ in range(calls):
        given, positional = random_call(rng, row)
        ours, theirs = ({k: aligned(v) for k, v in given.items()} for _ in range(2))
        wanted, refused = outcome(getattr(blas, name), row, theirs, positional)
        done, error = outcome(getattr(piblas, name), row, ours, positional)
        if isinstance(error, BlasError) and "so b has to" in str(error):
            # SciPy reads beyond the end of such a b.
            sizes = (np.shape(given[each])[given.get("trans", 0) != 0] for each in "ba")
            assert name == "ssyr2k" and next(sizes) < next(sizes)
            continue
        if refused is not None:
            assert isinstance(error, BlasError) and str(refused) in str(error)
            assert error.routine == name
        else:
            assert error is None, (given, error)
            close(done, wanted)
            assert which(done, ours) == which(wanted, theirs)
        for argument, value in theirs.items():
            if isinstance(value, np.ndarray):
                if refused is None and value is wanted:
                    close(ours[argument], value)
                else:
                    assert_array_equal(ours[argument], value)
    return piblas.stats().get("emulator", {}).get(ASKED, 0)


@pytest.mark.parametrize("name", NAMES)
def test_random_calls_as_scipy(name, emulator):
    assert sweep(name, 40, 1) >= 12


@pytest.mark.slow
def test_many_random_calls_as_scipy(emulator):
    total = sum(sweep(name, 500, 2) for name in NAMES)
    print(f"\n{500 * len(NAMES)} calls, {total} on the emulated QPUs")
    assert total >= 150 * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_scipy(name, emulator):
    """Integers, and halves where a triangle is solved with: nothing is rounded."""
    for extra in ({}, dict(lower=1), dict(side=1), dict(trans=1), dict(trans_a=1, diag=1)):
        if not set(extra) <= set(ROUTINES[name].arguments):
            continue
        call = {"alpha": 2, **OPERANDS[name], **extra}
        assert_array_equal(getattr(piblas, name)(**call), getattr(blas, name)(**call))


@pytest.mark.parametrize("name", NAMES)
def test_the_gemm_kernel_did_it(name, emulator):
    with piblas.profile() as profile:
        getattr(piblas, name)(1, **OPERANDS[name])
    assert {report.kernel for report in profile.reports} == {"gemm"}
    assert piblas.stats() == {"emulator": {ASKED: 1}}


def test_launches_of_a_solve(emulator):
    """Two a block of rows, less the first block's."""
    t = np.eye(300, dtype=F32)
    with piblas.profile() as profile:
        assert_array_equal(piblas.strsm(1, t, np.ones((300, 2), F32)), 1)
    assert len(profile.reports) == 5


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("order", "CF")
def test_overwrite(name, order, emulator):
    """In place in Fortran order, in a copy in C order, as SciPy does."""
    argument = "b" if name.startswith("str") else "c"
    call = {"alpha": 1, **OPERANDS[name], argument: np.array(C, order=order)}
    if argument == "c":
        call["beta"] = 2
    want = getattr(piblas, name)(**call)
    assert_array_equal(call[argument], C)
    got = getattr(piblas, name)(**call, **{f"overwrite_{argument}": 1})
    assert (got is call[argument]) == (order == "F")
    assert_array_equal(got, want)
    if order == "C":
        assert_array_equal(call[argument], C)


@pytest.mark.parametrize("name", NAMES)
def test_a_read_only_array_is_copied(name, emulator):
    """overwrite allows and does not demand.  (SciPy does write it: not followed.)"""
    argument = "b" if name.startswith("str") else "c"
    kept = np.array(C, order="F")
    kept.flags.writeable = False
    call = {"alpha": 1, **OPERANDS[name], argument: kept, f"overwrite_{argument}": 1}
    assert getattr(piblas, name)(**call) is not kept
    assert_array_equal(kept, C)


@pytest.mark.parametrize("lower", (0, 1))
@pytest.mark.parametrize("name", ("ssyrk", "ssyr2k"))
def test_the_other_triangle_keeps_its_bits(name, lower, emulator):
    c = np.full((200, 200), np.nan, F32, order="F")
    half = np.tri(200, dtype=bool) if lower else np.tri(200, dtype=bool).T
    c[half] = 1
    kept = c.view(np.uint32).copy()
    a = small(200, 3)
    call = dict(a=a) if name == "ssyrk" else dict(a=a, b=a)
    got = getattr(piblas, name)(1, **call, beta=1, c=c, lower=lower, overwrite_c=1)
    assert got is c and np.isfinite(c[half]).all()
    assert_array_equal(c.view(np.uint32)[~half], kept[~half])
    assert list(piblas.stats()) == ["emulator"]


def test_the_result_may_be_an_operand_too(emulator):
    """SciPy reads what it has overwritten; here every operand counts as it was."""
    x = np.array(A, order="F")
    assert piblas.ssymm(1, x, x, 2, x, overwrite_c=1) is x
    full = np.triu(A) + np.triu(A, 1).T
    assert_array_equal(x, full @ A + 2 * A)
    x = np.array(T, order="F")
    assert piblas.strmm(1, x, x, lower=1, overwrite_b=1) is x
    assert_array_equal(x, T @ T)


# --- special values -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_alpha_0_reads_no_operand(name, emulator):
    """As the reference BLAS says; SciPy's OpenBLAS spreads the NaN."""
    nan = np.full((5, 5), np.nan, F32)
    if name.startswith("str"):
        assert_array_equal(getattr(piblas, name)(0, nan, nan), 0)
    else:
        operands = {key: nan for key in OPERANDS[name]}
        got = getattr(piblas, name)(0, **operands, beta=2, c=C, lower=1)
        half = np.tri(5, dtype=bool) | (name == "ssymm")
        assert_array_equal(got, np.where(half, 2 * C, C))
        assert_array_equal(getattr(piblas, name)(0, **operands, beta=0, c=nan, lower=1)[half], 0)
    assert list(piblas.stats()["cpu"]) == [level3.NO_PRODUCT]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", (np.inf, np.nan))
def test_not_finite(name, value, emulator):
    """Inf and NaN that are read: what the CPU makes of them; elsewhere no reason."""
    call = {"alpha": 1, **OPERANDS[name], "lower": 1}
    spoilt = call["a"].copy()
    spoilt[4, 0] = value
    assert_array_equal(
        getattr(piblas, name)(**{**call, "a": spoilt}),
        getattr(blas, name)(**{**call, "a": spoilt}),
    )
    assert piblas.stats() == {"cpu": {level3.NOT_FINITE: 1}}
    if name in ("ssymm", "strmm", "strsm"):
        piblas.reset_stats()
        spoilt = call["a"].copy()
        spoilt[np.triu_indices(5, 1)] = value
        assert_array_equal(
            getattr(piblas, name)(**{**call, "a": spoilt}), getattr(piblas, name)(**call)
        )
        assert piblas.stats() == {"emulator": {ASKED: 2}}


@pytest.mark.parametrize("name", NAMES)
def test_overflow(name, emulator):
    big = np.full((5, 5), 1e30, F32)
    call = {**OPERANDS[name], "a": big}
    if name == "strsm":
        call.update(a=T * F32(1e-30), b=big)
    elif "b" in call:
        call["b"] = big
    assert_array_equal(
        getattr(piblas, name)(1, **call), getattr(blas, name)(1, **call)
    )
    assert piblas.stats() == {"cpu": {level3.OVERFLOW: 1}}


@pytest.mark.parametrize("name", ("sgemm", "ssymm", "ssyrk", "ssyr2k"))
def test_overflow_of_what_is_added(name, emulator):
    """beta C alone overflows, or the sum does; a C near that which does not stays on the device."""
    call = OPERANDS.get(name, OPERANDS["ssymm"])
    for beta, value, where in ((2, 3e38, "cpu"), (1, 3.4028e38, "cpu"), (1, 2e38, "emulator")):
        c = np.full((5, 5), value, F32)
        piblas.reset_stats()
        got, want = (
            getattr(library, name)(1e36, **call, beta=beta, c=c) for library in (piblas, blas)
        )
        np.testing.assert_allclose(got, want, rtol=1e-6)
        assert list(piblas.stats()) == [where]


@pytest.mark.parametrize("value", (np.inf, np.nan, 3.4028234e38))
def test_what_is_not_wanted_of_c_is_not_looked_at(value, emulator):
    a, c = np.ones((5, 3), F32), np.triu(np.full((5, 5), value, F32), 1)
    got, want = (f(1.0, a, 2.0, c, lower=1) for f in (piblas.ssyrk, blas.ssyrk))
    assert_array_equal(np.tril(got), np.tril(want))
    assert_array_equal(np.triu(got, 1), np.triu(c, 1))
    assert list(piblas.stats()) == ["emulator"]


def test_overflow_on_the_way_of_a_solve(emulator):
    """The first rows' solution makes the second block's right-hand side overflow, which then
    counts nothing: the CPU decides what that gives."""
    t = np.eye(200, dtype=F32)
    t[150, 0] = 1e30
    t[150, 150] = 1e37
    b = np.zeros((200, 1), F32)
    b[0] = 1e10
    assert_array_equal(piblas.strsm(1, t, b, lower=1), blas.strsm(1, t, b, lower=1))
    assert piblas.stats() == {"cpu": {level3.OVERFLOW: 1}}


@pytest.mark.parametrize("element", (0.0, 1e-40, 3e38))
def test_a_diagonal_that_cannot_be_divided_by(element, emulator):
    t = T.copy()
    t[2, 2] = element
    with np.errstate(all="ignore"):
        got, want = (f(1, t, B, lower=1) for f in (piblas.strsm, blas.strsm))
    assert_array_equal(got, want)
    assert piblas.stats() == {"cpu": {triangles.SINGULAR: 1}}
    piblas.reset_stats()
    t[2, 2] = 0
    piblas.strsm(1, t, B, lower=1, diag=1)  # the diagonal is not read
    assert list(piblas.stats()) == ["emulator"]


def test_an_inverse_beyond_float32(emulator):
    """A triangle that is no worse on its diagonal, but whose inverse is huge."""
    n = 60
    t = np.eye(n, dtype=F32) - 8 * np.eye(n, k=-1, dtype=F32)
    b = np.zeros((n, 1), F32)
    b[-1] = 1
    assert_array_equal(piblas.strsm(1, t, b, lower=1), blas.strsm(1, t, b, lower=1))
    assert piblas.stats() == {"cpu": {triangles.SINGULAR: 1}}


# --- failures -------------------------------------------------------------------------------------


class Failing:
    """A device whose launches fail from some launch on."""

    def __init__(self, monkeypatch, device, good):
        self.left = good
        real = type(device).execute_list

        def execute(this, *args, **kwargs):
            if this is device:
                self.left -= 1
                if self.left < 0:
                    raise DeviceTimeout("no end after 10 s")
            return real(this, *args, **kwargs)

        monkeypatch.setattr(type(device), "execute_list", execute)


@pytest.mark.parametrize("name, good", [*((name, 0) for name in NAMES), ("strsm", 2)])
def test_failures_leave_the_arrays(name, good, emulator, monkeypatch):
    """At the first launch, and at a later one of a solve."""
    n = 300
    argument = "b" if name.startswith("str") else "c"
    call = {key: np.eye(n, dtype=F32, order="F") for key in ("a", "b") if key in OPERANDS[name]}
    call[argument] = np.ones((n, n), F32, order="F")
    kept = {key: value.copy() for key, value in call.items()}
    Failing(monkeypatch, emulator, good)
    with pytest.raises(DeviceTimeout, match="no end after 10 s"):
        getattr(piblas, name)(1, **call, **{f"overwrite_{argument}": 1})
    for key, value in call.items():
        assert_array_equal(value, kept[key])


@pytest.mark.parametrize("name", NAMES)
def test_too_large_for_the_device(name, fresh):
    call = {key: np.ones((200, 200), F32, order="F") for key in "ab" if key in OPERANDS[name]}
    with piblas.driver.Emulator(memory=1 << 14) as tiny, piblas.use(tiny):
        with pytest.raises(OutOfDeviceMemory):
            getattr(piblas, name)(1, **call)
    assert all((value == 1).all() for value in call.values())


@pytest.mark.parametrize("name", NAMES)
def test_auto_falls_back(name, fresh, quick_host, monkeypatch, device):
    """A GPU that "auto" found and that fails: the CPU's result, one warning."""
    monkeypatch.setattr(devices, "open_device", lambda which: device)
    monkeypatch.setattr(devices, "_opened", {})
    monkeypatch.setenv("PIBLAS_BOARD", "pi1")
    Failing(monkeypatch, device, 0)
    n = 200
    call = {key: np.eye(n, dtype=F32, order="F") for key in "ab" if key in OPERANDS[name]}
    call["alpha"] = 1
    assert_array_equal(getattr(piblas, name)(**call), getattr(blas, name)(**call))
    assert piblas.stats() == {"cpu": {"the GPU failed: DeviceTimeout": 1}}


def test_a_missing_gpu_that_was_asked_for_raises(fresh):
    with piblas.use("qpu"), pytest.raises(DeviceError, match="no VideoCore IV GPU"):
        piblas.strsm(1, T, B)


WRONG = [
    ("ssymm", dict(a=small(4, 5), b=B)),
    ("ssymm", dict(a=A, b=small(4, 5))),
    ("ssymm", dict(a=A, b=B, c=small(4, 5))),
    ("ssymm", dict(a=A, b=B, side=2)),
    ("ssymm", dict(a=A, b=B, lower=-1)),
    ("ssyrk", dict(a=A, c=small(4, 4))),
    ("ssyrk", dict(a=A, trans=3)),
    ("ssyrk", dict(a=A, lower=2)),
    ("ssyrk", dict(a="text")),
    ("ssyr2k", dict(a=A, b=small(5, 4))),
    ("ssyr2k", dict(a=A, b=np.ones((2, 2, 2)))),
    ("strmm", dict(a=small(4, 5), b=B)),
    ("strmm", dict(a=A, b=small(4, 5))),
    ("strmm", dict(a=A, b=B, diag=2)),
    ("strmm", dict(a=A, b=B, trans_a=-1)),
    ("strsm", dict(a=small(4, 4), b=B)),
    ("strsm", dict(a=A, b=small(5, 4), side=1)),
    ("strsm", dict(a=A, b=B, diag="x")),
    ("strsm", dict(a=object(), b=B)),
]


@pytest.mark.parametrize("name, call", WRONG)
def test_wrong_arguments(name, call, emulator):
    """SciPy's refusal, as a BlasError that names the argument; nothing written.

    Where SciPy takes such a call after all, so does piblas.
    """
    row = ROUTINES[name]
    given = {"alpha": 1.0, **call}
    wanted, refused = outcome(getattr(blas, name), row, given, 0)
    done, error = outcome(getattr(piblas, name), row, given, 0)
    if refused is None:
        assert error is None
        assert_array_equal(done, wanted)
        assert piblas.stats() == {"cpu": {SORT_OUT: 1}}
        return
    assert isinstance(error, BlasError) and error.routine == name
    assert str(refused) in str(error)
    assert piblas.stats() == {}


@pytest.mark.parametrize("target", ("emulator", "cpu"))
@pytest.mark.parametrize("name", ("ssyr2k", "dsyr2k", "zher2k"))
def test_a_b_that_is_too_short(name, target, device, fresh):
    """SciPy takes it, and reads beyond its end."""
    with piblas.use(device if target == "emulator" else "cpu"):
        for trans, b in ((0, B[:4]), (1, B[:, :4])):
            c = np.array(C, order="F")
            with pytest.raises(BlasError, match="argument b = .*: a has 5 .*, so b has to"):
                getattr(piblas, name)(1.0, A, b, 1.0, c, trans=trans, overwrite_c=1)
            assert_array_equal(c, C)


@pytest.mark.parametrize("name", NAMES)
def test_alpha_is_a_number(name, emulator):
    with pytest.raises(BlasError, match="argument alpha = 'x'"):
        getattr(piblas, name)("x", **OPERANDS[name])
    with pytest.raises(TypeError):
        getattr(piblas, name)(1, **OPERANDS[name], nonsense=1)


@pytest.mark.parametrize("name", ["ssymm", "ssyrk", "strmm"])
def test_a_fault_of_ours_is_no_wrong_argument(name, device, fresh, monkeypatch):
    """It is raised, and not left to SciPy and counted as if the device had computed."""

    def fails(*args, **kwargs):
        raise ValueError("a kernel's fault")

    monkeypatch.setattr(Runner, "program", fails)
    PLANS.clear()
    a = np.eye(4, dtype=np.float32)
    with piblas.use(device), pytest.raises(ValueError, match="a kernel's fault"):
        getattr(piblas, name)(1.0, a, *([] if name == "ssyrk" else [a]))
    assert piblas.stats() == {}
