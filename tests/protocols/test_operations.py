"""A table of NumPy's operations on device arrays beside ordinary ones: values, types, shapes,
classes, and where the results lie."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import piblas
from piblas.driver import Emulator
from piblas.host.placement import owner

from .operations import ERRORS, OPERATIONS, operands

ALL = [(kind, name) for kind, row in OPERATIONS.items() for name in row]


@pytest.fixture(scope="module")
def chip():
    with Emulator(memory=16 << 20, seed=4, timing="off", incoherent=True) as dev:
        yield dev


@pytest.fixture
def device(chip, fresh):
    with piblas.use(chip):
        yield chip


def held(array):
    """The array on the device, in its order."""
    made = piblas.empty(array.shape, array.dtype, "F" if array.flags.fnc else "C")
    made[...] = array
    return made


def same(got, wanted):
    """Equal in value, type, shape and order, item by item."""
    if isinstance(wanted, (tuple, list)):
        assert isinstance(got, type(wanted)) and len(got) == len(wanted)
        for one, other in zip(got, wanted):
            same(one, other)
        return
    if not isinstance(wanted, (np.ndarray, np.generic)):
        assert type(got) is type(wanted) and got == wanted
        return
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))
    assert isinstance(got, np.generic) == isinstance(wanted, np.generic)


def arrays_of(value):
    if isinstance(value, (tuple, list)):
        return [array for each in value for array in arrays_of(each)]
    return [value] if isinstance(value, np.ndarray) else []


def test_the_table_is_long():
    assert len(ALL) >= 150


@pytest.mark.parametrize("kind, name", ALL)
def test_operation(kind, name, device):
    call = OPERATIONS[kind][name]
    ours, theirs = operands(held), operands(lambda array: array)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got, wanted = call(ours), call(theirs)
    same(got, wanted)
    # Operands that were changed, or were not.
    for letter, plain in vars(theirs).items():
        np.testing.assert_array_equal(np.asarray(getattr(ours, letter)), plain, letter)
    on_qpus = "emulator" in piblas.stats()
    memories = [owner(each) for each in vars(ours).values()]
    if kind == "product":
        assert on_qpus and "cpu" not in piblas.stats()
    if kind == "numpy":
        assert not on_qpus
        for array, plain in zip(arrays_of(got), arrays_of(wanted)):
            assert type(array) is type(plain)
            assert not any(owner(array) is each for each in memories)
        return
    if kind == "same":
        assert any(got is each for each in vars(ours).values())
    if isinstance(got, np.ndarray):
        assert type(got) is piblas.DeviceArray and got.on_device is device
        assert (kind in ("product", "copy")) != any(owner(got) is each for each in memories) or (
            name == "a @= s"
        )
    if kind == "copy" or (kind == "product" and "einsum" not in name and np.ndim(got) > 1):
        for flag in ("c_contiguous", "f_contiguous"):
            assert getattr(got.flags, flag) == getattr(wanted.flags, flag)


@pytest.mark.parametrize("kind, name", ALL)
def test_without_a_device(kind, name, fresh):
    """The same table with device arrays in ordinary memory, computed by NumPy."""
    call = OPERATIONS[kind][name]
    with piblas.use("cpu"):
        ours, theirs = operands(held), operands(lambda array: array)
        got, wanted = call(ours), call(theirs)
    same(got, wanted)
    memories = [owner(each) for each in vars(ours).values()]
    for array, plain in zip(arrays_of(got), arrays_of(wanted)):
        if kind in ("view", "same", "copy") or name == "a @= s":
            assert type(array) is piblas.DeviceArray and array.on_device is None
        else:
            assert type(array) is type(plain)
            assert not any(owner(array) is each for each in memories)


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_numpys(name, device):
    call = ERRORS[name]
    texts = []
    for put in (held, lambda array: array):
        given = operands(put)
        before = {letter: np.array(array) for letter, array in vars(given).items()}
        with pytest.raises(Exception) as caught:
            call(given)
        for letter, array in before.items():
            np.testing.assert_array_equal(np.asarray(getattr(given, letter)), array)
        texts.append((caught.type, str(caught.value).replace("DeviceArray", "numpy.ndarray")))
    (kind, text), (wanted, words) = texts
    assert kind is wanted
    assert text == words or "operand type(s) all returned" in text or "unsupported operand" in text
