"""Programs that do what no program may: each stops with the place and the reason."""

from __future__ import annotations

import numpy as np
import pytest
from harness import END, assemble, patterns_1d, store, store_uniforms

from piblas.errors import DeviceTimeout, EmulatorFault, PiblasError
from piblas.isa.setup_words import vdr_load, vdw_store

VDW = ["mov vpm_wr_setup, unif", "ldi vpm_wr_setup, -, 0xc0000000", "mov vdw_addr, unif"]
VDW += ["mov -, vdw_wait"]
VDR = ["mov vpm_rd_setup, unif", "mov vdr_addr, unif", "mov -, vdr_wait"]
TMU = ["mov r0, unif", "nop", "mov t0s, r0", "nop; ldtmu0"]


@pytest.fixture
def data(lab):
    buffer = lab.device.alloc(4096)
    buffer.array(np.uint32, (1024,))[:] = 0x5A5A5A5A
    yield buffer
    buffer.free()


def fault(lab, lines, uniforms, **more):
    with pytest.raises(EmulatorFault) as info:
        lab.run(lines, [uniforms], **more)
    got = info.value
    assert got.instruction and f"pc {got.pc} [{got.instruction}]" in str(got)
    return got


def check_alive(lab, data):
    """The device still runs programs after a fault."""
    lab.run(["ldi r0, -, 3"] + store("r0") + END, [store_uniforms(data.bus_address)])
    assert (data.array(np.uint32, (16,)) == 3).all()


# Offsets of a store of 64 bytes from the start of a buffer of 4096.
@pytest.mark.parametrize("offset", [4096 - 60, 4096, -4, -64, 1 << 20, 1 << 29])
def test_a_store_outside_a_buffer(lab, data, offset):
    got = fault(lab, VDW + END, [vdw_store(1, 16), data.bus_address + offset & 0xFFFFFFFF])
    assert got.qpu == 0 and got.unit == "vdw" and got.address is not None
    assert (data.array(np.uint32, (1024,)) == 0x5A5A5A5A).all() or offset == 4096 - 60
    check_alive(lab, data)


@pytest.mark.parametrize("size, offset", [(1, 4096), (1, -1), (2, 4096)])
def test_a_store_of_one_element_past_a_buffer(lab, data, size, offset):
    setup = vdw_store(1, 1, modew=4 if size == 1 else 2)
    got = fault(lab, VDW + END, [setup, data.bus_address + offset])
    assert got.unit == "vdw"
    assert got.address == data.bus_address + offset


def test_a_store_to_the_last_byte_is_fine(lab, data):
    lab.run(VDW + END, [[vdw_store(1, 1, modew=4), data.bus_address + 4095]])
    lab.run(VDW + END, [[vdw_store(1, 16), data.bus_address + 4096 - 64]])


@pytest.mark.parametrize("address", [0, 4, 0x40000000, 0xFFFFFFC0])
def test_a_store_to_an_address_that_is_no_buffers(lab, address):
    assert fault(lab, VDW + END, [vdw_store(1, 16), address]).unit == "vdw"


@pytest.mark.parametrize("offset", [4096 - 60, 4096, -4, 1 << 20])
def test_a_dma_load_outside_a_buffer(lab, data, offset):
    uniforms = [vdr_load(1, 16, pitch=64), data.bus_address + offset]
    assert fault(lab, VDR + END, uniforms).unit == "vdr"


def test_the_last_row_of_a_dma_load_outside_a_buffer(lab, data):
    uniforms = [vdr_load(16, 16, pitch=512), data.bus_address]
    assert fault(lab, VDR + END, uniforms).unit == "vdr"


@pytest.mark.parametrize("offset", [4096, -4, 1 << 20])
def test_a_lookup_outside_a_buffer(lab, data, offset):
    got = fault(lab, TMU + END, [data.bus_address + offset])
    assert got.unit == "tmu" and got.address == data.bus_address + offset
    check_alive(lab, data)


@pytest.mark.parametrize("address", [0, 0x1000])
def test_a_lookup_at_an_address_that_is_no_buffers(lab, address):
    assert fault(lab, TMU + END, [address]).unit == "tmu"


def test_one_bad_address_among_sixteen(lab, data):
    lines = ["mov r0, unif", "mov r1, elem_num", "shl r1, r1, 2", "add r0, r0, r1", "nop"]
    lines += ["mov t0s, r0", "nop; ldtmu0"]
    lab.run(lines + END, [[data.bus_address + 4096 - 64]])
    got = fault(lab, lines + END, [data.bus_address + 4096 - 60])
    assert got.address == data.bus_address + 4096


def test_a_freed_buffer_is_outside(lab):
    buffer = lab.device.alloc(1 << 20)
    address = buffer.bus_address + (1 << 19)  # out of reach of the next program and its uniforms
    lab.run(TMU + END, [[address]])
    buffer.free()
    assert fault(lab, TMU + END, [address]).unit == "tmu"


def test_a_buffer_ends_where_it_was_said_to_end(lab):
    buffer = lab.device.alloc(100)
    lab.run(TMU + END, [[buffer.bus_address + 96]])
    assert fault(lab, TMU + END, [buffer.bus_address + 100]).unit == "tmu"
    buffer.free()


def test_the_fault_names_qpu_and_word(lab, data):
    lines = ["mov r0, unif", "nop", "mov t0s, r0", "nop; ldtmu0"] + END
    with pytest.raises(EmulatorFault, match=r"QPU 3, pc \d+ \[") as info:
        lab.run(lines, [[data.bus_address]] * 3 + [[0]])
    assert info.value.qpu == 3
    assert info.value.pc in (2, 3)  # the request, or the word that waits for it


def test_uniforms_past_the_end_of_memory(lab):
    lines = ["ldi r0, -, 0", "mov unif_addr, r0", "nop", "nop", "mov r1, unif"] + END
    assert fault(lab, lines, []).unit in ("uniform", "uniforms")


def test_a_branch_to_nowhere(lab):
    lines = ["ldi ra1, -, 0", "nop", "br.always abs 0 + ra1", "nop", "nop", "nop"] + END
    with pytest.raises(EmulatorFault):
        lab.run(lines, [[]])


def test_a_branch_to_half_a_word(lab):
    assert fault(lab, ["br.always rel +4", "nop", "nop", "nop"], []).unit == "fetch"


def test_a_program_without_an_end(lab):
    with pytest.raises(EmulatorFault):
        lab.run(["nop"] * 40, [[]])


def test_a_breakpoint(lab):
    got = fault(lab, ["nop", "nop; bkpt"] + END, [])
    assert got.pc == 1 and "bkpt" in got.instruction


RESERVED = [
    0x100009E7009E7000 | 9 << 24,
    0xE40009E700000000,
    0xF0C809E700000000,
    0x118009E7009E7000,
    0xF1F809E700000010,
]


@pytest.mark.parametrize("word", RESERVED, ids=[f"{word:016x}" for word in RESERVED])
def test_a_reserved_word_is_refused_when_it_is_reached(lab, word):
    words = np.array(assemble(["nop"]) + [word] + assemble(END), np.uint64)
    with pytest.raises(PiblasError, match="reserved|must be"):
        program = lab.device.load(words)
        lab.device.execute(program, [patterns_1d([])], timeout=1.0)


def test_a_reserved_word_that_is_never_reached_does_no_harm(lab):
    words = np.array(assemble(["nop"] + END) + [RESERVED[0]], np.uint64)
    program = lab.device.load(words)
    lab.device.execute(program, [patterns_1d([])], timeout=1.0)
    program.free()


def test_an_infinite_loop(lab, data):
    lines = ["nop", "here:", "br.always rel @here", "nop", "add r0, r0, 1", "nop"] + END
    with pytest.raises(DeviceTimeout) as info:
        lab.run(lines, [[]], timeout=0.001)
    text = str(info.value)
    assert "QPU 0" in text and "pc" in text
    assert any(piece in text for piece in ("br.always", "nop", "add r0"))
    check_alive(lab, data)


def test_a_loop_that_ends_in_time(lab):
    lines = ["ldi r0, -, 1000", "turn:", "sub.sf r0, r0, 1", "br.any_zc rel @turn"]
    lab.run(lines + ["nop", "nop", "nop"] + END, [[]], timeout=0.01)


def test_a_deadlock_on_a_semaphore_names_each_qpu(lab, data):
    with pytest.raises(DeviceTimeout) as info:
        lab.run(["nop", "nop", "sema_down 7"] + END, [[], []], timeout=10.0)
    text = str(info.value)
    for piece in ("QPU 0", "QPU 1", "pc 2", "sema_down 7", "semaphore"):
        assert piece in text, text
    check_alive(lab, data)


def test_a_deadlock_on_the_mutex_names_the_word(lab, data):
    with pytest.raises(DeviceTimeout) as info:
        lab.run(["mov -, mutex", "mov -, mutex"] + END, [[]], timeout=10.0)
    text = str(info.value)
    assert "QPU 0" in text and "pc 1" in text and "mov -, mutex" in text
    check_alive(lab, data)


def test_vpm_rows_outside_the_window(lab, data):
    # 64 rows from row 40 leave the 64 rows that user programs have.
    got = fault(lab, VDW + END, [vdw_store(64, 1, 40), data.bus_address])
    assert got.unit in ("vdw", "vpm")


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_a_misaligned_store_of_words(lab, data, offset):
    assert fault(lab, VDW + END, [vdw_store(1, 16), data.bus_address + offset]).unit == "vdw"


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_a_misaligned_load_of_words(lab, data, offset):
    uniforms = [vdr_load(1, 16, pitch=64), data.bus_address + offset]
    assert fault(lab, VDR + END, uniforms).unit == "vdr"


def test_an_undefined_write_setup(lab):
    lines = ["ldi vpm_wr_setup, -, 0x40000000", "nop", "nop"] + END
    with pytest.raises(EmulatorFault):
        lab.run(lines, [[]])
