"""Memory of the GPU itself (gpu_mem), asked of the firmware and mapped through /dev/mem: root.

The firmware does not free it when its owner dies.  So a journal of the handles lies where only root
can write, and the next process that opens this backend frees what a dead one has left.  The caller
holds the GPU's lock, so whoever is in the journal is dead.
"""

from __future__ import annotations

import os
from typing import List, Optional, Tuple

from .. import log
from ..errors import DeviceError, OutOfDeviceMemory
from .mailbox import Mailbox
from .memory import (
    MEM,
    PAGE,
    Block,
    MemoryBackend,
    check_address,
    close_all,
    map_file,
    translated,
)
from .soc import Board

__all__ = ["FirmwareMemory", "JOURNAL"]

JOURNAL = "/run/piblas-gpu-memory"

ATTEMPTS = 3

DIRECT, L1_NONALLOCATING = 4, 12
"""Flags of an allocation: the alias 0xC0000000, or 0x40000000, which a BCM2835's ARM shares."""



def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class _Journal:
    """The handles that are allocated now, kept in a file."""

    def __init__(self) -> None:
        self.handles: List[int] = []

    def left(self) -> List[int]:
        """What a process of this boot has left behind."""
        try:
            fd = os.open(JOURNAL, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return []
        try:
            if os.fstat(fd).st_uid not in (0, os.geteuid()):
                return []
            import json  # here, as it takes a while, and other memory needs none of it

            found = json.loads(os.pread(fd, 1 << 16, 0) or b"{}")
        except (OSError, ValueError):
            return []
        finally:
            os.close(fd)
        if not isinstance(found, dict) or found.get("boot") != _boot():
            return []
        return [handle for handle in found.get("handles", []) if isinstance(handle, int)]

    def write(self) -> None:
        import json

        text = json.dumps({"boot": _boot(), "handles": self.handles}).encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(JOURNAL, flags, 0o600)
            try:
                os.write(fd, text)
            finally:
                os.close(fd)
        except OSError:
            pass  # without a journal a crash costs GPU memory until the next boot, and no more

    def add(self, handle: int) -> None:
        self.handles.append(handle)
        self.write()

    def remove(self, handle: int) -> None:
        self.handles.remove(handle)
        self.write()


class _FirmwareBlock(Block):
    def __init__(self, backend: "FirmwareMemory", handle: int, bus: int, nbytes: int) -> None:
        self._backend = backend
        self._handle = handle
        # O_SYNC on the node makes the mapping uncached.
        super().__init__(bus, nbytes, map_file(backend.fd, nbytes, bus & 0x3FFFFFFF))

    def release(self) -> bool:
        if not self._unmap():
            return False  # stays in the journal: somebody still looks at this memory
        handle, self._handle = self._handle, 0
        if handle:
            self._backend.free(handle)
        return True


class FirmwareMemory(MemoryBackend):
    """The mailbox's allocator: uncached, root only, as large as gpu_mem allows."""

    name = "mailbox"

    def __init__(self, board: Board, mailbox: Mailbox) -> None:
        self._board, self._mailbox = board, mailbox
        self._flags = L1_NONALLOCATING if board.chip == "BCM2835" else DIRECT
        self.fd = os.open(MEM, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
        self._journal = _Journal()
        for handle in self._journal.left():
            self._release(handle)  # one that the firmware does not know is gone already

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        close_all(fd)

    def room(self) -> Tuple[Optional[int], Optional[int], Optional[int]]:
        return self._mailbox.vc_memory(), None, None

    def _release(self, handle: int) -> bool:
        """Unlock and free memory, on repetition if need be; whether the firmware did."""
        for _ in range(ATTEMPTS):
            try:
                self._mailbox.unlock(handle)
            except OSError:
                pass  # never locked; or it says so again below
            try:
                return self._mailbox.release(handle) == 0
            except OSError:
                continue
        return False

    def free(self, handle: int) -> None:
        if self._release(handle):
            self._journal.remove(handle)
        else:
            log.warning("the firmware does not take memory back; the next process tries again")

    def take(self, nbytes: int) -> Block:
        size = -(-nbytes // PAGE) * PAGE
        try:
            handle = self._mailbox.allocate(size, PAGE, self._flags)
        except OSError as error:
            raise translated(error, f"allocating {size} bytes of GPU memory") from error
        if not handle:
            memory = self._mailbox.vc_memory()
            amount = "" if memory is None else f", which is {memory >> 20} MiB"
            raise OutOfDeviceMemory(
                f"no room for {size} bytes in the GPU's memory{amount}: raise gpu_mem in config.txt"
            )
        self._journal.add(handle)
        try:
            try:
                bus = self._mailbox.lock(handle)
            except OSError as error:
                raise translated(error, f"locking {size} bytes of GPU memory") from error
            check_address(self.name, bus, self._board)
            try:
                return _FirmwareBlock(self, handle, bus, size)
            except OSError as error:
                problem = translated(error, f"mapping GPU memory through {MEM}")
                raise DeviceError(str(problem)) from error
        except BaseException:
            self.free(handle)
            raise
