"""ioctl that is made again when a signal interrupts it."""

from __future__ import annotations

import errno
import fcntl
from typing import Union

__all__ = ["ioctl"]

_AGAIN = (errno.EINTR, errno.EAGAIN)
_TIMES = 100


def ioctl(fd: int, number: int, argument: Union[bytes, bytearray], times: int = _TIMES) -> None:
    """The request; a bytearray holds the answer afterwards.  OSError after ``times`` attempts.

    dma-buf's description asks for another attempt on EINTR and EAGAIN (linux/dma-buf.h).
    """
    for attempt in range(times):
        try:
            if isinstance(argument, bytearray):
                fcntl.ioctl(fd, number, argument, True)
            else:
                fcntl.ioctl(fd, number, argument)
            return
        except OSError as error:
            if error.errno not in _AGAIN or attempt + 1 == times:
                raise
