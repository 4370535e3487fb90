"""saxpby, which SciPy lacks: y = a x + b y on the CPU and on the emulated QPUs.

What may be passed, and which array is the result, is as for SciPy's saxpy, which is asked: a call
of it with the same arguments is refused, or changes the same array.  Where piblas refuses more than
SciPy (text as a number, the first of many numbers, matrices) the test says so.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import warnings

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.linalg import blas
from test_level1_wrong import BASE, NUMBERS, SIZE, fresh_copy, wrong_values
from test_like_scipy import aligned, outcome, vary, which

import piblas
from piblas import BlasError, DeviceError, DeviceTimeout, OutOfDeviceMemory, routines
from piblas.blas import functions
from piblas.dispatch import choose, devices
from piblas.driver import Emulator
from piblas.host.outcome import BY_ZERO, WATCHED
from piblas.kernels import axpby
from piblas.routines import ROUTINES

F32 = np.float32
ROW = ROUTINES["saxpby"]
ASKED = "the emulator was asked for"
GUARD = F32(-7.25e21)
U = 2.0**-24  # of rounding to nearest


@pytest.fixture(params=("cpu", "emulator"))
def where(request, fresh):
    """Each test on the CPU and on the QPUs."""
    target = request.param
    if target == "emulator":
        target = request.getfixturevalue("device")
    with piblas.use(target):
        yield request.param


@pytest.fixture
def emulator(device, fresh):
    with piblas.use(device):
        yield device


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def apart(request):
    """Emulators of which one keeps the caches of CPU and QPUs apart."""
    with Emulator(
        memory=4 << 20, seed=31, strict=True, incoherent=request.param, timing="off"
    ) as dev:
        yield dev


def elements(array, n, off, inc):
    """The elements of a vector in BLAS order, as a view."""
    view = array[off : off + max(n - 1, 0) * abs(inc) + 1 : abs(inc)][:n]
    return view if inc > 0 else view[::-1]


def values(n, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-spread / 2, spread / 2, n)
    return (rng.uniform(0.5, 1, n) * rng.choice([-1, 1], n) * scale).astype(F32)


# --- numbers -------------------------------------------------------------------------------------


@st.composite
def calls(draw):
    n, spread = draw(st.integers(0, 300)), draw(st.sampled_from([0.0, 1.0, 12.0, 60.0]))
    factor = st.sampled_from([0.0, 1.0, -1.0]) | st.floats(-3, 3, width=32)
    given = {"n": n, "a": draw(factor), "b": draw(factor)}
    for vector in "xy":
        inc = draw(st.integers(-3, 3).filter(bool))
        off = draw(st.integers(0, 5))
        size = off + max(n - 1, 0) * abs(inc) + 1 + draw(st.integers(0, 3))
        given[vector] = values(size, draw(st.integers(0, 2**31)), spread)
        given[f"inc{vector}"], given[f"off{vector}"] = inc, off
    return given


def check(given, on_cpu):
    """A call against float64; elements that are not y's keep every bit, as do guards around it."""
    n, a, b = given["n"], F32(given["a"]), F32(given["b"])
    room = np.full(given["y"].size + 40, GUARD)
    y = room[20:-20]
    y[:] = given["y"]
    x, of_y = (elements(given[v], n, given[f"off{v}"], given[f"inc{v}"]) for v in "xy")
    want = given["y"].astype(np.float64)
    mine = elements(want, n, given["offy"], given["incy"])
    mine[...] = float(a) * x.astype(np.float64) + float(b) * of_y.astype(np.float64)
    allowed = np.zeros(want.size)
    limit = axpby.error_bound(a, b, x, of_y)
    if on_cpu:  # two roundings to nearest, denormals included
        sizes = abs(float(a)) * np.abs(x.astype(float)) + abs(float(b)) * np.abs(of_y.astype(float))
        limit = (2 * U + U * U) * sizes + 3 * 2.0**-149
    if a == 0 and b in (0, 1):
        limit = 0.0
    elements(allowed, n, given["offy"], given["incy"])[...] = limit
    before = given["x"].copy()
    got = piblas.saxpby(**{**given, "y": y})
    assert got is y
    assert np.array_equal(given["x"], before)
    assert np.all(room[:20] == GUARD) and np.all(room[-20:] == GUARD)
    error = np.abs(got.astype(np.float64) - want)
    assert np.all(error <= allowed), (given, error.max())


def sweep(target, examples, seed):
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(calls())
    def run(given):
        check(given, target == "cpu")

    with piblas.use(target):
        run()
    return piblas.stats()


def test_sweep_on_the_cpu(fresh):
    assert sum(sweep("cpu", 300, 1)["cpu"].values()) >= 300


def test_sweep_on_the_qpus(apart, fresh):
    assert sweep(apart, 150, 2)["emulator"][ASKED] > 75


@pytest.mark.slow
def test_long_sweep(apart, fresh):
    assert sweep(apart, 10_000, 3)["emulator"][ASKED] > 5_000


def test_every_operation_is_rounded_once_on_the_cpu(fresh):
    x, y = values(500, 1), values(500, 2)
    a, b = F32(1.1), F32(-0.7)
    with piblas.use("cpu"):
        np.testing.assert_array_equal(piblas.saxpby(x, y.copy(), a=1.1, b=-0.7), a * x + b * y)


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", (1, 16, 40, 3000))
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf, F32(3.4028235e38)))
def test_an_operand_with_factor_0_is_not_read(where, n, bad, recwarn):
    not_read(np.array, n, bad)
    if where == "emulator":
        not_read(piblas.asarray, n, bad)
        assert set(piblas.stats()) == {"emulator", "cpu"}  # "cpu": without a launch
        assert piblas.stats()["emulator"][ASKED] == 20
    assert not recwarn.list


def not_read(put, n, bad):
    x, y, spoilt = values(n, 1), values(n, 2), np.full(n, bad, F32)
    for zero in (0, 0.0, -0.0, 1e-50, F32(0)):  # 1e-50 is 0 in float32
        held = put(spoilt)
        assert piblas.saxpby(put(x), held, a=0.5, b=zero) is held
        np.testing.assert_array_equal(held, x / 2)
        held = put(y)
        assert piblas.saxpby(put(spoilt), held, a=zero, b=0.5) is held
        np.testing.assert_array_equal(held, y / 2)
        held = put(y)
        assert piblas.saxpby(put(spoilt), held, a=zero) is held
        np.testing.assert_array_equal(held, y)
        held = put(spoilt)
        assert piblas.saxpby(put(spoilt), held, a=zero, b=zero) is held
        assert not np.any(np.asarray(held).view(np.uint32))


@pytest.mark.parametrize("a, b", [(2.0, 1.0), (2.0, -2.0), (np.nan, 1.0), (1.0, np.inf), (1e39, 1)])
def test_special_values_are_ieee_754s(where, a, b):
    x, y = values(100, 1), values(100, 2)
    x[3], x[4], y[4], y[5], x[6], y[6] = np.nan, np.inf, np.inf, -np.inf, 3e38, -3e38
    with np.errstate(all="ignore"):
        wanted = F32(a) * x + F32(b) * y
        got = piblas.saxpby(x, y.copy(), a=a, b=b)
    np.testing.assert_array_equal(got, wanted)
    if where == "emulator":
        assert piblas.stats() == {"cpu": {WATCHED: 1}}


def test_special_values_in_device_memory(emulator):
    """Where y is replaced in place an Inf stays, with a warning; where it is not read, the CPU
    computes the result."""
    x, y = piblas.array(values(100, 1)), piblas.array(values(100, 2))
    y[7] = np.inf
    with pytest.warns(RuntimeWarning, match="saxpby: Inf, NaN or an overflow in device memory"):
        piblas.saxpby(x, y, a=2, b=2)
    assert np.isinf(y[7])
    x[8] = np.nan
    piblas.reset_stats()
    piblas.saxpby(x, y, a=2, b=0)
    np.testing.assert_array_equal(y, 2 * np.array(x))
    assert piblas.stats() == {"cpu": {WATCHED: 1}}


def test_factors_that_the_qpus_take_for_0(emulator):
    """An Inf in device memory would become 0 and leave no trace."""
    x, y = piblas.array(values(40, 1)), piblas.array(values(40, 2))
    y[3] = np.inf
    piblas.saxpby(x, y, a=1, b=1e-39)
    assert np.isinf(y[3]) and piblas.stats() == {"cpu": {BY_ZERO: 1}}


# --- where the result goes, and what is refused --------------------------------------------------


def random_call(rng):
    given, n = {}, int(rng.choice([1, 2, 15, 16, 17, 40, 200]))
    short = rng.random() < 0.1
    for name in "xy":
        inc, off = int(rng.choice([1, 1, 2, 3, -1, -3])), int(rng.choice([0, 0, 1, 5]))
        size = off + (n - 1) * abs(inc) + 1 + int(rng.choice([0, 3])) - (short and n > 1)
        given[name] = vary(rng, "s", rng.integers(-8, 9, size).astype(F32))
        given[f"inc{name}"], given[f"off{name}"] = inc, off
    if rng.random() < 0.8:
        given.update(n=n, a=float(rng.integers(-4, 5)))
    return given


def test_random_calls(where):
    """Small integers, with b = 1: everything is as with saxpy, the result bit for bit."""
    rng, refusals = np.random.default_rng(5), 0
    for _ in range(150):
        given = random_call(rng)
        ours, theirs = ({k: aligned(v) for k, v in given.items()} for _ in range(2))
        wanted, refused = outcome(blas.saxpy, ROUTINES["saxpy"], theirs, 2)
        done, error = outcome(piblas.saxpby, ROW, ours, 2)
        refusals += refused is not None
        if refused is not None:
            assert isinstance(error, BlasError) and error.routine == "saxpby"
        else:
            assert error is None, (given, error)
            assert type(done) is type(wanted) and which(done, ours) == which(wanted, theirs)
            assert (done.dtype, done.shape) == (wanted.dtype, wanted.shape)
            np.testing.assert_array_equal(done, wanted)
        for argument, value in theirs.items():
            np.testing.assert_array_equal(ours[argument], value, f"{argument} afterwards")
    assert 0 < refusals < 75


def stricter(argument, value):
    """Whether only piblas refuses this."""
    value = value() if callable(value) else value
    if argument in ("a", "b"):
        return value is None or np.size(value) != 1 or isinstance(value, str)
    if argument in ("x", "y"):
        return sum(n != 1 for n in np.shape(value)) > 1
    return isinstance(value, (float, list, complex)) and value != 2.0 and value != 1.0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("argument", [name for name in ROW.arguments if name != "b"])
def test_each_argument_wrong(where, argument):
    """Refused by SciPy's saxpy: refused here, by name and with the value, nothing written."""
    seen = set()
    for value in wrong_values(argument):
        given = {k: v for k, v in BASE.items() if k in ROUTINES["saxpy"].arguments}
        given[argument] = value
        ours, theirs = ({k: fresh_copy(v) for k, v in given.items()} for _ in range(2))
        wanted, refused = outcome(blas.saxpy, ROUTINES["saxpy"], theirs, 2)
        done, error = outcome(piblas.saxpby, ROW, ours, 2)
        what = f"{argument} = {value!r}"
        if error is not None:
            assert isinstance(error, BlasError), (what, error)
            assert refused is not None or stricter(argument, value), (what, error)
            assert error.routine == "saxpby" and error.argument in ROW.arguments
            # What is too short for n may be so for several reasons.
            assert error.argument == argument or error.argument in ("n", f"off{argument}"), what
            for vector in "xy":
                if isinstance(ours[vector], np.ndarray):
                    np.testing.assert_array_equal(ours[vector], fresh_copy(given[vector]))
            seen.add("refused")
            continue
        assert refused is None, (what, refused)
        np.testing.assert_array_equal(done, wanted, what)
        read_only = isinstance(ours["y"], np.ndarray) and not ours["y"].flags.writeable
        if not read_only:  # SciPy writes there, piblas does not
            assert which(done, ours) == which(wanted, theirs), what
            if isinstance(ours["y"], np.ndarray):
                np.testing.assert_array_equal(ours["y"], theirs["y"], what)
        seen.add("done")
    assert seen == {"refused", "done"}


@pytest.mark.filterwarnings("ignore")
def test_b_wrong(where):
    for value in NUMBERS:
        y = BASE["y"].copy()
        done, error = outcome(piblas.saxpby, ROW, {"x": BASE["x"], "y": y, "b": value}, 2)
        if isinstance(value, str) or (np.size(value) != 1):
            assert isinstance(error, BlasError) and error.argument == "b"
            np.testing.assert_array_equal(y, BASE["y"])
        else:
            assert error is None, (value, error)
            number = 1.0 if value is None else np.real(np.ravel(value)[0])
            with np.errstate(all="ignore"):
                wanted = BASE["x"] + (F32(number) * BASE["y"] if number != 0 else 0)
            np.testing.assert_array_equal(done, wanted)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"n": 25}, "n = 25: x has 24 elements, and this many from offx = 0 with incx = 1 need 25"),
        ({"n": 13, "incy": 2}, "n = 13: y has 24 elements, and this many from offy = 0"),
        ({"n": 2.5}, "n = 2.5: wants an integer"),
        ({"incx": 0}, "incx = 0: wants a step that is not 0"),
        ({"incy": "q"}, "incy = 'q': wants an integer"),
        ({"offx": 24}, "offx = 24: wants an element of x, which has 24"),
        ({"offy": -1}, "offy = -1: wants an element of y, which has 24"),
        ({"a": "z"}, "a = 'z': wants a number"),
        ({"b": [1, 2]}, "b = [1, 2]: wants a number"),
        ({"x": "abc"}, "x = 'abc': wants a vector of numbers"),
        ({"y": None}, "y = None: wants a vector"),
        ({"x": np.zeros((2, 12))}, "x = (2, 12): wants one axis"),
        ({"x": np.zeros(25)}, "n = 25: y has 24 elements"),
    ],
)
def test_refusals_have_words(where, given, message):
    arguments = {"x": BASE["x"], "y": BASE["y"].copy(), **given}
    with pytest.raises(BlasError) as caught:
        piblas.saxpby(**arguments)
    assert f"saxpby: argument {message}" in str(caught.value)
    if "y" not in given:
        np.testing.assert_array_equal(arguments["y"], BASE["y"])
    assert piblas.stats() == {}


def test_wrong_calls_are_type_errors(where):
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        piblas.saxpby(BASE["x"])
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        piblas.saxpby(BASE["x"], BASE["y"], foo=1)


@pytest.mark.parametrize("first, second", [(0, 0), (0, 1), (1, 0), (0, 12), (5, 0)])
@pytest.mark.parametrize("steps", [(1, 1), (-1, 1), (2, 1), (1, -2)])
def test_overlapping_operands(where, first, second, steps):
    """As if x were a copy."""
    incx, incy = steps
    for a, b in ((1, 1), (2, -3), (2, 0), (0, 2), (0, 0)):
        words = np.arange(60, dtype=F32)
        x, y = words[first:][:SIZE], words[second:][:SIZE]
        wanted = words.copy()
        part = elements(wanted[second:][:SIZE], 10, 0, incy)
        part[...] = a * elements(x, 10, 0, incx).copy() + b * part
        assert piblas.saxpby(x, y, 10, a, b, incx=incx, incy=incy) is y
        np.testing.assert_array_equal(words, wanted)


def test_a_read_only_y_is_copied(where):
    y = BASE["y"].copy()
    y.flags.writeable = False
    got = piblas.saxpby(BASE["x"], y)
    assert got is not y
    np.testing.assert_array_equal(got, BASE["x"] + BASE["y"])
    np.testing.assert_array_equal(y, BASE["y"])


@pytest.mark.parametrize("n", (0, -1, -(10**9)))
def test_nothing_to_do(where, n):
    y = BASE["y"].copy()
    assert piblas.saxpby(BASE["x"], y, n, b=0) is y
    np.testing.assert_array_equal(y, BASE["y"])


def test_threads(where):
    x, wanted, bad = values(2000, 1), values(2000, 1) * 0.5 + 2, []

    def work():
        for _ in range(5):
            y = np.full(2000, 4, F32)
            if not np.allclose(piblas.saxpby(x, y, a=0.5, b=0.5), wanted, rtol=1e-6):
                bad.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not bad


# --- a name of piblas, and of nobody else --------------------------------------------------------


def test_where_its_name_is():
    assert "saxpby" in routines.EXTENSIONS and "saxpby" in dir(piblas)
    assert piblas.saxpby is piblas.blas.saxpby is functions.function("saxpby")
    assert functions.exported().count("saxpby") == 1
    with pytest.raises(BlasError, match="BLAS function daxpby could not be found"):
        piblas.get_blas_funcs("axpby")
    lacking = {name for name, row in ROUTINES.items() if not row.family.scipy}
    assert lacking <= set(routines.EXTENSIONS) and not lacking & set(vars(blas))


def test_signature_and_help():
    text = "(x, y, n=None, a=1.0, b=1.0, offx=0, incx=1, offy=0, incy=1)"
    assert str(inspect.signature(piblas.saxpby)) == text
    words = " ".join(piblas.saxpby.__doc__.split())
    for sentence in (
        "SciPy has no such routine.", "b = 0 does not read y", "2 u (|a x| + |b y|)",
        "Changed in place if it is a contiguous float32 array", "the result is the CPU's",
    ):  # fmt: skip
        assert sentence in words


def test_scipy_is_not_needed():
    code = (
        "import sys, numpy, piblas\n"
        "with piblas.use('cpu'):\n"
        "    print(piblas.saxpby([1.0], [2.0], a=3, b=4), 'scipy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[11.] False"


# --- dispatch ------------------------------------------------------------------------------------


def test_why_and_reports(emulator):
    choice = piblas.why("saxpby", n=10**6, board="pi1", resident=True)
    assert set(choice.seconds) == {"cpu", "qpu"}
    with piblas.profile() as profile:
        piblas.saxpby(values(50), values(50), b=2)
        piblas.saxpby(values(50), values(50), b=0)
    assert [report.kernel for report in profile.reports] == ["axpby", "scal"]
    assert piblas.stats() == {"emulator": {ASKED: 2}}


@pytest.fixture
def broken(fresh, monkeypatch):
    """ "auto" finds a device whose launches fail with the error that is put into the list."""
    with Emulator(memory=1 << 20, timing="off") as dev:
        errors = []

        def fails(*args, **kwargs):
            raise errors[0]

        monkeypatch.setattr(dev, "execute_list", fails, raising=False)
        yield dev, errors


def test_a_demanded_device_that_fails(broken):
    device, errors = broken
    errors.append(DeviceTimeout("too long"))
    y = BASE["y"].copy()
    with piblas.use(device), pytest.raises(DeviceError, match="too long"):
        piblas.saxpby(BASE["x"], y, b=2)
    np.testing.assert_array_equal(y, BASE["y"])


@pytest.mark.parametrize("error", [DeviceTimeout("too long"), OutOfDeviceMemory("full")])
def test_a_found_device_that_fails(broken, monkeypatch, error):
    device, errors = broken
    errors.append(error)
    monkeypatch.setattr(devices, "_open", lambda name: device)
    chosen = choose.Choice("qpu", "axpby", "so")
    monkeypatch.setattr(choose, "choose", lambda *args: chosen)
    y = BASE["y"].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert piblas.saxpby(BASE["x"], y, a=2, b=3) is y
    np.testing.assert_array_equal(y, 2 * BASE["x"] + 3 * BASE["y"])
    assert piblas.stats() == {"cpu": {f"the GPU failed: {type(error).__name__}": 1}}


def test_under_auto_vectors_in_ordinary_memory_stay_on_the_cpu(broken, monkeypatch):
    device, _ = broken
    monkeypatch.setattr(devices, "_open", lambda name: device)
    monkeypatch.setenv("PIBLAS_BOARD", "pi1")
    y = BASE["y"].copy()
    assert piblas.saxpby(BASE["x"], y, b=2) is y
    assert piblas.stats() == {"cpu": {"predicted faster on the CPU": 1}}
