"""Buffers out of a backend's blocks.

``ArenaPool`` cuts uncached blocks into pages by :class:`~piblas.driver.heap.Heap`: freed ranges
join, and a block without a buffer goes back to the system if there is another.  ``BlockPool`` gives
every buffer a block of its own, as cached memory must have (:mod:`.memory`), and keeps some freed
ones, because allocating one costs the kernel milliseconds.
"""

from __future__ import annotations

import abc
from typing import Dict, List, Optional, Tuple

import numpy as np

from ..errors import OutOfDeviceMemory
from .heap import Heap
from .memory import PAGE, Block, MemoryBackend

__all__ = ["ArenaPool", "BlockPool", "Piece", "Pool", "pool_for", "pools_for"]


class Piece:
    """A range of a block that one buffer owns."""

    def __init__(self, pool: "Pool", block: Block, offset: int, nbytes: int) -> None:
        self.pool = pool
        self.block = block
        self.offset = offset
        self.nbytes = nbytes

    @property
    def bus(self) -> int:
        return self.block.bus + self.offset

    @property
    def bytes(self) -> np.ndarray:
        return self.block.bytes[self.offset : self.offset + self.nbytes]

    def clean(self) -> None:
        self.block.end()

    def invalidate(self) -> None:
        self.block.begin()


class Pool(abc.ABC):
    """Hands out pieces of a backend's memory.  Not for several threads at once."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.backend = backend

    @abc.abstractmethod
    def take(self, nbytes: int) -> Piece:
        """A piece that starts on a page; OutOfDeviceMemory or DeviceError."""

    @abc.abstractmethod
    def give_back(self, piece: Piece) -> None:
        """Free a piece; each once."""

    @abc.abstractmethod
    def unused(self) -> int:
        """Bytes that were taken from the system and that no buffer has."""

    @abc.abstractmethod
    def trim(self) -> None:
        """Give memory without a buffer back to the system."""

    @abc.abstractmethod
    def close(self) -> bool:
        """Release every block; False where views of one are alive and it has to stay."""


class _Arena:
    def __init__(self, block: Block) -> None:
        self.block = block
        self.pages = block.nbytes // PAGE
        self.heap = Heap(0, self.pages)

    @property
    def empty(self) -> bool:
        return self.heap.free == self.pages


class ArenaPool(Pool):
    """Pages of large blocks."""

    def __init__(self, backend: MemoryBackend, chunk: int = 4 << 20) -> None:
        super().__init__(backend)
        self._chunk = chunk
        self._arenas: List[_Arena] = []

    def take(self, nbytes: int) -> Piece:
        pages = -(-nbytes // PAGE)
        for arena in self._arenas:
            start = arena.heap.take(pages)
            if start is not None:
                return Piece(self, arena.block, start * PAGE, nbytes)
        arena = self._grow((pages + 1) * PAGE)
        start = arena.heap.take(pages)
        assert start is not None
        return Piece(self, arena.block, start * PAGE, nbytes)

    def _grow(self, need: int) -> _Arena:
        try:
            block = self.backend.take(max(need, self._chunk))
        except OutOfDeviceMemory:
            self.trim()
            block = self.backend.take(need)
        arena = _Arena(block)
        self._arenas.append(arena)
        return arena

    def give_back(self, piece: Piece) -> None:
        arena = next(arena for arena in self._arenas if arena.block is piece.block)
        arena.heap.give_back(piece.offset // PAGE, -(-piece.nbytes // PAGE))
        if arena.empty and sum(other.empty for other in self._arenas) > 1:
            self._drop(arena)

    def _drop(self, arena: _Arena) -> bool:
        self._arenas.remove(arena)
        return arena.block.release()

    def unused(self) -> int:
        return sum(PAGE * arena.heap.free for arena in self._arenas)

    def trim(self) -> None:
        for arena in [arena for arena in self._arenas if arena.empty]:
            self._drop(arena)

    def close(self) -> bool:
        released = [self._drop(arena) for arena in list(self._arenas)]
        self.backend.close()
        return all(released)


class BlockPool(Pool):
    """A block for each buffer; up to ``kept`` freed ones of together ``most`` bytes wait."""

    def __init__(self, backend: MemoryBackend, most: int = 32 << 20, kept: int = 16) -> None:
        super().__init__(backend)
        self._most, self._kept = most, kept
        self._waiting: List[Block] = []  # the longest freed first
        self._used: Dict[int, Block] = {}  # by bus address

    def take(self, nbytes: int) -> Piece:
        block = self._recycled(nbytes)
        if block is None:
            try:
                block = self.backend.take(nbytes)
            except OutOfDeviceMemory:
                if not self._waiting:
                    raise
                self.trim()
                block = self.backend.take(nbytes)
        self._used[block.bus] = block
        return Piece(self, block, 0, nbytes)

    def _recycled(self, nbytes: int) -> Optional[Block]:
        """The smallest waiting block that fits and is not much too large."""
        size = -(-nbytes // PAGE) * PAGE
        fits = [block for block in self._waiting if size <= block.nbytes <= size + size // 4]
        if not fits:
            return None
        block = min(fits, key=lambda one: one.nbytes)
        self._waiting.remove(block)
        return block

    def give_back(self, piece: Piece) -> None:
        self._waiting.append(self._used.pop(piece.block.bus))
        while len(self._waiting) > self._kept or self.unused() > self._most:
            self._waiting.pop(0).release()

    def unused(self) -> int:
        return sum(block.nbytes for block in self._waiting)

    def trim(self) -> None:
        while self._waiting:
            self._waiting.pop().release()

    def close(self) -> bool:
        self.trim()
        released = [block.release() for block in self._used.values()]
        self._used.clear()
        self.backend.close()
        return all(released)


def pool_for(backend: MemoryBackend) -> Pool:
    """The pool that fits a backend's kind of memory."""
    return BlockPool(backend) if backend.cached else ArenaPool(backend)


def pools_for(data: MemoryBackend, control: MemoryBackend) -> Tuple[Pool, Pool]:
    """Pools for data and for code and lists; one and the same where the backend is."""
    first = pool_for(data)
    return first, first if control is data else ArenaPool(control, 256 << 10)
