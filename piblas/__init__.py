"""Single-precision BLAS on the VideoCore IV QPUs of the Raspberry Pi Zero, 1, 2 and 3.

The names below are the public ones, and every routine of ``scipy.linalg.blas`` (``piblas.saxpy``,
``piblas.dgemm``, ..., ``get_blas_funcs``), made when it is first wanted.
Importing the package touches no hardware and compiles nothing; the first call that needs a device
opens it.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, List

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

if TYPE_CHECKING:
    from . import driver
    from .dispatch.choose import Choice
    from .dispatch.devices import use
    from .dispatch.why import why
    from .host.arrays import DeviceArray, array, asarray, empty, zeros
    from .host.usage import device_memory
    from .profiler import profile
    from .record import reset_stats
    from .statistics import stats
    from .swap import is_patched, patch, patch_map, unpatch

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
    "device_memory",
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
    "vector",
    "why",
    "zeros",
]


_LATER = {
    **dict.fromkeys(("DeviceArray", "array", "asarray", "empty", "zeros"), "host.arrays"),
    **dict.fromkeys(("is_patched", "patch", "patch_map", "unpatch"), "swap"),
    "Choice": "dispatch.choose",
    "device_memory": "host.usage",
    "profile": "profiler",
    "reset_stats": "record",
    "stats": "statistics",
    "use": "dispatch.devices",
    "why": "dispatch.why",
}
"""The module that each of these names is imported from when it is first wanted."""

_MODULES = frozenset(
    "blas cli codegen config decorating dispatch doctor driver emu errors files host isa "
    "kernels log profiler protocols record routines selftest statistics swap tables tune vector"
    .split()
)
"""What is no routine: ``from .. import log`` asks for it here before it imports the module."""


def __getattr__(name: str) -> Any:
    made: Any
    if name in _LATER:
        made = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    elif name in _MODULES:
        made = importlib.import_module(f"{__name__}.{name}")
    else:
        from .blas import functions

        made = functions.function(name)
    if made is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made
    return made


def __dir__() -> List[str]:
    from .blas import functions

    return sorted({*globals(), *__all__, *functions.exported()})


if "PIBLAS_PATCH" in os.environ:
    from . import config

    if config.get("PIBLAS_PATCH") == "1":
        __getattr__("patch")()
