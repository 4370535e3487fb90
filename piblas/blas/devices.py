"""The device that calls are aimed at: PIBLAS_DEVICE, ``piblas.use``, and open devices.

The target of the process is, in this order: the innermost ``with piblas.use(...)`` that is still
open, the last ``piblas.use(...)``, the setting PIBLAS_DEVICE.  It belongs to the process and not to
a thread, as the number of threads of a CPU BLAS does: a ``with`` block in one thread holds for all.
Blocks may end in any order.

A device is opened by the first call that needs it, once, and closed when the process ends.  Calls
of several threads on one device take turns.
"""

from __future__ import annotations

import atexit
import functools
import threading
import weakref
from typing import Any, ContextManager, Dict, List, Optional, Tuple, Union

from .. import config
from ..driver.device import Device, open_device
from ..errors import DeviceError
from . import boards
from .dispatch import Target
from .record import log

__all__ = ["NAMES", "board", "close", "current", "found", "lock", "set_aside", "use"]

NAMES = ("auto", "qpu", "emulator", "cpu")
Wanted = Union[str, Device]

_lock = threading.RLock()
_base: Optional[Wanted] = None
_blocks: List["use"] = []
_opened: Dict[str, Device] = {}
_missing: Dict[str, str] = {}
_locks: "weakref.WeakKeyDictionary[Device, threading.RLock]" = weakref.WeakKeyDictionary()


class use:
    """Aim calls at a device: ``piblas.use("cpu")``, or ``with piblas.use("emulator"): ...``.

    ``device`` is "auto", "qpu", "emulator", "cpu" or an open Device, which stays the caller's to
    close.  Named devices are opened by the first call that needs them.  Holds for every thread.
    """

    def __init__(self, device: Wanted) -> None:
        global _base
        if not isinstance(device, Device) and device not in NAMES:
            raise DeviceError(
                f"piblas.use({device!r}): choose one of {', '.join(NAMES)}, or an open device"
            )
        self.device = device
        with _lock:
            self._before, _base = _base, device
            # Asking anew is a reason to look anew for a device that failed before.
            _missing.clear()

    def __enter__(self) -> "use":
        global _base
        with _lock:
            if _base is self.device:
                _base = self._before
            _blocks.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        with _lock:
            _blocks.remove(self)


def _wanted() -> Wanted:
    if _blocks:
        return _blocks[-1].device
    return _base if _base is not None else config.get("PIBLAS_DEVICE")


def _open(name: str) -> Device:
    with _lock:
        device = _opened.get(name)
        if device is None:
            device = _opened[name] = open_device(name)
        return device


def current() -> Tuple[Target, Optional[Device]]:
    """What calls are aimed at now, and the open device if that is one.

    A demanded device that cannot be opened raises; under "auto" its absence is part of the target.
    """
    wanted = _wanted()
    if wanted == "cpu":
        return _CPU, None
    if isinstance(wanted, Device):
        return Target(_kind(wanted)), wanted
    if wanted != "auto":
        return Target(wanted), _open(wanted)
    target = found()
    return target, None if target.missing else _open("qpu")


def found() -> Target:
    """What "auto" finds: this machine's GPU, opened, or why there is none."""
    missing = _missing.get("qpu")
    if missing is None:
        try:
            _open("qpu")
            return Target("qpu", demanded=False)
        except DeviceError as error:
            missing = _missing["qpu"] = str(error)
    return Target("qpu", demanded=False, missing=missing)


_CPU = Target("cpu")


def _kind(device: Device) -> str:
    """Whose results and times these are: "emulator" or "qpu"."""
    return "emulator" if device.name == "emulator" else "qpu"


def set_aside(reason: str) -> None:
    """Stop aiming "auto" at the GPU, until the next ``use``."""
    with _lock:
        _missing["qpu"] = reason
    log.warning("calls go to the CPU from now on: %s", reason)


def lock(device: Device) -> ContextManager[Any]:
    """What a call holds while it uses the device."""
    with _lock:
        return _locks.setdefault(device, threading.RLock())


def board() -> Optional[boards.Board]:
    """The board whose figures dispatch takes: the setting PIBLAS_BOARD, or the one this is."""
    name = config.get("PIBLAS_BOARD")
    return _detected() if name == "auto" else boards.BOARDS[name]


@functools.lru_cache(maxsize=None)
def _detected() -> Optional[boards.Board]:
    return boards.detect()


def close() -> None:
    """Close the devices that calls have opened; the next call opens its device anew."""
    with _lock:
        while _opened:
            _opened.popitem()[1].close()


atexit.register(close)
