"""Who sees what while nothing keeps the caches of the chip in step (measured on the chip).

TMU lookups and uniforms go through caches, DMA goes to memory, the CPU has a view of its own.
"""

from __future__ import annotations

import numpy as np
import pytest
from harness import END, assemble, load_by_dma, patterns_1d, store, store_uniforms

OLD, NEW = 7, 8


def buffer(lab, words, value):
    made = lab.device.alloc(4 * words)
    made.array(np.uint32, (words,))[:] = value
    made.clean()
    return made


def read(buf, count=16):
    buf.invalidate()
    return buf.array(np.uint32, (count,)).copy()


LOOKUP = ["mov t0s, r3", "nop; ldtmu0"]  # r3: addresses
ADDRESSES = ["mov r3, unif", "mov r2, elem_num", "shl r2, r2, 2", "add r3, r3, r2"]


def test_a_lookup_after_a_dma_store_gives_the_old_line(incoherent):
    lab = incoherent
    data, out = buffer(lab, 16, OLD), buffer(lab, 32, 0)
    lines = ADDRESSES + LOOKUP + ["mov ra1, r4", "ldi r0, -, 8"] + store("r0")
    lines += LOOKUP + ["mov ra2, r4", "nop"] + store("ra1") + store("ra2") + END
    at = data.bus_address
    stream = [at] + store_uniforms(at) + store_uniforms(out.bus_address)
    lab.run(lines, [stream + store_uniforms(out.bus_address + 64)])
    first, second = read(out, 32).reshape(2, 16)
    assert (first == OLD).all() and (second == OLD).all()
    assert (read(data) == NEW).all()


def test_a_lookup_of_a_line_not_yet_cached_sees_the_store(incoherent):
    lab = incoherent
    data, out = buffer(lab, 16, OLD), buffer(lab, 16, 0)
    lines = ADDRESSES + ["ldi r0, -, 8"] + store("r0") + LOOKUP + ["mov r1, r4"] + store("r1") + END
    at = data.bus_address
    lab.run(lines, [[at] + store_uniforms(at) + store_uniforms(out.bus_address)])
    assert (read(out) == NEW).all()


def test_a_dma_load_after_a_dma_store_sees_new_data(incoherent):
    lab = incoherent
    data, out = buffer(lab, 16, OLD), buffer(lab, 16, 0)
    lines = ADDRESSES + LOOKUP + ["mov r1, r4", "ldi r0, -, 8"] + store("r0") + load_by_dma("r1")
    lines += store("r1") + END
    at = data.bus_address
    stream = [at] + store_uniforms(at) + [0x83011000 | 5 << 4, at, 0x00101A05]
    lab.run(lines, [stream + store_uniforms(out.bus_address)])
    assert (read(out) == NEW).all()


def test_without_the_mode_a_lookup_sees_the_store(lab):
    data, out = buffer(lab, 16, OLD), buffer(lab, 16, 0)
    lines = ADDRESSES + LOOKUP + ["mov r1, r4", "ldi r0, -, 8"] + store("r0")
    lines += LOOKUP + ["mov r1, r4"] + store("r1") + END
    at = data.bus_address
    lab.run(lines, [[at] + store_uniforms(at) + store_uniforms(out.bus_address)])
    assert (read(out) == NEW).all()
    data.free()
    out.free()


def copy_program():
    return ADDRESSES + LOOKUP + ["mov r1, r4"] + store("r1") + END


def test_what_the_cpu_writes_arrives_with_clean(incoherent):
    lab = incoherent
    data, out = buffer(lab, 16, OLD), buffer(lab, 16, 0)
    stream = [data.bus_address] + store_uniforms(out.bus_address)
    data.array(np.uint32, (16,))[:] = NEW
    lab.run(copy_program(), [stream])
    assert (read(out) == OLD).all()
    data.clean()
    lab.run(copy_program(), [stream])
    assert (read(out) == NEW).all()


def test_what_a_program_writes_arrives_with_invalidate(incoherent):
    lab = incoherent
    data, out = buffer(lab, 16, NEW), buffer(lab, 16, OLD)
    lab.run(copy_program(), [[data.bus_address] + store_uniforms(out.bus_address)])
    assert (out.array(np.uint32, (16,)) == OLD).all()
    out.invalidate()
    assert (out.array(np.uint32, (16,)) == NEW).all()


def test_a_launch_clears_the_caches_unless_told_not_to(incoherent):
    lab = incoherent
    data, out = buffer(lab, 16, OLD), buffer(lab, 16, 0)
    stream = [data.bus_address] + store_uniforms(out.bus_address)
    lab.run(copy_program(), [stream])
    data.array(np.uint32, (16,))[:] = NEW
    data.clean()
    program = lab.device.load(np.array(assemble(copy_program()), np.uint64))
    uniforms = patterns_1d(stream)
    lab.device.execute(program, [uniforms], timeout=2.0, clear_caches=False)
    assert (read(out) == OLD).all()
    lab.device.execute(program, [uniforms], timeout=2.0)
    assert (read(out) == NEW).all()


def test_the_device_clears_caches_on_demand(incoherent):
    lab = incoherent
    data, out = buffer(lab, 16, OLD), buffer(lab, 16, 0)
    stream = [data.bus_address] + store_uniforms(out.bus_address)
    lab.run(copy_program(), [stream])
    data.array(np.uint32, (16,))[:] = NEW
    data.clean()
    lab.device.clear_caches()
    lab.run(copy_program(), [stream], clear_caches=False)
    assert (read(out) == NEW).all()


def flood(step, count):
    """Lookups of ``count`` lines ``step`` bytes apart, beginning one step behind r3."""
    lines = [f"ldi r1, -, {step}", "mov r0, r3"]
    for _ in range(count):
        lines += ["add r0, r0, r1", "nop", "mov t0s, r0", "nop; ldtmu0"]
    return lines


@pytest.mark.parametrize(
    "step, count, want",
    [
        (64, 1, OLD),  # another set of both caches
        (4096, 1, OLD),  # throws the line out of the TMU's cache; the L2 still holds it
        (8192, 8, NEW),  # throws it out of the L2 as well
    ],
)
def test_evicted_lines_are_fetched_again(incoherent, step, count, want):
    lab = incoherent
    data, out = buffer(lab, 32768, OLD), buffer(lab, 16, 0)
    lines = ADDRESSES + LOOKUP + ["ldi r0, -, 8"] + store("r0") + flood(step, count)
    lines += LOOKUP + ["mov r1, r4"] + store("r1") + END
    at = data.bus_address
    lab.run(lines, [[at] + store_uniforms(at) + store_uniforms(out.bus_address)])
    assert (read(out) == want).all()


def test_the_units_of_a_slice_have_caches_of_their_own_over_one_l2(incoherent):
    # TMU 0 loads a line, DMA changes it, TMU 1 misses its own cache but hits the L2.
    lab = incoherent
    data, out = buffer(lab, 16, OLD), buffer(lab, 16, 0)
    lines = ADDRESSES + LOOKUP + ["ldi r0, -, 8"] + store("r0")
    lines += ["mov t1s, r3", "nop; ldtmu1", "mov r1, r4"] + store("r1") + END
    at = data.bus_address
    lab.run(lines, [[at] + store_uniforms(at) + store_uniforms(out.bus_address)])
    assert (read(out) == OLD).all()


def test_uniforms_that_were_overwritten_by_dma_stay_old(incoherent):
    lab = incoherent
    words, out = buffer(lab, 64, OLD), buffer(lab, 16, 0)
    tail = buffer(lab, 16, 0)
    tail.array(np.uint32, (16,))[:3] = store_uniforms(out.bus_address)
    tail.clean()
    change = ["nop", "nop"]
    lines = ["mov ra7, unif", "mov ra5, unif", "mov ra6, unif", "nop"]
    lines += ["mov unif_addr, ra5", *change, "mov r0, unif"]
    lines += ["mov unif_addr, ra6", *change, "ldi r0, -, 8"] + store("r0")
    lines += ["mov unif_addr, ra5", *change, "mov r1, unif"]
    lines += ["mov unif_addr, ra7", *change] + store("r1") + END
    middle = buffer(lab, 16, 0)
    middle.array(np.uint32, (16,))[:3] = store_uniforms(words.bus_address)
    middle.clean()
    lab.run(lines, [[tail.bus_address, words.bus_address, middle.bus_address]])
    assert (read(out) == OLD).all()
    assert (read(words) == NEW).all()


@pytest.mark.parametrize("noswap", ["0", "1", "-16"])
def test_which_tmu_a_qpu_reaches(incoherent, noswap):
    """QPU 0 leaves an old line in TMU 0 of its slice; QPU 2 reaches it unless TMUs are swapped."""
    lab = incoherent
    data, out = buffer(lab, 32768, OLD), buffer(lab, 16, 0)
    at = data.bus_address
    # TMU 1 throws the line out of L2, nothing throws it out of TMU 0.
    first = ADDRESSES + LOOKUP + ["ldi r0, -, 8"] + store("r0")
    first += [line.replace("t0s", "t1s").replace("ldtmu0", "ldtmu1") for line in flood(8192, 8)]
    first += ["sema_up 0", *END]
    second = ["nop", "sema_down 0", f"mov tmu_noswap, {noswap}", *ADDRESSES, *LOOKUP, "mov r1, r4"]
    second += store("r1") + END
    idle = lab.device.load(np.array(assemble(END), np.uint64))
    control = buffer(lab, 64, 0)
    words = control.array(np.uint32, (64,))
    streams = {0: (first, [at, *store_uniforms(at)]),
               2: (second, [at, *store_uniforms(out.bus_address, 1)])}  # fmt: skip
    for q in range(3):
        words[2 * q + 1] = idle.bus_address
        if q in streams:
            lines, stream = streams[q]
            code = lab.device.load(np.array(assemble(lines), np.uint64))
            words[2 * q : 2 * q + 2] = control.bus_address + 64 + 32 * q, code.bus_address
            words[16 + 8 * q : 16 + 8 * q + len(stream)] = stream
    control.clean()
    lab.device.execute_list(control.bus_address, 3, timeout=2.0)
    assert (read(out) == (NEW if noswap == "0" else OLD)).all()


def test_code_that_was_overwritten_runs_from_the_cache_until_it_is_cleared(incoherent):
    lab = incoherent
    out = buffer(lab, 16, 0)
    old, new = (["ldi r0, -, %d" % value, *store("r0"), *END] for value in (OLD, NEW))
    program = lab.device.load(np.array(assemble(old), np.uint64))
    code = program._buffer
    uniforms = patterns_1d(store_uniforms(out.bus_address))
    seen = []
    for lines, clear in ((old, True), (new, False), (new, True)):
        code.array(np.uint64)[: len(lines)] = assemble(lines)
        code.clean()
        lab.device.execute(program, [uniforms], timeout=2.0, clear_caches=clear)
        seen.append(int(read(out)[0]))
    assert seen == [OLD, OLD, NEW]


def changed_under_way(lab, program, stream, steps, changed):
    """ra0..ra3 of a program whose buffer ``changed`` becomes NEW after some steps."""
    machine = lab.device.machine
    code = lab.device.load(np.array(assemble(program), np.uint64))
    machine.clear_caches()
    machine.start([(stream.bus_address, code.bus_address)])
    for _ in range(steps):
        machine.step(0)
    changed.array(np.uint32, (16,))[:] = NEW
    changed.clean()
    machine.clear_caches()
    machine.finish()
    return [int(machine.registers(0)[f"ra{n}"][0]) for n in range(4)]


def test_two_uniforms_are_fetched_ahead(incoherent):
    """Memory changes and all caches are cleared under a running program."""
    stream = buffer(incoherent, 16, OLD)
    program = ["nop", *[f"mov ra{n}, unif" for n in range(4)], *END]
    assert changed_under_way(incoherent, program, stream, 1, stream) == [OLD, OLD, NEW, NEW]


def test_a_new_address_fills_the_uniform_fifo_at_once(incoherent):
    first, second = buffer(incoherent, 16, 0), buffer(incoherent, 16, OLD)
    first.array(np.uint32, (16,))[0] = second.bus_address
    first.clean()
    program = ["mov unif_addr, unif", *["nop"] * 6, *[f"mov ra{n}, unif" for n in range(4)], *END]
    assert changed_under_way(incoherent, program, first, 6, second) == [OLD, OLD, NEW, NEW]


def test_reads_fetch_the_uniform_two_words_ahead(incoherent):
    stream = buffer(incoherent, 16, OLD)
    program = ["mov ra3, unif", "nop", *[f"mov ra{n}, unif" for n in range(3)], "nop", *END]
    assert changed_under_way(incoherent, program, stream, 1, stream) == [OLD, OLD, NEW, OLD]
