"""Register files, accumulators, special reads, small immediates, loads, uniforms (p. 17-23, 37)."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from harness import END, assemble, store, store_uniforms

from piblas.errors import EmulatorFault
from piblas.isa import modes

VALUES = ref.random_patterns(64, 71)


@pytest.mark.parametrize("file", ["ra", "rb"])
def test_every_register_of_a_file_holds_its_own_16_elements(lab, file):
    names = [f"{file}{index}" for index in range(28)]
    inputs = {name: [1000 * index + e for e in range(16)] for index, name in enumerate(names)}
    got = lab.vectors(["nop"], inputs, names)
    for name in names:
        assert got[name][0].tolist() == inputs[name]


def test_all_64_registers_are_apart(lab):
    lines = []
    for index in range(32):
        lines += [f"ldi ra{index}, -, {0xA00 + index}", f"ldi -, rb{index}, {0xB00 + index}"]
    names = [f"r{file}{index}" for file in "ab" for index in range(32)]
    for row, name in enumerate(names):
        if row % 16 == 0:
            lines.append(f"ldi vpm_wr_setup, -, {0x1A00 + row:#x}")
        lines.append(f"mov vpm, {name}")
    lines += ["ldi vpm_wr_setup, -, 0xa0104000", "ldi vpm_wr_setup, -, 0xc0000000"]
    lines += ["mov vdw_addr, unif", "mov -, vdw_wait"] + END
    out = lab.device.alloc(4096)
    lab.run(lines, [[out.bus_address]])
    got = out.array(np.uint32, (64, 16)).copy()
    out.free()
    want = [0xA00 + i for i in range(32)] + [0xB00 + i for i in range(32)]
    assert got.tolist() == [[value] * 16 for value in want]


def test_accumulators_hold_16_elements_and_are_readable_at_once(lab):
    inputs = {f"r{index}": VALUES[16 * index : 16 * index + 16] for index in range(4)}
    body = ["mov r0, r1", "mov r1, r0", "mov r2, r3; m_mov r3, r2", "mov ra1, r2"]
    got = lab.vectors(body, inputs, ["r0", "r1", "r2", "r3", "ra1"])
    want = [inputs["r1"], inputs["r1"], inputs["r3"], inputs["r2"], inputs["r3"]]
    assert [got[name][0].tolist() for name in ("r0", "r1", "r2", "r3", "ra1")] == want


@pytest.mark.parametrize(
    "line, add, mul",
    [
        ("mov ra1, r0; m_mov rb1, r1", "ra1", "rb1"),
        ("mov rb1, r0; m_mov ra1, r1", "rb1", "ra1"),
        ("mov ra1, r0; m_mov rb1, r1", "ra1", "rb1"),
        ("mov r2, r0; m_mov ra1, r1", "r2", "ra1"),
        ("mov r2, r0; m_mov r3, r1", "r2", "r3"),
        ("mov rb1, r0; m_mov r3, r1", "rb1", "r3"),
    ],
)
def test_the_write_swap_bit_exchanges_the_files(lab, line, add, mul):
    inputs = {"r0": 0x10, "r1": 0x20, "ra1": 1, "rb1": 2}
    got = lab.vectors([line], inputs, [add, mul])
    assert (got[add] == 0x10).all() and (got[mul] == 0x20).all()


def test_equal_numbers_in_the_two_files_are_different_registers(lab):
    got = lab.vectors(["add r2, ra3, rb3"], {"ra3": 5, "rb3": 70}, ["r2", "ra3", "rb3"])
    assert [got[name][0, 0] for name in ("r2", "ra3", "rb3")] == [75, 5, 70]


def test_one_register_feeds_all_four_operands(lab):
    got = lab.vectors(["add r2, ra3, ra3; mul24 r3, ra3, ra3"], {"ra3": 9}, ["r2", "r3"])
    assert (got["r2"] == 18).all() and (got["r3"] == 81).all()


def test_r4_keeps_its_value_and_the_word_that_loads_it_sees_the_old_one(lab):
    data = lab.device.alloc(64)
    data.array(np.uint32, (16,))[:] = 0x55
    body = ["mov t0s, r3", "nop", "mov r0, r4; ldtmu0", "mov r1, r4", "nop", "nop", "mov r2, r4"]
    address = [data.bus_address + 4 * e for e in range(16)]
    got = lab.vectors(body, {"r3": address, "r4": 0x44}, ["r0", "r1", "r2", "r4"])
    data.free()
    assert [got[name][0, 0] for name in ("r0", "r1", "r2", "r4")] == [0x44, 0x55, 0x55, 0x55]


def test_element_number(lab):
    assert lab.vectors(["mov r0, elem_num"])["r0"][0].tolist() == list(range(16))


def test_qpu_number_of_each_of_twelve(lab):
    lines = ["mov r0, qpu_num", "mov r1, elem_num"] + store("r0") + END
    out = lab.device.alloc(12 * 64)
    rows = [store_uniforms(out.bus_address + 64 * q, q) for q in range(12)]
    lab.run(lines, rows)
    got = out.array(np.uint32, (12, 16)).copy()
    out.free()
    assert got.tolist() == [[q] * 16 for q in range(12)]


def test_the_nop_address_discards(lab):
    got = lab.vectors(["mov -, r1; m_mov -, r2"], {f"r{i}": 10 + i for i in range(4)}, ["r0", "r3"])
    assert (got["r0"] == 10).all() and (got["r3"] == 13).all()


# --- immediates --------------------------------------------------------------------------------


def test_every_small_immediate(lab):
    body, outputs, want = [], [], []
    for code in range(64):
        # Codes 48..63 rotate a mul result (here of nobody) and show a number on the operand.
        text = modes.SMALL_IMMS[code].text
        if code >= 48:
            body.append(f"mov r0, 0 !small_imm={code}")
        else:
            body.append(f"mov r0, {text}")
        body.append(f"mov r{'ab'[code % 2]}{code // 2 % 14}, r0")
        outputs.append(f"r{'ab'[code % 2]}{code // 2 % 14}")
        want.append(ref.small_imm(code))
    for start in range(0, 64, 16):
        part = slice(start, start + 16)
        got = lab.vectors(body[2 * start : 2 * start + 32], {}, outputs[part])
        assert [int(got[name][0, 0]) for name in outputs[part]] == want[part]
        assert all((got[name] == got[name][0, 0]).all() for name in outputs[part])


@pytest.mark.parametrize("code", range(48))
def test_small_immediate_as_mul_operand(lab, code):
    text = modes.SMALL_IMMS[code].text
    got = lab.vectors([f"m_mov r2, {text}; add r3, ra1, {text}"], {"ra1": 1}, ["r2", "r3"])
    assert (got["r2"] == ref.small_imm(code)).all()
    assert (got["r3"] == (ref.small_imm(code) + 1 & ref.M32)).all()


def test_load_immediate_reaches_both_files(lab):
    got = lab.vectors(["ldi ra1, rb2, 0xdeadbeef"], {}, ["ra1", "rb2"])
    assert (got["ra1"] == 0xDEADBEEF).all() and (got["rb2"] == 0xDEADBEEF).all()


def test_load_of_single_elements(lab):
    signed = "[0 1 -2 -1 0 1 -2 -1 0 1 -2 -1 -1 -2 1 0]"
    unsigned = "[0 1 2 3 0 1 2 3 0 1 2 3 3 2 1 0]"
    got = lab.vectors([f"ldi_signed ra1, r2, {signed}", f"ldi_unsigned r3, -, {unsigned}"], {},
                      ["ra1", "r2", "r3"])  # fmt: skip
    want = [0, 1, ref.M32 - 1, ref.M32] * 3 + [ref.M32, ref.M32 - 1, 1, 0]
    assert got["ra1"][0].tolist() == got["r2"][0].tolist() == want
    assert got["r3"][0].tolist() == [0, 1, 2, 3] * 3 + [3, 2, 1, 0]


def test_a_load_reads_no_register_and_pops_no_uniform(lab):
    got = lab.vectors(["ldi r1, -, 0x20820820", "mov r0, unif"], {}, ["r0"], uniforms=[7])
    assert (got["r0"] == 7).all()


# --- uniforms ----------------------------------------------------------------------------------


def test_uniforms_come_in_order_in_every_element(lab):
    body = ["mov r0, unif", "mov ra1, unif; m_mov rb1, unif", "mov r1, unif_b", "mov r2, unif"]
    got = lab.vectors(body, {}, ["r0", "ra1", "rb1", "r1", "r2"], uniforms=[11, 22, 33, 44])
    want = {"r0": 11, "ra1": 22, "rb1": 22, "r1": 33, "r2": 44}
    assert {name: set(got[name].ravel().tolist()) for name in want} == {
        name: {value} for name, value in want.items()
    }


def test_both_read_ports_take_one_uniform(lab):
    got = lab.vectors(["add r0, unif, unif_b", "mov r1, unif"], {}, ["r0", "r1"], uniforms=[11, 22])
    assert (got["r0"] == 22).all() and (got["r1"] == 22).all()


@pytest.mark.parametrize("line", ["nop !raddr_a=32", "nop !raddr_b=32", "mov r3, r2 !raddr_a=32"])
def test_the_address_alone_takes_a_uniform(lab, line):
    got = lab.vectors([line, "mov r0, unif"], {"r2": 0}, ["r0"], uniforms=[11, 22])
    assert (got["r0"] == 22).all()


def test_a_condition_does_not_stop_the_uniform(lab):
    got = lab.vectors(["mov.never r0, unif", "mov r0, unif"], {}, ["r0"], uniforms=[11, 22])
    assert (got["r0"] == 22).all()


@pytest.mark.parametrize("writer", ["mov unif_addr, r3", "m_mov unif_addr, r3"])
def test_a_new_uniforms_address(lab, writer):
    stream = lab.device.alloc(64)
    stream.array(np.uint32, (16,))[:] = np.arange(100, 116)
    stream.clean()
    body = [writer, "nop", "nop", "mov r0, unif", "mov r1, unif", "mov r2, unif"]
    got = lab.vectors(body, {"r3": stream.bus_address + 8}, ["r0", "r1", "r2"])
    stream.free()
    assert [got[name][0, 0] for name in ("r0", "r1", "r2")] == [102, 103, 104]


def test_the_new_uniforms_address_is_that_of_element_0(lab):
    stream = lab.device.alloc(64)
    stream.array(np.uint32, (16,))[:] = np.arange(100, 116)
    stream.clean()
    address = [stream.bus_address + 4 * e for e in range(16)]
    body = ["mov unif_addr, r3", "nop", "nop", "mov r0, unif"]
    got = lab.vectors(body, {"r3": address}, ["r0"])
    stream.free()
    assert (got["r0"] == 100).all()


def test_uniforms_read_at_a_bus_address_given_by_the_host(lab):
    stream = lab.device.alloc(64)
    out = lab.device.alloc(64)
    stream.array(np.uint32, (16,))[:4] = [99] + store_uniforms(out.bus_address)
    stream.clean()
    program = lab.device.load(np.array(assemble(["mov r0, unif"] + store("r0") + END), np.uint64))
    lab.device.execute(program, [stream.bus_address], timeout=2.0)
    got = out.array(np.uint32, (16,)).copy()
    for thing in (program, stream, out):
        thing.free()
    assert (got == 99).all()


def test_a_small_immediate_leaves_file_a_readable(lab):
    got = lab.vectors(["add r0, ra1, 7; mul24 r2, ra1, r1"], {"ra1": 30, "r1": 2}, ["r0", "r2"])
    assert (got["r0"] == 37).all() and (got["r2"] == 60).all()


def test_scoreboard_signals_do_nothing_in_a_user_program(lab):
    body = ["add r0, r1, ra1; sbwait", "add r0, r0, ra1; sbdone", "nop; sbwait"]
    got = lab.vectors(body, {"r1": 5, "ra1": 1}, ["r0"])
    assert (got["r0"] == 7).all()


@pytest.mark.parametrize("signal", ["loadcv", "loadc", "ldcend", "loadam"])
def test_a_user_program_has_no_tile_buffer_to_load_from(both, signal):
    with pytest.raises(EmulatorFault, match="a user program has no tile buffer"):
        both.vectors([f"nop; {signal}"])


def test_any_value_other_than_zero_raises_the_interrupt(lab):
    for value, raised in ((0, ()), (1, (0,)), (0x80000000, (0,))):
        assert lab.run([f"ldi host_int, -, {value:#x}", *END]).interrupts == raised


def test_raising_the_host_interrupt_does_not_disturb_the_program(lab):
    got = lab.vectors(["mov host_int, 1", "mov r0, 5"], {}, ["r0"])
    assert (got["r0"] == 5).all()


def test_a_conditional_host_interrupt(lab):
    for value, raised in ((0, (0,)), (1, ())):
        lines = [f"ldi.sf r0, -, {value}", "mov.zs host_int, 1", *END]
        assert lab.run(lines).interrupts == raised
