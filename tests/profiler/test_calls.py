"""Sample calls: valid for SciPy's functions, with the sizes that were asked for."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import scipy.linalg.blas

from piblas.cli import calls
from piblas.cli import profile as command
from piblas.routines import ROUTINES


@pytest.mark.parametrize("options", [calls.Options(), calls.Options(0.5, 2.0, "tn")])
@pytest.mark.parametrize("name", [n for n in calls.routines() if ROUTINES[n].family.scipy])
def test_calls_are_scipys(name, options):
    names = ROUTINES[name].sizes
    sizes = dict(zip(names, (5, 7, 1, 2) if "kl" in names else (5, 7, 3)))
    result = calls.prepare(name, getattr(scipy.linalg.blas, name), sizes, options)()
    parts = result if isinstance(result, tuple) else (result,)
    for part in parts:
        if isinstance(part, np.ndarray):
            assert part.dtype == np.float32
            assert part.shape in {(5,), (5, 7), (5, 5), (15,)}
            assert np.isfinite(part).all() and part.any()


def test_operands_are_the_same_each_time():
    sizes = {"m": 4, "n": 4, "k": 4}
    seen = []
    for _ in range(2):
        call = calls.prepare("sgemm", lambda *args, **kw: args[1:], sizes, calls.Options())
        seen.append(call())
    for one, two in zip(*seen):
        assert (one == two).all()


def test_only_routines_with_a_kernel():
    names = calls.routines()
    assert "sgemm" in names
    assert all(ROUTINES[name].kernel for name in names)


def test_trans_goes_with_sgemm(monkeypatch, capsys):
    parser = argparse.ArgumentParser(prog="piblas profile")
    args = argparse.Namespace(
        parser=parser, routine="saxpy", sizes=[5], trans="tn", qpus=1, hot=1, timing="calibrated"
    )
    row = ROUTINES["sgemm"]._replace(name="saxpy", sizes=("n",))
    monkeypatch.setitem(ROUTINES._made, "saxpy", row)
    with pytest.raises(SystemExit):
        command._call(args)
    assert "--trans goes with sgemm" in capsys.readouterr().err
