"""Generic access of a QPU to the VPM: every size, order and direction (guide, p. 53-57)."""

from __future__ import annotations

import random

import numpy as np
import pytest
import reference as ref
from vpm_lines import Window

from piblas.isa.setup_words import pack

# size, horizontal, laned
MODES = [
    (size, horizontal, laned)
    for size in (8, 16, 32)
    for horizontal in (True, False)
    for laned in (True, False)
]
IDS = [
    f"{size}-{'horizontal' if horizontal else 'vertical'}-{'laned' if laned else 'packed'}"
    for size, horizontal, laned in MODES
]
COUNT = 6


@pytest.fixture(scope="module")
def window(lab):
    window = Window(lab, seed=5)
    yield window
    window.close()


def word(kind, mode, addr, stride, **more):
    size, horizontal, laned = mode
    code = {8: 0, 16: 1, 32: 2}[size]
    return pack(
        kind, addr=addr, stride=stride, size=code, horiz=int(horizontal), laned=int(laned), **more
    )


def starts(mode, seed):
    """(addr, stride) pairs: corners, one vector a row or column, and random ones that wrap."""
    size, horizontal, _ = mode
    sub_bits = {8: 2, 16: 1, 32: 0}[size]
    top = (64 << sub_bits) - 1
    rng = random.Random(seed)
    pairs = [(0, 1), (0, 1 << sub_bits), (top, 1), (5, 64), (top - 2, 3)]
    pairs += [(rng.randint(0, top), rng.randint(1, 64)) for _ in range(5)]
    return pairs


def cells(mode, addr, stride, count):
    size, horizontal, laned = mode
    rows = []
    for place in ref.vpm_addresses(size, horizontal, addr, stride, count):
        rows.append([ref.vpm_cell(size, horizontal, laned, place, e) for e in range(16)])
    return rows


@pytest.mark.parametrize("mode", MODES, ids=IDS)
def test_writes(window, mode):
    size = mode[0]
    for addr, stride in starts(mode, seed=1):
        values = {f"ra{n}": ref.random_patterns(16, 100 * addr + n) for n in range(COUNT)}
        body = ["mov vpm_wr_setup, unif"] + [f"mov vpm, ra{n}" for n in range(COUNT)]
        got = window.after(body, values, [word("vpm_write", mode, addr, stride)])
        want = window.bytes()
        for row, vector in zip(cells(mode, addr, stride, COUNT), values.values()):
            for (index, byte), value in zip(row, vector):
                for k in range(size // 8):  # the low bits, the other bytes are kept
                    want[4 * index + byte + k] = value >> 8 * k & 255
        assert np.array_equal(got, want), (addr, stride)


@pytest.mark.parametrize("mode", MODES, ids=IDS)
def test_reads(window, mode):
    size = mode[0]
    for addr, stride in starts(mode, seed=2):
        setup = word("vpm_read", mode, addr, stride, num=COUNT)
        names = [f"rb{n}" for n in range(COUNT)]
        body = ["mov vpm_rd_setup, unif", "nop", "nop", "nop"]
        body += [f"mov {name}, vpm" for name in names]
        got = window.vectors(body, names, [setup])
        raw = window.bytes()
        for name, row in zip(names, cells(mode, addr, stride, COUNT)):
            want = [
                sum(int(raw[4 * index + byte + k]) << 8 * k for k in range(size // 8))
                for index, byte in row
            ]  # extended with zeros
            assert got[name][0].tolist() == want, (addr, stride, name)


@pytest.mark.parametrize("count", [1, 2, 15, 16])
def test_number_of_vectors_of_a_read(window, count):
    names = [f"ra{n}" for n in range(count)]
    body = [f"ldi vpm_rd_setup, -, {0x1A00 | (count & 15) << 20:#x}", "nop", "nop", "nop"]
    got = window.vectors(body + [f"mov {name}, vpm" for name in names], names)
    for n, name in enumerate(names):
        assert np.array_equal(got[name][0], window.rows[n])


def test_a_setup_queues_behind_the_last_vector_of_another(window):
    body = ["ldi vpm_rd_setup, -, 0x201a00", "nop", "nop", "nop", "mov r0, vpm"]
    body += ["ldi vpm_rd_setup, -, 0x201a09", "nop", "nop", "nop"]
    body += ["mov r1, vpm", "mov r2, vpm", "mov r3, vpm"]
    got = window.vectors(body, ["r0", "r1", "r2", "r3"])
    rows = [got[name][0] for name in ("r0", "r1", "r2", "r3")]
    assert np.array_equal(rows, window.rows[[0, 1, 9, 10]])


def test_a_read_waits_for_its_data(window):
    got = window.vectors(["ldi vpm_rd_setup, -, 0x101a05", "mov r0, vpm"], ["r0"])
    assert np.array_equal(got["r0"][0], window.rows[5])


def test_both_read_ports_take_one_vector(window):
    body = ["ldi vpm_rd_setup, -, 0x201a00", "nop", "nop", "nop", "sub r0, vpm, vpm_b"]
    got = window.vectors(body + ["mov r1, vpm"], ["r0", "r1"])
    assert (got["r0"] == 0).all() and np.array_equal(got["r1"][0], window.rows[1])


def test_the_address_alone_takes_a_vector(window):
    body = ["ldi vpm_rd_setup, -, 0x201a00", "nop", "nop", "nop", "nop !raddr_b=48", "mov r1, vpm"]
    assert np.array_equal(window.vectors(body, ["r1"])["r1"][0], window.rows[1])


def test_read_and_write_in_one_word(window):
    body = ["ldi vpm_rd_setup, -, 0x201a00", "ldi vpm_wr_setup, -, 0x1a20", "nop", "nop"]
    got = window.after(body + ["mov vpm, vpm", "mov vpm, vpm"])
    want = window.rows.copy()
    want[32:34] = window.rows[0:2]
    assert np.array_equal(got, want.view(np.uint8).ravel())


def test_a_write_setup_serves_any_number_of_writes(window):
    got = window.after(["ldi vpm_wr_setup, -, 0x1a00"] + ["mov vpm, elem_num"] * 64)
    assert got.view(np.uint32).reshape(64, 16).tolist() == [list(range(16))] * 64


def test_writes_wrap_after_the_last_row(window):
    lines = ["ldi vpm_wr_setup, -, 0x1a3f", "mov vpm, elem_num", "mov vpm, r1"]
    got = window.after(lines, {"r1": 9}).view(np.uint32).reshape(64, 16)
    assert got[63].tolist() == list(range(16)) and (got[0] == 9).all()
    assert np.array_equal(got[1:63], window.rows[1:63])


def test_the_mul_unit_writes_too(window):
    lines = ["ldi vpm_wr_setup, -, 0x1a07", "m_mov vpm, r1"]
    got = window.after(lines, {"r1": 9}).view(np.uint32).reshape(64, 16)
    assert (got[7] == 9).all()


def test_the_setup_word_is_that_of_element_0(window):
    setup = [0x1A00 + 3 * e for e in range(16)]
    got = window.after(["mov vpm_wr_setup, r1", "mov vpm, r2"], {"r1": setup, "r2": 4})
    got = got.view(np.uint32).reshape(64, 16)
    assert (got[0] == 4).all() and np.array_equal(got[1:], window.rows[1:])


def test_a_read_setup_does_not_disturb_writes(window):
    body = ["ldi vpm_wr_setup, -, 0x1a30", "mov vpm, r1", "ldi vpm_rd_setup, -, 0x101a02"]
    body += ["nop", "nop", "nop", "mov r3, vpm", "mov vpm, r2"]
    got = window.after(body, {"r1": 1, "r2": 2}).view(np.uint32).reshape(64, 16)
    assert (got[48] == 1).all() and (got[49] == 2).all()


def test_a_write_is_seen_by_a_later_read(window):
    body = ["ldi vpm_wr_setup, -, 0x1a10", "mov vpm, elem_num", "ldi vpm_rd_setup, -, 0x101a10"]
    got = window.vectors(body + ["nop", "nop", "nop", "mov r0, vpm"], ["r0"])
    assert got["r0"][0].tolist() == list(range(16))
