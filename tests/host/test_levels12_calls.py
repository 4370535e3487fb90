"""What a call of levels 1 and 2 costs the host: Python function calls, built-in ones included, on a
device whose launches return at once.  They are counted exactly, so the bars are hard."""

from __future__ import annotations

import cProfile
import gc
import pstats

import numpy as np
import pytest

import piblas
from bench.null_device import NullDevice

F32 = np.float32
REPEATED = 60
"""Function calls of a repeated call."""

FIRST = 1000
"""Function calls of the first call of a shape whose program is loaded."""

M, N = 300, 200


def function_calls(call):
    """How many functions are called, but for ``call`` itself and the profiler's end."""
    profile = cProfile.Profile()
    gc.disable()  # finalisers are functions, too
    try:
        profile.enable()
        call()
        profile.disable()
    finally:
        gc.enable()
    return sum(row[1] for row in pstats.Stats(profile).stats.values()) - 2


def calls(at, m, n):
    """Calls by name with operands of m and n elements, which ``at`` puts where they are to lie."""
    x, y = at(np.ones(n, F32)), at(np.full(m, 2, F32))
    x2 = at(np.ones(n, F32))
    a = at(np.asfortranarray(np.ones((m, n), F32)))
    s = at(np.asfortranarray(np.eye(n, dtype=F32)))
    ap = at(np.ones(n * (n + 1) // 2, F32))
    band = at(np.asfortranarray(np.ones((5, n), F32)))
    return {
        "saxpy": lambda: piblas.saxpy(x, x2, a=2.0),
        "saxpy, float32": lambda: piblas.saxpy(x, x2, a=F32(2)),
        "sdot": lambda: piblas.sdot(x, x2),
        "snrm2": lambda: piblas.snrm2(x),
        "sasum": lambda: piblas.sasum(x),
        "isamax": lambda: piblas.isamax(x),
        "scopy": lambda: piblas.scopy(x, x2),
        "sswap": lambda: piblas.sswap(x, x2),
        "sscal": lambda: piblas.sscal(2.0, x),
        "srot": lambda: piblas.srot(x, x2, 0.6, 0.8),
        "srot in place": lambda: piblas.srot(x, x2, 0.6, 0.8, overwrite_x=1, overwrite_y=1),
        "sgemv": lambda: piblas.sgemv(1.0, a, x),
        "sgemv transposed": lambda: piblas.sgemv(1.0, a, y, trans=1),
        "sgemv with y": lambda: piblas.sgemv(1.5, a, x, beta=0.5, y=y),
        "sgemv in place": lambda: piblas.sgemv(1.5, a, x, beta=0.5, y=y, overwrite_y=1),
        "sgbmv": lambda: piblas.sgbmv(n, n, 2, 2, 1.0, band, x),
        "ssymv": lambda: piblas.ssymv(1.0, s, x),
        "ssbmv": lambda: piblas.ssbmv(4, 1.0, band, x),
        "sspmv": lambda: piblas.sspmv(n, 1.0, ap, x),
        "strmv": lambda: piblas.strmv(s, x),
        "stpmv": lambda: piblas.stpmv(n, ap, x),
        "sger": lambda: piblas.sger(1.0, y, x, a=a),
        "sger in place": lambda: piblas.sger(1.0, y, x, a=a, overwrite_a=1),
        "sger without a": lambda: piblas.sger(1.0, y, x),
        "ssyr": lambda: piblas.ssyr(1.0, x, a=s),
        "ssyr in place": lambda: piblas.ssyr(1.0, x, a=s, overwrite_a=1),
        "ssyr2": lambda: piblas.ssyr2(1.0, x, x2, a=s),
        "sspr": lambda: piblas.sspr(n, 1.0, x, ap),
    }


def plain(array):
    return array


PLACES = {"staged": plain, "resident": piblas.array}
NAMES = list(calls(plain, 5, 4))


@pytest.fixture(scope="module")
def null():
    return NullDevice()


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_a_repeated_call(name, where, null, fresh):
    with piblas.use(null):
        call = calls(PLACES[where], M, N)[name]
        call(), call()
        launches = null.launches
        assert function_calls(call) <= REPEATED
        assert null.launches > launches


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_the_first_call_of_a_shape(name, where, null, fresh):
    with piblas.use(null):
        calls(PLACES[where], M, N)[name]()  # loads the program
        other = calls(PLACES[where], M + 16 * NAMES.index(name) + 17, N + 1)[name]
        assert function_calls(other) <= FIRST


def test_what_is_counted():
    assert function_calls(lambda: None) == 0
    assert function_calls(lambda: [abs(-1), len([])]) == 2
