"""Level 2 on a device: rank-1 and rank-2 updates of a matrix.

As in :mod:`.matvec`, a matrix whose columns are contiguous in device memory is changed where it
lies: where Inf, NaN or an overflow is met there, what the QPUs made of it stays, with a warning.
Any other is copied to scratch memory and, when all launches have succeeded, back.
"""

from __future__ import annotations

import weakref
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import Device, RunReport
from ..kernels import spec, update_plan
from ..kernels.storage import Storage
from ..kernels.stream import OVERFLOW
from . import arrays, limits
from .matvec import Held, Target, Vector, apart
from .numbers import BEYOND, finite
from .outcome import WATCHED, CpuNeeded, Outcome
from .plan import PLANS, Launch, LaunchPlan, forgotten
from .runner import SPECIALS, Runner

__all__ = ["Update"]

_maximum = np.maximum.reduce


class _Shape(NamedTuple):
    """What a plan of an update depends on."""

    kernel: str
    storage: Storage
    rank: int
    n_qpus: int
    clock_hz: float
    longest: Optional[float]
    columns: Optional[Tuple[int, int]] = None


def launches_of(shape: _Shape) -> LaunchPlan:
    plan = update_plan.plan(shape.storage, shape.rank, shape.n_qpus, shape.columns)
    cut = limits.runs(plan.clocks() / shape.clock_hz, shape.longest)
    kernel = spec.get(shape.kernel)
    launches = [Launch(kernel, plan.options, plan.streams(part)) for part in cut]
    length = shape.storage.m + plan.options.height
    scratch = {"x": 4 * length, "y": 4 * length} if shape.rank == 2 else {"x": 4 * length}
    names = ["a", *scratch, "watch"]
    scratch[SPECIALS] = 4 * plan.watch_words
    data = plan, length, plan.watch_words
    return LaunchPlan(launches, names, (), scratch, data, plan.kept_bytes)


class Update:
    """A = A + alpha x y^T, alpha x x^T or alpha (x y^T + y x^T).  Values: alpha, A, x (and y)."""

    def __init__(
        self,
        routine: str,
        matrix: Held,
        vectors: Sequence[Vector],
        target: Target,
        device: Device,
    ) -> None:
        self.routine, self.matrix, self.target = routine, matrix, target
        self.vectors = tuple(vectors)
        general = routine == "sger"
        rank = 1 if general else len(vectors)
        self.shape = _Shape(
            "ger" if general else "syr", matrix.storage, rank,
            *limits.of(device),
        )  # fmt: skip
        self.plan: Callable[[], Optional[LaunchPlan]] = forgotten
        self.in_place = target.own and matrix.resident
        self.room = LaunchPlan([], [], (), {"matrix": 4 * matrix.words})

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        alpha, a, *given = values
        if self.target.own:
            apart(a, *given)
        if not finite(alpha):
            raise CpuNeeded(WATCHED)
        alpha = np.float32(alpha)  # as on the CPU
        if alpha == 0:
            return self.target.array(a), ()
        found = [vector.floats(x) for vector, x in zip(self.vectors, given)]
        factors = []
        for x in found[::-1]:
            # Products may overflow, so the largest of them, exact in float64, is looked at first.
            if not abs(float(alpha)) * float(_maximum(np.abs(x))) < BEYOND:
                raise CpuNeeded(WATCHED)
            factors += [alpha * x]
        return self._updated(runner, a, found, factors)

    def _updated(
        self, runner: Runner, a: Any, found: List[np.ndarray], factors: List[np.ndarray]
    ) -> Outcome:
        reports: List[RunReport] = []
        made = a if self.target.own else self.target.array(a)
        source = self.matrix.source(made)
        if runner.cut and not self.in_place:
            from . import streaming  # here, as few matrices are that large

            streaming.updated(self, runner, source, found, factors, reports)
            return made, reports
        plan = self.plan()
        if plan is None:
            plan = PLANS.made(self.shape, launches_of, self.shape)
            self.plan = weakref.ref(plan)
        place = None if self.in_place else runner.scratch(self.room)[0]
        address, buffer = self.matrix.place(source, place)
        self.launched(runner, plan, address, found, factors, reports)
        buffer.invalidate()
        if place is not None:
            source[...] = self.matrix.image(place)
        return made, reports

    def launched(
        self,
        runner: Runner,
        plan: LaunchPlan,
        address: int,
        found: Sequence[np.ndarray],
        factors: Sequence[np.ndarray],
        reports: List[RunReport],
    ) -> None:
        """Launch a plan of the matrix at a bus address, or of some of its columns."""
        shape = self.shape
        _, length, watch_words = plan.data
        rooms = runner.scratch(plan)
        m = shape.storage.m
        for room, x in zip(rooms[:-1], found):
            room.floats[:m] = x
            room.floats[m:length] = 0
            room.buffer.clean()
        watch = rooms[-1]
        addresses = (address, *[room.bus_address for room in rooms])
        vectors = dict(zip("st", factors[: shape.rank]))
        special = False

        def watched(launch: int) -> None:
            nonlocal special
            watch.buffer.invalidate()
            if _maximum(watch.words[:watch_words]) >= OVERFLOW:
                special = True
                if not self.in_place:
                    raise CpuNeeded(WATCHED, reports)

        runner.run(plan, addresses, (), vectors, reports, watched)
        if special:
            arrays.warn_of_special(self.routine)
