"""Opens the QPUs of a board: who is here, may we, is it free, which memory, which launcher.

Each step that fails undoes the ones before it and says what was found; ``piblas doctor`` knows the
remedies.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import List, Optional, Tuple

from .. import config, log
from ..errors import DeviceBusy, DeviceError
from . import soc as boards
from .hardware import Pi
from .launchers import Launcher, MailboxLauncher
from .lending import DOCTOR, borrow, hand_back, stop_qpus
from .lock import GpuLock
from .mailbox import NODE, Mailbox
from .memory import MEM, NAMES, open_backends
from .pools import pools_for
from .signals import Deferred
from .soc import Board

__all__ = ["LAUNCHERS", "open_pi"]

LAUNCHERS = ("auto", "registers", "mailbox")
DEFAULT_CLOCK = 250e6
"""The lowest V3D clock of all boards, for a firmware that does not say."""

_checked: set = set()
"""(memory, launcher) whose results were checked in this process."""


def open_pi(
    memory: Optional[str] = None, launch: Optional[str] = None, check: bool = True
) -> Pi:
    """The GPU of this board, borrowed from the firmware.

    - ``memory``: a backend of :mod:`.memory` by name, or "auto" for the best that there is; None
      takes the setting PIBLAS_MEMORY;
    - ``launch``: "registers" (root), "mailbox" or "auto"; None takes PIBLAS_LAUNCH;
    - ``check``: run a small program first and compare, once a process: a wrong alias or a cache
      that nobody clears gives wrong numbers and no error.

    DeviceError says why there is no GPU to use.
    """
    memory = memory or config.get("PIBLAS_MEMORY")
    launch = launch or config.get("PIBLAS_LAUNCH")
    if launch not in LAUNCHERS:
        raise DeviceError(f"launch = {launch!r}: choose {', '.join(LAUNCHERS)}")
    if memory != "auto" and memory not in NAMES:
        raise DeviceError(f"memory = {memory!r}: choose auto, {', '.join(NAMES)}")
    board = boards.require()
    with Deferred():
        device = _open(board, memory, launch)
        if not check or (device.memory, device.launcher.name) in _checked:
            return device
        try:
            problem = _canary(device)
            if problem is None:
                _checked.add((device.memory, device.launcher.name))
                return device
        except BaseException:
            device.close()
            raise
        found, cached = device.memory, device.uses_cached_memory
        device.close()
        if memory != "auto" or not cached:
            raise DeviceError(f"the QPUs compute wrong results with memory {found}: {problem}")
        log.warning("memory %s gives wrong results (%s): uncached memory instead", found, problem)
        return open_pi("vcsm-cma", launch)


def _canary(device: Pi) -> Optional[str]:
    from .canary import run

    return run(device)


def _open(board: Board, memory: str, launch: str) -> Pi:
    with contextlib.ExitStack() as undo:
        mailbox = _mailbox()
        undo.callback(mailbox.close)
        lock = GpuLock()
        undo.callback(lock.release)
        borrow(mailbox)
        undo.callback(hand_back, mailbox)
        launcher, reasons = _launcher(board, mailbox, lock, launch)
        undo.callback(launcher.close)
        data, control, others = open_backends(board, mailbox, memory)
        clock = mailbox.clock_hz() or DEFAULT_CLOCK
        pools = pools_for(data, control)
        device = Pi(board, float(clock), mailbox, pools, launcher, lock, reasons + others)
        undo.pop_all()
        return device


def _mailbox() -> Mailbox:
    try:
        return Mailbox()
    except FileNotFoundError as error:
        raise DeviceError(
            f"no VideoCore IV GPU: there is no {NODE}, so this kernel does not reach the firmware; "
            + DOCTOR
        ) from error
    except OSError as error:
        raise DeviceError(f"no access to the GPU: {NODE}: {error.strerror}; {DOCTOR}") from error


def _launcher(
    board: Board, mailbox: Mailbox, lock: GpuLock, launch: str
) -> Tuple[Launcher, List[str]]:
    reasons: List[str] = []
    if launch in ("auto", "registers"):
        try:
            return _registers(board, mailbox, lock), reasons
        except DeviceBusy:
            raise
        except (DeviceError, OSError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            if launch == "registers":
                raise DeviceError(f"no launch through registers: {text}; {DOCTOR}") from error
            reasons.append(f"registers: {text}")
    return MailboxLauncher(mailbox), reasons


def _registers(board: Board, mailbox: Mailbox, lock: GpuLock) -> Launcher:
    if os.geteuid() != 0 and not os.access(MEM, os.R_OK | os.W_OK):
        raise DeviceError(f"need root and {MEM}")
    from .register_launcher import RegisterLauncher  # here, because most users may not
    from .v3d import Registers

    registers = Registers(board)
    try:
        launcher = RegisterLauncher(registers)
        if not _waited(launcher):
            if not lock.abandoned:
                raise DeviceBusy("the QPUs are at work for a program that does not use piblas")
            log.warning("a launch of a process that died does not end: stopping the QPUs")
            if not stop_qpus(mailbox) or not _waited(launcher):
                raise DeviceBusy("the QPUs are stuck in a program of a process that died; reboot")
        return launcher
    except BaseException:
        registers.close()
        raise


def _waited(launcher: Launcher, seconds: float = 1.0) -> bool:
    """Whether the QPUs have ended what was queued, by now or soon."""
    end = time.monotonic() + seconds
    while not launcher.ended():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True

