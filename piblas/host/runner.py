"""Runs launch plans on a device: programs, uniform streams and scratch memory are kept there.

For each plan that has run the device holds a *table* per launch: the list of {uniforms, code} pairs
that starts the QPUs, and the streams.  A call whose operands lie where they lay, with the same
values, launches it again as it is.  Otherwise the changed addresses or values are filled in.

Scratch memory is shared by name among all plans, as calls on a device take turns.  What is kept is
bounded, and given up when device memory runs out.
"""

from __future__ import annotations

import collections
import gc
import weakref
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np

from ..driver.device import Buffer, Device, LoadedProgram, RunReport
from ..errors import OutOfDeviceMemory
from ..kernels.spec import KernelSpec
from ..kernels.uniforms import OWN
from .plan import Launch, LaunchPlan

__all__ = ["Runner", "TIMEOUT", "runner_of"]

TIMEOUT = 60.0
"""Seconds that a launch may take."""

KEPT_TABLES = 8 << 20
"""Bytes of uniform streams that a device keeps."""

KEPT_SCRATCH = 16 << 20
"""Bytes of scratch memory that stay allocated between calls."""

PAIR = 8
"""Bytes of an entry of the list that starts the QPUs: {uniforms address, code address}."""

LINE = 64


class _Table:
    """The uniform streams of one launch in device memory, after the list that starts the QPUs."""

    __slots__ = ("addresses", "array", "buffer", "count", "launch", "list_address", "scalars")

    def __init__(self, launch: Launch, buffer: Buffer, code: int) -> None:
        streams = launch.streams
        self.launch, self.buffer, self.count = launch, buffer, streams.n_qpus
        head = _head(streams.n_qpus)
        own = buffer.bus_address + head
        pairs = buffer.array(np.uint32, (self.count, 2))
        pairs[:, 0] = own + 4 * streams.starts
        pairs[:, 1] = code
        self.list_address = buffer.bus_address
        self.array = buffer.array(np.uint32, (streams.words.size,), head)
        self.addresses: Optional[Tuple[int, ...]] = None
        self.scalars: Optional[Tuple[float, ...]] = None


def _head(n_qpus: int) -> int:
    """Bytes of the list, in whole cache lines."""
    return -(-n_qpus * PAIR // LINE) * LINE


class Runner:
    """What a device keeps between calls.  Not for several threads at once: calls take turns."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._programs: Dict[Tuple[str, Any], LoadedProgram] = {}
        self._tables: "collections.OrderedDict[LaunchPlan, List[_Table]]"
        self._tables = collections.OrderedDict()
        self._table_bytes = 0
        self._scratch: Dict[str, Buffer] = {}
        self._on_pressure: List[Callable[[], None]] = []

    # --- memory --------------------------------------------------------------------------------

    def alloc(self, nbytes: int) -> Buffer:
        """A new buffer.  If memory is short, what is kept here is given up first, and arrays that
        only reference cycles keep alive."""
        try:
            return self.device.alloc(nbytes)
        except OutOfDeviceMemory:
            self.release()
            gc.collect()
            for free in self._on_pressure:
                free()
            return self.device.alloc(nbytes)

    def scratch(self, plan: LaunchPlan) -> Dict[str, Buffer]:
        """A buffer for each name of the plan's scratch memory, at least as large as it says."""
        found = {}
        for name, nbytes in plan.scratch.items():
            buffer = self._scratch.get(name)
            if buffer is None or buffer.nbytes < nbytes:
                if buffer is not None:
                    del self._scratch[name]
                    buffer.free()
                buffer = self._scratch[name] = self.alloc(nbytes)
            found[name] = buffer
        return found

    def trim(self) -> None:
        """Give up scratch memory if it is more than a device should keep between calls."""
        if sum(buffer.nbytes for buffer in self._scratch.values()) > KEPT_SCRATCH:
            self._free_scratch()

    def _free_scratch(self) -> None:
        while self._scratch:
            self._scratch.popitem()[1].free()

    def release(self) -> None:
        """Give up all memory that is kept, but for programs."""
        self._free_scratch()
        while self._tables:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        for table in self._tables.popitem(last=False)[1]:
            self._table_bytes -= table.buffer.nbytes
            table.buffer.free()

    # --- launches ------------------------------------------------------------------------------

    def program(self, spec: KernelSpec, options: Any) -> LoadedProgram:
        """A kernel's program in device memory, loaded once."""
        key = spec.name, options
        found = self._programs.get(key)
        if found is None:
            found = self._programs[key] = self.device.load(spec.words(options))
        return found

    def _made(self, plan: LaunchPlan) -> List[_Table]:
        tables: List[_Table] = []
        try:
            for launch in plan.launches:
                code = self.program(launch.spec, launch.options).bus_address
                nbytes = _head(launch.streams.n_qpus) + launch.streams.nbytes
                tables.append(_Table(launch, self.alloc(nbytes), code))
        except BaseException:
            for table in tables:
                table.buffer.free()
            raise
        self._tables[plan] = tables
        self._table_bytes += sum(table.buffer.nbytes for table in tables)
        while self._table_bytes > KEPT_TABLES and len(self._tables) > 1:
            self._drop_oldest()
        return tables

    def tables(self, plan: LaunchPlan) -> List[_Table]:
        """The plan's tables in device memory."""
        tables = self._tables.get(plan)
        if tables is None:
            return self._made(plan)
        self._tables.move_to_end(plan)
        return tables

    def run(
        self,
        plan: LaunchPlan,
        addresses: Tuple[int, ...],
        scalars: Tuple[float, ...] = (),
        vectors: Optional[Mapping[str, np.ndarray]] = None,
        timeout: float = TIMEOUT,
    ) -> List[RunReport]:
        """Launch all of the plan; the reports, each with its kernel's name.

        ``addresses`` and ``scalars`` are in the plan's order, ``vectors`` are float32 arrays whose
        elements the streams hold.  The caller has cleaned what the QPUs are to see.
        """
        reports = []
        for table in self.tables(plan):
            if table.addresses != addresses or table.scalars != scalars or vectors:
                _fill(table, plan, addresses, scalars, vectors)
            report = self.device.execute_list(table.list_address, table.count, timeout)
            report.kernel = table.launch.spec.name
            reports.append(report)
        return reports


def _fill(
    table: _Table,
    plan: LaunchPlan,
    addresses: Tuple[int, ...],
    scalars: Tuple[float, ...],
    vectors: Optional[Mapping[str, np.ndarray]],
) -> None:
    """Write what is new since this table's last launch."""
    values = dict(zip(plan.scalars, np.array(scalars, dtype=np.float32).reshape(-1, 1)))
    if vectors:
        values.update(vectors)
    streams = table.launch.streams
    if table.addresses == addresses:
        streams.fill_values(table.array, values)
    else:
        table.addresses = None  # until all is written
        by_name = dict(zip(plan.names, addresses))
        by_name[OWN] = table.buffer.bus_address + _head(table.count)
        streams.fill(table.array, by_name, values)
    table.addresses, table.scalars = addresses, scalars
    table.buffer.clean()


_runners: "weakref.WeakKeyDictionary[Device, Runner]" = weakref.WeakKeyDictionary()


def runner_of(device: Device) -> Runner:
    """The device's runner, made when it is first wanted."""
    found = _runners.get(device)
    return found if found is not None else _runners.setdefault(device, Runner(device))
