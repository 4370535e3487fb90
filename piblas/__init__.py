"""Single-precision BLAS on the VideoCore IV QPUs of the Raspberry Pi Zero, 1, 2 and 3.

The names below are the public ones, and every routine of ``scipy.linalg.blas`` (``piblas.saxpy``,
``piblas.dgemm``, ..., ``get_blas_funcs``), made when it is first wanted.
Importing the package touches no hardware and compiles nothing; the first call that needs a device
opens it.
"""

from __future__ import annotations

import importlib
from typing import Any, List

from . import driver
from .blas import functions as _generic
from .dispatch.choose import Choice
from .dispatch.devices import use
from .errors import (
    AssemblerError,
    BlasError,
    DecodeError,
    DeviceError,
    DeviceTimeout,
    EmulatorFault,
    OutOfDeviceMemory,
    PiblasError,
    VectorError,
)
from .host.arrays import DeviceArray, array, asarray, empty, zeros
from .record import reset_stats, stats

__version__ = "0.1.0"

__all__ = [
    "AssemblerError",
    "BlasError",
    "Choice",
    "DecodeError",
    "DeviceArray",
    "DeviceError",
    "DeviceTimeout",
    "EmulatorFault",
    "OutOfDeviceMemory",
    "PiblasError",
    "VectorError",
    "array",
    "asarray",
    "driver",
    "empty",
    "profile",
    "reset_stats",
    "stats",
    "use",
    "vector",
    "why",
    "zeros",
]


_LATER = {"profile": "profiler", "why": "dispatch.why", "vector": ""}
"""Names that few processes want, and the module that each is imported from when it is wanted ("":
it is a package itself)."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        module = importlib.import_module(f"{__name__}.{_LATER[name] or name}")
        made = getattr(module, name) if _LATER[name] else module
    else:
        made = _generic.function(name)
    if made is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made
    return made


def __dir__() -> List[str]:
    return sorted({*globals(), *_LATER, *_generic.exported()})
