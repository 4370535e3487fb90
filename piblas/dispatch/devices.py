"""The device that calls are aimed at: PIBLAS_DEVICE, ``piblas.use``, and open devices.

The target of the process is, in this order: the innermost ``with piblas.use(...)`` that is still
open, the last ``piblas.use(...)``, the setting PIBLAS_DEVICE.  It belongs to the process and not to
a thread, as the number of threads of a CPU BLAS does: a ``with`` block in one thread holds for all.
Blocks may end in any order.  The accuracy that is asked of products is found in the same way, from
PIBLAS_ACCURACY; where nobody asks, it depends on who calls (:func:`set_patched`).

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
import itertools
import os
import threading
import weakref
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Union,
)

from .. import config, log, record
from ..driver.device import Device, open_device
from ..errors import DeviceError, DeviceMissing
from ..record import tally
from . import boards, choose
from .choose import Choice, Target

__all__ = [
    "ACCURACIES",
    "NAMES",
    "State",
    "board",
    "close",
    "counters",
    "cpu_reason",
    "current",
    "figures",
    "figures_changed",
    "found",
    "lock",
    "now",
    "offered",
    "on_change",
    "resident",
    "resolve",
    "set_aside",
    "set_patched",
    "steady",
    "use",
]

NAMES = ("auto", "qpu", "emulator", "cpu")
ACCURACIES = ("fast", "default", "high")
Wanted = Union[str, Device]

_lock = threading.RLock()
_base: Optional[Wanted] = None
_base_accuracy: Optional[str] = None
_last = 0  # the number of the ``use`` whose device that is
_numbers = itertools.count(1)
_blocks: List["use"] = []
_patched = False
_opened: Dict[str, Device] = {}
_missing: Dict[str, str] = {}
_arrays = False
# By routine and level (0 for a routine without a kernel), one element each: what a call on the CPU
# counts itself by, or None where that has to be worked out.
_counters: Dict[Tuple[str, int], List[Optional[Iterator[int]]]] = {}
# By level, why every call runs on the CPU (or ""), once that was worked out.
_reasons: Tuple[str, ...] = ()
_locks: "weakref.WeakKeyDictionary[Device, threading.RLock]" = weakref.WeakKeyDictionary()


class use:
    """Aim calls at a device: ``piblas.use("cpu")``, or ``with piblas.use("emulator"): ...``, or
    ``@piblas.use("emulator")`` before a function, for the length of each of its calls.

    ``device`` is "auto", "qpu", "emulator", "cpu" or an open Device, which stays the caller's to
    close; None leaves the device as it is.  Named devices are opened by the first call that needs
    them.  Holds for every thread.

    ``accuracy`` is that of matrix products on the QPUs, whose additions truncate: "fast" adds up
    all of k in one go, and the relative error grows with k; with "default" it stays below 8e-6,
    with "high" below 2e-6 (norm-wise; :mod:`piblas.kernels.gemm_error` has the bounds).  None
    leaves it as it is; where nobody ever asks it is "fast", and "default" for ``@`` and under
    ``patch``.

    A decorated function may be a coroutine function, and may call itself; a generator function is
    refused with DeviceError, as its body runs between other code.
    """

    def __init__(
        self, device: Optional[Wanted] = None, *, accuracy: Optional[str] = None
    ) -> None:
        global _base, _base_accuracy, _last
        known = isinstance(device, Device) or device in NAMES
        if not known and (device is not None or accuracy is None):
            raise DeviceError(
                f"piblas.use({device!r}): choose one of {', '.join(NAMES)}, or an open device; "
                "or ask for an accuracy alone"
            )
        if accuracy is not None and accuracy not in ACCURACIES:
            raise DeviceError(
                f"piblas.use(accuracy={accuracy!r}): choose one of {', '.join(ACCURACIES)}"
            )
        self.device, self.accuracy = device, accuracy
        with _lock:
            self._before = _base, _base_accuracy, _last
            self._number = _last = next(_numbers)
            if device is not None:
                _base = device
            if accuracy is not None:
                _base_accuracy = accuracy
            # Asking anew is a reason to look anew for a device that failed before.
            _missing.clear()
            _changed()

    def _end_lasting(self) -> None:
        """Take back what ``use`` as a statement sets for good, unless another one came later."""
        global _base, _base_accuracy, _last
        if _last == self._number:
            _base, _base_accuracy, _last = self._before

    def __enter__(self) -> "use":
        with _lock:
            self._end_lasting()
            _blocks.append(self)
            _changed()
        return self

    def __exit__(self, *exc: object) -> None:
        with _lock:
            # The last one, as a block may be entered again before it ends.
            del _blocks[len(_blocks) - 1 - _blocks[::-1].index(self)]
            _changed()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from ..decorating import decorated  # here, because few processes decorate

        with _lock:
            self._end_lasting()
            _changed()
        return decorated(self, function, "piblas.use", DeviceError)


class State:
    """What calls are aimed at until that changes: worked out once, and not in every call.

    ``target`` and ``device`` are those of :func:`current`; ``lock`` is what a call holds while it
    uses the device; ``runner`` and ``jobs`` are for :mod:`piblas.blas.call` to keep.  ``accuracy``
    is what is asked of products, "" where nobody asks.

    The calls of other libraries' users, which ``piblas.patch`` has redirected, have states of their
    own (:func:`offered`): ``least`` is the size from which they go to the device at all, and
    ``forgiving`` tells that the CPU computes what the device fails to.
    """

    __slots__ = (
        "accuracy", "board", "device", "forgiving", "jobs", "least", "lock", "runner", "target",
        "warned",
    )  # fmt: skip

    def __init__(
        self, target: Target, device: Optional[Device], least: int = 0, forgiving: bool = False
    ) -> None:
        self.target, self.least, self.forgiving = target, least, forgiving
        self.accuracy = _accuracy()
        self.device: Any = device
        self.board = board()
        self.lock: Any = None if device is None else lock(device)
        self.runner: Any = None
        self.jobs: Any = None
        self.warned = False

    def choice(
        self, routine: str, sizes: Mapping[str, int], resident: bool = False, bar: str = ""
    ) -> Choice:
        """Where a call with these sizes runs (:func:`.choose.choose`)."""
        if not bar and self.least and choose.size(routine, sizes) < self.least:
            bar = choose.TOO_SMALL
        call = choose.Call(routine, sizes, resident, bar)
        return choose.choose(call, self.target, self.board)


_state: Optional[State] = None
_offered: Dict[int, State] = {}
_on_change: List[Callable[[], None]] = []


def now() -> State:
    """The present target, and what follows from it."""
    global _state
    state = _state
    if state is None:
        with _lock:
            state = State(*current())
            resolve()
            _state = state
    return state


def offered(least: int) -> State:
    """The present target for calls that need not run there (see :class:`State`); it is the CPU
    where the device that was asked for cannot be opened."""
    state = _offered.get(least)
    if state is None:
        with _lock:
            try:
                target, device = current()
            except DeviceError as error:
                target, device = Target("cpu", False, str(error)), None
                log.warning("calls of patched functions go to the CPU: %s", error)
            state = _offered[least] = State(target, device, least, True)
    return state


def steady() -> ContextManager[Any]:
    """While it is held, the target stays what it is."""
    return _lock


def on_change(call: Callable[[], None]) -> None:
    """Have ``call`` made after each change of the target."""
    _on_change.append(call)


def _changed() -> None:
    global _state, _reasons
    with _lock:
        _state, _reasons = None, ()
        _offered.clear()
        for each in _counters.values():
            each[0] = None
        for call in _on_change:
            call()


def counters(routine: str, level: int) -> List[Optional[Iterator[int]]]:
    """A list of one element for a routine, whose level counts as 0 if it has no kernel.

    The element is None where each call has to be dispatched or timed (or :func:`resolve` called
    first).  Otherwise every call runs on the CPU, and takes ``next`` of the element to be counted.
    """
    with _lock:
        cell = _counters.setdefault((routine, level), [None])
        if _reasons:
            cell[0] = _counter(routine, level)
        return cell


def _counter(routine: str, level: int) -> Optional[Iterator[int]]:
    reason = _reasons[level]
    return tally(routine, "cpu", reason).counter if reason and not record.timing else None


def cpu_reason(level: int) -> str:
    """Why every call of that level runs on the CPU; empty if calls are dispatched one by one."""
    with _lock:
        if not _reasons:
            resolve()
        return _reasons[level]


def resolve() -> None:
    """Work out the elements of :func:`counters` for the present target."""
    global _reasons
    with _lock:
        wanted = _wanted()
        reasons = [choose.NO_KERNEL, "", "", ""]
        if wanted == "cpu":
            reasons = 4 * [choose.CPU_ASKED]
        elif wanted == "auto":
            target = found()
            reasons[1:] = 3 * [target.missing]
            if not target.missing and not _arrays and not choose.staging_pays(1, board()):
                reasons[1] = choose.choose(choose.Call("saxpy", {"n": 1}), target, board()).reason
        _reasons = tuple(reasons)
        for (routine, level), each in _counters.items():
            each[0] = _counter(routine, level)


def resident() -> None:
    """There are arrays in device memory: whether a call pays depends on its operands now."""
    global _arrays
    if not _arrays:
        with _lock:
            _arrays = True
            _changed()


def _wanted() -> Wanted:
    for block in reversed(_blocks):
        if block.device is not None:
            return block.device
    return _base if _base is not None else config.get("PIBLAS_DEVICE")


def _accuracy() -> str:
    for block in reversed(_blocks):
        if block.accuracy is not None:
            return block.accuracy
    found = _base_accuracy if _base_accuracy is not None else config.get("PIBLAS_ACCURACY")
    if found == "auto":
        return "default" if _patched else ""
    return found


def set_patched(patched: bool) -> None:
    """Whether products of all routines have the accuracy "default" where nobody asks for another:
    code that knows nothing of piblas runs on it."""
    global _patched
    with _lock:
        _patched = patched
        _changed()


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
record.on_timing(_changed)


def close() -> None:
    """Close the devices that calls have opened; the next call opens its device anew."""
    with _lock:
        while _opened:
            _opened.popitem()[1].close()
        _changed()


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
