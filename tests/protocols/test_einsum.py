"""Random contractions by ``np.einsum`` and ``np.tensordot``, beside those of ordinary arrays."""

from __future__ import annotations

import numpy as np
import pytest

import piblas
from piblas.driver import Emulator

F32 = np.float32


@pytest.fixture(scope="module")
def chip():
    with Emulator(memory=16 << 20, seed=4, timing="off", incoherent=True) as dev:
        yield dev


@pytest.fixture
def device(chip, fresh):
    with piblas.use(chip):
        yield chip


def put(rng, array):
    """In device memory or not, in either order, or a part of a larger array."""
    how = rng.integers(0, 4)
    if how == 0:
        return array
    if how == 1 or array.ndim == 0:
        return piblas.array(array, order="F" if rng.integers(0, 2) else "C")
    larger = piblas.zeros([2 * length for length in array.shape])
    part = larger[tuple([slice(None, None, 2)] * array.ndim)]
    part[...] = array
    return part


@pytest.mark.parametrize("seed", range(40))
def test_contraction(seed, device):
    """Repeated labels, labels of length 1 that broadcast, ellipses, results in any order."""
    rng = np.random.default_rng(seed)
    sizes = dict(zip("abcdef", rng.integers(1, 5, 6).tolist()))
    count = int(rng.integers(2, 5))
    terms, arrays, dots = [], [], rng.integers(0, 2)
    for _ in range(count):
        labels = "".join(rng.choice(list("abcdef"), rng.integers(1, 4)))
        shape = [sizes[letter] if rng.integers(0, 6) else 1 for letter in labels]
        for n, letter in enumerate(labels):  # a label twice in a term has one length
            shape[n] = shape[labels.index(letter)]
        stack = [2, 3][rng.integers(0, 3) :] if dots else []
        terms.append(("..." if dots else "") + labels)
        arrays.append(rng.integers(-3, 4, [*stack, *shape]).astype(F32))
    letters = sorted({letter for term in terms for letter in term if letter != "."})
    result = "".join(rng.permutation([each for each in letters if rng.integers(0, 2)]).tolist())
    text = ",".join(terms)
    if dots or rng.integers(0, 3):
        text += "->" + ("..." if dots else "") + result
    wanted = np.einsum(text, *arrays)
    given = [put(rng, array) for array in arrays]
    if not any(isinstance(array, piblas.DeviceArray) for array in given):
        given[0] = piblas.array(given[0])
    for optimize in (False, True, "greedy", "optimal"):
        got = np.einsum(text, *given, optimize=optimize)
        assert got.shape == wanted.shape and got.dtype == wanted.dtype, text
        np.testing.assert_array_equal(np.asarray(got), wanted, text)


@pytest.mark.parametrize("seed", range(20))
def test_tensordot(seed, device):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, 5).tolist()
    first = rng.permutation(5)[: rng.integers(1, 5)].tolist()
    second = rng.permutation(5)[: rng.integers(1, 5)].tolist()
    shared = [axis for axis in first if axis in second]
    axes = [first.index(axis) for axis in shared], [second.index(axis) for axis in shared]
    a, b = (
        rng.integers(-3, 4, [sizes[axis] for axis in each]).astype(F32) for each in (first, second)
    )
    got = np.tensordot(piblas.array(a), put(rng, b), axes)
    wanted = np.tensordot(a, b, axes)
    assert got.shape == wanted.shape
    np.testing.assert_array_equal(np.asarray(got), wanted)
    assert bool(piblas.stats()) == bool(shared)


@pytest.mark.parametrize("seed", range(40))
def test_matmul(seed, device):
    """Any axes, broadcasting, strides and orders."""
    rng = np.random.default_rng(seed)
    m, k, n = rng.integers(1, 9, 3).tolist()
    stacks = [[], [3], [1], [2, 3], [2, 1], [1, 3]]
    left = [*stacks[rng.integers(0, 6)], m, k] if rng.integers(0, 4) else [k]
    right = [*stacks[rng.integers(0, 6)], k, n] if rng.integers(0, 4) else [k]
    a, b = (rng.integers(-3, 4, shape).astype(F32) for shape in (left, right))
    x, y = piblas.array(a), put(rng, b)
    for call in (np.matmul, np.dot):
        try:
            wanted = call(a, b)
        except ValueError as error:
            with pytest.raises(ValueError) as caught:
                call(x, y)
            assert str(caught.value) == str(error)
            continue
        got = call(x, y)
        assert np.shape(got) == np.shape(wanted) and type(got).__name__ in (
            type(wanted).__name__, "DeviceArray",
        )  # fmt: skip
        np.testing.assert_array_equal(np.asarray(got), wanted)
        out = np.full(np.shape(wanted), 7, F32)
        if call is np.matmul and out.ndim:
            assert np.matmul(x, y, out=out) is out
            np.testing.assert_array_equal(out, wanted)
            wide = np.zeros(np.shape(wanted), np.float64).swapaxes(0, -1)
            if wide.shape == out.shape:
                np.matmul(x, y, out=wide)
                np.testing.assert_array_equal(wide, wanted)
    assert list(piblas.stats()) == ["emulator"]
