"""A routine is found from its row alone: each one that has a kernel, whoever adds it.

What a row cannot say is looked for where it belongs: a launch function (level 1), a reference with
its bound (level 1), predictions, counts of function calls, and programs that the package brings.
"""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import numpy as np
import pytest

import piblas
from bench.null_device import NullDevice
from piblas.cli import calls
from piblas.dispatch import host_calls, predictions
from piblas.host import vectors
from piblas.kernels import reference, shipped, spec
from piblas.routines import EXTENSIONS, FAMILIES, KERNELS, ROUTINES

LEVEL_1 = [name for name in KERNELS if ROUTINES[name].level == 1]
SIZES = {"m": 24, "n": 40, "k": 5, "kl": 2, "ku": 3}


def test_kernels_are_those_of_the_rows():
    assert KERNELS == {name: row.kernel for name, row in ROUTINES.items() if row.kernel}
    assert all(name in ("isamax",) or name[0] == "s" for name in KERNELS)
    assert set(calls.routines()) == set(KERNELS)
    for family in FAMILIES:
        assert bool(family.kernel) == bool(family.error or family.exact), family.names
        assert family.kernel or family.scipy, f"nothing computes {family.names}"


@pytest.mark.parametrize("name", KERNELS)
def test_the_kernel_is_registered_for_the_routine(name):
    kernel = KERNELS[name]
    module = importlib.import_module(f"piblas.kernels.{kernel}")
    assert module.SPEC is spec.get(kernel) and name in module.SPEC.routines
    assert module.SPEC in {of for of, _ in shipped.shipped()}


@pytest.mark.parametrize("name", KERNELS)
def test_its_docstring_states_the_error(name):
    function = getattr(piblas, name)
    text = " ".join(function.__doc__.split())
    family = ROUTINES[name].family
    if name != "sgemm":  # whose docstring is its own
        assert " ".join((family.error or family.exact).split()) in text
        assert f"piblas.kernels.{KERNELS[name]}" in text
        assert (f"{name}{inspect.signature(function)}") in text
        assert ("scipy.linalg.blas" in text) and (("SciPy has no such" in text) != family.scipy)
    assert family.exact or "u = 2**-23" in text
    assert name in dir(piblas) and (name in EXTENSIONS) == (not family.scipy)


@pytest.mark.parametrize("name", KERNELS)
def test_its_sample_call_runs(name, fresh):
    """On a device that computes nothing, and on the CPU, where something comes out."""
    row = ROUTINES[name]
    sizes = {size: SIZES[size] for size in row.sizes}
    if row.kernel == "trsv":
        sizes["n"] = 300  # up to 128 unknowns are the CPU's to solve
    seen = []

    def recorded(*args, **kwargs):
        seen.append((*row.arguments[: len(args)], *kwargs))
        return getattr(piblas, name)(*args, **kwargs)

    device = NullDevice()
    try:
        with piblas.use(device):
            calls.prepare(name, recorded, sizes, calls.Options())()
        assert device.launches >= 1
    finally:
        device.close()
    assert set(row.arguments[: row.required]) <= set(seen[0]) <= set(row.arguments)
    with piblas.use("cpu"):
        result = calls.prepare(name, getattr(piblas, name), sizes, calls.Options())()
    parts = result if isinstance(result, tuple) else (result,)
    assert all(np.isfinite(part).all() and np.any(part) for part in parts)


@pytest.mark.parametrize("name", KERNELS)
def test_there_are_figures_for_dispatch(name):
    assert predictions.stored()["routines"][name]["kernel"] == KERNELS[name], (
        f"python -m bench predict {name}"
    )
    assert name in host_calls.stored()["routines"], "python -m bench host --update"
    sizes = {size: SIZES[size] for size in ROUTINES[name].sizes}
    assert set(piblas.why(name, board="pi1", resident=True, **sizes).seconds) == {"cpu", "qpu"}


@pytest.mark.parametrize("name", LEVEL_1)
def test_level_1_has_a_launch_function_and_a_reference(name):
    row = ROUTINES[name]
    assert (name in vectors.MAPS) != (name in vectors.REDUCTIONS)
    module = (vectors.MAPS.get(name) or vectors.REDUCTIONS[name])[0]
    assert module.SPEC is spec.get(KERNELS[name])
    of = reference.LEVEL_1[name]
    x, y = np.linspace(-1, 2, 20), np.linspace(3, -2, 20)
    given = {"x": x, "y": y, **reference.SCALARS}
    operands = [value for argument, value in given.items() if argument in row.arguments]
    results = of.value(*operands)
    with piblas.use("cpu"):
        arguments = {a: given[a] for a in row.arguments if a in given}
        arguments.update((v, np.array(given[v], np.float32)) for v in "xy" if v in arguments)
        got = getattr(piblas, name)(**arguments)
    got = got if isinstance(got, tuple) else (got,)
    assert len(got) == len(results)
    for one, other in zip(got, results):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for bound in of.bound(*operands)[: len(results)]:
        assert np.all(np.asarray(bound) >= 0) and np.all(np.asarray(bound) < 1e-4)


def test_importing_makes_no_row():
    """A process pays for the rows that it uses."""
    code = (
        "import piblas\n"
        "from piblas import routines\n"
        "before = len(routines._rows._made)\n"
        "routines.ROUTINES['saxpby']\n"
        "print(before, len(routines._rows._made))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before <= 1 and after == before + 1
