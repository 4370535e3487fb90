"""Property calls to the firmware through /dev/vcio.

A message is a row of 32-bit words: its size in bytes, 0, then one tag (number, bytes of its value
buffer, 0, values), then 0.  The firmware overwrites the second word with 0x80000000 and the values
with its answer (raspberrypi/linux: drivers/char/broadcom/vcio.c, drivers/firmware/raspberrypi.c).
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Optional, Sequence, Tuple

from ..errors import DeviceError
from . import abi
from .calls import ioctl

__all__ = ["ENABLE_QPU", "EXECUTE_QPU", "Mailbox", "NODE", "V3D_CLOCK", "message"]

NODE = "/dev/vcio"

FIRMWARE_REVISION = 0x00000001
FIRMWARE_VARIANT = 0x00000002
VC_MEMORY = 0x00010006
CLOCK_RATE = 0x00030002
ALLOCATE = 0x0003000C
LOCK = 0x0003000D
UNLOCK = 0x0003000E
RELEASE = 0x0003000F
EXECUTE_QPU = 0x00030011
ENABLE_QPU = 0x00030012
THROTTLED = 0x00030046
SET_POWER = 0x00038030

V3D_CLOCK = 5
V3D_DOMAIN = 11
"""Power domain of the QPUs: the device tree's number 10 plus one."""

EXECUTE_OK, EXECUTE_TIMEOUT = 0, 0x80000000

_DONE = 0x80000000
_ANSWERED = 0x80000000


def message(tag: int, values: Sequence[int], answer: int) -> bytearray:
    """The message that calls ``tag`` with ``values`` and has room for ``answer`` words."""
    room = max(len(values), answer)
    words = [4 * (6 + room), 0, tag, 4 * room, 0, *values, *[0] * (room - len(values)), 0]
    return bytearray(struct.pack(f"<{len(words)}I", *words))


class Mailbox:
    """An open /dev/vcio.  Raises OSError where the node cannot be opened."""

    def __init__(self, path: str = NODE) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def call(
        self, tag: int, values: Sequence[int] = (), answer: int = 1, times: int = 100
    ) -> Tuple[int, ...]:
        """The ``answer`` words that the firmware returns.

        OSError is what the kernel reports: EINVAL where the firmware refuses the message,
        ETIMEDOUT where it did not answer in time.  An interrupted call is made ``times`` times.
        """
        if self._fd < 0:
            raise DeviceError(f"{self.path} was closed")
        buffer = message(tag, values, answer)
        ioctl(self._fd, abi.MAILBOX, buffer, times)
        words = struct.unpack(f"<{len(buffer) // 4}I", buffer)
        if words[1] != _DONE or not words[4] & _ANSWERED:
            raise OSError(errno.EIO, f"the firmware did not answer tag {tag:#010x}", self.path)
        return words[5 : 5 + answer]

    def ask(self, tag: int, values: Sequence[int] = (), answer: int = 1) -> Optional[int]:
        """The last word of an answer, or None where the firmware does not know the tag."""
        try:
            return self.call(tag, values, answer)[-1]
        except OSError:
            return None

    # --- the QPUs ------------------------------------------------------------------------------

    def enable_qpu(self, on: bool) -> int:
        """Borrow the QPUs of the firmware, or give them back; 0 is success."""
        return self.call(ENABLE_QPU, [int(on)])[0]

    def execute_qpu(self, count: int, control: int, no_flush: bool, milliseconds: int) -> int:
        """Launch and wait for a host interrupt: 0, or 0x80000000 after the time-out.

        Never made twice: who is interrupted does not know whether it was made.
        """
        return self.call(EXECUTE_QPU, [count, control, int(no_flush), milliseconds], 1, 1)[0]

    def power_v3d(self, on: bool) -> bool:
        """Switch the power of the QPUs; whether they are in that state now."""
        return self.call(SET_POWER, [V3D_DOMAIN, int(on)], 2)[1] & 1 == int(on)

    # --- facts ---------------------------------------------------------------------------------

    def clock_hz(self) -> Optional[int]:
        """The present clock of the V3D block; None or 0 where the firmware does not say."""
        return self.ask(CLOCK_RATE, [V3D_CLOCK, 0], 2)

    def vc_memory(self) -> Optional[int]:
        """Bytes of memory that the GPU keeps for itself (gpu_mem in config.txt)."""
        return self.ask(VC_MEMORY, [], 2)

    # --- memory of the GPU ---------------------------------------------------------------------

    def allocate(self, nbytes: int, alignment: int, flags: int) -> int:
        """A handle, or 0 where there is no room."""
        return self.call(ALLOCATE, [nbytes, alignment, flags])[0]

    def lock(self, handle: int) -> int:
        """The bus address of a handle's memory, which stays there until :meth:`unlock`."""
        return self.call(LOCK, [handle])[0]

    def unlock(self, handle: int) -> int:
        return self.call(UNLOCK, [handle])[0]

    def release(self, handle: int) -> int:
        return self.call(RELEASE, [handle])[0]
