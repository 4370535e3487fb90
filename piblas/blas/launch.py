"""One attempt to run a call on the QPUs, and what follows when the device fails."""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple

from .. import log
from ..dispatch import devices
from ..dispatch.choose import Target
from ..errors import DeviceError, OutOfDeviceMemory

__all__ = ["ILL_CONDITIONED", "SINGULAR", "Elsewhere", "attempt"]

SINGULAR = "a triangle with a diagonal element that is 0, or whose reciprocal float32 cannot hold"
ILL_CONDITIONED = "an ill-conditioned triangle, all of which is one block for the CPU to solve"


class Elsewhere(Exception):
    """The CPU has to compute the call, for this reason."""


def attempt(
    routine: str, target: Target, device: Any, run: Callable[[], Any]
) -> Tuple[Optional[str], Any]:
    """(None, what ``run`` returned), or (why the CPU has to compute it, None).

    A failure of a device that the user demanded is raised.  One of a GPU that "auto" found sends
    the call to the CPU, and, unless only memory was short, all later ones too.
    """
    try:
        with devices.lock(device):
            return None, run()
    except DeviceError as error:
        if target.demanded:
            raise
        reason = f"the GPU failed: {type(error).__name__}"
        if isinstance(error, OutOfDeviceMemory):
            log.warning("%s goes to the CPU: %s", routine, error)
        else:
            devices.set_aside(f"{reason}: {error}")
        return reason, None
