"""The system calls of a launch, made directly: what a small C program would do, in Python.

Written from the kernel's and firmware's documentation alone and used by the tests of the virtual Pi
itself.  Runs on the virtual Pi, so it imports nothing that takes long.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from typing import List, Optional, Sequence, Tuple

READ, WRITE, END = 1, 2, 4


def property_number(pointer: Optional[int] = None) -> int:
    """_IOWR(100, 0, char *)."""
    size = pointer or ctypes.sizeof(ctypes.c_void_p)
    return 3 << 30 | size << 16 | 100 << 8


class Mailbox:
    def __init__(self, path: str = "/dev/vcio", pointer: Optional[int] = None) -> None:
        self.fd = os.open(path, os.O_RDONLY)
        self.number = property_number(pointer)

    def call(self, tag: int, *words: int, room: Optional[int] = None) -> List[int]:
        """The value words of the reply."""
        n = max(len(words), room or 0)
        values = list(words) + [0] * (n - len(words))
        message = bytearray(struct.pack(f"<{6 + n}I", 4 * (6 + n), 0, tag, 4 * n, 4 * len(words),
                                        *values, 0))  # fmt: skip
        fcntl.ioctl(self.fd, self.number, message)
        reply = struct.unpack(f"<{6 + n}I", message)
        assert reply[1] == 0x80000000 and reply[4] & 0x80000000
        return list(reply[5 : 5 + n])

    def enable(self, on: int) -> int:
        return self.call(0x30012, on)[0]

    def execute(self, count: int, control: int, noflush: int = 0, timeout: int = 1000) -> int:
        return self.call(0x30011, count, control, noflush, timeout)[0]

    def close(self) -> None:
        os.close(self.fd)


class Memory:
    """A mapped piece with a bus address."""

    def __init__(self, fds: Sequence[int], address: int, size: int, map_fd: Optional[int] = None,
                 offset: int = 0) -> None:  # fmt: skip
        self.fds, self.address, self.size = list(fds), address, size
        self.map = mmap.mmap(fds[0] if map_fd is None else map_fd, size, offset=offset)

    def put(self, offset: int, words: Sequence[int]) -> None:
        self.map[offset : offset + 4 * len(words)] = struct.pack(f"<{len(words)}I", *words)

    def get(self, offset: int, n: int) -> Tuple[int, ...]:
        return struct.unpack(f"<{n}I", self.map[offset : offset + 4 * n])

    def sync(self, flags: int, which: int = 0) -> None:
        fcntl.ioctl(self.fds[which], 0x40086200, struct.pack("<Q", flags))

    def close(self) -> None:
        self.map.close()
        for fd in self.fds:
            os.close(fd)


def heap_alloc(heap: int, size: int, flags: int = os.O_RDWR | os.O_CLOEXEC) -> int:
    data = bytearray(struct.pack("<QIIQ", size, 0, flags, 0))
    fcntl.ioctl(heap, 0xC0184800, data)
    return struct.unpack("<QIIQ", data)[1]


def import_dmabuf(vcsm: int, fd: int) -> Tuple[int, int, int, int]:
    """(descriptor, handle of the firmware, size, bus address)."""
    data = bytearray(struct.pack("<iI32siIIIQ", fd, 0, b"raw", 0, 0, 0, 0, 0))
    assert len(data) == 64
    fcntl.ioctl(vcsm, 0x80404A5B, data)
    _, _, _, handle, vc_handle, size, _, address = struct.unpack("<iI32siIIIQ", data)
    return handle, vc_handle, size, address


def vcsm_alloc(vcsm: int, size: int, cached: int = 0) -> Tuple[int, int, int]:
    """(descriptor, handle of the firmware, bus address)."""
    data = bytearray(struct.pack("<IIII32siIQ", size, 1, cached, 0, b"raw", 0, 0, 0))
    assert len(data) == 64
    fcntl.ioctl(vcsm, 0x80404A5A, data)
    *_, handle, vc_handle, address = struct.unpack("<IIII32siIQ", data)
    return handle, vc_handle, address


def cached(size: int, heap: str = "/dev/dma_heap/vidbuf_cached") -> Memory:
    """Heap and import: descriptors of the heap's and of the imported dma-buf."""
    heap_fd = os.open(heap, os.O_RDWR | os.O_CLOEXEC)
    vcsm = os.open("/dev/vcsm-cma", os.O_RDWR | os.O_CLOEXEC)
    fd = heap_alloc(heap_fd, size)
    imported, _, _, address = import_dmabuf(vcsm, fd)
    os.close(heap_fd)
    os.close(vcsm)
    return Memory([fd, imported], address, size)


def uncached(size: int) -> Memory:
    vcsm = os.open("/dev/vcsm-cma", os.O_RDWR | os.O_CLOEXEC)
    fd, _, address = vcsm_alloc(vcsm, size)
    os.close(vcsm)
    return Memory([fd], address, size)


def carve_out(mailbox: Mailbox, size: int, flags: int) -> Tuple[Memory, int]:
    """Mailbox memory through /dev/mem, and its handle."""
    handle = mailbox.call(0x3000C, size, 4096, flags)[0]
    assert handle
    address = mailbox.call(0x3000D, handle)[0]
    mem = os.open("/dev/mem", os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
    return Memory([mem], address, size, offset=address & 0x3FFFFFFF), handle


# --- a launch ------------------------------------------------------------------------------------

CODE, WORKER, CONTROL, UNIFORMS, SOURCE, TARGET = 0, 0x800, 0x1000, 0x1100, 0x2000, 0x3000
SIZE = 0x4000


def lay_out(place: Memory, code: Sequence[int], data: Memory, n: int = 1,
            worker: Sequence[int] = ()) -> None:  # fmt: skip
    """Code, control list and uniforms of ``n`` programs that each copy 16 words of ``data``.

    Program q copies from SOURCE + 64 q to TARGET + 64 q; all but the first run ``worker`` if given.
    """
    place.put(CODE, code)
    place.put(WORKER, worker)
    for q in range(n):
        stream = place.address + UNIFORMS + 64 * q
        place.put(UNIFORMS + 64 * q, [data.address + SOURCE + 64 * q,
                                      data.address + TARGET + 64 * q])  # fmt: skip
        at = WORKER if q and worker else CODE
        place.put(CONTROL + 8 * q, [stream, place.address + at])


class Registers:
    """The V3D block through /dev/mem."""

    def __init__(self, base: int) -> None:
        fd = os.open("/dev/mem", os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
        self.map = mmap.mmap(fd, 4096, offset=base)
        os.close(fd)
        self.words = (ctypes.c_uint32 * 1024).from_buffer(self.map)

    def __getitem__(self, offset: int) -> int:
        return self.words[offset // 4]

    def __setitem__(self, offset: int, value: int) -> None:
        self.words[offset // 4] = value

    def launch(self, pairs: Sequence[Tuple[int, int]], clear: bool = True) -> None:
        self[0xE00], self[0xE2C], self[0xE30] = 0, 0, 0xFFFFFFFF
        if clear:
            self[0x020], self[0x024] = 4, 0xFFFFFFFF
        self[0x43C] = 1 << 7 | 1 << 8 | 1 << 16
        for uniforms, code in pairs:
            self[0x434] = uniforms
            self[0x430] = code

    def completed(self) -> int:
        return self[0x43C] >> 16 & 0xFF

    def close(self) -> None:
        del self.words
        self.map.close()
