"""Two ways to start programs on the QPUs and to learn of their end.

``MailboxLauncher`` asks the firmware, which answers at the first host interrupt; the kernel gives
up waiting for it after 1 or 3 seconds, and the QPUs go on.  ``RegisterLauncher`` queues programs at
the V3D block itself and counts those that have ended: no limit, and performance counters.

Both say what is known afterwards: a launch that is :attr:`Launcher.lost` may still run, so nobody
may touch its memory.
"""

from __future__ import annotations

import abc
import errno
import os
import re
import time
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import DeviceError, DeviceTimeout
from ..isa import v3d_regs
from ..isa.counters import ROWS as COUNTERS
from .mailbox import EXECUTE_OK, EXECUTE_TIMEOUT, Mailbox
from .signals import Deferred
from .v3d import Registers

__all__ = ["Launched", "Launcher", "MailboxLauncher", "RegisterLauncher", "kernel_limit"]

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
    needs_pairs = False

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

        They stand at the bus address ``control``, and in ``pairs`` (uniforms, code) if
        ``needs_pairs``.
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
    stands in ``uname -v``, as "(2025-06-26)" or as "Fri Jun 20 15:59:14 BST 2025".  Without a date,
    or in that month, the answer is 1.
    """
    text = os.uname().version
    date = re.search(r"\b(20\d\d)-(\d\d)-\d\d\b", text)
    if date:
        built = int(date.group(1)), int(date.group(2))
    else:
        date = re.search(r"\b(%s) +\d+ .*\b(20\d\d)\b" % "|".join(_MONTHS), text)
        if not date:
            return 1.0
        built = int(date.group(2)), _MONTHS.index(date.group(1)) + 1
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


class RegisterLauncher(Launcher):
    """The V3D block's queue of user programs."""

    name = "registers"
    needs_pairs = True
    GRACE = 1.0
    """Seconds that a launch has left when the user wants to interrupt it."""

    def __init__(self, registers: Registers) -> None:
        super().__init__()
        self._v3d = registers
        registers.check()
        if registers.read("VPMBASE") & 0x1F < v3d_regs.VPM_ROWS_64 and self.ended():
            registers.write("VPMBASE", v3d_regs.VPM_ROWS_64)

    def ended(self) -> bool:
        counts = self._v3d.read("SRQCS")
        return v3d_regs.completed(counts) == v3d_regs.requested(counts)

    def run(
        self,
        control: int,
        pairs: Sequence[Tuple[int, int]],
        count: int,
        timeout: float,
        clear_caches: bool,
    ) -> Launched:
        v3d = self._v3d
        v3d.check()
        if not self.ended():
            raise DeviceError("the QPUs are at work for somebody else")
        with Deferred() as signals:
            self.lost = True
            for name, value in (("DBCFG", 0), ("DBQITE", 0), ("DBQITC", 0xFFFFFFFF)):
                v3d.write(name, value)
            if clear_caches or self._clear_next:
                v3d.write("L2CACTL", v3d_regs.CLEAR_L2)
                v3d.write("SLCACTL", v3d_regs.CLEAR_SLICES)
                self._clear_next = False
            v3d.write("SRQCS", v3d_regs.REQUEST_RESET)
            numbers = self._start_counters()
            begin = time.perf_counter()
            for uniforms, code in pairs:
                v3d.write("SRQUA", uniforms)
                v3d.write("SRQPC", code)
            self._wait(count, begin, timeout, signals)
            seconds = time.perf_counter() - begin
            self.lost = False
            return Launched(seconds, self._read_counters(numbers))

    def _wait(self, count: int, begin: float, timeout: float, signals: Deferred) -> None:
        """Poll: at first at once, then ever more seldom up to a thirtieth of the time so far."""
        turns = 0
        while v3d_regs.completed(self._v3d.read("SRQCS")) != count:
            passed = time.perf_counter() - begin
            if passed > timeout:
                raise DeviceTimeout(f"no end after {timeout:g} s", self._where())
            if signals.pending and passed > self.GRACE:
                raise DeviceTimeout("interrupted", self._where())
            turns += 1
            if turns > 50:
                time.sleep(min(1e-3, max(2e-5, passed / 30)))

    def _where(self) -> str:
        counts, errors = self._v3d.read("SRQCS"), self._v3d.read("ERRSTAT")
        return (
            f"{v3d_regs.completed(counts)} of {v3d_regs.requested(counts)} programs have ended; "
            f"SRQCS {counts:#010x}, ERRSTAT {errors:#010x}"
        )

    def _start_counters(self) -> List[int]:
        numbers = [row.number for row in COUNTERS][: len(v3d_regs.COUNTERS)]
        self._v3d.write("PCTRE", 0)
        self._v3d.write("PCTRC", 0xFFFF)
        for number, (_, source) in zip(numbers, v3d_regs.COUNTERS):
            self._v3d.write_at(source, number)
        self._v3d.write("PCTRE", v3d_regs.COUNTERS_ON | (1 << len(numbers)) - 1)
        return numbers

    def _read_counters(self, numbers: Sequence[int]) -> Dict[int, int]:
        counts = {
            number: self._v3d.read_at(count)
            for number, (count, _) in zip(numbers, v3d_regs.COUNTERS)
        }
        self._v3d.write("PCTRE", 0)
        return counts

    def close(self) -> None:
        self._v3d.close()
