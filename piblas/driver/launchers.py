"""Starts programs on the QPUs and learns of their end.

``MailboxLauncher`` asks the firmware, which answers at the first host interrupt; the kernel gives
up waiting for it after 1 or 3 seconds, and the QPUs go on.  The other launcher is that of
:mod:`.register_launcher`.

Both say what is known afterwards: a launch that is :attr:`Launcher.lost` may still run, so nobody
may touch its memory.
"""

from __future__ import annotations

import abc
import errno
import os
import time
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

from ..errors import DeviceError, DeviceTimeout
from .mailbox import EXECUTE_OK, EXECUTE_TIMEOUT, Mailbox
from .signals import Deferred

__all__ = ["Launched", "Launcher", "MailboxLauncher", "kernel_limit"]

PREDICTED_SECONDS = 0.4
"""What one launch through the mailbox should take at most, so that no prediction error and no slow
clock brings it to the kernel's limit, and other users of the mailbox get their turn."""

_UNKNOWN = (errno.ETIMEDOUT, errno.EINTR, errno.EIO, errno.EAGAIN)
"""Errors after which nobody knows whether the firmware has started the programs."""


class Launched(NamedTuple):
    """What is known of a launch that has ended."""

    seconds: float
    counters: Optional[Dict[int, int]] = None


class Launcher(abc.ABC):
    """``longest`` is what a launch should be predicted to take at most, None without a limit."""

    name = ""
    longest: Optional[float] = None

    def __init__(self) -> None:
        self.lost = False
        self._clear_next = False

    @abc.abstractmethod
    def run(
        self,
        control: int,
        pairs: Sequence[Tuple[int, int]],
        count: int,
        timeout: float,
        clear_caches: bool,
    ) -> Launched:
        """Launch ``count`` programs and wait for their end.

        Their list is at the bus address ``control``; ``pairs`` repeats it, as (uniforms, code) of
        each.
        """

    def ended(self) -> bool:
        """Whether a lost launch is known to have ended meanwhile."""
        return False

    def clear_caches(self) -> None:
        """Have the caches of the QPUs cleared before anything else runs."""
        self._clear_next = True

    def close(self) -> None:  # noqa: B027  (most hold nothing open)
        """Close what the launcher holds open."""


_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def kernel_limit() -> float:
    """Seconds after which the kernel stops waiting for the firmware: 1, or 3 in recent kernels.

    raspberrypi/linux raised it in the middle of May 2025 (pull request 6859); the date of the build
    is in ``uname -v``, as "(2025-06-26)" or as "Fri Jun 20 15:59:14 BST 2025".  Without a date,
    or in that month, the answer is 1.
    """
    words = os.uname().version.replace("(", " ").replace(")", " ").split()
    built = 0, 0
    for index, word in enumerate(words):
        year, _, rest = word.partition("-")
        month, _, day = rest.partition("-")
        if len(year) == 4 and (year + month + day).isdigit() and day:
            built = int(year), int(month)
        elif word in _MONTHS:
            for later in words[index + 2 :]:
                if len(later) == 4 and later.isdigit():
                    built = int(later), _MONTHS.index(word) + 1
    return 3.0 if built >= (2025, 6) else 1.0


class MailboxLauncher(Launcher):
    """The firmware's launch call."""

    name = "mailbox"
    longest = PREDICTED_SECONDS

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox
        # The firmware has to give up before the kernel does: a message that the kernel has given up
        # is memory that the firmware still writes to.
        self.most = 0.9 * kernel_limit()

    def run(
        self,
        control: int,
        pairs: Sequence[Tuple[int, int]],
        count: int,
        timeout: float,
        clear_caches: bool,
    ) -> Launched:
        wait = min(timeout, self.most)
        clear = clear_caches or self._clear_next
        milliseconds = max(1, int(1000 * wait))
        begin = time.perf_counter()
        with Deferred():
            self.lost = True
            try:
                status = self._mailbox.execute_qpu(count, control, not clear, milliseconds)
            except OSError as error:
                self.lost = error.errno in _UNKNOWN
                if error.errno == errno.ETIMEDOUT:
                    raise DeviceTimeout("the firmware did not answer a launch in time") from error
                raise DeviceError(
                    f"the launch through {self._mailbox.path} failed: {error.strerror}"
                ) from error
            self.lost = status == EXECUTE_TIMEOUT
        if status == EXECUTE_TIMEOUT:
            limit = "" if wait == timeout else f" (a launch through the mailbox has {wait:g} s)"
            raise DeviceTimeout(f"no end after {wait:g} s{limit}")
        if status != EXECUTE_OK:
            raise DeviceError(f"the firmware refused the launch: status {status:#x}")
        self._clear_next = False
        return Launched(time.perf_counter() - begin)
