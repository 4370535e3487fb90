"""DMA loads (VDR) from memory into the VPM: modes, pitches, sub-blocks (guide, p. 58-59)."""

from __future__ import annotations

import random

import numpy as np
import pytest
from vpm_lines import Window

from piblas.errors import EmulatorFault
from piblas.isa.setup_words import pack, vdr_load, vdr_pitch

SIZE = 1 << 18
LOAD = ["mov vpm_rd_setup, unif", "mov vpm_rd_setup, unif", "mov vdr_addr, unif", "mov -, vdr_wait"]


@pytest.fixture(scope="module")
def window(lab):
    window = Window(lab, seed=6)
    window.memory = lab.device.alloc(SIZE)
    window.data = np.random.default_rng(7).integers(0, 256, SIZE, np.uint8)
    window.memory.array(np.uint8, (SIZE,))[:] = window.data
    yield window
    window.memory.free()
    window.close()


def loaded(window, setup, pitch, offset):
    uniforms = [vdr_pitch(pitch), setup, window.memory.bus_address + offset]
    return window.after(LOAD, {}, uniforms)


def expected(window, nrows, rowlen, place, pitch, offset, size=4):
    """``place(r, i)`` is the byte index in the VPM of element i of row r."""
    want = window.bytes()
    for row in range(nrows):
        for index in range(rowlen):
            start = offset + row * pitch + size * index
            at = place(row, index)
            want[at : at + size] = window.data[start : start + size]
    return want


def horizontal_cases():
    rng = random.Random(1)
    cases = [(16, 16, 0, 0, 1), (1, 16, 63, 0, 1), (16, 1, 0, 15, 4), (1, 1, 7, 7, 1)]
    cases += [(4, 16, 3, 0, 16), (16, 3, 48, 13, 1)]
    while len(cases) < 16:
        nrows, rowlen, vpitch = rng.randint(1, 16), rng.randint(1, 16), rng.randint(1, 16)
        y, x = rng.randint(0, 63), rng.randint(0, 15)
        if x + rowlen <= 16 and y + (nrows - 1) * vpitch < 64:
            cases.append((nrows, rowlen, y, x, vpitch))
    return cases


def vertical_cases():
    rng = random.Random(2)
    cases = [(4, 16, 0, 5, 16), (1, 16, 16, 0, 1), (3, 5, 1, 9, 7), (1, 1, 63, 15, 1)]
    while len(cases) < 14:
        nrows, rowlen, vpitch = rng.randint(1, 8), rng.randint(1, 16), rng.randint(1, 16)
        y, x = rng.randint(0, 63), rng.randint(0, 15)
        # Rows may overlay each other only where the order is plain: keep them apart.
        if rowlen <= vpitch and y + (nrows - 1) * vpitch + rowlen <= 64:
            cases.append((nrows, rowlen, y, x, vpitch))
    return cases


@pytest.mark.parametrize("nrows, rowlen, y, x, vpitch", horizontal_cases())
def test_horizontal_words(window, nrows, rowlen, y, x, vpitch):
    for pitch in (64, 4 * rowlen, 100, 1024):
        setup = vdr_load(nrows, rowlen, y, x, vpitch=vpitch)
        got = loaded(window, setup, pitch, 256)
        want = expected(
            window, nrows, rowlen, lambda r, i: 4 * ((y + r * vpitch) * 16 + x + i), pitch, 256
        )
        assert np.array_equal(got, want), pitch


@pytest.mark.parametrize("nrows, rowlen, y, x, vpitch", vertical_cases())
def test_vertical_words(window, nrows, rowlen, y, x, vpitch):
    for pitch in (64, 4 * rowlen, 2048):
        setup = vdr_load(nrows, rowlen, y, x, vpitch=vpitch, vertical=True)
        got = loaded(window, setup, pitch, 512)
        want = expected(
            window, nrows, rowlen, lambda r, i: 4 * ((y + r * vpitch + i) * 16 + x), pitch, 512
        )
        assert np.array_equal(got, want), pitch


@pytest.mark.parametrize("code", range(1, 12))
def test_pitch_as_a_power_of_two(window, code):
    pitch = 8 << code
    got = loaded(window, vdr_load(8, 16, 3, pitch=pitch), 4, 0)
    want = expected(window, 8, 16, lambda r, i: 4 * ((3 + r) * 16 + i), pitch, 0)
    assert np.array_equal(got, want)


def test_pitch_8_makes_rows_overlap_in_memory(window):
    # MPITCH = 0 means "take MPITCHB": a pitch of 8 bytes goes through the stride word.
    got = loaded(window, vdr_load(8, 4, 3), 8, 0)
    want = expected(window, 8, 4, lambda r, i: 4 * ((3 + r) * 16 + i), 8, 0)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("pitch", [0, 4, 8188, 8192, 12288, 16380])
def test_pitch_in_bytes_has_14_bits(window, pitch):
    got = loaded(window, vdr_load(5, 16, 20), pitch, 64)
    want = expected(window, 5, 16, lambda r, i: 4 * ((20 + r) * 16 + i), pitch, 64)
    assert np.array_equal(got, want)


def test_the_pitch_word_lasts_until_the_next_one(window):
    body = ["mov vpm_rd_setup, unif"]
    body += ["mov vpm_rd_setup, unif", "mov vdr_addr, unif", "mov -, vdr_wait"] * 2
    base = window.memory.bus_address
    stream = [vdr_pitch(400), vdr_load(2, 16, 0), base, vdr_load(2, 16, 8), base + 64]
    got = window.after(body, {}, stream)
    want = expected(window, 2, 16, lambda r, i: 4 * (r * 16 + i), 400, 0)
    for row in range(2):
        start = 64 + 400 * row
        want[64 * (8 + row) : 64 * (9 + row)] = window.data[start : start + 64]
    assert np.array_equal(got, want)


@pytest.fixture(scope="module")
def guess(loose):
    """The same window without ``strict``: the place of a selected half or byte is a guess."""
    window = Window(loose, seed=6)
    window.memory = loose.device.alloc(SIZE)
    window.data = np.random.default_rng(7).integers(0, 256, SIZE, np.uint8)
    window.memory.array(np.uint8, (SIZE,))[:] = window.data
    yield window
    window.memory.free()
    window.close()


@pytest.mark.parametrize("modew", [3, 5, 6, 7])
def test_the_place_of_a_selected_part_is_undetermined(window, modew):
    with pytest.raises(EmulatorFault, match="whose place is undetermined"):
        loaded(window, vdr_load(1, 16, 4, modew=modew), 64, 0)


@pytest.mark.parametrize("modew", [2, 4])
def test_the_place_of_bytes_in_a_column_is_undetermined(window, modew):
    with pytest.raises(EmulatorFault, match="into a column, whose place is undetermined"):
        loaded(window, vdr_load(1, 16, 0, modew=modew, vertical=True), 64, 0)


@pytest.mark.parametrize("sub", [0, 1])
@pytest.mark.parametrize("nrows, rowlen, y, vpitch", [(1, 16, 4, 1), (4, 16, 2, 2), (3, 10, 9, 1)])
def test_halves_go_to_packed_sub_vectors(window, guess, sub, nrows, rowlen, y, vpitch):
    window = guess if sub else window
    setup = vdr_load(nrows, rowlen, y, vpitch=vpitch, modew=2 + sub)
    got = loaded(window, setup, 96, 128)
    want = expected(
        window, nrows, rowlen, lambda r, i: 32 * (2 * y + sub + r * vpitch) + 2 * i, 96, 128, 2
    )
    assert np.array_equal(got, want)


@pytest.mark.parametrize("sub", [0, 1, 2, 3])
@pytest.mark.parametrize("nrows, rowlen, y, vpitch", [(1, 16, 4, 1), (4, 16, 2, 4), (5, 9, 9, 1)])
def test_bytes_go_to_packed_sub_vectors(window, guess, sub, nrows, rowlen, y, vpitch):
    window = guess if sub else window
    setup = vdr_load(nrows, rowlen, y, vpitch=vpitch, modew=4 + sub)
    got = loaded(window, setup, 50, 128)
    want = expected(
        window, nrows, rowlen, lambda r, i: 16 * (4 * y + sub + r * vpitch) + i, 50, 128, 1
    )
    assert np.array_equal(got, want)


def test_the_address_is_that_of_element_0(window):
    body = ["mov vpm_rd_setup, unif", "mov vdr_addr, r1", "mov -, vdr_wait"]
    address = [window.memory.bus_address + 1024 * e for e in range(16)]
    got = window.after(body, {"r1": address}, [vdr_load(1, 16, 9, pitch=64)])
    assert np.array_equal(got, expected(window, 1, 16, lambda r, i: 4 * (9 * 16 + i), 64, 0))


def test_four_loads_without_a_wait_between(both):
    window = Window(both, seed=8)
    body = []
    for y in range(4):
        body += [f"ldi vpm_rd_setup, -, {0x83011000 | y << 4:#x}", "mov vdr_addr, unif"]
    base = window.source.bus_address
    got = window.after(body + ["mov -, vdr_wait"], {}, [base + 64 * (40 + y) for y in range(4)])
    want = window.rows.copy()
    want[0:4] = window.rows[40:44]
    window.close()
    assert np.array_equal(got, want.view(np.uint8).ravel())


def test_busy_reads_zero_after_the_wait(window):
    body = ["ldi vpm_rd_setup, -, 0x83011000", "mov vdr_addr, unif", "mov -, vdr_wait"]
    got = window.vectors(body + ["mov r0, vdr_busy"], ["r0"], [window.source.bus_address])
    assert (got["r0"] == 0).all()


def test_busy_is_not_zero_while_a_load_runs(window):
    body = ["ldi vpm_rd_setup, -, 0x83001000", "mov vdr_addr, unif", "mov r0, vdr_busy"]
    body += ["ldi r1, -, 0", "turn:", "mov.sf r2, vdr_busy", "br.any_zc rel @turn"]
    body += ["add r1, r1, 1", "nop", "nop", "mov -, vdr_wait"]
    got = window.vectors(body, ["r0", "r1", "r2"], [window.source.bus_address])
    assert (got["r0"] != 0).all() and (got["r1"] > 1).all() and (got["r2"] == 0).all()


def test_the_address_alone_waits(window):
    for file in "ab":
        body = ["ldi vpm_rd_setup, -, 0x83011000", "mov vdr_addr, unif", "nop !raddr_a=50"]
        if file == "b":
            body = ["ldi vpm_wr_setup, -, 0x80904000", "ldi vpm_wr_setup, -, 0xc0000000"]
            body += ["mov vdw_addr, unif", "nop !raddr_b=50"]
        body += [f"mov r0, {'vdr' if file == 'a' else 'vdw'}_busy"]
        got = window.vectors(body, ["r0"], [window.source.bus_address])
        assert (got["r0"] == 0).all()


def test_load_and_store_may_overlap(lab):
    window = Window(lab, seed=9)
    spare = lab.device.alloc(64)
    body = ["ldi vpm_rd_setup, -, 0x83011000", "ldi vpm_wr_setup, -, 0x80904500"]
    body += ["ldi vpm_wr_setup, -, 0xc0000000", "mov vdr_addr, unif", "mov vdw_addr, unif"]
    body += ["mov -, vdr_wait", "mov -, vdw_wait"]
    base = window.source.bus_address
    got = window.after(body, {}, [base + 64 * 33, spare.bus_address])
    want = window.rows.copy()
    want[0] = window.rows[33]
    assert np.array_equal(got, want.view(np.uint8).ravel())
    assert np.array_equal(spare.array(np.uint32, (16,)), window.rows[10])
    spare.free()
    window.close()


def test_a_load_setup_and_a_store_setup_are_told_apart():
    assert pack("vdr") >> 31 == 1 and pack("vpm_read") >> 31 == 0
