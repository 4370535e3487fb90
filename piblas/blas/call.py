"""A call whose target may be a device: choose, run, fall back.  Every routine takes this way.

What depends on types, shapes, strides, flags and residency only is decided once: a *job* is made
for such a call, and kept under a key of these facts for as long as the target stays the same.  A
repeated call finds its job by the key and hands it the operands.

A job either says why the CPU computes the call, or runs it on the device.  While it runs it may
find that the CPU is needed after all (:class:`CpuNeeded`), because of a value or because the device
fails.  Then the caller's arrays are as before, and SciPy computes the call.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Hashable, Mapping, Optional, Sequence, Tuple

import numpy as np

from .. import log, record
from ..dispatch import devices
from ..dispatch.devices import State
from ..driver.device import RunReport
from ..errors import DeviceError, OutOfDeviceMemory
from ..host import arrays
from ..host.outcome import SORT_OUT, CpuNeeded
from ..host.runner import KEPT_SCRATCH, Runner, runner_of
from ..routines import Routine
from .binding import Bound, Unbound

__all__ = ["Job", "NO_LAUNCH", "job_of", "key_of", "run"]

NO_LAUNCH = "it takes no launch, as with a factor of 0 or a system of one block"

KEPT_JOBS = 2000
"""Jobs of one target that are kept; then all are made anew.  They are small, and hold no plan."""

_ARRAYS = (np.ndarray, arrays.DeviceArray)
_PLAIN = (int, bool, type(None))
_NUMBERS = (float, np.float32, np.float64)

Compute = Callable[[Runner, Sequence[Any]], Tuple[Any, Sequence[RunReport]]]


class Job:
    """A call of certain types, shapes and flags.

    Where ``compute`` is None the CPU computes it, for ``reason``.  Otherwise
    ``compute(runner, values)`` returns (result, reports), with ``values`` the arguments in the
    order of ``take``: places in the arguments by position, then by keyword, then the defaults
    ``extra``.  Calls are counted on ``backend`` for ``reason`` (:meth:`counted_as`).
    """

    __slots__ = ("backend", "compute", "extra", "idle", "reason", "take", "tally")

    def __init__(
        self,
        reason: str,
        backend: str = "cpu",
        compute: Optional[Compute] = None,
        take: Sequence[int] = (),
        extra: Tuple[Any, ...] = (),
    ) -> None:
        self.reason, self.compute, self.take, self.extra = reason, compute, tuple(take), extra
        self.backend = backend
        self.tally: Any = None
        self.idle: Any = None

    def counted_as(self, name: str) -> "Job":
        """This job, whose calls are counted as calls of ``name``."""
        self.tally = record.tally(name, self.backend, self.reason)
        self.idle = record.tally(name, "cpu", NO_LAUNCH)
        return self


def job_of(
    bound: Bound,
    state: State,
    sizes: Mapping[str, int],
    resident: bool,
    names: Sequence[str],
    make: Callable[[], Compute],
) -> Job:
    """The job of a call that binds: ``make()`` gives what computes it, from the arguments
    ``names``, if dispatch sends it to the device."""
    choice = state.choice(bound.row.name, sizes, resident)
    if choice.backend == "cpu":
        return Job(choice.reason)
    return Job(choice.reason, choice.backend, make(), bound.take(*names), bound.extra)


def key_of(
    name: str, args: Tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Optional[Tuple[Hashable, ...]]:
    """What a job depends on; None where the call has an argument of a type that is looked at anew
    each time (lists, arrays of other classes, numbers of other types)."""
    key: Tuple[Any, ...] = (name, *kwargs)
    for value in (*args, *kwargs.values()) if kwargs else args:
        kind = type(value)
        if kind in _ARRAYS:
            shape, base = value.shape, value.base
            if shape == ():
                return None  # it may be an integer, whose value counts
            while type(base) in _ARRAYS:
                base = base.base
            home = 0
            if type(base) is arrays.Memory:
                home = base.device_key
            elif base is not None and isinstance(base, np.ndarray):
                return None  # of a class that is not known here: it may lie anywhere
            key += (shape, value.strides, value.dtype, value.flags.num, home)
        elif kind in _PLAIN:
            key += (kind, value)
        elif kind in _NUMBERS:
            key += (kind,)
        else:
            return None
    return key


def run(
    state: State,
    row: Routine,
    args: Tuple[Any, ...],
    kwargs: Dict[str, Any],
    bind: Optional[Callable[[Bound, State], Job]],
    on_cpu: Callable[..., Any],
    name: str = "",
    variant: str = "",
    job: Optional[Job] = None,
) -> Any:
    """The result of a call of the routine at the present target, ``state``.

    ``bind(bound, state)`` makes its job, unless the caller has ``job``; ``on_cpu(*args, **kwargs)``
    computes it on the CPU.  The call is counted under ``name``, or the routine's own.  Jobs of a
    ``variant`` of the routine, which has another ``bind``, are kept apart.
    """
    began = time.perf_counter() if record.timing else 0.0
    name = name or row.name
    if state.jobs is None:
        # The runner first: other threads look at the jobs.
        state.runner = None if state.device is None else runner_of(state.device)
        state.jobs = {}
    key = None
    if job is None:
        key = key_of(variant or name, args, kwargs)
        job = state.jobs.get(key) if key is not None else None
    if job is None:
        assert bind is not None
        try:
            job = bind(Bound(row, args, kwargs), state)
        except (Unbound, TypeError, ValueError, OverflowError):
            job = Job(SORT_OUT)  # whatever is wrong, SciPy finds it again and says so
        job.counted_as(name)
        if key is not None:
            if len(state.jobs) >= KEPT_JOBS:
                state.jobs.clear()
            state.jobs[key] = job
    if job.compute is None:
        return _on_cpu(name, job.reason, job.tally, began, args, kwargs, on_cpu)
    values = (*args, *kwargs.values(), *job.extra) if kwargs else (*args, *job.extra)
    reports: Sequence[RunReport] = ()
    lock: Any = state.lock
    runner = state.runner
    try:
        with lock:
            runner.begin()
            taken = [values[at] for at in job.take]
            made: Any = None
            try:
                try:
                    made = job.compute(runner, taken)
                except OutOfDeviceMemory:
                    if runner.launched:  # an operand may have been changed in place
                        raise
                if made is None:  # and the error is gone, whose frames held memory
                    from ..host import pieces  # here, as few calls are that large

                    made = pieces.again(job.compute, runner, taken)
                result, reports = made
            finally:
                runner.active = False
                if runner.scratch_bytes > KEPT_SCRATCH:
                    runner.trim()
    except CpuNeeded as needed:
        reason, reports = needed.reason, needed.reports
    except DeviceError as error:
        if state.target.demanded and not state.forgiving:
            raise
        reason = f"the GPU failed: {type(error).__name__}"
        if state.target.demanded:
            if not state.warned:  # once, as whoever calls may not know of any device
                log.warning("%s goes to the CPU, as other calls may: %s", name, error)
            state.warned = True
        elif isinstance(error, OutOfDeviceMemory):
            log.warning("%s goes to the CPU: %s", name, error)
        else:
            devices.set_aside(f"{reason}: {error}")
    else:
        if record.profiling:
            record.report(*reports)
        tally = job.tally if reports else job.idle
        next(tally.counter)
        if began:
            tally.time(time.perf_counter() - began, reports)
        return result
    if record.profiling:
        record.report(*reports)
    tally = record.tally(name, "cpu", reason)
    return _on_cpu(name, reason, tally, began, args, kwargs, on_cpu)


def _on_cpu(
    name: str,
    reason: str,
    tally: record.Tally,
    began: float,
    args: Tuple[Any, ...],
    kwargs: Dict[str, Any],
    on_cpu: Callable[..., Any],
) -> Any:
    result = on_cpu(*args, **kwargs)
    log.info("%s on the CPU: %s", name, reason)
    next(tally.counter)
    if began:
        tally.time(time.perf_counter() - began)
    return result
