"""DMA stores (VDW) from the VPM into memory: modes, strides, sub-blocks (guide, p. 57-58)."""

from __future__ import annotations

import random

import numpy as np
import pytest
from harness import END
from vpm_lines import Window

from piblas.errors import EmulatorFault
from piblas.isa.setup_words import vdw_store, vdw_stride

SIZE = 1 << 17
STORE = [
    "mov vpm_wr_setup, unif",
    "mov vpm_wr_setup, unif",
    "mov vdw_addr, unif",
    "mov -, vdw_wait",
]


def opened(lab):
    window = Window(lab, seed=16)
    window.memory = lab.device.alloc(SIZE)
    yield window
    window.memory.free()
    window.close()


@pytest.fixture(scope="module")
def window(lab):
    yield from opened(lab)


@pytest.fixture(scope="module")
def loose_window(loose):
    yield from opened(loose)


def stored(window, setup, stride, offset, blockmode=False):
    memory = window.memory.array(np.uint8, (SIZE,))
    memory[:] = np.arange(SIZE) * 7 % 251
    word = vdw_stride(stride, blockmode=blockmode)
    window.after(STORE, {}, [word, setup, window.memory.bus_address + offset])
    return memory.copy()


def expected(window, units, depth, place, stride, offset, size=4):
    """``place(u, d)`` is the byte index in the VPM; all other bytes of memory are untouched."""
    want = (np.arange(SIZE) * 7 % 251).astype(np.uint8)
    vpm = window.bytes()
    for unit in range(units):
        for index in range(depth):
            at = offset + unit * (size * depth + stride) + size * index
            start = place(unit, index)
            want[at : at + size] = vpm[start : start + size]
    return want


def horizontal_cases():
    rng = random.Random(3)
    cases = [(64, 16, 0, 0), (1, 16, 63, 0), (1, 1, 0, 15), (16, 16, 48, 0), (64, 1, 0, 3)]
    while len(cases) < 14:
        units, depth = rng.randint(1, 64), rng.randint(1, 16)
        y, x = rng.randint(0, 63), rng.randint(0, 15)
        if y + units <= 64 and x + depth <= 16:
            cases.append((units, depth, y, x))
    return cases


def vertical_cases():
    rng = random.Random(4)
    cases = [(16, 16, 0, 0), (1, 16, 16, 5), (1, 1, 63, 15), (16, 16, 32, 0)]
    while len(cases) < 14:
        units, depth = rng.randint(1, 16), rng.randint(1, 16)
        y, x = rng.randint(0, 63), rng.randint(0, 15)
        if x + units <= 16 and y % 16 + depth <= 16:
            cases.append((units, depth, y, x))
    return cases


@pytest.mark.parametrize("units, depth, y, x", horizontal_cases())
def test_horizontal_words(window, units, depth, y, x):
    for stride in (0, 4, 60, 1000):
        got = stored(window, vdw_store(units, depth, y, x), stride, 128)
        want = expected(window, units, depth, lambda u, d: 4 * ((y + u) * 16 + x + d), stride, 128)
        assert np.array_equal(got, want), stride


@pytest.mark.parametrize("units, depth, y, x", vertical_cases())
def test_vertical_words(window, units, depth, y, x):
    for stride in (0, 8, 512):
        got = stored(window, vdw_store(units, depth, y, x, horizontal=False), stride, 64)
        want = expected(window, units, depth, lambda u, d: 4 * ((y + d) * 16 + x + u), stride, 64)
        assert np.array_equal(got, want), stride


@pytest.mark.parametrize("stride", [8188, 8192, 20000, 32768, 65532])
def test_stride_has_16_bits(window, stride):
    got = stored(window, vdw_store(2, 16, 5), stride, 0)
    want = expected(window, 2, 16, lambda u, d: 4 * ((5 + u) * 16 + d), stride, 0)
    assert np.array_equal(got, want)


@pytest.mark.parametrize(
    "units, depth, y, x",
    [(32, 1, 7, 3), (1, 33, 0, 2), (3, 20, 8, 1), (2, 16, 40, 0), (5, 9, 60, 4)],
)
def test_a_column_starts_again_at_the_top_of_its_block(window, loose_window, units, depth, y, x):
    """As measured; it could go on in the next 16 rows, so that it is a fault where it does."""
    setup = vdw_store(units, depth, y, x, horizontal=False)

    def place(u, d):
        row = y // 16 * 16 + (y + d) % 16 + 16 * ((x + u) // 16)
        return 4 * (row * 16 + (x + u) % 16)

    got = stored(loose_window, setup, 4, 64)
    assert np.array_equal(got, expected(loose_window, units, depth, place, 4, 64))
    deep, wide = y % 16 + depth > 16, x + units > 16
    if deep or wide:
        reason = "runs out of its 16 rows" if deep else "columns outside 0..15"
        with pytest.raises(EmulatorFault, match=reason):
            stored(window, setup, 4, 64)
    else:
        assert np.array_equal(stored(window, setup, 4, 64), got)


@pytest.mark.parametrize(
    "units, depth, modew, horizontal, open_question",
    [
        (16, 1, 0, True, True),
        (8, 4, 0, True, True),
        (4, 16, 0, True, False),
        (1, 5, 0, True, False),
        (3, 32, 2, True, False),
        (3, 30, 2, True, True),
        (2, 64, 4, True, False),
        (3, 8, 0, False, True),
        (1, 8, 0, False, False),
    ],
)
def test_block_mode_steps_as_it_does_without(
    window, loose_window, units, depth, modew, horizontal, open_question
):
    """The guide packs units without gaps; programs that ran on boards need one row a unit."""
    setup = vdw_store(units, depth, 6, modew=modew, horizontal=horizontal)
    size = {0: 4, 2: 2, 4: 1}[modew]

    def place(u, d):
        return 64 * (6 + u) + size * d if horizontal else 4 * (16 * (6 + d) + u)

    want = expected(loose_window, units, depth, place, 16, 0, size)
    assert np.array_equal(stored(loose_window, setup, 16, 0, blockmode=True), want)
    if open_question:
        with pytest.raises(EmulatorFault, match="in block mode, whose places are undetermined"):
            stored(window, setup, 16, 0, blockmode=True)
    else:
        assert np.array_equal(stored(window, setup, 16, 0, blockmode=True), want)


@pytest.mark.parametrize("units, depth", [(128, 1), (1, 128)])
def test_a_field_of_0_means_128(loose_window, units, depth):
    """More than there are: rows beyond 63 are whatever is there, columns are taken anew."""
    horizontal = units == 128
    setup = 0x80000000 | horizontal << 14 | (units & 127) << 23 | (depth & 127) << 16
    got = stored(loose_window, setup, 4, 64)
    if horizontal:
        want = expected(loose_window, 64, 1, lambda u, d: 64 * u, 4, 64)
        beyond = np.arange(64 + 8 * 64, 64 + 8 * 128).reshape(-1, 8)[:, :4].ravel()
        assert (got[beyond] != (beyond * 7 % 251)).any()
        got[beyond] = want[beyond]
    else:
        want = expected(loose_window, 1, 128, lambda u, d: 64 * (d % 16), 4, 64)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("modew", [2, 4])
def test_the_place_of_bytes_in_a_column_is_undetermined(window, modew):
    with pytest.raises(EmulatorFault, match="out of a column, whose place is undetermined"):
        stored(window, vdw_store(1, 16, 0, modew=modew, horizontal=False), 0, 0)


@pytest.mark.parametrize("sub", [0, 1])
@pytest.mark.parametrize("units, depth, y", [(1, 16, 4), (3, 30, 10), (4, 1, 0)])
def test_halves(window, sub, units, depth, y):
    for stride in (0, 6):
        got = stored(window, vdw_store(units, depth, y, modew=2 + sub), stride, 32)
        want = expected(
            window, units, depth, lambda u, d: 64 * (y + u) + 2 * (sub + d), stride, 32, 2
        )
        assert np.array_equal(got, want)


@pytest.mark.parametrize("sub", [0, 1, 2, 3])
@pytest.mark.parametrize("units, depth, y", [(1, 16, 4), (3, 60, 10), (4, 1, 0), (2, 7, 5)])
def test_bytes(window, sub, units, depth, y):
    for stride in (0, 3):
        got = stored(window, vdw_store(units, depth, y, modew=4 + sub), stride, 33)
        want = expected(window, units, depth, lambda u, d: 64 * (y + u) + sub + d, stride, 33, 1)
        assert np.array_equal(got, want)


def test_halves_may_start_at_any_even_address(window):
    got = stored(window, vdw_store(1, 5, 2, modew=2), 0, 30)
    assert np.array_equal(got, expected(window, 1, 5, lambda u, d: 64 * 2 + 2 * d, 0, 30, 2))


def test_the_stride_word_lasts_until_the_next_one(window):
    memory = window.memory.array(np.uint8, (SIZE,))
    memory[:] = np.arange(SIZE) * 7 % 251
    body = ["mov vpm_wr_setup, unif"]
    body += ["mov vpm_wr_setup, unif", "mov vdw_addr, unif", "mov -, vdw_wait"] * 2
    base = window.memory.bus_address
    stream = [vdw_stride(36), vdw_store(2, 4, 0), base, vdw_store(2, 4, 8), base + 4096]
    body += ["ldi vpm_wr_setup, -, 0xc0000000"]
    window.after(body, {}, stream)
    want = expected(window, 2, 4, lambda u, d: 4 * (u * 16 + d), 36, 0)
    vpm = window.bytes()
    for unit in range(2):
        at = 4096 + 52 * unit
        want[at : at + 16] = vpm[64 * (8 + unit) : 64 * (8 + unit) + 16]
    assert np.array_equal(memory, want)


def test_what_lies_beyond_the_end_of_a_row_is_undetermined(window):
    with pytest.raises(EmulatorFault, match="columns outside 0..15"):
        stored(window, vdw_store(1, 16, 4, 1), 0, 0)


def test_whose_stride_counts_that_a_program_never_wrote_is_undetermined(lab, loose):
    """After a program that set 64 bytes, another one stores two rows."""
    setup, results = 0x81104000, []
    for each in (lab, loose):
        out = each.device.alloc(256)
        out.array(np.uint32)[:] = 7
        lines = ["ldi vpm_wr_setup, -, 0x1a00", "mov vpm, 3", "mov vpm, 4"]
        write = ["mov vpm_wr_setup, unif", "mov vdw_addr, unif", "mov -, vdw_wait"]
        first = [*lines, "ldi vpm_wr_setup, -, 0xc0000040", *write, *END]
        for last in (0xC0000040, 0xC0000000):
            each.run(first[:3] + [f"ldi vpm_wr_setup, -, {last:#x}"] + first[4:],
                     [[setup, out.bus_address]])  # fmt: skip
            out.array(np.uint32)[:] = 7
            try:
                each.run(lines + write + END, [[setup, out.bus_address]])
                results.append(out.array(np.uint32)[::16].tolist())
            except EmulatorFault as fault:
                results.append(fault.reason)
        out.free()
    fault = "DMA store without a setup, or with another program's stride"
    assert results == [fault, [3, 4, 7, 7], [3, 7, 4, 7], [3, 4, 7, 7]]


def test_a_store_takes_what_was_written_just_before(window):
    body = ["ldi vpm_wr_setup, -, 0x1a0b", "mov vpm, elem_num", "ldi vpm_wr_setup, -, 0x80904580"]
    body += ["ldi vpm_wr_setup, -, 0xc0000000", "mov vdw_addr, unif", "mov -, vdw_wait"]
    window.after(body, {}, [window.memory.bus_address])
    assert window.memory.array(np.uint32, (16,)).tolist() == list(range(16))


def test_the_address_is_that_of_element_0(window):
    memory = window.memory.array(np.uint8, (SIZE,))
    memory[:] = np.arange(SIZE) * 7 % 251
    body = ["mov vpm_wr_setup, unif", "mov vpm_wr_setup, unif", "mov vdw_addr, r1"]
    body += ["mov -, vdw_wait"]
    address = [window.memory.bus_address + 256 * e for e in range(16)]
    window.after(body, {"r1": address}, [vdw_stride(0), vdw_store(1, 16, 3)])
    assert np.array_equal(memory, expected(window, 1, 16, lambda u, d: 4 * (48 + d), 0, 0))


def test_busy_reads_zero_after_the_wait(window):
    body = ["mov vpm_wr_setup, unif", "mov vdw_addr, unif", "mov -, vdw_wait", "mov r0, vdw_busy"]
    stream = [vdw_store(1, 16), window.memory.bus_address]
    assert (window.vectors(body, ["r0"], stream)["r0"] == 0).all()


def test_busy_is_not_zero_while_a_store_runs(window):
    spare = window.lab.device.alloc(1024)
    body = ["ldi vpm_wr_setup, -, 0x88104000", "ldi vpm_wr_setup, -, 0xc0000000"]
    body += ["mov vdw_addr, unif", "mov r0, vdw_busy", "mov -, vdw_wait"]
    got = window.vectors(body, ["r0"], [spare.bus_address])
    spare.free()
    assert (got["r0"] != 0).all()


def test_a_load_after_a_waited_store_sees_it(window):
    body = ["mov vpm_wr_setup, unif", "mov vdw_addr, unif", "mov -, vdw_wait"]
    body += ["ldi vpm_rd_setup, -, 0x83011000", "mov vdr_addr, unif", "mov -, vdr_wait"]
    base = window.memory.bus_address
    got = window.after(body, {}, [vdw_store(1, 16, 37), base, base])
    assert np.array_equal(got.view(np.uint32)[:16], window.rows[37])
