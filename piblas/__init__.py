"""Single-precision BLAS on the VideoCore IV QPUs of the Raspberry Pi Zero, 1, 2 and 3.

The names below are the public ones, and every routine of ``scipy.linalg.blas`` (``piblas.saxpy``,
``piblas.dgemm``, ..., ``get_blas_funcs``), made when it is first wanted.
Importing the package touches no hardware and compiles nothing; the first call that needs a device
opens it.
"""

from __future__ import annotations

import importlib
from typing import Any, List

from . import config, driver
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
)
from .host.arrays import DeviceArray, array, asarray, empty, zeros
from .record import reset_stats
from .statistics import stats

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
    "array",
    "asarray",
    "driver",
    "empty",
    "is_patched",
    "patch",
    "patch_map",
    "profile",
    "reset_stats",
    "stats",
    "unpatch",
    "use",
    "why",
    "zeros",
]


_LATER = {
    "is_patched": "swap",
    "patch": "swap",
    "patch_map": "swap",
    "profile": "profiler",
    "unpatch": "swap",
    "why": "dispatch.why",
}
"""Names that few processes want, and the module that each is imported from when it is wanted."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        made = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    else:
        made = _generic.function(name)
    if made is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made
    return made


def __dir__() -> List[str]:
    return sorted({*globals(), *_LATER, *_generic.exported()})


if config.get("PIBLAS_PATCH") == "1":
    __getattr__("patch")()
