"""The V3D registers, mapped through /dev/mem: root."""

from __future__ import annotations

import mmap
import os
from typing import Optional

import numpy as np

from ..errors import DeviceError
from ..isa import v3d_regs
from .memory import MEM
from .soc import Board

__all__ = ["Registers"]

_SIZE = 4096


class Registers:
    """Reads and writes of one register, each a single access of 32 bits.

    An item of an aligned NumPy array is one load or store; slices would not promise that.
    """

    def __init__(self, board: Board) -> None:
        fd = os.open(MEM, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
        try:
            self._map: Optional[mmap.mmap] = mmap.mmap(
                fd,
                _SIZE,
                mmap.MAP_SHARED,
                mmap.PROT_READ | mmap.PROT_WRITE,
                offset=board.v3d,
            )
        finally:
            os.close(fd)
        self._words = np.frombuffer(self._map, np.uint32)

    def close(self) -> None:
        self._words = np.empty(0, np.uint32)
        mapping, self._map = self._map, None
        if mapping is not None:
            mapping.close()

    def read_at(self, offset: int) -> int:
        return int(self._words[offset >> 2])

    def write_at(self, offset: int, value: int) -> None:
        self._words[offset >> 2] = value

    def read(self, name: str) -> int:
        return self.read_at(v3d_regs.REGISTERS[name])

    def write(self, name: str, value: int) -> None:
        self.write_at(v3d_regs.REGISTERS[name], value)

    def check(self) -> None:
        """DeviceError unless a powered VideoCore IV answers."""
        found = self.read("IDENT0")
        if found == v3d_regs.POWERED_OFF:
            raise DeviceError("the V3D block has no power: its registers read 0xdeadbeef")
        if found != v3d_regs.IDENT:
            raise DeviceError(f"no VideoCore IV at these registers: IDENT0 is {found:#010x}")
