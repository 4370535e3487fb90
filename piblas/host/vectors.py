"""Level 1 on a device: elementwise kernels and reductions over vectors.

A vector that is contiguous in device memory stays where it is; any other is copied to scratch
memory and, if it is a result, back.  Results are written when every launch has succeeded, or not at
all, but for those in device memory that replace an operand: where Inf, NaN or an overflow is met
there, no old value is left, and what the QPUs made of it stays, with a warning.

Denormals count as +0 in arithmetic (not in scopy, sswap and isamax).  Copies and swaps keep all
bits.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import Buffer, RunReport
from ..kernels import asum, axpby, axpy, copy, dot, iamax, nrm2, rot, scal, swap
from ..kernels.reduce import PARTS, CompensatedSum, overflowed
from ..kernels.stream import LANES, OVERFLOW, SMALLEST_NORMAL
from . import arrays, limits
from .numbers import BEYOND, ROUNDED_TO_0, finite
from .outcome import BY_ZERO, SORT_OUT, TINY, WATCHED, CpuNeeded, Outcome
from .plan import PLANS, Launch, LaunchPlan, forgotten
from .runner import SPECIALS, Runner, Scratch

__all__ = ["MAPS", "Operand", "REDUCTIONS", "program"]

RATE = 0.8e9
"""Bytes a second that a launch moves at least, for its length: less than the pessimistic timing set
gives the memory, and than the DMA store engine takes."""

_FLOAT32 = np.dtype(np.float32)
_maximum = np.maximum.reduce


class Operand(NamedTuple):
    """A vector of a call: its n elements are ``cut`` of the argument, from its end if ``reverse``.

    ``resident``: they are contiguous in device memory.  ``changed``: it is a result too, which goes
    into the caller's own array (``own``) or into a copy of it.
    """

    cut: slice
    reverse: bool
    resident: bool
    changed: bool = False
    own: bool = False


# --- what the routines compute -----------------------------------------------------------------

Constants = Optional[Tuple[float, ...]]
"""Factors of an elementwise kernel; None: nothing changes and nothing is read."""


def _none(scalars: Sequence[Any]) -> Constants:
    return ()


def _axpy(scalars: Sequence[Any]) -> Constants:
    a = float(scalars[0])
    return None if -ROUNDED_TO_0 <= a <= ROUNDED_TO_0 else (a,)


def _first(scalars: Sequence[Any]) -> Constants:
    return (float(scalars[0]),)


def _second(scalars: Sequence[Any]) -> Constants:
    return (float(scalars[1]),)


def _both(scalars: Sequence[Any]) -> Constants:
    return float(scalars[0]), float(scalars[1])


def _rot(scalars: Sequence[Any]) -> Constants:
    c, s = float(scalars[0]), float(scalars[1])  # there is no negative of an unsigned integer
    return (c, s, -s, c)


def _rotm(scalars: Sequence[Any]) -> Constants:
    """H by its flag: -2 the identity, -1 all elements are given, 0 the off-diagonal (units on the
    diagonal), 1 the diagonal (h12 = 1, h21 = -1)."""
    flag, h11, h21, h12, h22 = np.asarray(scalars[0], dtype=_FLOAT32).tolist()
    if flag == -2:
        return None
    if flag == 0:
        h11 = h22 = 1.0
    elif flag > 0:
        h12, h21 = 1.0, -1.0
    return h11, h12, h21, h22


MAPS: Dict[str, Tuple[Any, Tuple[int, ...], Tuple[int, ...], Callable[..., Constants]]] = {
    "scopy": (copy, (0,), (1,), _none),
    "sswap": (swap, (0, 1), (0, 1), _none),
    "sscal": (scal, (0,), (0,), _first),
    "saxpy": (axpy, (0, 1), (1,), _axpy),
    "saxpby": (axpby, (0, 1), (1,), _both),
    "saxpby, b = 0": (scal, (0,), (1,), _first),
    "saxpby, a = 0": (scal, (1,), (1,), _second),
    "srot": (rot, (0, 1), (0, 1), _rot),
    "srotm": (rot, (0, 1), (0, 1), _rotm),
}
"""Kernel, which of the vectors it reads, which it writes, and its factors from the scalars.  A
routine that does not read an operand whose factor is 0 has further entries for that."""


# --- operands ----------------------------------------------------------------------------------


class _At(NamedTuple):
    """Where an operand lies on the device: ``room`` is None if that is the caller's own memory."""

    address: int
    buffer: Buffer
    room: Optional[Scratch]


def views_of(
    operands: Sequence[Operand], values: Sequence[Any]
) -> Tuple[List[np.ndarray], List[Any]]:
    """(the elements of each operand as a view, the arrays that are returned)."""
    views: List[np.ndarray] = []
    results: List[Any] = []
    whole: List[np.ndarray] = []
    for operand, value in zip(operands, values):
        array = value if type(value) is np.ndarray else np.asarray(value)
        if operand.changed:
            if not operand.own:
                value = array = np.array(array, dtype=_FLOAT32, order="C")
            results += [value]
        view = array[operand.cut]
        views += [view[::-1] if operand.reverse else view]
        whole += [array]
    if results and whole[1:] and np.may_share_memory(whole[0], whole[1]):
        raise CpuNeeded(SORT_OUT)
    return views, results


def _homes(operands: Sequence[Operand], views: Sequence[np.ndarray], n: int) -> List[Any]:
    """Where operands in device memory lie; None for the others."""
    found: List[Any] = []
    for operand, view in zip(operands, views):
        home = None
        if operand.resident:
            memory, offset = arrays.located(view)
            if not 0 <= offset <= memory.nbytes - 4 * n:  # a view that NumPy made out of nothing
                raise CpuNeeded(SORT_OUT)
            home = _At(memory.bus_address + offset, memory.buffer, None)
        found += [home]
    return found


def _staged(
    homes: Sequence[Optional[_At]],
    views: Sequence[np.ndarray],
    rooms: Sequence[Scratch],
    read: Sequence[int],
    n: int,
) -> List[_At]:
    """Where all operands lie, those without a home having been copied to ``rooms``.

    All are cleaned, results too: a dirty line of one, written back later, would overwrite what the
    QPUs store.
    """
    found: List[_At] = []
    used = 0
    for number, home in enumerate(homes):
        if home is None:
            room = rooms[used]
            used += 1
            home = _At(room.bus_address, room.buffer, room)
            if number in read:
                room.floats[:n] = views[number]
        home.buffer.clean()
        found += [home]
    return found


class _Shape(NamedTuple):
    """What a plan of level 1 depends on."""

    routine: str
    n: int
    resident: Tuple[bool, ...]
    alignment: int
    n_qpus: int
    longest: Optional[float]


def _rooms(shape: _Shape) -> Dict[str, int]:
    return {
        f"vector{at}": 4 * shape.n for at, there in enumerate(shape.resident) if not there
    }


def _shifted(streams: Any, names: Sequence[str], first: int) -> Any:
    """The streams for a slice of the vectors that begins at element ``first``."""
    for name in names if first else ():
        streams.words[streams.addresses[name]] += np.uint32(4 * first)
    return streams


# --- elementwise -------------------------------------------------------------------------------


def _map_plan(shape: _Shape) -> LaunchPlan:
    module, inputs, outputs, _ = MAPS[shape.routine]
    kernel = module.KERNEL
    options = module.SPEC.defaults.fitted(shape.n_qpus)
    names = ["xy"[i] for i in range(len(inputs))] + [f"out{i}" for i in range(len(outputs))]
    seconds = 4 * shape.n * len(names) / RATE
    launches = []
    for part in limits.slices(shape.n, seconds, shape.longest):
        streams = kernel.streams(options, part.stop - part.start, shape.alignment)
        launches.append(Launch(module.SPEC, options, _shifted(streams, names, part.start)))
    watched = LANES * options.workers if options.watch else 0
    # Each launch has a place of its own for what it watched.
    for number, launch in enumerate(launches if watched else ()):
        launch.streams.words[launch.streams.addresses["watch"]] += np.uint32(4 * watched * number)
    scratch = _rooms(shape)
    if watched:
        scratch[SPECIALS] = 4 * watched * len(launches)
        names.append("watch")
    constants = [("constants", len(kernel.constants))] if kernel.constants else []
    return LaunchPlan(launches, names, constants, scratch, data=watched * len(launches))


class Map:
    """A routine that changes vectors element by element."""

    def __init__(self, routine: str, n: int, operands: Sequence[Operand], runner: Runner) -> None:
        self.routine, self.n, self.operands = routine, n, tuple(operands)
        _, self.read, self.written, self.constants = MAPS[routine]
        device = runner.device
        self.device = device.n_qpus, device.longest_launch
        self.resident = tuple(operand.resident for operand in operands)
        self.addressed = (*self.read, *self.written)
        self.plan: Callable[[], Optional[LaunchPlan]] = forgotten
        self.alignment = 0
        self.in_place = any(self.resident[at] and at in self.read for at in self.written)

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        """(the changed vector or vectors, the reports)."""
        count = len(self.operands)
        constants = self.constants(values[count:])
        if constants is not None and not finite(*constants):
            raise CpuNeeded(WATCHED)
        if self.routine == "sscal" and self.resident[0]:
            if -SMALLEST_NORMAL < constants[0] < SMALLEST_NORMAL:  # type: ignore[index]
                raise CpuNeeded(BY_ZERO)
        views, results = views_of(self.operands, values)
        result = results[0] if len(results) == 1 else tuple(results)
        if constants is None:
            return result, ()
        return result, self.launched(runner, views, constants)

    def launched(
        self, runner: Runner, views: Sequence[np.ndarray], constants: Tuple[float, ...]
    ) -> Sequence[RunReport]:
        """Launch; ``views`` are the elements of the operands."""
        if runner.cut:
            from . import streaming  # here, as few vectors are that long

            return streaming.mapped(self, runner, views, constants)
        homes = _homes(self.operands, views, self.n)
        target = homes[self.written[0]]
        # The lines of the first result decide where blocks begin.
        alignment = 0 if target is None else target.address // 4 % LANES
        plan = self.plan()
        if plan is None or alignment != self.alignment:
            shape = _Shape(self.routine, self.n, self.resident, alignment, *self.device)
            plan = PLANS.made(shape, _map_plan, shape)
            self.plan, self.alignment = weakref.ref(plan), alignment
        rooms = runner.scratch(plan)
        at = _staged(homes, views, rooms, self.read, self.n)
        addresses = [at[i].address for i in self.addressed]
        watched = plan.data
        if watched:
            watch = rooms[-1]
            addresses += [watch.bus_address]
        reports = runner.run(plan, tuple(addresses), constants)
        if watched:
            watch.buffer.invalidate()
            if _maximum(watch.words[:watched]) >= OVERFLOW:
                if not self.in_place:
                    raise CpuNeeded(WATCHED, reports)
                arrays.warn_of_special(self.routine)
        for o in self.written:
            at[o].buffer.invalidate()
            room = at[o].room
            if room is not None:
                views[o][...] = room.floats[: self.n]
        return reports


class Combine:
    """saxpby: an operand whose factor is 0 is not read."""

    def __init__(self, routine: str, n: int, operands: Sequence[Operand], runner: Runner) -> None:
        self.operands = tuple(operands)
        self.both, self.of_x, self.of_y = (
            Map(name, n, operands, runner)
            for name in (routine, f"{routine}, b = 0", f"{routine}, a = 0")
        )

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        """(the changed y, the reports)."""
        a, b = ctypes.c_float(values[2]).value, ctypes.c_float(values[3]).value
        if a == 0 and b in (0, 1):
            views, results = views_of(self.operands, values)
            if b == 0:
                views[1][...] = 0
            return results[0], ()
        chosen = (self.both if b != 0 else self.of_x) if a != 0 else self.of_y
        if chosen.in_place:
            for factor in (a, b):
                if 0 < abs(factor) < SMALLEST_NORMAL:
                    raise CpuNeeded(BY_ZERO)
        return chosen(runner, values)


# --- reductions --------------------------------------------------------------------------------


class _Stored(NamedTuple):
    """Where the results of a reduction lie: parts, and the first element of each."""

    parts: int
    vectors: int
    firsts: np.ndarray


def _reduce_plan(shape: _Shape) -> LaunchPlan:
    module = REDUCTIONS[shape.routine][0]
    kernel, options = module.KERNEL, module.SPEC.defaults
    names = ["xy"[i] for i in range(len(shape.resident))]
    seconds = 4 * shape.n * len(names) / RATE
    launches: List[Launch] = []
    firsts: List[int] = []
    stored = kernel.stored(options)
    for part in limits.slices(shape.n, seconds, shape.longest):
        n = part.stop - part.start
        streams = _shifted(kernel.streams(options, n, shape.n_qpus), names, part.start)
        streams.words[streams.addresses["out"]] += np.uint32(4 * LANES * stored * len(firsts))
        launches.append(Launch(module.SPEC, options, streams))
        firsts += [part.start + first for first, _, _ in kernel.parts(options, n)]
    scratch = _rooms(shape)
    scratch["partial"] = 4 * LANES * stored * max(len(firsts), PARTS)
    constants = [("constants", len(kernel.constants))] if kernel.constants else []
    data = _Stored(len(firsts), stored, np.array(firsts))
    return LaunchPlan(launches, [*names, "out"], constants, scratch, data)


class Reduce:
    """A routine that joins the elements of vectors to a number."""

    def __init__(self, routine: str, n: int, operands: Sequence[Operand], runner: Runner) -> None:
        self.operands = tuple(operands)
        device = runner.device
        resident = tuple(operand.resident for operand in operands)
        self.shape = _Shape(routine, n, resident, 0, device.n_qpus, device.longest_launch)
        self.evaluate = REDUCTIONS[routine][1]
        self.plan: Callable[[], Optional[LaunchPlan]] = forgotten

    def made(self) -> LaunchPlan:
        """The plan, which is kept by whoever keeps plans."""
        plan = PLANS.made(self.shape, _reduce_plan, self.shape)
        self.plan = weakref.ref(plan)
        return plan

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        """(the number, the reports)."""
        if runner.cut:
            from . import streaming  # here, as few vectors are that long

            found: Outcome = streaming.reduced(self, runner, values)
            return found
        shape = self.shape
        plan = self.plan() or self.made()
        rooms = runner.scratch(plan)
        views, _ = views_of(self.operands, values)
        homes = _homes(self.operands, views, shape.n)
        at = _staged(homes, views, rooms, (0, 1), shape.n)
        out, stored = rooms[-1], plan.data
        addresses = [each.address for each in at] + [out.bus_address]
        reports: List[RunReport] = []

        def launch(*constants: float) -> np.ndarray:
            """What the parts stored, as (part, vector, lane)."""
            runner.run(plan, tuple(addresses), constants, reports=reports)
            out.buffer.invalidate()
            used = LANES * stored.vectors * stored.parts
            return out.floats[:used].reshape(stored.parts, stored.vectors, LANES)

        try:
            return self.evaluate(launch, shape.n, stored.firsts), reports
        except CpuNeeded as needed:
            raise CpuNeeded(needed.reason, reports) from None


def _rounded(value: float) -> float:
    """The value in float32; a sum of magnitudes may still overflow."""
    if -BEYOND < value < BEYOND:
        return float(np.float32(value))
    return math.copysign(math.inf, value)


def _sum(launch: Callable[..., np.ndarray], n: int, firsts: np.ndarray) -> float:
    results = launch()
    if overflowed(results):
        raise CpuNeeded(WATCHED)
    return _rounded(CompensatedSum.value(results))


def _norm(launch: Callable[..., np.ndarray], n: int, firsts: np.ndarray) -> float:
    """Without overflow or underflow on the way (:mod:`piblas.kernels.nrm2`), in 1 or 2 launches."""
    results = launch(1.0)
    largest = float(nrm2.largest(results))
    if largest == 0:
        return 0.0
    if not math.isfinite(largest):
        raise CpuNeeded(WATCHED)
    scale = nrm2.scale_for(n, largest)
    if scale == 0:
        raise CpuNeeded(TINY)
    if scale != 1:
        results = launch(scale)
    if overflowed(results[:, : CompensatedSum.ROWS]):
        raise CpuNeeded(WATCHED)
    return _rounded(math.sqrt(CompensatedSum.value(results)) / scale)


def _first_largest(launch: Callable[..., np.ndarray], n: int, firsts: Any) -> int:
    element, pattern = iamax.first_largest(launch(), firsts)
    if pattern > 0x7F800000:
        raise CpuNeeded(WATCHED)
    return element


REDUCTIONS: Dict[str, Tuple[Any, Callable[..., Any]]] = {
    "sdot": (dot, _sum),
    "sasum": (asum, _sum),
    "snrm2": (nrm2, _norm),
    "isamax": (iamax, _first_largest),
}
"""Kernel, and the result from ``launch(*constants)``, which gives what its parts stored."""


def program(routine: str, n: int, operands: Sequence[Operand], runner: Runner) -> Any:
    """What computes calls of a routine with these operands: ``program(...)(runner, values)``, where
    ``values`` are the vectors and then the scalars."""
    if routine == "saxpby":
        return Combine(routine, n, operands, runner)
    return (Map if routine in MAPS else Reduce)(routine, n, operands, runner)
