"""Calls of a vector function on a device: operands, launches, results.

An array that is contiguous in device memory is used where it lies, any other is copied to scratch
memory and, if it is a result, back.  Results in ordinary memory are written when every launch has
succeeded, or not at all.
"""

from __future__ import annotations

import struct
import weakref
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import RunReport
from ..host import arrays, limits
from ..host.outcome import SORT_OUT, CpuNeeded
from ..host.plan import PLANS, Launch, LaunchPlan, forgotten
from ..host.runner import Runner
from ..kernels.parts import LINE
from .body import SIZES, reductions, stores
from .graph import STORAGE
from .lower import Function, Lowered

__all__ = ["Job", "is_resident"]

UNIT = 768
"""Elements of which slices of long functions are multiples: groups for every QPU."""

_FORMATS = {"f": "f", "i": "i", "u": "I"}
_WORDS = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16), 4: np.dtype(np.uint32)}


def is_resident(array: np.ndarray, device: Any) -> bool:
    """Whether an array is used where it lies: whole, contiguous and aligned in the memory of a
    device."""
    base: Any = array.base
    while type(base) in (np.ndarray, arrays.DeviceArray):
        base = base.base
    return (
        type(base) is arrays.Memory
        and base.device is device
        and array.flags.c_contiguous
        and array.flags.aligned
    )


class _Shape(NamedTuple):
    """What a plan depends on."""

    name: str
    key: str
    n: int
    resident: Tuple[bool, ...]
    alignment: int
    n_qpus: int
    longest: Optional[float]


class _Data(NamedTuple):
    """What a call needs of its plan: parts of the reductions, and words of their states."""

    parts: int
    words: int
    kernel: Any


def _plan(shape: _Shape, program: Lowered) -> LaunchPlan:
    kernel, graph, n = program.kernel, program.graph, shape.n
    taken = [number for number, each in enumerate(graph.arguments) if each.array]
    made = stores(graph)
    launches: List[Launch] = []
    parts = 0
    for part in _slices(n, program.longest_seconds(n), shape.longest):
        count = part.stop - part.start
        streams = kernel.streams(count, shape.n_qpus, part.start, shape.alignment)
        if kernel.stored:
            streams.words[streams.addresses["partial"]] += np.uint32(LINE * kernel.stored * parts)
            parts += kernel.parts(count, shape.n_qpus)
        launches.append(Launch(program, None, streams))
    names = [f"in{number}" for number in taken] + [f"out{place}" for place, _ in made]
    sizes = [SIZES[graph.arguments[number].dtype] for number in taken]
    sizes += [SIZES[each.dtype] for _, each in made]
    scratch = {
        f"vector{i}": -(-size * n // 4) * 4  # whole words
        for i, (size, there) in enumerate(zip(sizes, shape.resident))
        if not there
    }
    words = LINE // 4 * kernel.stored * parts
    if parts:
        names.append("partial")
        scratch["partial"] = 4 * words
    scalars = [("scalars", 0)] if kernel.scalars else []
    return LaunchPlan(launches, names, scalars, scratch, _Data(parts, words, kernel))


def _slices(n: int, seconds: float, longest: Optional[float]) -> List[slice]:
    """Slices of n elements, which take ``seconds`` in one launch."""
    if longest is None or seconds * limits.SLICE <= longest * n:
        return limits.slices(n, seconds, longest)
    step = max(int(n * longest / seconds) // UNIT, 1) * UNIT
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


class Job:
    """A function on ``n`` elements, with operands that lie in device memory or not.

    ``resident`` says so for the arrays among the arguments, then for the arrays among the results.
    """

    def __init__(self, function: Function, n: int, resident: Sequence[bool]) -> None:
        graph = function.graph
        self.graph, self.n, self.resident = graph, n, tuple(resident)
        self.program = function.program(n)
        self.taken = [number for number, each in enumerate(graph.arguments) if each.array]
        self.numbers = self.program.body.scalars
        self.format = "<" + "".join(
            _FORMATS[STORAGE[graph.arguments[number].dtype]] for number in self.numbers
        )
        dtypes = [graph.arguments[number].dtype for number in self.taken]
        dtypes += [each.dtype for _, each in stores(graph)]
        self.dtypes = [np.dtype(each) for each in dtypes]
        self.sizes = [each.itemsize for each in self.dtypes]
        self.joins = bool(reductions(graph))
        self.count, self.reads = len(graph.arguments), len(self.taken)
        self.writes = len(self.sizes) - self.reads
        self.narrow = self.writes > 0 and min(self.sizes) < 4
        self.function = function
        self.copying: Dict[Tuple[bool, ...], Job] = {}
        self.plan: Callable[[], Optional[LaunchPlan]] = forgotten
        self.device: Any = None
        self.alignment = -1

    def _shared(self, homes: Sequence[Any]) -> Optional["Job"]:
        """A job that copies arguments of small elements that share words with a result: two QPUs
        would read and write the same word."""
        resident = list(self.resident)
        for out in range(self.reads, len(homes)):
            for at in range(self.reads):
                one, two = homes[at], homes[out]
                if one is None or two is None or min(self.sizes[at], self.sizes[out]) >= 4:
                    continue
                ends = one[0] + self.sizes[at] * self.n, two[0] + self.sizes[out] * self.n
                if one[0] < ends[1] and two[0] < ends[0] and one[0] % 4:
                    resident[at] = False
        key = tuple(resident)
        if key == self.resident:
            return None
        if key not in self.copying:
            self.copying[key] = Job(self.function, self.n, key)
        return self.copying[key]

    def __call__(
        self, runner: Runner, values: Sequence[Any]
    ) -> Tuple[List[Any], Sequence[RunReport]]:
        """(results in the order of the graph's, the reports).

        ``values`` are the arguments, then an array for each array among the results, which is
        changed and returned; all have the dtypes of the graph, arrays of arguments may be
        read-only.  The function's numbers fit their types.
        """
        count, n, reads = self.count, self.n, self.reads
        views = (*[values[number] for number in self.taken], *values[count:])
        device = runner.device
        homes: List[Any] = []
        for view, size, resident in zip(views, self.sizes, self.resident):
            home = None
            if resident:
                memory, offset = arrays.located(view)
                if not 0 <= offset <= memory.nbytes - size * n:
                    raise CpuNeeded(SORT_OUT)
                home = memory.bus_address + offset, memory.buffer
            homes += [home]
        if self.narrow:
            shared = self._shared(homes)
            if shared is not None:
                return shared(runner, values)
        alignment = 0
        if self.writes and homes[reads] is not None:
            alignment = homes[reads][0] % LINE
        plan = self.plan()
        if plan is None or self.alignment != alignment or self.device != device.longest_launch:
            program = self.program
            shape = _Shape(
                program.name, program.key, n, self.resident, alignment, device.n_qpus,
                device.longest_launch,
            )  # fmt: skip
            plan = PLANS.made(shape, _plan, shape, self.program)
            self.plan, self.alignment = weakref.ref(plan), alignment
            self.device = device.longest_launch
        rooms = runner.scratch(plan)
        addresses: Tuple[int, ...] = ()
        buffers: List[Any] = []
        copied: List[Tuple[Any, Any]] = []
        used = 0
        for at, home in enumerate(homes):
            if home is None:
                room = rooms[used]
                used += 1
                home = room.bus_address, room.buffer
                view, dtype = views[at], self.dtypes[at]
                inside = np.ndarray(view.shape, dtype, room.words)
                if at < reads:
                    inside[...] = view
                else:
                    copied += [(view, inside)]
            home[1].clean()
            buffers += [home[1]]
            addresses += (home[0],)
        data = plan.data
        if data.parts:
            partial = rooms[-1]
            addresses += (partial.bus_address,)
        scalars: Tuple[Any, ...] = ()
        if self.numbers:
            scalars = (struct.pack(self.format, *[values[number] for number in self.numbers]),)
        reports = runner.run(plan, addresses, scalars)
        for buffer in buffers[reads:]:
            buffer.invalidate()
        for view, inside in copied:
            view[...] = inside
        if not self.joins:
            return [*values[count:]], reports
        partial.buffer.invalidate()
        numbers = iter(data.kernel.results(partial.words[: data.words]))
        outs = iter(values[count:])
        made = {place for place, _ in stores(self.graph)}
        results = [
            next(outs) if place in made else next(numbers)
            for place in range(len(self.graph.results))
        ]
        return results, reports
