"""The memory of the virtual Pi: what the GPU sees, what the CPU's caches hold, who owns which page.

One memory file holds physical memory from the start of the CMA pool to the end of RAM (the gpu_mem
part is at the end); the emulated chip works on it, and clients map it.  In an incoherent set-up a
second file holds the CPU's cached view.  A line of 64 bytes of that view is dirty where it differs
from what the caches last shared with memory; ``clean`` writes dirty lines back (with
``cleans_all`` every line: who writes a line as it is makes it dirty, too, and that is not seen
here), ``invalidate`` drops all lines (dirty ones too: what was in them is lost), ``evict`` is what
a busy CPU may do at any time: write back dirty lines.
"""

from __future__ import annotations

import bisect
import mmap
import os
from typing import Dict, List, Optional, Tuple

import numpy as np

from piblas.emu.machine import Machine, prepare
from piblas.isa.timing import timing_set

from .setups import Setup

__all__ = ["PAGE", "Pool", "Ram"]

PAGE = 4096
LINE_WORDS = 16


class Pool:
    """First fit with alignment over a range of physical addresses."""

    def __init__(self, start: int, size: int) -> None:
        self.start, self.size = start, size
        self._free: List[Tuple[int, int]] = [(start, start + size)] if size > 0 else []
        self.taken: Dict[int, int] = {}

    def take(self, nbytes: int, align: int = PAGE) -> Optional[int]:
        nbytes = -(-nbytes // PAGE) * PAGE
        align = max(align, PAGE)
        for index, (start, end) in enumerate(self._free):
            first = -(-start // align) * align
            if first + nbytes <= end:
                rest = [(start, first), (first + nbytes, end)]
                self._free[index : index + 1] = [(a, b) for a, b in rest if a < b]
                self.taken[first] = nbytes
                return first
        return None

    def give(self, address: int) -> int:
        nbytes = self.taken.pop(address)
        bisect.insort(self._free, (address, address + nbytes))
        merged: List[Tuple[int, int]] = []
        for start, end in self._free:
            if merged and merged[-1][1] == start:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((start, end))
        self._free = merged
        return nbytes

    @property
    def used(self) -> int:
        return sum(self.taken.values())


class _Shared:
    """A memory file as an array of words."""

    def __init__(self, name: str, size: int) -> None:
        self.fd = os.memfd_create(name)
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        self.words = np.frombuffer(self.map, dtype=np.uint32)

    def zero(self, offset: int, nbytes: int) -> None:
        self.map.madvise(mmap.MADV_REMOVE, offset, nbytes)

    def close(self) -> None:
        self.words = np.zeros(0, np.uint32)
        os.close(self.fd)


class Ram:
    """Physical memory of a set-up, with the emulated chip on it."""

    def __init__(self, setup: Setup) -> None:
        prepare()
        vc_start = setup.board.ram - setup.gpu_mem
        # The peripherals hide the last 16 MiB of a board with 1 GiB.
        vc_end = min(setup.board.ram, setup.board.peripherals)
        self.vc_base, self.vc_size = vc_start, setup.gpu_mem
        self.vc = Pool(vc_start, vc_end - vc_start)
        self.cma = Pool(vc_start - setup.cma, setup.cma)
        self.start = self.cma.start
        self.size = max(vc_end, vc_start) - self.start
        self.memory = _Shared("virtual-pi-memory", self.size)
        self.caches = _Shared("virtual-pi-caches", self.size) if setup.incoherent else None
        self._clean = np.zeros(self.size // 4 if setup.incoherent else 0, dtype=np.uint32)
        self.cached: Dict[int, int] = {}
        self.cleans_all = False
        hertz = setup.v3d_hz or setup.board.v3d_hz
        self.machine = Machine(
            self.size,
            12,
            strict=True,
            incoherent=setup.incoherent,
            seed=1,
            timing=None if setup.timing == "off" else timing_set(setup.timing),
            clock_hz=hertz,
            base=setup.alias | self.start,
            memory=self.memory.words,
            cpu=None if self.caches is None else self.caches.words,
        )
        self._rng = np.random.default_rng(7)

    def close(self) -> None:
        del self.machine
        self.memory.close()
        if self.caches is not None:
            self.caches.close()

    # --- owners ----------------------------------------------------------------------------------

    def open(self, address: int, nbytes: int, noise: bool = False) -> None:
        """Pages become somebody's, filled with zeros or noise."""
        offset = address - self.start
        self.memory.zero(offset, nbytes)
        if self.caches is not None:
            self.caches.zero(offset, nbytes)
            self._clean[offset // 4 : (offset + nbytes) // 4] = 0
        if noise:
            words = self._rng.integers(0, 1 << 32, nbytes // 4, dtype=np.uint32)
            self.memory.words[offset // 4 : (offset + nbytes) // 4] = words
        self.machine._forget_code(offset // PAGE, nbytes // PAGE)
        self.machine._state.L[offset // PAGE : (offset + nbytes) // PAGE] = PAGE

    def shut(self, address: int, nbytes: int) -> None:
        """Pages are nobody's."""
        self.machine.close_range((address - self.start) // PAGE, nbytes)
        self.cached.pop(address, None)

    def inside(self, address: int, nbytes: int) -> bool:
        return self.start <= address and address + nbytes <= self.start + self.size

    # --- the CPU's caches ------------------------------------------------------------------------

    def _views(self, address: int, nbytes: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = (address - self.start) // 4
        part = slice(first, first + nbytes // 4)
        assert self.caches is not None
        shape = (-1, LINE_WORDS)
        return (
            self.memory.words[part].reshape(shape),
            self.caches.words[part].reshape(shape),
            self._clean[part].reshape(shape),
        )

    def clean(self, address: int, nbytes: int) -> None:
        """Write dirty lines back, or all."""
        self._write_back(address, nbytes, self.cleans_all)

    def _write_back(self, address: int, nbytes: int, every: bool) -> None:
        if self.caches is None:
            return
        memory, cpu, shared = self._views(address, nbytes)
        dirty = slice(None) if every else (cpu != shared).any(axis=1)
        memory[dirty] = shared[dirty] = cpu[dirty]

    def invalidate(self, address: int, nbytes: int) -> None:
        """Drop all lines."""
        if self.caches is None:
            return
        memory, cpu, shared = self._views(address, nbytes)
        cpu[:] = memory
        shared[:] = memory

    def evict(self) -> None:
        """Write back every dirty line of every cached buffer."""
        for address, nbytes in self.cached.items():
            self._write_back(address, nbytes, False)
