"""Devices that run QPU programs: one contract, several implementations.

``open_device`` opens one by name; ``Emulator`` gives the emulator with options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .device import Buffer, Device, LoadedProgram, RunReport, open_device

if TYPE_CHECKING:
    from .emulated import Emulator

__all__ = ["Buffer", "Device", "Emulator", "LoadedProgram", "RunReport", "open_device"]


def __getattr__(name: str) -> Any:
    # The emulator's module is imported when it is wanted: most processes on a Pi never do.
    if name == "Emulator":
        from .emulated import Emulator

        return Emulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
