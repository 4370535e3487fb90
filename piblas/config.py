"""Settings: one row each, read from the environment once, printed by ``piblas info``.

A row names the environment variable, its default, the values it takes (empty: any text) and what
it means.  ``get`` reads a setting when it is first wanted and keeps the answer: a setting holds for
the whole process, and looking at the environment in every BLAS call would cost as much as a small
call itself.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, List, NamedTuple, Tuple

from .errors import PiblasError

__all__ = ["SETTINGS", "Setting", "forget", "get", "on_forget"]


class Setting(NamedTuple):
    name: str
    default: str
    choices: Tuple[str, ...]
    meaning: str


SETTINGS: Tuple[Setting, ...] = (
    Setting(
        "PIBLAS_DEVICE",
        "auto",
        ("auto", "qpu", "emulator", "cpu"),
        "where calls run; auto: a Pi's GPU where it pays, else the CPU, never the emulator",
    ),
    Setting(
        "PIBLAS_ACCURACY",
        "auto",
        ("auto", "fast", "default", "high"),
        "of matrix products; auto: fast for BLAS calls, default for @ and under patch",
    ),
    Setting(
        "PIBLAS_BOARD",
        "auto",
        ("auto", "pi0", "pi1", "pi2", "pi3", "pi3-32", "zero2", "zero2-32"),
        "whose figures the cost model takes; auto: the board that this is",
    ),
    Setting(
        "PIBLAS_MEMORY",
        "auto",
        ("auto", "heap-import", "vcsm-cma", "mailbox", "u-dma-buf", "vcsm", "rpi-vcsm"),
        "where a Pi's GPU memory comes from; auto: the fastest that works",
    ),
    Setting(
        "PIBLAS_LAUNCH",
        "auto",
        ("auto", "registers", "mailbox"),
        "how programs start on a Pi's QPUs; auto: by registers as root, else by the mailbox",
    ),
    Setting(
        "PIBLAS_PATCH",
        "0",
        ("0", "1"),
        "1: importing piblas calls piblas.patch(), so that NumPy and SciPy call piblas",
    ),
    Setting(
        "PIBLAS_PROFILES",
        "",
        (),
        "directory of the boards' profiles that tune writes; empty: the user's configuration",
    ),
    Setting(
        "PIBLAS_CACHE",
        "",
        (),
        "directory of kernels that were assembled before; empty: the user's cache",
    ),
    Setting(
        "PIBLAS_DEBUG",
        "",
        (),
        "assembler stages, separated by commas, after which the code is printed",
    ),
)

_ROWS: Dict[str, Setting] = {row.name: row for row in SETTINGS}
_values: Dict[str, str] = {}
_on_forget: List[Callable[[], None]] = []


def get(name: str) -> str:
    """The value of a setting: the environment's, or the default."""
    try:
        return _values[name]
    except KeyError:
        pass
    row = _ROWS[name]
    value = os.environ.get(name, "").strip() or row.default
    if row.choices and value not in row.choices:
        raise PiblasError(f"{name}={value!r}: choose one of {', '.join(row.choices)}")
    _values[name] = value
    return value


def forget() -> None:
    """Read every setting again when it is next wanted."""
    _values.clear()
    for call in _on_forget:
        call()


def on_forget(call: Callable[[], None]) -> None:
    """Have ``call`` made after each :func:`forget`, to drop what was derived from settings."""
    _on_forget.append(call)
