"""Request numbers and layouts, byte for byte against the kernel's headers.

The numbers are those that hardware descriptions give for 32-bit and 64-bit processes; the bytes of
each structure are written out field by field as a C compiler lays them out (no structure holds a
pointer, so both word lengths agree).
"""

from __future__ import annotations

import ctypes
import struct

import pytest

from piblas.driver import abi
from piblas.driver.mailbox import message


@pytest.mark.parametrize(
    "pointer, number", [(ctypes.c_uint32, 0xC0046400), (ctypes.c_uint64, 0xC0086400)]
)
def test_the_mailbox_request_holds_the_size_of_a_pointer(pointer, number):
    assert abi.mailbox_request(pointer) == number


def test_this_process_uses_its_own():
    assert abi.MAILBOX == {4: 0xC0046400, 8: 0xC0086400}[struct.calcsize("P")]


@pytest.mark.parametrize(
    "name, number",
    [
        ("CMA_ALLOC", 0x80404A5A),
        ("CMA_IMPORT", 0x80404A5B),
        ("HEAP_ALLOC", 0xC0184800),
        ("DMA_BUF_SYNC", 0x40086200),
        ("VCSM_ALLOC", 0x8030495A),
        ("VCSM_LOCK", 0x8008495C),
        ("VCSM_UNLOCK", 0x8008495E),
        ("VCSM_FREE", 0x80044961),
        ("VCSM_MAP", 0x8010496A),
    ],
)
def test_request_numbers(name, number):
    assert getattr(abi, name) == number


# Each field: bytes of the value, in the order of the header.
U32, U64 = (lambda v: v.to_bytes(4, "little")), (lambda v: v.to_bytes(8, "little"))
NAME = b"piblas" + bytes(26)


def test_cma_alloc():
    raw = abi.CMA_ALLOC_LAYOUT.pack(0x11223344, 1, 0, 0, b"piblas", 7, 0x55, 0xC1234000)
    fields = [U32(0x11223344), U32(1), U32(0), U32(0), NAME, U32(7), U32(0x55), U64(0xC1234000)]
    assert raw == b"".join(fields) and len(raw) == 64
    assert raw[48:52] == U32(7) and raw[56:] == U64(0xC1234000)


def test_cma_import():
    raw = abi.CMA_IMPORT_LAYOUT.pack(9, 0, b"piblas", 10, 0x66, 4096, 0, 0xDEADB000)
    fields = [U32(9), U32(0), NAME, U32(10), U32(0x66), U32(4096), U32(0), U64(0xDEADB000)]
    assert raw == b"".join(fields) and len(raw) == 64
    assert raw[40:44] == U32(10) and raw[48:52] == U32(4096) and raw[56:] == U64(0xDEADB000)


def test_negative_descriptors_keep_their_sign():
    raw = abi.CMA_IMPORT_LAYOUT.pack(-1, 0, b"", -1, 0, 0, 0, 0)
    assert raw[:4] == raw[40:44] == b"\xff" * 4


def test_heap_alloc():
    raw = abi.HEAP_ALLOC_LAYOUT.pack(0x123456789A, 3, 0x80002, 0)
    assert raw == U64(0x123456789A) + U32(3) + U32(0x80002) + U64(0) and len(raw) == 24


@pytest.mark.parametrize(
    "flags, raw",
    [
        (abi.SYNC_END | abi.SYNC_WRITE, b"\x06" + bytes(7)),
        (abi.SYNC_START | abi.SYNC_READ, b"\x01" + bytes(7)),
    ],
)
def test_sync(flags, raw):
    assert abi.DMA_BUF_SYNC_LAYOUT.pack(flags) == raw


def test_vcsm():
    raw = abi.VCSM_ALLOC_LAYOUT.pack(4096, 1, 0, b"piblas", 0x1000)
    assert raw == U32(4096) + U32(1) + U32(0) + NAME + U32(0x1000) and len(raw) == 48
    assert abi.VCSM_LOCK_LAYOUT.pack(1, 2) == U32(1) + U32(2)
    assert abi.VCSM_FREE_LAYOUT.pack(3) == U32(3)
    assert abi.VCSM_MAP_LAYOUT.pack(1, 2, 3, 4) == U32(1) + U32(2) + U32(3) + U32(4)


def test_layouts_do_not_depend_on_the_word_length():
    for name in abi.__all__:
        layout = getattr(abi, name)
        if isinstance(layout, struct.Struct):
            assert layout.format.startswith("<"), name


def test_a_mailbox_message():
    """Launch 12 programs at 0xC0001000 with caches cleared and 900 ms to go."""
    raw = bytes(message(0x30011, [12, 0xC0001000, 0, 900], 1))
    words = [40, 0, 0x30011, 16, 0, 12, 0xC0001000, 0, 900, 0]
    assert raw == b"".join(U32(word) for word in words)


def test_a_message_has_room_for_the_answer():
    """The clock of the V3D block: one word asked, two answered."""
    raw = bytes(message(0x30002, [5], 2))
    assert raw == b"".join(U32(word) for word in [32, 0, 0x30002, 8, 0, 5, 0, 0])
