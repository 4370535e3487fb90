"""Programs in the dialect of another assembler, py-videocore's, as words.

Its nop is ``nop.always r0``, its add operations set the flags unless told not to, its loads and
semaphores have both conditions, and its last word moves r0 to r0 in both units.
"""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from piblas.cli import main
from piblas.cli.files import read_program
from piblas.codegen import check
from piblas.driver import Emulator
from piblas.isa.instr import decode

PROGRAMS = sorted((pathlib.Path(__file__).parent / "foreign").glob("*.hex"))
NOP = 0x10020827009E7000

# Warnings about what these programs really do; H16 and H30 (stalls, padding) say nothing new.
EXPECTED = {
    "constants_by_element": {"H3"},  # a conditional add, then a rotation of another element
    "rotations_in_quads": {"H5"},
    "sgemm_loop": {"H29"},  # the last lookup is only there to be popped
}


def words(name):
    return read_program(str(next(path for path in PROGRAMS if path.stem == name))).words


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_no_errors(path, capsys):
    assert main(["check", str(path)]) == 0
    assert " 0 errors, " in capsys.readouterr().out
    rules = {finding.rule for finding in check(words(path.stem))}
    assert rules - {"H16", "H30"} == EXPECTED.get(path.stem, set())


def test_there_are_enough_and_they_are_of_the_dialect():
    assert len(PROGRAMS) >= 15
    for path in PROGRAMS:
        # The last word: r0 to r0 twice, then two nops.
        listed = read_program(str(path)).words
        end = [i for i, word in enumerate(listed) if word >> 60 == 3]
        assert end and all(listed[i + 1 : i + 3] == [NOP, NOP] for i in end)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_errors_are_still_found(path):
    """A read of a register in the word after its write, put before the program, is an error."""
    late = [0x10020067159E7000, 0x1002082715067D80]  # mov ra1, r0; mov r0, ra1
    assert [f.rule for f in check(late + words(path.stem)) if f.level == "error"] == ["H1"]


def test_a_nop_in_place_of_a_real_write():
    """The same words with a move to r0 where the nop was break the rule."""
    program = words("sum_by_rotation")
    assert decode(NOP).op_add == 0
    moved = [0x10020827159E7000 if word == NOP else word for word in program]  # mov r0, r0
    assert {f.rule for f in check(moved) if f.level == "error"} == {"H3"}


def run(device, name, *uniforms):
    program = device.load(np.array(words(name), np.uint64))
    device.execute(program, [np.array(row, np.uint32) for row in uniforms])
    program.free()


def test_sum_by_rotation_on_the_emulator(device):
    x = np.random.default_rng(1).integers(-8, 8, 16).astype(np.float32)
    data = device.alloc(128)
    data.array(np.float32, 16)[:] = x
    run(device, "sum_by_rotation", [data.bus_address, data.bus_address + 64])
    assert (data.array(np.float32, 32)[16:] == x.sum()).all()
    data.free()


def test_rotations_on_the_emulator():
    """It leaves the stride of stores as it is when a chip starts, which strict refuses."""
    with Emulator(memory=1 << 20, timing="off", keep_going=["vdw-setup"]) as device:
        _check_rotations(device)


def _check_rotations(device):
    x = np.random.default_rng(2).integers(0, 1 << 32, 16, np.uint32)
    data = device.alloc(64 * 32)
    data.array(np.uint32, 16)[:] = x
    run(device, "rotations", [data.bus_address, data.bus_address + 64])
    rows = data.array(np.uint32, 16 * 32).reshape(32, 16)[1:]
    expected = [np.roll(x, n) for n in (*range(1, 16), *range(16))]
    np.testing.assert_array_equal(rows, expected)
    data.free()


def test_semaphores_on_the_emulator(device):
    data = device.alloc(128)
    data.array(np.uint32, 16)[:] = 7
    rows = [[data.bus_address, data.bus_address + 64, thread] for thread in range(4)]
    for _ in range(2):  # the semaphores are back where they began
        run(device, "semaphores", *rows)
        assert (data.array(np.uint32, 32)[16:] == 7 + 4 * 50).all()
    data.free()
