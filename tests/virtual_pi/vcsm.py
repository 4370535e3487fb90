"""/dev/vcsm of kernels before 5.9: the GPU's own memory for processes without root.

After drivers/char/broadcom/vc_sm/vmcs_sm.c of raspberrypi/linux 4.19: a handle is a multiple of a
page, because it is the offset of the mapping; memory that is not locked has no address; what a
process does not free is freed when its file is closed.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Any, Dict

from .ram import PAGE

__all__ = ["COMMANDS", "Resource", "Vcsm"]

COMMANDS = {0x5A: "ALLOC", 0x5C: "LOCK", 0x5E: "UNLOCK", 0x61: "FREE", 0x6A: "VC_ADDRESS"}


@dataclass
class Resource:
    """An allocation: whose file it belongs to, its pages (:class:`.kernel.DmaBuf`), its locks."""

    ino: int
    buffer: Any
    locks: int = 0


class Vcsm:
    """The driver's state; the pages are the firmware's, from gpu_mem."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.resources: Dict[int, Resource] = {}
        self._handle = 0

    def ioctl(self, pid: int, ino: int, number: int, data: bytes) -> bytes:
        """The driver looks at the command alone, not at its size."""
        command = COMMANDS.get(number & 0xFF)
        if command is None:
            raise OSError(errno.EINVAL, "unknown ioctl")
        if command == "ALLOC":
            size, count, _cached = struct.unpack_from("<III", data)
            handle = self._allocate(ino, size * max(count, 1))
            return data[:44] + struct.pack("<I", handle)
        if command == "VC_ADDRESS":
            asked, handle = struct.unpack_from("<II", data)
            resource = self._found(ino, handle)
            if asked != pid:
                raise OSError(errno.EINVAL, "another process's memory")
            if not resource.locks:
                raise OSError(errno.EINVAL, "memory that is not locked may move")
            bus = self.kernel.setup.alias | resource.buffer.address
            return struct.pack("<IIII", asked, handle, bus, resource.buffer.nbytes)
        (handle,) = struct.unpack_from("<I", data)
        resource = self._found(ino, handle)
        if command == "LOCK":
            resource.locks += 1
        elif command == "UNLOCK":
            if not resource.locks:
                raise OSError(errno.EINVAL, "not locked")
            resource.locks -= 1
        else:
            del self.resources[handle]
        return data

    def _allocate(self, ino: int, size: int) -> int:
        if not size:
            raise OSError(errno.EINVAL, "size 0")
        nbytes = -(-size // PAGE) * PAGE
        buffer = self.kernel.take_gpu_memory(nbytes)
        self._handle += PAGE
        self.resources[self._handle] = Resource(ino, buffer)
        return self._handle

    def _found(self, ino: int, handle: int) -> Resource:
        resource = self.resources.get(handle)
        if resource is None or resource.ino != ino:
            raise OSError(errno.EINVAL, "no such handle")
        return resource

    def mapped(self, ino: int, offset: int, nbytes: int) -> Any:
        """The pages behind an offset of the node."""
        resource = self._found(ino, offset)
        if nbytes > resource.buffer.nbytes:
            raise OSError(errno.EINVAL, "beyond the memory")
        return resource.buffer

    def holds(self, buffer: Any) -> bool:
        return any(resource.buffer is buffer for resource in self.resources.values())

    def closed(self, ino: int) -> None:
        """Free what a file's owner did not."""
        self.resources = {k: r for k, r in self.resources.items() if r.ino != ino}
