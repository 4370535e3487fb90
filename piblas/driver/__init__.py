"""Devices that run QPU programs: one contract, several implementations.

``open_device`` opens one by name; ``Emulator`` gives the emulator with options.
"""

from .device import Buffer, Device, LoadedProgram, RunReport, open_device
from .emulated import Emulator

__all__ = ["Buffer", "Device", "Emulator", "LoadedProgram", "RunReport", "open_device"]
