"""The allocators of kernels before 5.9: /dev/vcsm, and the Python package rpi-vcsm if installed.

/dev/vcsm hands out the GPU's own memory to processes without root; it exists on 32-bit systems only
and is asked for uncached mappings.
"""

from __future__ import annotations

import mmap
import os
from typing import Any, Optional

import numpy as np

from ..errors import DeviceError
from . import abi
from .calls import ioctl
from .memory import (
    PAGE,
    Block,
    MemoryBackend,
    check_address,
    close_all,
    map_file,
    no_room,
    translated,
)
from .soc import Board

__all__ = ["NODE", "RpiVcsm", "Vcsm"]

NODE = "/dev/vcsm"
_UNCACHED = 0


class _VcsmBlock(Block):
    def __init__(
        self, backend: "Vcsm", handle: int, bus: int, nbytes: int, mapping: mmap.mmap
    ) -> None:
        super().__init__(bus, nbytes, mapping)
        self._backend, self._handle = backend, handle

    def release(self) -> bool:
        if not self._unmap():
            return False
        handle, self._handle = self._handle, 0
        if handle:
            self._backend.free(handle)
        return True


class Vcsm(MemoryBackend):
    """Allocate, map at the offset that is the handle, lock, and ask for the bus address."""

    name = "vcsm"

    def __init__(self, board: Board) -> None:
        self._board = board
        self._fd = os.open(NODE, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        close_all(fd)

    def take(self, nbytes: int) -> Block:
        size = -(-nbytes // PAGE) * PAGE
        request = bytearray(abi.VCSM_ALLOC_LAYOUT.pack(size, 1, _UNCACHED, b"piblas", 0))
        try:
            ioctl(self._fd, abi.VCSM_ALLOC, request)
        except OSError as error:
            problem = translated(error, f"VMCS_SM_IOCTL_MEM_ALLOC of {size} bytes")
            if isinstance(problem, MemoryError):
                raise no_room(size, error) from error
            raise problem from error
        handle = abi.VCSM_ALLOC_LAYOUT.unpack(request)[4]
        mapping: Optional[mmap.mmap] = None
        try:
            mapping = map_file(self._fd, size, handle)
            ioctl(self._fd, abi.VCSM_LOCK, bytearray(abi.VCSM_LOCK_LAYOUT.pack(handle, 0)))
            request = bytearray(abi.VCSM_MAP_LAYOUT.pack(os.getpid(), handle, 0, 0))
            ioctl(self._fd, abi.VCSM_MAP, request)
            bus = abi.VCSM_MAP_LAYOUT.unpack(request)[2]
            check_address(self.name, bus, self._board)
            return _VcsmBlock(self, handle, bus, size, mapping)
        except BaseException as error:
            if mapping is not None:
                mapping.close()
            self.free(handle)
            if isinstance(error, OSError):
                raise translated(error, f"{self.name}: mapping {size} bytes") from error
            raise

    def free(self, handle: int) -> None:
        for number, request in (
            (abi.VCSM_UNLOCK, abi.VCSM_LOCK_LAYOUT.pack(handle, 0)),
            (abi.VCSM_FREE, abi.VCSM_FREE_LAYOUT.pack(handle)),
        ):
            try:
                ioctl(self._fd, number, bytearray(request))
            except OSError:
                pass  # the driver frees what is left when the node is closed


class _RpiVcsmBlock(Block):
    def __init__(self, backend: "RpiVcsm", handle: Any, bus: int, nbytes: int, memory: Any) -> None:
        # The mapping belongs to the package, which unmaps it in free().
        self.bus, self.nbytes = bus, nbytes
        self.bytes = np.frombuffer(memory, np.uint8, nbytes)
        self._backend, self._handle, self._memory = backend, handle, memory

    def release(self) -> bool:
        self.bytes = np.empty(0, np.uint8)
        memory, self._memory = self._memory, None
        if memory is None:
            return True
        try:
            self._backend.api.free(handle=self._handle, usr_buf=memory)
        except BufferError:
            return False
        return True


class RpiVcsm(MemoryBackend):
    """The allocator of the package rpi-vcsm, for those who have it."""

    name = "rpi-vcsm"

    def __init__(self, board: Board) -> None:
        self._board = board
        try:
            from rpi_vcsm.VCSM import CACHE_NONE, VCSM
        except ImportError as error:
            raise DeviceError(f"{self.name}: the package is not installed") from error
        self.api = VCSM()
        self._uncached = CACHE_NONE

    def close(self) -> None:
        self.api.close()

    def take(self, nbytes: int) -> Block:
        size = -(-nbytes // PAGE) * PAGE
        try:
            handle, bus, _, memory = self.api.malloc_cache(
                size=size, cached=self._uncached, name="piblas"
            )
        except OSError as error:
            raise translated(error, f"{self.name}: {size} bytes") from error
        block = _RpiVcsmBlock(self, handle, bus, size, memory)
        try:
            check_address(self.name, bus, self._board)
        except DeviceError:
            block.release()
            raise
        return block
