"""How the diagonal blocks of a solve are judged, and what is done for those that need more."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.kernels import gemm_layout, triangle
from piblas.kernels.triangle import Method, Substitution

F32 = np.float32


def judged(t, block):
    t = t.astype(F32)
    return triangle.methods(t, triangle.inverted(t, block), block)


@pytest.mark.parametrize("n", (1, 2, 16, 17, 100))
def test_the_unit_matrix(n):
    assert set(judged(np.eye(n), 16)) == {Method.MULTIPLY}


def test_the_more_ill_conditioned_the_more_is_done():
    """A chain of ones below the diagonal: the inverse of order n has no small element."""
    found = []
    for weight in np.linspace(0, 4, 60):
        t = np.eye(64) - weight * np.tri(64, k=-1)
        found.append(judged(t, 64)[0])
    assert found == sorted(found, key=list(Method).index)
    assert set(found) == set(Method)


def test_scaling_does_not_count():
    """Neither that of the whole, nor where the last block is shorter than the others."""
    rng = np.random.default_rng(0)
    t = np.tril(rng.standard_normal((40, 40)), -1) / 2 + np.eye(40)
    kinds = judged(t, 16)
    assert len(kinds) == 3
    for exponent in (-100, -40, 40, 80):
        assert judged(np.ldexp(t, exponent), 16) == kinds


def test_small_blocks_of_a_large_triangle():
    """A residual counts by the norm of the whole: large rows elsewhere make it small."""
    t = np.kron(np.eye(2), np.eye(32) - np.tri(32, k=-1) / 4)
    assert set(judged(t, 32)) == {Method.REFINE}
    t[32, 0] = 1e6
    assert set(judged(t, 32)) == {Method.MULTIPLY}


def test_an_inverse_that_float32_cannot_hold():
    t = np.eye(100) - 8 * np.eye(100, k=-1)
    assert judged(t, 100) == (Method.SUBSTITUTE,)
    whole = np.kron(np.eye(2), t)
    whole[100:, 100:] = np.eye(100)
    assert judged(whole, 100) == (Method.SUBSTITUTE, Method.MULTIPLY)


def test_an_inverse_with_denormals():
    """Elements of the inverse that the QPUs take for 0 are wrong by all that they are."""
    t = (np.eye(4) + np.tri(4, k=-1) / 8) * 2.0**125
    assert (np.abs(triangle.inverted(t.astype(F32), 4)[1:, 0]) < 2.0**-126).all()
    assert judged(t, 4) == (Method.SUBSTITUTE,)
    assert judged(np.eye(4) * 2.0**125, 4) == (Method.MULTIPLY,)


def test_steps_of_each_method():
    n, m = 300, 40
    options = triangle.choose(n, m)
    p, q = gemm_layout.packed_words(options, n, m, n)
    block = triangle.block_of(options)
    methods = (Method.MULTIPLY, Method.REFINE, Method.SUBSTITUTE)
    steps = list(triangle.solve(options, p, q, 0, methods))
    kinds = [step if isinstance(step, Substitution) else step.added for step in steps]
    last = Substitution(2 * block, n)
    assert kinds == [False, True, False, True, True, True, last]


def test_diagonals():
    rng = np.random.default_rng(0)
    t = np.tril(rng.standard_normal((40, 40))).astype(F32)
    found = triangle.diagonals(t, 16)
    assert found.shape == (16, 40)
    for begin in (0, 16, 32):
        own = slice(begin, min(begin + 16, 40))
        rows = own.stop - begin
        np.testing.assert_array_equal(found[:rows, own], -t[own, own].T)
        assert not found[rows:, own].any()
    np.testing.assert_array_equal(triangle.diagonals(t, 128), -t.T)
