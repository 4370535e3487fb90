"""Contiguous memory of Linux, by the vcsm-cma driver: its bus address, and two ways to get it.

``HeapImport`` allocates from a dma-heap, which maps the memory cached, and imports it into vcsm-cma
for the address; ``CmaAlloc`` allocates from vcsm-cma itself, which maps it uncached whatever it is
asked for (raspberrypi/linux issue 5286).  Closing the descriptors frees, at the end of a process as
well.
"""

from __future__ import annotations

import mmap
import os
from typing import List, Optional, Tuple

from ..errors import DeviceError
from . import abi
from .calls import ioctl
from .memory import (
    PAGE,
    Block,
    MemoryBackend,
    check_address,
    close_all,
    cma_free,
    map_file,
    no_room,
    translated,
)
from .soc import Board

__all__ = ["CMA_NODE", "CmaAlloc", "HEAPS", "HeapImport", "heaps"]

CMA_NODE = "/dev/vcsm-cma"
HEAPS = "/dev/dma_heap"
_FIRST = ("vidbuf_cached", "linux,cma", "default_cma_region", "reserved")
_NAME = b"piblas"


def heaps() -> List[str]:
    """Paths of the heaps that may hold contiguous memory, the usual ones first."""
    try:
        names = set(os.listdir(HEAPS))
    except OSError:
        return []
    names.discard("system")  # pages from anywhere: vcsm-cma cannot import them
    order = [name for name in _FIRST if name in names]
    return [os.path.join(HEAPS, name) for name in order + sorted(names.difference(order))]


def _pages(nbytes: int) -> int:
    return -(-nbytes // PAGE) * PAGE


class _DmaBuf(Block):
    """Memory behind descriptors, which live as long as the block."""

    def __init__(self, bus: int, nbytes: int, mapping: mmap.mmap, fds: Tuple[int, ...]) -> None:
        super().__init__(bus, nbytes, mapping)
        self._fds = fds

    def release(self) -> bool:
        # Views that live on keep the mapping, and the mapping keeps the memory: no harm in closing.
        self._unmap()
        fds, self._fds = self._fds, ()
        close_all(*fds)
        return True


class _CachedDmaBuf(_DmaBuf):
    """The first descriptor is the heap's, whose caches the kernel cleans and invalidates."""

    def _sync(self, flags: int) -> None:
        if not self._fds:
            raise DeviceError("this memory was released")
        try:
            ioctl(self._fds[0], abi.DMA_BUF_SYNC, abi.DMA_BUF_SYNC_LAYOUT.pack(flags))
        except OSError as error:
            raise translated(error, "DMA_BUF_IOCTL_SYNC") from error

    def begin(self) -> None:
        self._sync(abi.SYNC_START | abi.SYNC_READ)

    def end(self) -> None:
        self._sync(abi.SYNC_END | abi.SYNC_WRITE)


class HeapImport(MemoryBackend):
    """dma-heap and vcsm-cma import: cached, and no root needed."""

    name = "heap-import"
    cached = True

    def __init__(self, board: Board) -> None:
        self._board = board
        self._heap = self._cma = -1
        paths = heaps()
        if not paths:
            raise DeviceError(f"{self.name}: no heap of contiguous memory in {HEAPS}")
        self._cma = os.open(CMA_NODE, os.O_RDWR | os.O_CLOEXEC)
        problem: Exception = DeviceError("")
        for path in paths:
            try:
                self._heap = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self.take(PAGE).release()
                self.path = path
                return
            except (OSError, DeviceError) as error:
                problem = error
                close_all(self._heap)
                self._heap = -1
        self.close()
        raise problem

    def close(self) -> None:
        heap, cma, self._heap, self._cma = self._heap, self._cma, -1, -1
        close_all(heap, cma)

    def room(self) -> Tuple[Optional[int], Optional[int], Optional[int]]:
        return (*cma_free(), None)

    def take(self, nbytes: int) -> Block:
        size = _pages(nbytes)
        request = bytearray(
            abi.HEAP_ALLOC_LAYOUT.pack(size, 0, os.O_RDWR | os.O_CLOEXEC, 0)
        )
        try:
            ioctl(self._heap, abi.HEAP_ALLOC, request)
        except OSError as error:
            raise _refused(size, error, "DMA_HEAP_IOCTL_ALLOC") from error
        fds = [abi.HEAP_ALLOC_LAYOUT.unpack(request)[1]]
        try:
            bus = self._import(fds, size)
            check_address(self.name, bus, self._board)
            return _CachedDmaBuf(bus, size, map_file(fds[0], size), tuple(fds))
        except OSError as error:
            close_all(*fds)
            raise translated(error, f"{self.name}: mmap") from error
        except BaseException:
            close_all(*fds)
            raise

    def _import(self, fds: List[int], size: int) -> int:
        request = bytearray(abi.CMA_IMPORT_LAYOUT.pack(fds[0], 0, _NAME, 0, 0, 0, 0, 0))
        try:
            ioctl(self._cma, abi.CMA_IMPORT, request)
        except OSError as error:
            raise _refused(size, error, "VC_SM_CMA_IOCTL_MEM_IMPORT_DMABUF") from error
        answer = abi.CMA_IMPORT_LAYOUT.unpack(request)
        fds.append(answer[3])
        return answer[7]


class CmaAlloc(MemoryBackend):
    """Memory of vcsm-cma: uncached, and no root needed."""

    name = "vcsm-cma"

    def __init__(self, board: Board) -> None:
        self._board = board
        self._cma = os.open(CMA_NODE, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        cma, self._cma = self._cma, -1
        close_all(cma)

    def room(self) -> Tuple[Optional[int], Optional[int], Optional[int]]:
        return (*cma_free(), None)

    def take(self, nbytes: int) -> Block:
        size = _pages(nbytes)
        request = bytearray(abi.CMA_ALLOC_LAYOUT.pack(size, 1, 0, 0, _NAME, 0, 0, 0))
        try:
            ioctl(self._cma, abi.CMA_ALLOC, request)
        except OSError as error:
            raise _refused(size, error, "VC_SM_CMA_IOCTL_MEM_ALLOC") from error
        answer = abi.CMA_ALLOC_LAYOUT.unpack(request)
        fd, bus = answer[5], answer[7]
        try:
            check_address(self.name, bus, self._board)
            return _DmaBuf(bus, size, map_file(fd, size), (fd,))
        except OSError as error:
            close_all(fd)
            raise translated(error, f"{self.name}: mmap") from error
        except BaseException:
            close_all(fd)
            raise


def _refused(size: int, error: OSError, call: str) -> DeviceError:
    problem = translated(error, f"{call} of {size} bytes")
    return no_room(size, error) if isinstance(problem, MemoryError) else problem
