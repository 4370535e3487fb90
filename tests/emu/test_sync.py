"""Semaphores and the mutex among up to twelve QPUs (guide, p. 33)."""

from __future__ import annotations

import numpy as np
import pytest
from harness import END, load_by_dma, store, store_uniforms

from piblas.errors import DeviceTimeout


@pytest.fixture
def out(lab):
    buffer = lab.device.alloc(12 * 64)
    buffer.array(np.uint32, (12, 16))[:] = 0
    yield buffer
    buffer.free()


def rows(out, count, *front):
    return [list(front) + [q] + store_uniforms(out.bus_address + 64 * q, q) for q in range(count)]


def result(out):
    return out.array(np.uint32, (12, 16)).copy()


def by_number(*branches):
    """Lines that pop a uniform and run the branch of that number (each ends the program)."""
    lines = ["mov r0, unif"]
    for index in range(len(branches) - 1):
        lines += [f"sub.sf -, r0, {index}", f"br.all_zs rel @part{index}", "nop", "nop", "nop"]
    lines += list(branches[-1]) + END
    for index, branch in enumerate(branches[:-1]):
        lines += [f"part{index}:"] + list(branch) + END
    return lines


@pytest.mark.parametrize("number", range(16))
def test_a_semaphore_counts_up_to_15_and_down_again(lab, out, number):
    lines = ["mov r0, unif"] + [f"sema_up {number}"] * 15 + [f"sema_down {number}"] * 15
    lab.run(lines + ["ldi r0, -, 3"] + store("r0") + END, rows(out, 1))
    assert (result(out)[0] == 3).all()


@pytest.mark.parametrize("number", [0, 7, 15])
def test_counting_down_blocks_at_zero(lab, out, number):
    with pytest.raises(DeviceTimeout):
        lab.run(["mov r0, unif", f"sema_down {number}"] + END, rows(out, 1), timeout=0.01)


@pytest.mark.parametrize("number", [0, 7, 15])
def test_counting_up_blocks_at_fifteen(lab, out, number):
    with pytest.raises(DeviceTimeout):
        lab.run(["mov r0, unif"] + [f"sema_up {number}"] * 16 + END, rows(out, 1), timeout=0.01)


def test_a_semaphore_keeps_its_count_after_a_program(lab, out):
    lab.run(["mov r0, unif", "sema_up 9", "sema_up 9"] + END, rows(out, 1))
    lines = ["mov r0, unif", "sema_down 9", "sema_down 9", "ldi r0, -, 4"] + store("r0") + END
    lab.run(lines, rows(out, 1))
    assert (result(out)[0] == 4).all()


def test_semaphores_are_apart(lab, out):
    lines = ["mov r0, unif"] + [f"sema_up {n}" for n in range(15)] + ["sema_down 15"] + END
    with pytest.raises(DeviceTimeout):
        lab.run(lines, rows(out, 1), timeout=0.01)


def test_a_device_is_usable_after_a_deadlock_and_its_semaphores_are_zero(lab, out):
    with pytest.raises(DeviceTimeout):
        lab.run(["mov r0, unif"] + ["sema_up 4"] * 16 + END, rows(out, 1), timeout=0.01)
    lines = ["mov r0, unif"] + ["sema_up 4"] * 15 + ["sema_down 4"] * 15
    lab.run(lines + ["ldi r0, -, 9"] + store("r0") + END, rows(out, 1))
    assert (result(out)[0] == 9).all()


def test_a_producer_releases_a_consumer(lab, out):
    # QPU 0 waits for QPU 1, reads what it stored past the caches, and stores that plus one.
    consumer = ["sema_down 2", *load_by_dma("r0"), "add r0, r0, 1", *store("r0")]
    producer = [*["nop"] * 200, "ldi r0, -, 41", *store("r0"), "sema_up 2"]
    address = out.bus_address
    load = [0x83011000 | 20 << 4, address + 64, 0x00101A00 | 20]
    lab.run(
        by_number(consumer, producer),
        [[0] + load + store_uniforms(address, 0), [1] + store_uniforms(address + 64, 1)],
    )
    assert (result(out)[1] == 41).all() and (result(out)[0] == 42).all()


def test_two_qpus_play_ping_pong(lab, out):
    def player(mine, theirs, first):
        wait, go = [f"sema_down {mine}"], [f"sema_up {theirs}"]
        turn = go + wait if first else wait + go
        lines = ["ldi r1, -, 50", "ldi r2, -, 0", f"turn{mine}:"] + turn
        lines += ["add r2, r2, 1", "sub.sf r1, r1, 1", f"br.any_zc rel @turn{mine}"]
        return lines + ["nop", "nop", "nop"] + store("r2")

    lab.run(by_number(player(0, 1, True), player(1, 0, False)), rows(out, 2))
    assert (result(out)[:2] == 50).all()


def test_twelve_qpus_meet_at_a_barrier(lab, out):
    # QPU 0 collects eleven ups, then sends eleven.
    first = ["sema_down 0"] * 11 + ["sema_up 1"] * 11 + ["ldi r0, -, 1"] + store("r0")
    other = ["sema_up 0", "sema_down 1", "mov r0, qpu_num", "add r0, r0, 1"] + store("r0")
    lab.run(by_number(first, other), rows(out, 12))
    assert result(out)[:, 0].tolist() == list(range(1, 13))


def test_twelve_qpus_share_a_counter_in_memory_under_the_mutex(lab, out):
    # Read, add, write of one vector in memory, ten times each; VPM row 40 is shared as well.
    lines = ["mov ra1, unif", "ldi ra2, -, 10", "nop", "turn:", "mov -, mutex"]
    lines += ["ldi vpm_rd_setup, -, 0x83011280", "mov vdr_addr, ra1", "mov -, vdr_wait"]
    lines += ["ldi vpm_rd_setup, -, 0x00101a28", "nop", "nop", "nop", "mov r0, vpm"]
    lines += ["add r0, r0, 1", "ldi vpm_wr_setup, -, 0x1a28", "mov vpm, r0"]
    lines += ["ldi vpm_wr_setup, -, 0x80905400", "ldi vpm_wr_setup, -, 0xc0000000"]
    lines += ["mov vdw_addr, ra1", "mov -, vdw_wait", "mov mutex, r0"]
    lines += ["sub.sf ra2, ra2, 1", "br.any_zc rel @turn", "nop", "nop", "nop"] + END
    lab.run(lines, [[out.bus_address]] * 12)
    assert (result(out)[0] == 120).all()


def test_a_qpu_that_keeps_the_mutex_blocks_the_others(lab, out):
    lines = ["mov r0, unif", "mov -, mutex", "sema_down 0"] + END
    with pytest.raises(DeviceTimeout):
        lab.run(lines, rows(out, 2), timeout=0.01)


def test_acquiring_twice_in_one_word_counts_once(lab, out):
    lines = ["mov ra1, unif", "or -, mutex, mutex", "mov mutex, r0", "mov -, mutex"]
    lines += ["mov mutex, r0", "ldi r0, -, 6"] + store("r0") + END
    lab.run(lines, rows(out, 2))
    assert (result(out)[:2] == 6).all()


def test_acquiring_a_mutex_that_the_qpu_holds_blocks_it(lab, out):
    with pytest.raises(DeviceTimeout):
        lab.run(["mov r0, unif", "mov -, mutex", "mov -, mutex"] + END, rows(out, 1), timeout=0.01)


def test_the_address_alone_acquires_the_mutex(lab, out):
    with pytest.raises(DeviceTimeout, match="every QPU waits"):
        lab.run(["nop !raddr_a=51", "nop !raddr_b=51"] + END, [[0]])
    lines = ["nop !raddr_a=51", "mov mutex, 0", "nop !raddr_b=51", "mov mutex, elem_num"]
    lab.run(["mov r0, unif", *lines, "ldi r0, -, 4", *store("r0"), *END], rows(out, 1))
    assert (result(out)[0] == 4).all()


def test_a_word_that_waits_takes_its_uniform_once(lab, out):
    """Twelve QPUs wait for the mutex in a word that pops a uniform as well."""
    lines = ["mov ra1, unif !raddr_b=51", "mov r1, unif", "sub r0, r1, ra1"] + store("r0")[1:] + END
    streams = [[q, 5 * q, *store_uniforms(out.bus_address + 64 * q, q)] for q in range(12)]
    lab.run(lines, streams)
    assert result(out).tolist() == [[4 * q] * 16 for q in range(12)]


def test_another_qpu_may_release_the_mutex(lab, out):
    holder = ["mov -, mutex", "sema_up 1", "mov -, mutex", "mov mutex, 0", "ldi r0, -, 8"]
    helper = ["sema_down 1", "mov mutex, 0", "ldi r0, -, 9"]
    lines = by_number(holder + store("r0"), helper + store("r0"))
    lab.run(lines, rows(out, 2))
    assert result(out)[:2, 0].tolist() == [8, 9]


def test_only_one_qpu_holds_the_mutex(lab, out):
    # Inside, the holder leaves its number in shared VPM row 50, waits long, and reads it back.
    lines = ["mov r0, unif", "mov r0, qpu_num", "mov -, mutex", "ldi vpm_wr_setup, -, 0x1a32"]
    lines += ["mov vpm, r0"] + ["nop"] * 300
    lines += ["ldi vpm_rd_setup, -, 0x101a32", "nop", "nop", "nop", "mov r1, vpm", "mov mutex, r0"]
    lab.run(lines + store("r1") + END, rows(out, 12))
    assert result(out)[:, 0].tolist() == list(range(12))


def test_all_qpus_share_the_rows_of_the_vpm(lab, out):
    # QPU 0 fills a row; the others read it, each adding its number.
    first = ["ldi vpm_wr_setup, -, 0x1a33", "mov vpm, elem_num"] + ["sema_up 0"] * 11
    first += ["ldi r0, -, 0"] + store("r0")
    other = ["sema_down 0", "ldi vpm_rd_setup, -, 0x101a33", "nop", "nop", "nop", "mov r0, vpm"]
    other += ["add r0, r0, qpu_num"] + store("r0")
    lab.run(by_number(first, other), rows(out, 12))
    for q in range(1, 12):
        assert result(out)[q].tolist() == [e + q for e in range(16)]


def test_setups_are_kept_for_each_qpu(lab, out):
    # Both set up, then both write: each vector lands in the row of its own QPU.
    lines = ["mov r0, unif", "mov r1, qpu_num", "ldi r2, -, 0x1a10", "add r2, r2, r1"]
    lines += ["mov vpm_wr_setup, r2", "mov.sf -, r1", "br.all_zs rel @first", "nop", "nop", "nop"]
    lines += ["sema_up 0", "sema_down 1", "br.always rel @go", "nop", "nop", "nop"]
    lines += ["first:", "sema_down 0", "sema_up 1", "nop", "go:", "mov vpm, r1"]
    lines += ["mov r3, unif", "ldi r3, -, 0x101a10", "add r3, r3, r1", "mov vpm_rd_setup, r3"]
    lines += ["nop", "nop", "nop", "mov r0, vpm"] + store("r0") + END
    uniforms = [[0, 0] + store_uniforms(out.bus_address + 64 * q, q) for q in range(2)]
    lab.run(lines, uniforms)
    assert result(out)[:2, 0].tolist() == [0, 1]
