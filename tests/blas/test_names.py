"""piblas has every name of scipy.linalg.blas, with the same signature, made when first wanted."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest
from scipy.linalg import blas

import piblas
from piblas import BlasError, routines
from piblas.blas import functions, scipy_blas

# What SciPy's module exports: the Fortran wrappers, and its own helpers.
WRAPPERS = sorted(
    name
    for name in dir(blas)
    if re.match(rf"[\w, ]+ = {name}\(", getattr(blas, name).__doc__ or "")
)
HEAD = re.compile(
    r"(?P<returns>[\w,]+) = (?P<name>\w+)\((?P<wanted>[^\[)]*)(?:\[(?P<rest>.*)\])?\)"
)


def test_there_are_as_many_as_there_should_be():
    assert len(WRAPPERS) >= 145
    assert set(blas.__all__) == set(routines.HELPERS)


@pytest.mark.parametrize("name", WRAPPERS + list(blas.__all__))
def test_every_name_is_there(name):
    assert callable(getattr(piblas, name))
    assert name in dir(piblas)
    assert getattr(piblas, name) is getattr(piblas.blas, name)


@pytest.mark.parametrize("name", WRAPPERS)
def test_signature(name):
    """Order, names, what may be left out, and the defaults, as SciPy's docstring gives them."""
    text = getattr(blas, name).__doc__
    head = HEAD.match(text)
    assert head["name"] == name
    wanted = [each for each in head["wanted"].split(",") if each]
    rest = [each for each in (head["rest"] or "").split(",") if each]
    parameters = inspect.signature(getattr(piblas, name)).parameters
    assert list(parameters) == wanted + rest
    unset = inspect.Parameter.empty
    assert [n for n, p in parameters.items() if p.default is unset] == wanted
    assert routines.ROUTINES[name].family.returns == head["returns"]
    for each in rest:
        default = re.search(rf"^{each} : input .*, optional\n +Default: (.*)$", text, re.M)
        mine = parameters[each].default
        if mine is None:  # computed from the others, or an array of zeros
            assert each in ("n", "a", "c", "y")
        else:
            theirs = default[1].strip("()").split(",")
            assert [float(part) for part in theirs] == [mine, 0.0][: len(theirs)]


@pytest.mark.parametrize("name", WRAPPERS)
def test_help(name):
    """Help names every argument, and the type of the arrays, whoever wrote it."""
    function = getattr(piblas, name)
    assert function.__name__ == name and function.__module__.startswith("piblas")
    for argument in inspect.signature(function).parameters:
        assert re.search(rf"\b{argument}\b", function.__doc__)
    if name != "sgemm":
        row = routines.ROUTINES[name]
        assert ("Runs on the QPUs where" in function.__doc__) == (row.kernel is not None)
        for argument in row.modified:
            assert f"\n{argument} : " in function.__doc__
            assert "Changed in place if it is a contiguous" in function.__doc__
        kind = {"s": "float32", "d": "float64", "c": "complex64", "z": "complex128"}[row.type]
        if row.sizes:
            assert kind in function.__doc__
        if row.kernel and name not in ("scopy", "sswap", "isamax"):
            text = " ".join(function.__doc__.split())
            assert "u = 2**-23" in text and ("Inf" in text)
            assert "the same bits for the same call" in text


def test_no_name_that_this_scipy_lacks(monkeypatch):
    """Other releases of SciPy have csymv; where it is missing, piblas has none either."""
    for name in set(routines.ROUTINES) - set(WRAPPERS) - set(routines.EXTENSIONS):
        assert name not in dir(piblas)
        with pytest.raises(AttributeError, match=f"module 'piblas' has no attribute '{name}'"):
            getattr(piblas, name)
    for module in (piblas, piblas.blas):
        with pytest.raises(AttributeError, match="has no attribute 'sgemmm'"):
            module.sgemmm  # noqa: B018
    less = {name: value for name, value in scipy_blas.functions().items() if name != "zcopy"}
    monkeypatch.setattr(scipy_blas, "functions", lambda: less)
    monkeypatch.delitem(functions._made, "zcopy", raising=False)
    assert functions.function("zcopy") is None and "zcopy" not in functions.exported()


def test_importing_piblas_does_not_import_scipy():
    code = (
        "import sys, piblas\n"
        "print('scipy' in sys.modules)\n"
        "from piblas import saxpy, get_blas_funcs\n"
        "print(saxpy([1.0], [2.0]), 'scipy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "[3.] True"]


# --- get_blas_funcs, find_best_blas_type --------------------------------------------------------


def test_get_blas_funcs():
    arrays = (np.zeros((2, 2), np.float32, order="F"), np.zeros(2, np.float32))
    gemv, dot = piblas.get_blas_funcs(("gemv", "dotc"), arrays)
    assert (gemv, dot) == (piblas.sgemv, piblas.sdot)
    for mine, theirs in zip((gemv, dot), blas.get_blas_funcs(("gemv", "dotc"), arrays)):
        for name in functions.ATTRIBUTES:
            assert getattr(mine, name) == getattr(theirs, name)
    assert gemv.typecode == gemv.prefix == "s" and gemv.dtype == np.float32
    assert piblas.get_blas_funcs("gemm", dtype="f") is piblas.sgemm
    assert piblas.get_blas_funcs("gemm") is piblas.dgemm
    assert piblas.get_blas_funcs("nrm2", dtype="D") is piblas.dznrm2
    assert piblas.get_blas_funcs("ger", dtype="F") is piblas.cgerc
    names = list(inspect.signature(piblas.get_blas_funcs).parameters)
    assert names == list(inspect.signature(blas.get_blas_funcs).parameters)
    assert piblas.get_blas_funcs.memo is blas.get_blas_funcs.memo


def test_get_blas_funcs_refuses():
    with pytest.raises(BlasError, match="argument names = 'foo': BLAS function dfoo could not"):
        piblas.get_blas_funcs("foo")
    with pytest.raises(BlasError, match="Invalid value for 'ilp64'"):
        piblas.get_blas_funcs("gemm", ilp64="yes")


def test_functions_of_another_build():
    """With 64-bit integers SciPy chooses functions of another module: they stay on the CPU."""

    class Routine64:
        __name__ = "function saxpy"

        def __call__(self, *args):
            return "64"

    original = Routine64()
    made = functions.wrap(original)
    assert made is functions.wrap(original) is not piblas.saxpy
    assert made(1, 2) == "64" and made.__name__ == "saxpy"
    assert functions.wrap(made) is made
    assert functions.wrap(piblas.saxpy) is piblas.saxpy


@pytest.mark.parametrize("kinds", ["f", "d", "F", "D", "fd", "fD", "Fd", "i", "?"])
def test_find_best_blas_type(kinds):
    arrays = tuple(np.zeros(1, kind) for kind in kinds)
    assert piblas.find_best_blas_type(arrays) == blas.find_best_blas_type(arrays)
