"""Buffers of the u-dma-buf module (ikwzm/udmabuf): contiguous, with the address in sysfs.

Each device node is one buffer whose size was fixed when the module was loaded.  It is mapped
uncached (O_SYNC), so nothing has to be synchronised.  The address is physical; the bus alias is the
device tree's.
"""

from __future__ import annotations

import os
from typing import List, Optional, Tuple

from ..errors import DeviceError, OutOfDeviceMemory
from .memory import Block, MemoryBackend, check_address, close_all, map_file, translated
from .soc import Board

__all__ = ["CLASS", "UDmaBuf"]

CLASS = "/sys/class/u-dma-buf"


def _number(name: str, what: str) -> int:
    with open(os.path.join(CLASS, name, what), encoding="ascii") as file:
        return int(file.read().strip(), 0)


class _Mapped(Block):
    def __init__(self, backend: "UDmaBuf", name: str, bus: int, nbytes: int) -> None:
        fd = os.open(f"/dev/{name}", os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
        try:
            super().__init__(bus, nbytes, map_file(fd, nbytes))
        finally:
            close_all(fd)  # the mapping keeps the buffer
        self._backend, self._name = backend, name

    def release(self) -> bool:
        if not self._unmap():
            return False  # whoever still looks at the buffer would share it with the next owner
        self._backend.give_back(self._name)
        return True


class UDmaBuf(MemoryBackend):
    """All buffers that the module has made, each handed out as a whole."""

    name = "u-dma-buf"

    def __init__(self, board: Board) -> None:
        self._board = board
        self._free: List[Tuple[int, str, int]] = []  # (size, name, bus address), smallest first
        self._taken: List[Tuple[int, str, int]] = []
        try:
            names = sorted(os.listdir(CLASS))
        except OSError as error:
            raise DeviceError(f"{self.name}: no {CLASS}: the module is not loaded") from error
        for name in names:
            try:
                size, address = _number(name, "size"), _number(name, "phys_addr")
            except (OSError, ValueError):
                continue
            bus = address if address >> 30 else address | board.alias
            self._free.append((size, name, bus))
        self._free.sort()
        if not self._free:
            raise DeviceError(f"{self.name}: {CLASS} names no buffer")

    def take(self, nbytes: int) -> Block:
        for row in self._free:
            size, name, bus = row
            if size < nbytes:
                continue
            check_address(self.name, bus, self._board)
            try:
                block = _Mapped(self, name, bus, size)
            except OSError as error:
                raise translated(error, f"{self.name}: /dev/{name}") from error
            self._free.remove(row)
            self._taken.append(row)
            return block
        largest = self._free[-1][0] if self._free else 0
        raise OutOfDeviceMemory(
            f"{self.name}: no free buffer of {nbytes} bytes (the largest has {largest}): load the "
            "module with a larger one"
        )

    def room(self) -> Tuple[Optional[int], Optional[int], Optional[int]]:
        free = [size for size, _, _ in self._free]
        taken = sum(size for size, _, _ in self._taken)
        return sum(free) + taken, sum(free), max(free, default=0)

    def give_back(self, name: str) -> None:
        row = next(row for row in self._taken if row[1] == name)
        self._taken.remove(row)
        self._free.append(row)
        self._free.sort()
