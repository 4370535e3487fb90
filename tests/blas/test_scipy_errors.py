"""Refused calls: BlasError with routine, argument and value, SciPy's words, nothing written."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from scipy.linalg import blas

import piblas
from piblas import BlasError, PiblasError
from piblas.blas import scipy_errors
from piblas.errors import brief
from piblas.routines import ROUTINES

F32 = np.float32
X, Y = np.arange(5, dtype=F32), np.ones(5, F32)
A = np.ones((3, 4), F32, order="F")

# routine, arguments, keywords, the argument at fault, its value, what SciPy says
REFUSED = [
    ("saxpy", (X, Y, 100), {}, "n", 100, "(len(y)-offy>(n-1)*abs(incy)) failed for 1st keyword n"),
    ("saxpy", (X, Y), {"incx": 0}, "incx", 0, "(incx>0||incx<0) failed for 4th keyword incx"),
    ("saxpy", (X, Y), {"offx": 9}, "offx", 9, "(offx>=0 && offx<len(x)) failed"),
    ("saxpy", (X, Y), {"offx": -1}, "offx", -1, "(offx>=0 && offx<len(x)) failed"),
    ("sdot", ([], []), {}, "offx", 0, "failed for 2nd keyword offx: sdot:offx=0"),
    ("snrm2", (X,), {"incx": -1}, "incx", -1, "(incx>0) failed"),
    ("saxpy", (X, Y), {"n": "a"}, "n", "a", "1st keyword (n) can't be converted to int"),
    ("saxpy", (X, Y), {"a": "z"}, "a", "z", "2nd keyword (a) can't be converted to float"),
    ("saxpy", (X, Y), {"n": 10**12}, "n", 10**12, "too large to convert"),
    ("saxpy", ("abc", Y), {}, "x", "abc", "could not convert string to float"),
    ("saxpy", (X, object()), {}, "y", "<object>", "float() argument must be"),
    ("saxpy", ([[1], [1, 2]], Y), {}, "x", "[[1], [1, 2]]", "setting an array element"),
    ("srotm", (X, Y, [1, 2, 3]), {}, "param", "[1, 2, 3]", "must be fixed to 5 but got 3"),
    ("sgemv", (1, A, X[:4]), {"trans": 3}, "trans", 3, "(trans>=0 && trans <=2) failed"),
    ("sgemv", ("q", A, X), {}, "alpha", "q", "1st argument (alpha) can't be converted"),
    ("ssymv", (1, A, X), {}, "a", (3, 4), "(shape(a,0)==shape(a,1)) failed for 2nd argument a"),
    ("sger", (1, X, Y), {"a": A}, "a", (3, 4), "0-th dimension must be fixed to 5 but got 3"),
    ("ssymm", (1, A, A), {}, "n", 4, "failed for hidden n"),
    ("ssbmv", (9, 1, A, X), {}, "k", 9, "(k>=0&&k<=lda-1) failed for 1st argument k"),
    ("sspmv", (5, 1, X, X), {}, "ap", (5,), "failed for 3rd argument ap"),
    ("sger", (1, X, Y), {"a": X}, "a", (5,), "1-th dimension must be 5 but got 0 (not defined)"),
    ("sger", (1, X, Y), {"a": X[:3]}, "a", (3,), "0-th dimension must be fixed to 5 but got 3"),
    ("dger", (1, X, Y), {"a": [1.0]}, "a", "[1.0]", "1-th dimension must be 5"),
    ("sger", (1, X, Y), {"a": A[None, :2, :2] + A[:3, None, None, :2]}, "a", (3, 1, 2, 2), "too"),
    ("sger", (1, X, Y), {"a": np.zeros((0, 0))}, "a", (0, 0), "unexpected array size"),
    ("ssyr", (1, X), {"a": X}, "a", (5,), "1-th dimension must be 5 but got 0 (not defined)"),
    ("zher2", (1, X, X), {"a": X}, "a", (5,), "1-th dimension must be 5 but got 0"),
    ("ssyrk", (1, A), {"c": X}, "c", (5,), "0-th dimension must be fixed to 3 but got 5"),
    ("sdot", (np.zeros((0, 0)), Y), {}, "x", (0, 0), "unexpected array size"),
    ("zgemm", (1, A, A), {}, None, None, "failed"),
]


@pytest.fixture(autouse=True, params=["cpu", "emulator"])
def backend(request, fresh):
    """The words are the same wherever calls are aimed."""
    wanted = "cpu" if request.param == "cpu" else request.getfixturevalue("device")
    with piblas.use(wanted):
        yield


@pytest.mark.parametrize(
    "routine, args, keywords, argument, value, words",
    REFUSED,
    ids=[f"{row[0]}-{row[3]}-{row[4]}" for row in REFUSED],
)
def test_refused(routine, args, keywords, argument, value, words):
    before = [np.array(each, copy=True) for each in args if isinstance(each, np.ndarray)]
    with pytest.raises(BlasError, match=re.escape(words)) as caught:
        getattr(piblas, routine)(*args, **keywords)
    error = caught.value
    assert isinstance(error, ValueError) and isinstance(error, PiblasError)
    assert error.routine == routine and str(error).startswith(f"{routine}: argument ")
    if argument is not None:
        assert (error.argument, error.value) == (argument, value)
    with pytest.raises(type(error.__cause__)) as theirs:
        getattr(blas, routine)(*args, **keywords)
    assert str(theirs.value) in str(error)
    after = [each for each in args if isinstance(each, np.ndarray)]
    for old, new in zip(before, after):
        np.testing.assert_array_equal(old, new)
    assert piblas.stats() == {}


@pytest.mark.parametrize("routine", ["sger", "dger", "cgerc", "zgeru"])
@pytest.mark.parametrize("place", [1, 2])
def test_ger_without_elements(routine, place):
    """SciPy would crash the process."""
    args = [1.0, X, Y]
    args[place] = []
    for call in (
        lambda function: function(*args),
        lambda function: function(**dict(zip(("alpha", "x", "y"), args))),
    ):
        with pytest.raises(BlasError, match=r"= \(0,\): wants at least one element") as caught:
            call(getattr(piblas, routine))
        assert caught.value.argument == " xy"[place]
    assert getattr(piblas, routine)(1.0, X, Y).shape == (5, 5)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: piblas.saxpy(), "missing required argument 'x'"),
        (lambda: piblas.ddot(X), "missing required argument 'y'"),
        (lambda: piblas.sdot(X, Y, foo=1), "'foo' is an invalid keyword argument"),
        (lambda: piblas.snrm2(X, 1, 0, 1, 1), "takes at most 4 arguments"),
        (lambda: piblas.sger(1.0, X), "missing required argument 'y'"),
    ],
)
def test_calls_that_do_not_fit_the_signature(call, words):
    with pytest.raises(TypeError, match=words):
        call()


def test_other_errors_pass():
    """A warning made an error is none about an argument, and no BlasError."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Warning, match="discards the imaginary part"):
            piblas.ddot(X + 1j, Y)
    assert scipy_errors.convert(ROUTINES["sdot"], (X, Y), {}, MemoryError()) is None


LONG = 10**400
LONGER = 10**5000  # that newer versions of Python do not write down


@pytest.mark.parametrize(
    "call",
    [
        lambda: piblas.sgemm(LONG, A, A),
        lambda: piblas.sgemm(1, A.T, A, trans_a=LONGER),
        lambda: piblas.sgemm(1, "a" * 10**5, A),
        lambda: piblas.saxpy(X, Y, n=LONGER),
        lambda: piblas.saxpy(X, Y, a=LONGER),
        lambda: piblas.saxpy(X, ["a" * 10**5]),
        lambda: piblas.sdot(X, Y, offx=-LONG),
        lambda: piblas.sgemm_batch(1, [A], [A.T], [LONGER]),
        lambda: piblas.sgemm_batch(1, "ab" * 10**5, [A]),
        lambda: piblas.somatcopy(LONG, A),
        lambda: piblas.empty(-LONGER),
        lambda: piblas.why("sgemm", m=LONGER, n=-LONG, k=1),
        lambda: piblas.why("sgemm" * 1000),
        lambda: piblas.get_blas_funcs(["no such name" * 1000]),
    ],
)
def test_long_values_are_abbreviated(call):
    with pytest.raises(BlasError) as caught:
        call()
    assert len(str(caught.value)) < 700


def test_how_values_are_abbreviated():
    class Bad:
        def __repr__(self):
            raise KeyError

    for value, text in (
        (-5, "-5"), ((2, 3), "(2, 3)"), ("abc", "'abc'"), (None, "None"), (1.5, "1.5"),
        (True, "True"), (2**64, "18446744073709551616"), ([LONG], "[<an integer of about 400"),
        (LONGER, "<an integer of about 5000 digits>"), (-LONG, "<an integer of about 400"),
        (Bad(), "<Bad instance at"), (np.float32(2), repr(np.float32(2))),
    ):  # fmt: skip
        assert brief(value).startswith(text) and len(brief(value)) < 70
    with pytest.raises(BlasError, match="sgemm: argument alpha = <an integer of about 400 digits>"):
        piblas.sgemm(LONG, A, A)


def test_an_argument_that_nobody_names():
    error = scipy_errors.convert(ROUTINES["sdot"], (X, None), {}, ValueError("no reason"))
    assert (error.argument, error.value) == ("of unknown name", None)
    assert str(error) == "sdot: argument of unknown name = None: no reason"
    arguments = list(range(99)), "a" * 99
    long = scipy_errors.convert(ROUTINES["sdot"], arguments, {}, ValueError("(y) too"))
    assert len(str(long)) < 100
    words = "1st keyword (n) failed for 1st keyword n: sdot:n=1.5"
    assert scipy_errors.convert(ROUTINES["sdot"], (X, Y), {}, ValueError(words)).value == "1.5"
