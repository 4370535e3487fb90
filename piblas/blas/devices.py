"""The device that calls are aimed at: PIBLAS_DEVICE, ``piblas.use``, and open devices.

The target of the process is, in this order: the innermost ``with piblas.use(...)`` that is still
open, the last ``piblas.use(...)``, the setting PIBLAS_DEVICE.  It belongs to the process and not to
a thread, as the number of threads of a CPU BLAS does: a ``with`` block in one thread holds for all.
Blocks may end in any order.

Where no call can go to a QPU (the CPU was asked for, or "auto" found no GPU, or one that does not
pay for vectors in ordinary memory), that is worked out once and not in every call, until something
changes the target (:func:`counters`).

A device is opened by the first call that needs it, once, and closed when the process ends.  Calls
of several threads on one device take turns.  The child of a fork does not inherit the GPU: it opens
it anew, which succeeds once the parent has closed it; an emulator that nobody used at that moment
is copied with its memory.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import weakref
from typing import Any, ContextManager, Dict, Iterator, List, Optional, Tuple, Union

from .. import config
from ..driver.device import Device, open_device
from ..errors import DeviceError, DeviceMissing
from . import boards, dispatch
from .dispatch import Target
from .record import log, tally

__all__ = [
    "NAMES",
    "board",
    "close",
    "counters",
    "current",
    "figures",
    "figures_changed",
    "found",
    "lock",
    "resident",
    "resolve",
    "set_aside",
    "use",
]

NAMES = ("auto", "qpu", "emulator", "cpu")
Wanted = Union[str, Device]

_lock = threading.RLock()
_base: Optional[Wanted] = None
_blocks: List["use"] = []
_opened: Dict[str, Device] = {}
_missing: Dict[str, str] = {}
_arrays = False
# By level of the routines with a kernel, and 0 for those without, one element each: what a call on
# the CPU counts itself by, or None where that has to be worked out.
_counters: Tuple[List[Optional[Iterator[int]]], ...] = ([None], [None], [None], [None])
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
            _changed()

    def __enter__(self) -> "use":
        global _base
        with _lock:
            if _base is self.device:
                _base = self._before
            _blocks.append(self)
            _changed()
        return self

    def __exit__(self, *exc: object) -> None:
        with _lock:
            _blocks.remove(self)
            _changed()


def _changed() -> None:
    with _lock:
        for each in _counters:
            each[0] = None


def counters(level: int) -> List[Optional[Iterator[int]]]:
    """A list of one element, for routines with a kernel by level, or 0 for those without.

    The element is None where each call has to be dispatched (or :func:`resolve` called first).
    Otherwise every call runs on the CPU, and takes ``next`` of the element to be counted.
    """
    return _counters[level]


def resolve() -> None:
    """Work out the elements of :func:`counters` for the present target."""
    with _lock:
        wanted = _wanted()
        reasons = [dispatch.NO_KERNEL, "", "", ""]
        if wanted == "cpu":
            reasons = 4 * [dispatch.CPU_ASKED]
        elif wanted == "auto":
            target = found()
            reasons[1:] = 3 * [target.missing]
            if not target.missing and not _arrays:
                # Vectors in ordinary memory: staging them never pays, whatever their length.
                choice = dispatch.choose(dispatch.Call("saxpy", {"n": 1}), target, board())
                reasons[1] = choice.reason if choice.backend == "cpu" else ""
        for each, reason in zip(_counters, reasons):
            each[0] = tally("cpu", reason).counter if reason else None


def resident() -> None:
    """There are arrays in device memory: whether a call pays depends on its operands now."""
    global _arrays
    if not _arrays:
        with _lock:
            _arrays = True
            _changed()


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
            if not isinstance(error, DeviceMissing):
                log.warning("calls go to the CPU: %s", missing)
    return Target("qpu", demanded=False, missing=missing)


_CPU = Target("cpu")


def _kind(device: Device) -> str:
    """Whose results and times these are: "emulator" or "qpu"."""
    return "emulator" if device.name == "emulator" else "qpu"


def set_aside(reason: str) -> None:
    """Stop aiming "auto" at the GPU, until the next ``use``."""
    with _lock:
        _missing["qpu"] = reason
        _changed()
    log.warning("calls go to the CPU from now on: %s", reason)


def lock(device: Device) -> ContextManager[Any]:
    """What a call holds while it uses the device."""
    with _lock:
        return _locks.setdefault(device, threading.RLock())


def board() -> Optional[boards.Board]:
    """The board whose figures dispatch takes: the setting PIBLAS_BOARD, or the one this is."""
    name = config.get("PIBLAS_BOARD")
    if name != "auto":
        return figures(name)
    detected = _detected()
    return None if detected is None else figures(detected.name)


@functools.lru_cache(maxsize=None)
def _detected() -> Optional[boards.Board]:
    return boards.detect()


@functools.lru_cache(maxsize=None)
def figures(name: str) -> boards.Board:
    """A board's figures: what tune has measured there, else published ones."""
    from .tuned import tuned  # here, because few processes decide by figures

    return tuned(boards.BOARDS[name])


def figures_changed() -> None:
    """Read profiles anew: one was written."""
    figures.cache_clear()
    _changed()


config.on_forget(figures_changed)


def close() -> None:
    """Close the devices that calls have opened; the next call opens its device anew."""
    with _lock:
        while _opened:
            _opened.popitem()[1].close()


atexit.register(close)


def _after_fork() -> None:
    """In the child: the parent's GPU is not ours, and a thread that held a lock is not here."""
    global _lock, _locks
    _lock = threading.RLock()
    _locks = weakref.WeakKeyDictionary()
    for name, device in list(_opened.items()):
        if not device.survives_fork():
            del _opened[name]
    _changed()


os.register_at_fork(after_in_child=_after_fork)
