"""The QPUs belong to the firmware: borrowing them, handing them back, stopping them."""

from __future__ import annotations

import errno
import time

from .. import log
from ..errors import DeviceError
from .mailbox import Mailbox

__all__ = ["DOCTOR", "borrow", "hand_back", "stop_qpus"]

DOCTOR = "run `piblas doctor` for the remedy"


def borrow(mailbox: Mailbox) -> None:
    """Have the firmware lend its QPUs; DeviceError if it does not."""
    try:
        status = mailbox.enable_qpu(True)
    except OSError as error:
        if error.errno == errno.ETIMEDOUT:
            raise DeviceError("the firmware does not answer; reboot") from error
        raise DeviceError(
            f"the firmware does not lend its QPUs ({error.strerror}); {DOCTOR}"
        ) from error
    if status:
        raise DeviceError(f"the firmware does not lend its QPUs (status {status:#x}); {DOCTOR}")


def hand_back(mailbox: Mailbox) -> None:
    """Give the QPUs back to the firmware; a refusal is logged."""
    why = ""
    for _ in range(3):
        try:
            status = mailbox.enable_qpu(False)
        except OSError as error:
            why = str(error.strerror)
            continue
        if not status:
            return
        why = f"status {status:#x}"
    log.warning("the firmware did not take the QPUs back: %s", why)


def stop_qpus(mailbox: Mailbox) -> bool:
    """Stop whatever runs by switching the power of the V3D block; whether that worked.

    Nothing milder stops a program: handing the QPUs back and borrowing them anew does not
    (1640675651/VC4CL, KMS.md).
    """
    try:
        if not mailbox.power_v3d(False):
            return False
        time.sleep(0.05)
        return mailbox.power_v3d(True)
    except OSError:
        return False
