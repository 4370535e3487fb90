"""The shared idioms do what their texts say."""

from __future__ import annotations

from plain_qpu import Machine, lanes, tmu_value

from piblas.codegen import Assembler, macros
from piblas.isa import setup_words


def run(asm, uniforms=()):
    asm.end()
    return Machine(asm.finish().words, list(uniforms)).run()


def test_lane_addresses_and_load():
    asm = Assembler("test")
    address, value = asm.reg("address"), asm.reg("value")
    macros.lane_addresses(asm, address, asm.unif)
    macros.tmu_load(asm, 1, value, address)
    asm.mov(asm.vpm, value)
    out = run(asm, [1000])
    addresses = [1000 + 4 * e for e in range(16)]
    assert out[0] == ("request 1", addresses)
    assert out[-1] == ("write 48", [int(x) for x in tmu_value(lanes(addresses))])


def test_reduce_gives_the_sum_in_every_element():
    asm = Assembler("test")
    x = asm.reg("x")
    asm.mul24(x, asm.elem_num, asm.elem_num)
    macros.reduce(asm, asm.vpm, x, op="add")
    assert run(asm) == [("write 48", [sum(e * e for e in range(16))] * 16)]


def test_broadcast():
    asm = Assembler("test")
    x, y = asm.reg("x"), asm.reg("y")
    asm.add(x, asm.elem_num, 15)
    for element in (0, 6, 15):
        macros.broadcast(asm, y, x, element)
        asm.mov(asm.vpm, y)
    assert run(asm) == [("write 48", [15 + e] * 16) for e in (0, 6, 15)]


def test_counted_loop_runs_as_often_as_the_register_says():
    asm = Assembler("test")
    count = asm.reg("count")
    asm.mov(count, asm.unif)
    with macros.counted_loop(asm, "loop", count):
        asm.mov(asm.vpm, count)
    assert [values[0] for _, values in run(asm, [4])] == [4, 3, 2, 1]


def test_dma_and_vpm_setups_in_order():
    asm = Assembler("test")
    address = asm.reg("address")
    asm.mov(address, asm.unif)
    with macros.holding_mutex(asm):
        macros.dma_load(asm, address, 2, 16, y=3, pitch=256)
        macros.vpm_read_setup(asm, 1, 3)
        asm.read(asm.vpm)
        macros.vpm_write_setup(asm, 5)
        macros.dma_store(asm, address, 1, 9, y=5, gap=12)
    found = [(unit, values[0]) for unit, values in run(asm, [4096])]
    if found[0][0] == "read B51":
        found[0] = ("read A51", found[0][1])  # the mutex is read through either file
    assert found in (
        [
            ("read A51", 0),
            ("write A49", setup_words.vdr_pitch(256)),
            ("write A49", setup_words.vdr_load(2, 16, 3)),
            ("write A50", 4096),
            ("read A50", 0),
            ("write A49", setup_words.vpm_read(1, 3)),
            ("read A48", 0),
            ("write B49", setup_words.vpm_write(5)),
            ("write B49", setup_words.vdw_stride(12)),
            ("write B49", setup_words.vdw_store(1, 9, 5)),
            ("write B50", 4096),
            ("read B50", 0),
            ("write 51", 0),
        ],
    )
