"""Numbers and layouts of the kernel's interfaces, for 32-bit and 64-bit processes.

Request numbers come from ioctl-opt, layouts from ``struct`` with explicit sizes: apart from the
mailbox request, whose number holds the size of a pointer, nothing depends on the word length of
Python or of the kernel.  Sources (raspberrypi/linux): drivers/char/broadcom/vcio.c,
drivers/staging/vc04_services/include/linux/broadcom/vc_sm_cma_ioctl.h, include/uapi/linux/
dma-heap.h and dma-buf.h; for the old /dev/vcsm raspberrypi/userland, vmcs_sm_ioctl.h.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any

from ioctl_opt import IOR, IOW, IOWR

__all__ = [
    "CMA_ALLOC",
    "CMA_ALLOC_LAYOUT",
    "CMA_IMPORT",
    "CMA_IMPORT_LAYOUT",
    "DMA_BUF_SYNC",
    "DMA_BUF_SYNC_LAYOUT",
    "HEAP_ALLOC",
    "HEAP_ALLOC_LAYOUT",
    "MAILBOX",
    "SYNC_END",
    "SYNC_READ",
    "SYNC_START",
    "SYNC_WRITE",
    "VCSM_ALLOC",
    "VCSM_ALLOC_LAYOUT",
    "VCSM_FREE",
    "VCSM_FREE_LAYOUT",
    "VCSM_LOCK",
    "VCSM_LOCK_LAYOUT",
    "VCSM_MAP",
    "VCSM_MAP_LAYOUT",
    "VCSM_UNLOCK",
    "mailbox_request",
]


def mailbox_request(pointer: Any = ctypes.c_void_p) -> int:
    """The number of the property request; ``pointer`` is a type of the process's pointer size.

    The driver compares the whole number: 0xC0046400 in a 32-bit process, on a 64-bit kernel too,
    and 0xC0086400 in a 64-bit one.
    """
    return int(IOWR(100, 0, pointer))


MAILBOX = mailbox_request()

CMA_ALLOC_LAYOUT = struct.Struct("<IIII32siIQ")
"""size, num, cached, pad, name -> fd of a dma-buf, VideoCore's handle, bus address."""
CMA_IMPORT_LAYOUT = struct.Struct("<iI32siIIIQ")
"""fd of a dma-buf, cached, name -> fd of the import, VideoCore's handle, size, pad, bus address."""
CMA_ALLOC = int(IOR(ord("J"), 0x5A, CMA_ALLOC_LAYOUT))
CMA_IMPORT = int(IOR(ord("J"), 0x5B, CMA_IMPORT_LAYOUT))

HEAP_ALLOC_LAYOUT = struct.Struct("<QIIQ")
"""length, -> fd of a dma-buf, its open flags, flags of the heap."""
HEAP_ALLOC = int(IOWR(ord("H"), 0, HEAP_ALLOC_LAYOUT))

DMA_BUF_SYNC_LAYOUT = struct.Struct("<Q")
DMA_BUF_SYNC = int(IOW(ord("b"), 0, DMA_BUF_SYNC_LAYOUT))
SYNC_READ, SYNC_WRITE, SYNC_START, SYNC_END = 1, 2, 0, 4

VCSM_ALLOC_LAYOUT = struct.Struct("<III32sI")
"""size, num, cached, name -> handle."""
VCSM_LOCK_LAYOUT = struct.Struct("<II")
"""handle -> address in the process; the layout of unlock, too."""
VCSM_FREE_LAYOUT = struct.Struct("<I")
VCSM_MAP_LAYOUT = struct.Struct("<IIII")
"""pid, handle -> bus address, size."""
VCSM_ALLOC = int(IOR(ord("I"), 0x5A, VCSM_ALLOC_LAYOUT))
VCSM_LOCK = int(IOR(ord("I"), 0x5C, VCSM_LOCK_LAYOUT))
VCSM_UNLOCK = int(IOR(ord("I"), 0x5E, VCSM_LOCK_LAYOUT))
VCSM_FREE = int(IOR(ord("I"), 0x61, VCSM_FREE_LAYOUT))
VCSM_MAP = int(IOR(ord("I"), 0x6A, VCSM_MAP_LAYOUT))
