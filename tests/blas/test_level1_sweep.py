"""Level 1 on the emulated QPUs against SciPy in float64: any length, step, offset, magnitude.

A call is a draw of hypothesis.  Vectors lie in larger arrays full of guard words and of more
elements than the call needs.  The device's memory is full of noise, accesses outside operands are
faults, and half of the calls run with the caches of CPU and QPUs kept apart.  SciPy's double
precision routine, given the same arguments, says what the whole vectors hold afterwards; elements
of the result may differ by the bound that the kernel's module documents, all others not at all.
Where SciPy refuses a call, so does piblas, and no word has changed.
"""

from __future__ import annotations

import collections

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.linalg import blas

import piblas
from piblas import BlasError
from piblas.driver import Emulator
from piblas.kernels import asum, axpy, dot, nrm2, rot, scal
from piblas.routines import KERNELS, ROUTINES

F32 = np.float32
GUARD = F32(-7.25e21)
PAD = 19
LAUNCHED = "the emulator was asked for"
NAMES = sorted(n for n in KERNELS if ROUTINES[n].level == 1 and ROUTINES[n].family.scipy)


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=4 << 20, seed=29, incoherent=request.param, timing="off") as dev:
        yield dev


# --- a call -------------------------------------------------------------------------------------


def steps():
    return st.integers(-3, 3).filter(bool)


@st.composite
def calls(draw, names=NAMES):
    """A routine and arguments that a kernel takes; what is random in bulk comes from a seed."""
    name = draw(st.sampled_from(names))
    row = ROUTINES[name]
    n = draw(st.integers(0, 300))
    given = {}
    spread = draw(st.sampled_from([0.0, 1.0, 12.0, 60.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for vector in ("x", "y"):
        if vector not in row.arguments:
            continue
        inc, off = draw(steps()), draw(st.integers(0, 5))
        if "y" not in row.arguments:
            inc = abs(inc)  # going backwards is for two vectors
        size = off + max(n - 1, 0) * abs(inc) + 1 + draw(st.integers(0, 3))
        given[vector] = numbers(rng, size, spread)
        given[f"inc{vector}"], given[f"off{vector}"] = inc, off
    if name == "sdot" and spread:  # so that no product overflows
        x, y = (elements(given, v, n) for v in "xy")
        y[x != 0] = np.clip(numbers(rng, n, spread)[x != 0] / x[x != 0].astype(float), -1e30, 1e30)
    given["n"] = n
    factor = st.sampled_from([0.0, 1.0, -1.0]) | st.floats(-3, 3, width=32)
    for argument in ("a", "c", "s"):
        if argument in row.arguments:
            given[argument] = draw(factor)
    if "param" in row.arguments:
        flag = draw(st.sampled_from([-2.0, -1.0, 0.0, 1.0]))
        given["param"] = np.array([flag, *rng.uniform(-2, 2, 4)], dtype=F32)
    for argument in row.arguments:
        if argument.startswith("overwrite_"):
            given[argument] = draw(st.integers(0, 1))
    return name, {argument: given[argument] for argument in row.arguments if argument in given}


def numbers(rng, n, spread):
    """Both signs, some zeros, magnitudes that spread over so many decades round 1."""
    values = rng.uniform(0.5, 1, n) * rng.choice([-1, 1], n)
    values *= 10.0 ** rng.uniform(-spread / 2, spread / 2, n)
    values[rng.random(n) < 0.03] = 0
    return values.astype(F32)


def elements(given, vector, n):
    """The elements of an operand in BLAS order, as a view."""
    inc, off = given[f"inc{vector}"], given[f"off{vector}"]
    view = given[vector][off : off + max(n - 1, 0) * abs(inc) + 1 : abs(inc)][:n]
    return view if inc > 0 else view[::-1]


def guarded(array):
    """A copy in the middle of guard words, with all the words."""
    room = np.full(array.size + 2 * PAD, GUARD)
    room[PAD : PAD + array.size] = array
    return room[PAD : PAD + array.size], room


# --- what it must give --------------------------------------------------------------------------


def bounds(name, given, n):
    """For each result its bound of |computed - exact|, element by element; 0 where the result must
    be exact."""
    x = elements(given, "x", n)
    y = elements(given, "y", n) if "y" in given else None
    if name == "sscal":
        return [scal.error_bound(F32(given["a"]), x)]
    if name == "saxpy":
        a = F32(given["a"])
        return [axpy.error_bound(a, x, y) if a else np.zeros(n)]
    if name == "srot":
        c, s = F32(given["c"]), F32(given["s"])
        return list(rot.error_bound((c, s, -s, c), x, y))
    if name == "srotm":
        flag, h11, h21, h12, h22 = given["param"]
        if flag == 0:
            h11 = h22 = 1.0
        elif flag == 1:
            h12, h21 = 1.0, -1.0
        return list(rot.error_bound((h11, h12, h21, h22), x, y)) if flag != -2 else [0.0, 0.0]
    if name == "sdot":
        return [dot.error_bound(x, y)]
    if name == "sasum":
        return [asum.error_bound(x)]
    if name == "snrm2":
        return [nrm2.error_bound(x)]
    return [0.0] * len(ROUTINES[name].family.returns.split(","))


def check_results(name, given, results, wanted):
    """Results against SciPy's in float64."""
    n = given["n"]
    limits = bounds(name, given, n) if n else [0.0] * len(results)
    operands = ("x", "y")[-len(results) :] if "y" in given else ("x",)
    for vector, got, want, limit in zip(operands, results, wanted, limits):
        if not isinstance(want, np.ndarray):
            assert abs(got - want) <= limit, (name, got, want, limit)
            continue
        allowed = np.zeros(want.size)
        changed = dict(given)
        changed[vector] = allowed
        elements(changed, vector, n)[...] = limit
        error = np.abs(got.astype(np.float64) - want)
        assert np.all(error <= allowed), (name, error.max(), n)


def check(device, call, counts):
    name, given = call
    ours = dict(given)
    rooms = {}
    for vector in ("x", "y"):
        if vector in given:
            ours[vector], rooms[vector] = guarded(given[vector])
    copies = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in given.items()}
    wide = {
        k: v.astype(np.float64) if isinstance(v, np.ndarray) else float(F32(v)) if k in "acs" else v
        for k, v in given.items()
    }
    piblas.reset_stats()
    try:
        getattr(blas, name)(**copies)
    except Exception as refused:
        with pytest.raises(BlasError) as caught:
            getattr(piblas, name)(**ours)
        assert str(refused) in str(caught.value)
        counts["refused"] += 1
        changed = ()
    else:
        counterpart = "idamax" if name == "isamax" else "d" + name[1:]
        wanted = getattr(blas, counterpart)(**wide)
        results = getattr(piblas, name)(**ours)
        several = isinstance(wanted, tuple)
        check_results(
            name, given, results if several else (results,), wanted if several else (wanted,)
        )
        launched = piblas.stats().get("emulator", {}).get(LAUNCHED, 0)
        counts["launched" if launched else "on the CPU"] += 1
        flags = [v for v in ("x", "y") if given.get(f"overwrite_{v}")]
        changed = (*ROUTINES[name].modified, *flags)
    for vector, room in rooms.items():
        assert np.all(room[:PAD] == GUARD) and np.all(room[-PAD:] == GUARD)
        if vector not in changed:
            assert np.array_equal(ours[vector], given[vector]), vector


def sweep(device, examples, seed):
    counts = collections.Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(calls())
    def run(call):
        check(device, call, counts)

    with piblas.use(device):
        run()
    return counts


def test_sweep(device, fresh):
    counts = sweep(device, 150, 1)
    assert counts["launched"] > 100


@pytest.mark.slow
def test_long_sweep(device, fresh, capsys):
    counts = sweep(device, 10_000, 2)
    with capsys.disabled():
        print(f"\nlevel 1: {sum(counts.values())} random calls, {dict(counts)}")
    assert counts["launched"] > 7_500
