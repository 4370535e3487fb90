"""Runs launch plans on a device: programs, uniform streams and scratch memory are kept there.

For each plan that has run the device holds a *table* per launch: the list of {uniforms, code} pairs
that starts the QPUs, and the streams.  A call whose operands lie where they lay, with the same
values, launches it again as it is.  Otherwise the changed addresses or values are filled in.

Scratch memory is shared by name among all plans, as calls on a device take turns.  What is kept is
bounded, and given up when device memory runs out, when a launch fails (which may go on for good,
and write there), and when the device is closed.
"""

from __future__ import annotations

import collections
import contextlib
import weakref
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Set, Tuple

import numpy as np

from ..dispatch import devices
from ..driver.device import Buffer, Device, LoadedProgram, RunReport, on_shortage
from ..kernels.spec import KernelSpec
from ..kernels.uniforms import OWN
from . import arrays
from .plan import Launch, LaunchPlan

__all__ = ["Runner", "SPECIALS", "Scratch", "TIMEOUT", "runner_of"]

TIMEOUT = 60.0
"""Seconds that a launch may take."""

KEPT_TABLES = 8 << 20
"""Bytes of uniform streams that a device keeps."""

KEPT_SCRATCH = 16 << 20
"""Bytes of scratch memory that stay allocated between calls; where a call needed more, all is given
up after it."""

KEPT_READY = 1000
"""Plans of which it is remembered where their scratch memory is."""

PAIR = 8
"""Bytes of an entry of the list that starts the QPUs: {uniforms address, code address}."""

LINE = 64

SPECIALS = "specials"
"""Scratch memory where kernels of levels 1 and 2 tell of Inf, NaN and overflow.  As no CPU writes
there, nor where they store partial results ("partial"), no line of it is ever dirty."""


class _Table:
    """The uniform streams of one launch in device memory, after the list that starts the QPUs."""

    __slots__ = (
        "addresses", "array", "buffer", "count", "launch", "list_address", "own", "program",
        "scalars",
    )  # fmt: skip

    def __init__(self, launch: Launch, buffer: Buffer, program: LoadedProgram) -> None:
        streams = launch.streams
        self.launch, self.buffer, self.count = launch, buffer, streams.n_qpus
        self.program = program  # so that its memory stays
        head = _head(streams.n_qpus)
        own = self.own = buffer.bus_address + head
        pairs = buffer.array(np.uint32, (self.count, 2))
        pairs[:, 0] = own + 4 * streams.starts
        pairs[:, 1] = program.bus_address
        self.list_address = buffer.bus_address
        self.array = buffer.array(np.uint32, (streams.words.size,), head)
        self.addresses: Optional[Tuple[int, ...]] = None
        self.scalars: Optional[Tuple[float, ...]] = None


def _head(n_qpus: int) -> int:
    """Bytes of the list, in whole cache lines."""
    return -(-n_qpus * PAIR // LINE) * LINE


class Scratch:
    """Memory of the device for the length of a call, as floats and as words."""

    __slots__ = ("buffer", "bus_address", "floats", "nbytes", "words")

    def __init__(self, buffer: Buffer) -> None:
        self.buffer, self.nbytes, self.bus_address = buffer, buffer.nbytes, buffer.bus_address
        buffer.clean()  # of what whoever had this memory before has written
        self.floats = buffer.array(np.float32)
        self.words = self.floats.view(np.uint32)


class Runner:
    """What a device keeps between calls.  Not for several threads at once: calls take turns."""

    def __init__(self, device: Device) -> None:
        self._device = weakref.ref(device)
        self.lock: Any = devices.lock(device)
        self.scratch_bytes = 0
        self.active = False
        self.launched = False
        self.cut = 0  # how far the present call is cut into pieces (:mod:`.pieces`)
        self._tables: "collections.OrderedDict[LaunchPlan, List[_Table]]"
        self._tables = collections.OrderedDict()
        self._table_bytes = 0
        self._scratch: Dict[str, Scratch] = {}
        self._ready: Dict[LaunchPlan, List[Scratch]] = {}
        self._in_use: Set[str] = set()
        self._running: Optional[LaunchPlan] = None

    @property
    def device(self) -> Device:
        """The device, as long as somebody else has it."""
        found = self._device()
        assert found is not None
        return found

    # --- memory --------------------------------------------------------------------------------

    @property
    def kept_bytes(self) -> int:
        """Bytes of device memory that are given up when memory is short."""
        return self.scratch_bytes + self._table_bytes

    def begin(self) -> None:
        """A call begins: scratch memory of the one before is free to be given up."""
        self.active = True  # whoever began it sets this to False at its end
        self.launched = False
        self._in_use.clear()
        self._running = None
        if arrays.dropped:
            arrays.collect()

    @contextlib.contextmanager
    def call(self) -> Iterator["Runner"]:
        """A call that takes its turn, for what does not go through :func:`piblas.blas.call.run`."""
        with self.lock:
            self.begin()
            try:
                yield self
            finally:
                self.active = False

    def scratch(self, plan: LaunchPlan) -> List[Scratch]:
        """The plan's scratch memory, in the order of its names, for the length of the call."""
        found = self._ready.get(plan)
        if found is None:
            found = [self._room(name, nbytes) for name, nbytes in plan.scratch.items()]
            if len(self._ready) >= KEPT_READY:
                self._ready.clear()
            self._ready[plan] = found
        self._in_use |= plan.rooms
        return found

    def _room(self, name: str, nbytes: int) -> Scratch:
        found = self._scratch.get(name)
        if found is None or found.nbytes < nbytes:
            if found is not None:
                self._give_up(name)
            self._in_use.add(name)  # so that a lack of memory leaves what this call has
            found = self._scratch[name] = Scratch(self.device.alloc(nbytes))
            self.scratch_bytes += found.nbytes
        self._in_use.add(name)
        return found

    def _give_up(self, name: str) -> None:
        self._ready.clear()
        gone = self._scratch.pop(name)
        self.scratch_bytes -= gone.nbytes
        gone.buffer.free()

    def trim(self) -> None:
        """Give up all scratch memory: a call has ended."""
        self._in_use.clear()
        self._release_scratch()

    def _release_scratch(self) -> None:
        for name in [name for name in self._scratch if name not in self._in_use]:
            self._give_up(name)

    def release(self) -> None:
        """Give up all memory that the present call, if there is one, does not need."""
        if not self.active:
            self._in_use.clear()
            self._running = None
        self._release_scratch()
        for plan in [plan for plan in self._tables if plan is not self._running]:
            self._drop(plan)

    def abandon(self) -> None:
        """Give up everything, in the middle of a call as well.

        Where a launch failed that may go on and use the memory, the device knows not to hand it out
        again before that has ended.
        """
        self._in_use.clear()
        self._running = None
        self.release()
        arrays.collect(self.device)  # programs that only tables held

    def forget(self) -> None:
        """Let go of everything: the device is closed, and its memory goes as a whole."""
        self._ready.clear()
        self._scratch.clear()
        self._tables.clear()
        self._table_bytes = self.scratch_bytes = 0

    def _drop(self, plan: LaunchPlan) -> None:
        self._ready.pop(plan, None)
        for table in self._tables.pop(plan):
            self._table_bytes -= table.buffer.nbytes
            table.buffer.free()

    # --- launches ------------------------------------------------------------------------------

    def program(self, spec: KernelSpec, options: Any) -> LoadedProgram:
        """A kernel's program in device memory, kept there until memory is short."""
        key = spec.name, options
        device = self.device
        found = device.kept.get(key)
        if found is None:
            found = device.load(spec.words(options))
            arrays.keep(device, key, found)
        return found

    def _made(self, plan: LaunchPlan) -> List[_Table]:
        self._running = plan
        tables: List[_Table] = []
        try:
            for launch in plan.launches:
                program = self.program(launch.spec, launch.options)
                nbytes = _head(launch.streams.n_qpus) + launch.streams.nbytes
                tables.append(_Table(launch, self.device.alloc(nbytes), program))
        except BaseException:
            for table in tables:
                table.buffer.free()
            raise
        self._tables[plan] = tables
        self._table_bytes += sum(table.buffer.nbytes for table in tables)
        while self._table_bytes > KEPT_TABLES and len(self._tables) > 1:
            self._drop(next(iter(self._tables)))
        return tables

    def tables(self, plan: LaunchPlan) -> List[_Table]:
        """The plan's tables in device memory."""
        tables = self._tables.get(plan)
        if tables is None:
            return self._made(plan)
        self._tables.move_to_end(plan)
        self._running = plan
        return tables

    def run(
        self,
        plan: LaunchPlan,
        addresses: Tuple[int, ...],
        scalars: Tuple[float, ...] = (),
        vectors: Optional[Mapping[str, np.ndarray]] = None,
        reports: Optional[List[RunReport]] = None,
        after: Optional[Callable[[int], None]] = None,
        timeout: float = TIMEOUT,
        undo: Optional[Callable[[], None]] = None,
    ) -> List[RunReport]:
        """Launch all of the plan; the reports, each with its kernel's name, at the end of
        ``reports``.

        ``addresses`` and ``scalars`` are in the plan's order; the words of numbers that are no
        floats may be given as bytes, all together.  ``vectors`` are float32 arrays whose elements
        the streams hold.  The caller has cleaned what the QPUs are to see.  After each
        launch ``after`` is called with its number; if one fails, ``undo`` is called while scratch
        memory is still there.
        """
        if reports is None:
            reports = []
        device = self._device()
        assert device is not None
        for number, table in enumerate(self.tables(plan)):
            # 0.0 is the same as -0.0, though its word is not.
            if table.addresses != addresses or table.scalars != scalars or vectors or 0 in scalars:
                _fill(table, plan, addresses, scalars, vectors)
            self.launched = True
            try:
                report = device.execute_list(table.list_address, table.count, timeout)
            except BaseException:
                try:
                    if undo is not None:
                        undo()
                finally:
                    self.abandon()
                raise
            report.kernel = table.launch.spec.name
            reports += [report]
            if after is not None:
                after(number)
        return reports


def _fill(
    table: _Table,
    plan: LaunchPlan,
    addresses: Tuple[int, ...],
    scalars: Tuple[float, ...],
    vectors: Optional[Mapping[str, np.ndarray]],
) -> None:
    """Write what is new since this table's last launch."""
    values: Dict[str, np.ndarray] = {}
    if vectors:
        values = {**vectors}
    if scalars and isinstance(scalars[0], bytes):
        ((name, _),) = plan.scalars
        values[name] = np.frombuffer(scalars[0], dtype=np.float32)
    elif scalars:
        numbers, at = np.array(scalars, dtype=np.float32), 0
        for name, count in plan.scalars:
            values[name] = numbers[at : at + count]
            at += count
    streams = table.launch.streams
    same, table.addresses = table.addresses == addresses, None  # until all is written and clean
    if same:
        streams.fill_values(table.array, values)
    else:
        by_name = dict(zip(plan.names, addresses))
        by_name[OWN] = table.own
        streams.fill(table.array, by_name, values)
    table.buffer.clean()
    table.addresses, table.scalars = addresses, scalars


def runner_of(device: Device) -> Runner:
    """The device's runner, made when it is first wanted."""
    found = device.runner
    if found is None:
        # Two threads may make one at the same time; the first stays.
        found = device.__dict__.setdefault("runner", Runner(device))
    found.lock = devices.lock(device)  # a new one in the child of a fork
    return found


def _release(device: Device) -> None:
    """Memory is short.  A call of another thread, which may be on its way, is left alone; that
    thread is not waited for either, as it may wait for this one's allocation."""
    found = device.runner
    if found is None or not found.lock.acquire(blocking=False):
        return
    try:
        found.release()
    finally:
        found.lock.release()
    arrays.collect(device)  # programs of tables that are gone now


on_shortage(_release)
