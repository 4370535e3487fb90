"""Piblas's functions in place of SciPy's: as attributes, pickled, copied, their errors caught."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
from scipy.linalg import _fblas, blas

import piblas
from piblas import BlasError, errors
from piblas.blas import functions

ERROR = getattr(_fblas, "__fblas_error", None) or _fblas.error
A = np.ones((2, 3), np.float32)
NAMES = ["sgemm", "saxpy", "dgemm", "sgemv", "cher2k", "isamax"]


@pytest.mark.parametrize("name", NAMES)
def test_no_binding(name):
    function = getattr(piblas, name)

    class Holder:
        kept = function

    assert Holder.kept is Holder().kept is function
    assert not hasattr(type(function), "__get__")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "way",
    [
        copy.copy,
        copy.deepcopy,
        lambda function: pickle.loads(pickle.dumps(function, 0)),
        lambda function: pickle.loads(pickle.dumps(function)),
    ],
)
def test_copies_are_the_same(name, way):
    assert way(getattr(piblas, name)) is getattr(piblas, name)


@pytest.mark.parametrize("name", NAMES)
def test_attributes(name):
    """What SciPy's objects have, and what Python's tools look at."""
    function = getattr(piblas, name)
    for each in functions.ATTRIBUTES:
        setattr(function, each, getattr(function, each, None))
    assert type(function._cpointer) is type(getattr(blas, name)._cpointer)
    assert function.__name__ == name and name in repr(function) and name in function.__doc__
    assert list(inspect.signature(function).parameters)[0] in ("alpha", "x", "a")


def test_too_few_arguments():
    with pytest.raises(TypeError, match=r"^sgemm\(\) missing 1 required positional argument: 'b'"):
        piblas.sgemm(1.0, A)


@pytest.mark.parametrize("call", [
    lambda: piblas.sgemm(1.0, A, A),
    lambda: piblas.saxpy([1.0], [2.0], n=9),
    lambda: piblas.dnrm2([1.0, 2.0], incx=-1),
    lambda: piblas.sgemm_batch(1.0, [A], [A]),
    lambda: piblas.empty(-1),
])  # fmt: skip
def test_errors_are_caught_as_scipys(call):
    with pytest.raises(ERROR) as caught:
        call()
    error = caught.value
    assert isinstance(error, BlasError) and isinstance(error, ValueError)
    assert type(error).__name__ == "BlasError"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and again.value == error.value
    assert str(copy.copy(error)) == str(error)


def test_no_scipy_no_import():
    code = (
        "import sys, pickle, piblas\n"
        "try:\n    piblas.array('x')\n"
        "except piblas.BlasError as error:\n"
        "    print(type(error) is piblas.BlasError, 'scipy' in sys.modules)\n"
        "    text = pickle.dumps(error)\n"
        "import scipy.linalg.blas\n"
        "from scipy.linalg import _fblas\n"
        "kind = getattr(_fblas, '__fblas_error', None) or _fblas.error\n"
        "print(isinstance(pickle.loads(text), kind))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "True"]


def test_both_builds_of_scipy(monkeypatch):
    """Where SciPy has functions for 64-bit integers, their error is another one."""
    wide = types.ModuleType("scipy.linalg._fblas_64")
    wide.error = type("error", (Exception,), {})
    monkeypatch.setitem(sys.modules, wide.__name__, wide)
    error = BlasError("sgemm", "a", 1, "wrong")
    assert isinstance(error, ERROR) and isinstance(error, wide.error)
    assert errors.BlasError("sgemm", "a", 1, "x").__class__ is error.__class__


WRONG = {
    "b": dict(b=A),
    "trans_a": dict(trans_a=3),
    "trans_b": dict(trans_b=-1),
    "c": dict(c=np.ones((5, 5), np.float32, order="F"), beta=1.0, overwrite_c=1),
    "a": dict(a=np.ones((2, 2, 2), np.float32)),
}


@pytest.mark.parametrize("target", ["cpu", "emulator"])
@pytest.mark.parametrize("argument", WRONG)
def test_sgemm_in_scipys_words(argument, target, device, fresh):
    call = {"alpha": 1.0, "a": A, "b": A.T, **WRONG[argument]}
    with pytest.raises(Exception) as theirs:
        blas.sgemm(**call)
    with piblas.use("cpu" if target == "cpu" else device), pytest.raises(BlasError) as mine:
        piblas.sgemm(**call)
    assert mine.value.argument == argument
    assert str(theirs.value) in str(mine.value)
