"""strsm, strsv, stbsv, stpsv on the emulated QPUs: the backward error on ill-conditioned triangles.

The bar is 50 n u, u = 2**-23, column by column in the norm of the maximum.
"""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from triangular_systems import F32, LIMIT, SYSTEMS, U, backward_error, cases, right_hand_sides, system

import piblas
from piblas.blas import triangles
from piblas.driver import Emulator
from piblas.kernels import triangle
from piblas.kernels.triangle import Method

ASKED = "the emulator was asked for"
FLAGS = list(itertools.product((0, 1), repeat=4))
WIDTHS = (1, 3, 16, 37, 100)


@pytest.fixture(scope="module")
def quick_device():
    with Emulator(memory=32 << 20, seed=13, timing="off") as dev:
        yield dev


@pytest.fixture
def emulator(quick_device, fresh):
    with piblas.use(quick_device):
        yield quick_device


def stored(rng, t, lower, trans):
    """(a, turn) for a lower triangle t: with op(a) = t[turn, turn]; what is not read is NaN."""
    turn = slice(None, None, 1 if bool(lower) != bool(trans) else -1)
    op = t[turn, turn]
    a = (op.T if trans else op).copy(order=rng.choice(["C", "F"]))
    read = np.tri(len(t), dtype=bool)
    a[~(read if lower else read.T)] = np.nan
    return a, turn


def solve(rng, name, n, width, side, lower, trans, diag):
    """The worst backward error of a call of strsm, over n u."""
    t, seen = system(rng, name, n, diag)
    b = right_hand_sides(rng, seen, width)
    # On the right a transposed triangle does what one does on the left.
    a, turn = stored(rng, t, lower, bool(trans) != bool(side))
    given = b[turn].T if side else b[turn]
    x = piblas.strsm(1.0, a, given, side, lower, trans, diag)
    x = (x.T if side else x)[turn]
    return backward_error(seen, x, b).max() / (n * U)


def judge(name, n, error, *call):
    assert error <= LIMIT, f"{name} of order {n}, {call}: {error:.3g} n u"


def on_qpus():
    return piblas.stats().get("emulator", {}).get(ASKED, 0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_strsm(name, emulator):
    """Every order of a kind, each with some of the flags and widths."""
    rng = np.random.default_rng([1, *name.encode()])
    flags, widths = itertools.cycle(rng.permutation(FLAGS)), itertools.cycle(WIDTHS)
    for n in (n for kind, n in cases() if kind == name):
        for _ in range(4):
            call = next(widths), *(int(flag) for flag in next(flags))
            judge(name, n, solve(rng, name, n, *call), *call)
    assert on_qpus() >= (10 if name != "hilbert" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_strsm_with_all_flags(name, emulator):
    rng = np.random.default_rng([2, *name.encode()])
    worst = 0.0
    for (kind, n), flags, width in itertools.product(cases(), FLAGS, WIDTHS):
        if kind == name:
            error = solve(rng, name, n, width, *flags)
            judge(name, n, error, width, *flags)
            worst = max(worst, error)
    print(f"\n{name}: at most {worst:.3g} n u; {piblas.stats()}")
