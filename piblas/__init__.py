"""Single-precision BLAS on the VideoCore IV QPUs of the Raspberry Pi Zero, 1, 2 and 3.

The names below are the public ones.  Importing the package touches no hardware and compiles
nothing; the first call that needs a device opens it.
"""

from __future__ import annotations

from . import driver
from .blas.devices import use
from .blas.dispatch import Choice
from .blas.explain import why
from .blas.level3 import sgemm
from .blas.record import profile, reset_stats, stats
from .errors import (
    AssemblerError,
    BlasError,
    DecodeError,
    DeviceError,
    DeviceTimeout,
    EmulatorFault,
    OutOfDeviceMemory,
    PiblasError,
)

__version__ = "0.1.0"

__all__ = [
    "AssemblerError",
    "BlasError",
    "Choice",
    "DecodeError",
    "DeviceError",
    "DeviceTimeout",
    "EmulatorFault",
    "OutOfDeviceMemory",
    "PiblasError",
    "driver",
    "profile",
    "reset_stats",
    "sgemm",
    "stats",
    "use",
    "why",
]
