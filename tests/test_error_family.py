"""Every error comes through pickle and copy as it was: processes of a pool send them."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import pytest

from piblas import errors

MADE = {
    "PiblasError": lambda: errors.PiblasError("no"),
    "DecodeError": lambda: errors.DecodeError("no such op", 0x1234),
    "AssemblerError": lambda: errors.AssemblerError(
        "not so", where="a.py:3", instruction="nop", rule="H3"
    ),
    "VectorError": lambda: errors.VectorError("f", "no array is stored"),
    "BlasError": lambda: errors.BlasError("sgemm", "m", -1, "at least 0"),
    "DeviceError": lambda: errors.DeviceError("no", 3),
    "DeviceBusy": lambda: errors.DeviceBusy("process 7 has it"),
    "DeviceMissing": lambda: errors.DeviceMissing("none"),
    "DeviceTimeout": lambda: errors.DeviceTimeout("no end", "QPU 0, pc 1"),
    "OutOfDeviceMemory": lambda: errors.OutOfDeviceMemory("no room"),
    "EmulatorFault": lambda: errors.EmulatorFault(
        "no", qpu=3, pc=7, instruction="nop", unit="tmu", address=64, thread=1, rule="tmu"
    ),
}


def test_every_error_is_made_here():
    assert set(MADE) == set(errors.__all__)


def same(one, other):
    assert type(one) is type(other)
    assert (str(one), one.args, vars(one)) == (str(other), other.args, vars(other))


@pytest.mark.parametrize("name", MADE)
def test_pickle_and_copy(name):
    error = MADE[name]()
    error.remark = ["something of the caller"]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        same(pickle.loads(pickle.dumps(error, protocol)), error)
    same(copy.copy(error), error)
    same(copy.deepcopy(error), error)


class Mine(errors.BlasError):
    """As a user may derive one."""

    def __init__(self):
        super().__init__("saxpy", "n", None, "mine")


def test_a_class_of_the_users_own():
    same(pickle.loads(pickle.dumps(Mine())), Mine())


def _fails(name):
    raise MADE[name]()


@pytest.mark.parametrize("name", ["BlasError", "EmulatorFault"])
def test_a_worker_sends_its_error_home(name):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(getattr(errors, name)) as info:
            pool.apply_async(_fails, (name,)).get(timeout=60)
    same(info.value, MADE[name]())
