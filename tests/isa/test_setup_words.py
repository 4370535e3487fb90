"""Setup words of VPM and DMA against known constants, field by field, and their refusals."""

from __future__ import annotations

import random

import numpy as np
import pytest

from piblas.isa import setup_words as s

CONSTANTS = [
    (s.vpm_read(1), 0x00101A00),
    (s.vpm_read(16), 0x00001A00),
    (s.vpm_write(), 0x00001A00),
    (s.vpm_write(0, 0, horizontal=False), 0x00001200),
    (s.vdr_load(1, 16), 0x83011000 & ~(15 << 24)),
    (s.vdr_load(1, 16, pitch=64), 0x83011000),
    (s.vdr_load(16, 16, pitch=64), 0x83001000),
    (s.vdr_load(16, 16, 5, pitch=64), 0x83001000 | 5 << 4),
    (s.vdr_pitch(128), 0x90000080),
    (s.vdw_store(1, 16), 0x80904000),
    (s.vdw_store(1, 16, 9), 0x80904000 | 9 << 7),
    (s.vdw_store(16, 16), 0x88104000),
    (s.vdw_store(64, 16), 0xA0104000),
    (s.vdw_stride(64), 0xC0000040),
    (s.vdw_stride(0), 0xC0000000),
    (s.vdw_stride(0, blockmode=True), 0xC0010000),
    # Field by field: num 3, stride 64 (0), vertical, laned, 16 bit, rows 16.., column 5, half 1.
    (
        s.vpm_read(3, 16, 5, stride=64, size=16, horizontal=False, laned=True, sub=1),
        3 << 20 | 1 << 10 | 1 << 8 | (1 << 4 | 5) << 1 | 1,
    ),
    (s.vpm_write(7, stride=4, size=8, sub=2), 4 << 12 | 1 << 11 | 7 << 2 | 2),
    (
        s.vdr_load(4, 15, 48, 3, pitch=1024, vpitch=16, vertical=True, modew=6),
        1 << 31 | 6 << 28 | 7 << 24 | 15 << 20 | 4 << 16 | 1 << 11 | 48 << 4 | 3,
    ),
    (
        s.vdw_store(128, 128, 127, 15, horizontal=False, modew=5),
        2 << 30 | 127 << 7 | 15 << 3 | 5,
    ),
    (s.vdw_stride(65535), 0xC000FFFF),
    (s.vdr_pitch(16383), 0x90003FFF),
]


@pytest.mark.parametrize("got, want", CONSTANTS)
def test_known_words(got, want):
    assert f"{got:08x}" == f"{want:08x}"


@pytest.mark.parametrize("kind", sorted(s.TABLES))
def test_fields_do_not_overlap(kind):
    bits = [bit for field in s.TABLES[kind] for bit in range(field.lo, field.hi + 1)]
    assert len(bits) == len(set(bits)) and max(bits) == 31 and min(bits) == 0


@pytest.mark.parametrize("kind", sorted(s.TABLES))
def test_unpack_gives_back_what_pack_took(kind):
    rng = random.Random(kind)
    for _ in range(300):
        values = {}
        for field in s.TABLES[kind]:
            if field.name != "id":
                low = 1 if field.zero_is else 0
                values[field.name] = rng.randint(low, field.zero_is or field.mask)
        word = s.pack(kind, **values)
        got = s.unpack(kind, word)
        got.pop("id", None)
        assert got == values
        assert s.pack(kind, **got) == word


@pytest.mark.parametrize(
    "kind, top",
    [("vpm_read", 0), ("vpm_write", 0), ("vdr", 8), ("vdr_stride", 9), ("vdw", 8)]
    + [("vdw_stride", 12)],
)
def test_kinds_are_told_apart_by_the_top_bits(kind, top):
    assert s.pack(kind) >> 28 == top


@pytest.mark.parametrize("size, bits", [(8, 2), (16, 1), (32, 0)])
def test_vpm_addresses(size, bits):
    for y in range(64):
        for sub in range(1 << bits):
            assert s.vpm_address(y, size=size, sub=sub) == y << bits | sub
    for y in range(0, 64, 16):
        for x in range(16):
            for sub in range(1 << bits):
                got = s.vpm_address(y, x, size=size, horizontal=False, sub=sub)
                assert got == (y // 16 * 16 + x) << bits | sub


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: s.pack("vdw", colour=1), "a vdw setup word has no field 'colour'"),
        (lambda: s.pack("vdr", x=16), "vdr setup: x = 16 does not fit"),
        (lambda: s.pack("vdr", y=-1), "vdr setup: y = -1 does not fit"),
        (lambda: s.vpm_address(64), "there is no VPM address y = 64"),
        (lambda: s.vpm_address(0, 16, horizontal=False), "there is no VPM address y = 0, x = 16"),
        (lambda: s.vpm_address(0, size=16, sub=2), "there is no VPM address .* sub = 2"),
        (lambda: s.vpm_address(0, 1), "a horizontal access starts at column 0"),
        (lambda: s.vpm_address(8, horizontal=False), "a row that is a multiple of 16"),
        (lambda: s.vpm_read(0), "vpm_read setup: num = 0 does not fit"),
        (lambda: s.vpm_read(17), "vpm_read setup: num = 17 does not fit"),
        (lambda: s.vpm_write(stride=65), "vpm_write setup: stride = 65 does not fit"),
        (lambda: s.vpm_write(stride=0), "vpm_write setup: stride = 0 does not fit"),
        (lambda: s.vdr_load(17, 16), "vdr setup: nrows = 17 does not fit"),
        (lambda: s.vdr_load(1, 0), "vdr setup: rowlen = 0 does not fit"),
        (lambda: s.vdr_load(1, 1, pitch=8), r"pitch = 8 is no 8 \* 2\*\*\(1\.\.15\)"),
        (lambda: s.vdr_load(1, 1, pitch=100), "pitch = 100 is no"),
        (lambda: s.vdr_load(1, 1, pitch=8 << 16), "pitch = 524288 is no"),
        (lambda: s.vdr_pitch(16384), "vdr_stride setup: mpitchb = 16384 does not fit"),
        (lambda: s.vdw_store(129, 1), "vdw setup: units = 129 does not fit"),
        (lambda: s.vdw_store(1, 0), "vdw setup: depth = 0 does not fit"),
        (lambda: s.vdw_stride(65536), "vdw_stride setup: stride = 65536 does not fit"),
        (lambda: s.vdw_stride(-4), "vdw_stride setup: stride = -4 does not fit"),
        (lambda: s.pack("vdx"), "no setup word is called 'vdx'"),
        (lambda: s.unpack("vdx", 0), "no setup word is called 'vdx'"),
        (lambda: s.vpm_read(1, size=24), "size = 24"),
    ],
)
def test_what_a_setup_word_cannot_hold(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_words_for_arrays_are_those_for_numbers():
    rows = np.arange(64)
    for stride in range(1, 65):
        want = [s.vpm_write(int(row), stride=stride) for row in rows]
        assert s.vpm_writes(rows, stride).tolist() == want
    sizes = np.arange(1, 129)
    for depth in (1, 5, 16, 127, 128):
        for row in (0, 9, 127):
            want = [s.vdw_store(int(size), depth, row) for size in sizes]
            assert s.vdw_stores(sizes, depth, row).tolist() == want
    assert s.vdw_stores(3, rows[1:17], rows[1:17]).tolist() == [
        s.vdw_store(3, int(each), int(each)) for each in rows[1:17]
    ]
