"""One attempt to run a call on the QPUs, and what follows when the device fails."""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple

from ..errors import DeviceError, OutOfDeviceMemory
from . import devices, record
from .dispatch import Target

__all__ = ["attempt"]


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
            record.log.warning("%s goes to the CPU: %s", routine, error)
        else:
            devices.set_aside(f"{reason}: {error}")
        return reason, None
