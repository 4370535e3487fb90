"""A call whose target may be a device: choose, run, fall back.  Every routine takes this way.

What depends on types, shapes, strides, flags and residency only is decided once: a *job* is made
for such a call, and kept under a key of these facts for as long as the target stays the same.  A
repeated call finds its job by the key and hands it the operands.

A job either says why the CPU computes the call, or runs it on the device.  While it runs it may
find that the CPU is needed after all (:class:`CpuNeeded`), because of a value or because the device
fails.  Then the caller's arrays are as before, and SciPy computes the call.
"""

from __future__ import annotations

from typing import Any, Callable, Hashable, Mapping, Optional, Sequence, Tuple

import numpy as np

from .. import record
from ..dispatch import devices
from ..driver.device import RunReport
from ..errors import DeviceError, OutOfDeviceMemory
from ..host import arrays
from ..host.outcome import CpuNeeded

__all__ = ["Job", "Unbound", "key_of", "run"]

NO_LAUNCH = "a factor that takes no launch, such as 0"
SORT_OUT = "arguments that only SciPy sorts out"

_ARRAYS = (np.ndarray, arrays.DeviceArray)
_PLAIN = (int, bool, type(None))
_NUMBERS = (float, np.float32, np.float64)


class Unbound(Exception):
    """The arguments do not bind to a kernel's operands: SciPy computes the call, or refuses it."""


class Job:
    """A call of certain types, shapes and flags.

    ``reason`` says why the CPU computes it; where it is empty, ``compute(runner, values)`` returns
    (result, reports), with ``values`` the arguments in the order of the job's ``take``: places in
    the arguments by position, followed by those by keyword.  ``backend`` and ``why`` are for
    counting.
    """

    __slots__ = ("compute", "counter", "idle", "nbytes", "reason", "take")

    def __init__(
        self,
        reason: str,
        backend: str = "cpu",
        why: str = "",
        compute: Optional[Callable[..., Tuple[Any, Sequence[RunReport]]]] = None,
        take: Sequence[int] = (),
    ) -> None:
        self.reason, self.compute, self.take = reason, compute, tuple(take)
        self.counter = record.tally(backend, why or reason).counter
        self.idle = record.tally("cpu", NO_LAUNCH).counter
        self.nbytes = 1


def key_of(
    name: str, args: Tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Optional[Tuple[Hashable, ...]]:
    """What a job depends on; None where the call has an argument of a type that is looked at anew
    each time (lists, arrays of other classes, numbers of other types)."""
    key: Tuple[Hashable, ...] = (name, *kwargs)
    for value in (*args, *kwargs.values()):
        kind = type(value)
        if kind in _ARRAYS:
            base = value.base
            while type(base) in _ARRAYS:
                base = base.base
            home = base.device_key if type(base) is arrays.Memory else 0
            key += (value.shape, value.strides, value.dtype, value.flags.num, home)
        elif kind in _PLAIN:
            key += (kind, value)
        elif kind in _NUMBERS:
            key += (kind,)
        else:
            return None
    return key


def run(
    name: str,
    args: Tuple[Any, ...],
    kwargs: Mapping[str, Any],
    bind: Callable[..., Job],
    on_cpu: Callable[..., Any],
) -> Any:
    """The result of a call of the routine.

    ``bind(args, kwargs, state)`` makes its job; ``on_cpu(*args, **kwargs)`` has SciPy compute it.
    """
    state = devices.now()
    key = key_of(name, args, kwargs)
    job = state.jobs.get(key) if key is not None else None
    if job is None:
        try:
            job = bind(args, kwargs, state)
        except (Unbound, TypeError, ValueError, OverflowError):
            job = Job(SORT_OUT)  # whatever is wrong, SciPy finds it again and says so
        if key is not None:
            state.jobs.put(key, job)
    if job.compute is None:
        return _on_cpu(name, job.reason, job.counter, args, kwargs, on_cpu)
    values = (*args, *kwargs.values()) if kwargs else args
    reports: Sequence[RunReport] = ()
    try:
        with state.lock:
            result, reports = job.compute(state.runner, [values[at] for at in job.take])
    except CpuNeeded as needed:
        reason, reports = needed.reason, needed.reports
    except DeviceError as error:
        if state.target.demanded:
            raise
        reason = f"the GPU failed: {type(error).__name__}"
        if isinstance(error, OutOfDeviceMemory):
            record.log.warning("%s goes to the CPU: %s", name, error)
        else:
            devices.set_aside(f"{reason}: {error}")
    else:
        if record.profiling:
            record.report(reports)
        next(job.counter if reports else job.idle)
        return result
    if record.profiling:
        record.report(reports)
    return _on_cpu(name, reason, record.tally("cpu", reason).counter, args, kwargs, on_cpu)


def _on_cpu(
    name: str,
    reason: str,
    counter: Any,
    args: Tuple[Any, ...],
    kwargs: Mapping[str, Any],
    on_cpu: Callable[..., Any],
) -> Any:
    result = on_cpu(*args, **kwargs)
    if record.log.isEnabledFor(20):
        record.log.info("%s on the CPU: %s", name, reason)
    next(counter)
    return result
