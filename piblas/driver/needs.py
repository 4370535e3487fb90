"""What to install where an optional dependency is missing: commands that work today.

piblas is on no package index, so a command names the dependency itself, or the checkout.
"""

from __future__ import annotations

import sys

__all__ = ["IOCTL_OPT", "driver", "emulator", "extra"]

IOCTL_OPT = "pip install --force-reinstall 'ioctl-opt>=1.3'"


def extra(package: str, name: str) -> str:
    """The commands that install ``package``, which piblas's extra ``name`` asks for."""
    return f"pip install {package}, or in a checkout of piblas: pip install '.[{name}]'"


def driver(error: BaseException) -> str:
    """What is wrong where the modules that drive a board cannot be imported."""
    return f"the driver of the QPUs cannot be imported: {type(error).__name__}: {error}"


def emulator() -> str:
    """What makes the emulator run on this computer."""
    if sys.maxsize < 1 << 32:
        return (
            "there is no numba for 32-bit systems such as 32-bit ARM; use a 64-bit system and "
            "Python"
        )
    return extra("numba", "emulator")
