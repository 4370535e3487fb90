"""``piblas.device_memory``: how full a device is, and what would be given up for more room."""

from __future__ import annotations

from typing import NamedTuple, Optional

from ..dispatch import devices
from ..driver.device import Device
from ..errors import DeviceError
from . import placement

__all__ = ["DeviceMemory", "device_memory"]


class DeviceMemory(NamedTuple):
    """Bytes of a device's memory; None for what its system does not tell.

    ``total`` is all of it, ``used`` what buffers hold, ``free`` the rest, ``largest`` the largest
    buffer that would fit, as free memory may lie in pieces.  ``cached``, a part of ``used``, is
    what piblas keeps to be quicker the next time (programs, uniform streams, scratch memory) and
    what arrays have left behind that are gone: it is given up before a device is said to be full.
    """

    total: Optional[int]
    used: Optional[int]
    free: Optional[int]
    largest: Optional[int]
    cached: int


def device_memory(device: Optional[Device] = None) -> DeviceMemory:
    """How full the memory of ``device`` is, by default of the one that calls are aimed at
    (``piblas.use``).

    The contiguous memory of a Pi's kernel (CMA) is shared with others, so ``total`` and ``free``
    are the kernel's figures there, and nobody tells how large the pieces are.  Raises DeviceError
    where calls go to no device, and for a device that was closed.
    """
    where = devices.current()[1] if device is None else device
    if where is None:
        raise DeviceError("device_memory: calls go to the CPU, so there is no device; name one")
    with devices.lock(where):
        total, used, free, largest = where.memory_state()
        runner = where.runner
        cached = 0 if runner is None else runner.kept_bytes
        cached += sum(8 * program.n_words for program in list(where.kept.values()))
        cached += sum(buffer.nbytes for owner, buffer in list(placement.dropped) if owner is where)
    return DeviceMemory(total, used, free, largest, cached)
