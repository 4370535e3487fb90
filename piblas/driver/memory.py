"""Memory that the QPUs see: what a backend gives, and which one a board has.

A backend hands out :class:`Block`: physically contiguous memory, mapped into the process, whose bus
address is known.  Two kinds:

- uncached for the ARM (or coherent): CPU and QPUs see the same words at once, and a block may be
  cut into many buffers;
- cached: a block is a dma-buf of its own, and the kernel cleans and invalidates it as a whole, so
  it holds one buffer only: invalidating would drop what the CPU wrote to a neighbour.

The order is that of speed for the CPU and of the rights needed: :data:`BACKENDS`.
"""

from __future__ import annotations

import abc
import errno
import mmap
import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import DeviceError, OutOfDeviceMemory
from .mailbox import Mailbox
from .soc import Board

__all__ = [
    "BACKENDS",
    "Block",
    "MEM",
    "MemoryBackend",
    "NAMES",
    "PAGE",
    "WrongAlias",
    "cma_free",
    "open_backends",
    "reason",
]

PAGE = 4096
MEM = "/dev/mem"
"""All of physical memory, for root."""
_NO_MEMORY = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC)


class WrongAlias(DeviceError):
    """A bus address at which QPUs would see something else than the ARM."""


class Block:
    """Contiguous memory at ``bus``: ``bytes`` is the mapping as uint8.

    ``begin`` makes what the QPUs wrote visible to the CPU, ``end`` what the CPU wrote to the QPUs;
    ``release`` gives the memory back to where it came from, and returns False where views of the
    mapping are still alive and the memory must stay.
    """

    def __init__(self, bus: int, nbytes: int, mapping: mmap.mmap) -> None:
        self.bus = bus
        self.nbytes = nbytes
        self._mapping: Optional[mmap.mmap] = mapping
        self.bytes = np.frombuffer(mapping, np.uint8, nbytes)

    def begin(self) -> None:
        """Nothing to do where the mapping is uncached."""

    def end(self) -> None:
        """Nothing to do where the mapping is uncached."""

    def _unmap(self) -> bool:
        """Drop the mapping; False where NumPy views of it live on and keep it mapped."""
        mapping, self._mapping = self._mapping, None
        self.bytes = np.empty(0, np.uint8)
        if mapping is None:
            return True
        try:
            mapping.close()
        except BufferError:
            return False
        return True

    def release(self) -> bool:
        return self._unmap()


class MemoryBackend(abc.ABC):
    """A source of blocks.  ``cached`` tells which kind they are."""

    name = ""
    cached = False

    @abc.abstractmethod
    def take(self, nbytes: int) -> Block:
        """A block of at least ``nbytes``; OutOfDeviceMemory or DeviceError."""

    def room(self) -> Tuple[Optional[int], Optional[int], Optional[int]]:
        """(all bytes that blocks can be taken from, those that are left, the largest block that
        :meth:`take` could give); None for what the system does not tell."""
        return None, None, None

    def close(self) -> None:  # noqa: B027  (most hold nothing open)
        """Close what the backend holds open; its blocks were released."""


def translated(error: OSError, what: str) -> DeviceError:
    """A kernel's error as one of this package."""
    kind = OutOfDeviceMemory if error.errno in _NO_MEMORY else DeviceError
    return kind(f"{what}: {error.strerror or error}")


def cma_free() -> Tuple[Optional[int], Optional[int]]:
    """(all, free) bytes of the kernel's pool of contiguous memory; None where it does not say."""
    found: Dict[str, int] = {}
    try:
        with open("/proc/meminfo", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in ("CmaTotal", "CmaFree"):
                    found[name] = 1024 * int(rest.split()[0])
    except (OSError, ValueError, IndexError):
        pass
    return found.get("CmaTotal"), found.get("CmaFree")


def no_room(nbytes: int, error: OSError) -> OutOfDeviceMemory:
    """Why the pool of contiguous memory had no room for a block."""
    text = f"no contiguous memory for {nbytes} bytes ({error.strerror})"
    total, free = cma_free()
    if total is not None and free is not None:
        text += f"; the CMA pool has {free >> 20} of {total >> 20} MiB free"
        if free > 2 * nbytes and error.errno == errno.ENOMEM:
            text += ", but in pieces: allocate earlier, or reboot"
        elif error.errno == errno.ENOMEM:
            text += ": a larger one is set by dtoverlay=cma,cma-128 in config.txt"
    return OutOfDeviceMemory(text)


def check_address(name: str, bus: int, board: Board) -> None:
    """Refuse a bus address at which QPUs would see something else than the ARM."""
    if not bus or bus % PAGE or bus >> 32:
        raise DeviceError(f"{name}: {bus:#x} is no bus address of a page")
    if bus & 0xC0000000 not in board.aliases:
        wanted = " or ".join(f"{alias:#010x}" for alias in board.aliases)
        raise WrongAlias(
            f"{name}: bus address {bus:#010x} has not the alias {wanted} of a {board.chip}, so "
            "results would be stale: the device tree's dma-ranges are wrong"
        )


def map_file(fd: int, nbytes: int, offset: int = 0) -> mmap.mmap:
    """A shared, writable mapping."""
    return mmap.mmap(fd, nbytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)


def close_all(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


Opener = Callable[[Board, Mailbox], MemoryBackend]


def _heap_import(board: Board, mailbox: Mailbox) -> MemoryBackend:
    from .cma import HeapImport

    return HeapImport(board)


def _cma(board: Board, mailbox: Mailbox) -> MemoryBackend:
    from .cma import CmaAlloc

    return CmaAlloc(board)


def _firmware(board: Board, mailbox: Mailbox) -> MemoryBackend:
    from .firmware_memory import FirmwareMemory

    return FirmwareMemory(board, mailbox)


def _udmabuf(board: Board, mailbox: Mailbox) -> MemoryBackend:
    from .udmabuf import UDmaBuf

    return UDmaBuf(board)


def _vcsm(board: Board, mailbox: Mailbox) -> MemoryBackend:
    from .vcsm import Vcsm

    return Vcsm(board)


def _rpi_vcsm(board: Board, mailbox: Mailbox) -> MemoryBackend:
    from .vcsm import RpiVcsm

    return RpiVcsm(board)


BACKENDS: Sequence[Tuple[str, Opener]] = (
    ("heap-import", _heap_import),
    ("vcsm-cma", _cma),
    ("mailbox", _firmware),
    ("u-dma-buf", _udmabuf),
    ("vcsm", _vcsm),
    ("rpi-vcsm", _rpi_vcsm),
)
"""In the order in which they are tried: cached contiguous memory; uncached; the GPU's own (root);
a module of others; the allocators of kernels before 5.9."""

NAMES = tuple(name for name, _ in BACKENDS)


def open_backends(
    board: Board, mailbox: Mailbox, wanted: str = "auto"
) -> Tuple[MemoryBackend, MemoryBackend, List[str]]:
    """(for data, for code and control lists, why others were passed over), each tried by a page.

    The second is uncached if the board has such memory, and is often the same as the first.
    ``wanted`` asks for one of :data:`NAMES`.
    """
    if wanted != "auto" and wanted not in NAMES:
        raise DeviceError(f"memory = {wanted!r}: choose auto, {', '.join(NAMES)}")
    reasons: List[str] = []
    opened: List[MemoryBackend] = []
    try:
        for name, opener in BACKENDS:
            if wanted not in ("auto", name):
                continue
            try:
                backend = opener(board, mailbox)
            except (DeviceError, OSError) as error:
                reasons.append(reason(name, error))
                continue
            opened.append(backend)
            try:
                _try(backend)
            except DeviceError as error:
                reasons.append(reason(name, error))
                opened.pop().close()
                continue
            if not backend.cached or wanted != "auto":
                break
    except BaseException:
        for backend in opened:
            backend.close()
        raise
    if not opened:
        raise DeviceError("no memory that the QPUs see: " + "; ".join(reasons))
    return opened[0], opened[-1], reasons


def reason(name: str, error: Any) -> str:
    """Why the backend of this name cannot serve, for the user."""
    if isinstance(error, OSError) and not isinstance(error, DeviceError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{name}: {where}{error.strerror or error}"
    text = str(error)
    return text if text.startswith(name) else f"{name}: {text}"


def _try(backend: MemoryBackend) -> None:
    """Take a page, write and read it, and give it back."""
    block = backend.take(PAGE)
    try:
        pattern = np.arange(PAGE, dtype=np.uint8)
        block.begin()
        block.bytes[:PAGE] = pattern
        block.end()
        same = bool((block.bytes[:PAGE] == pattern).all())
    finally:
        block.release()
    if not same:
        raise DeviceError(f"{backend.name}: the memory does not keep what is written to it")
