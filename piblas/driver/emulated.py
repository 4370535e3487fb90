"""The device contract over the emulated chip.

Every buffer starts on a page of 4096 bytes and is followed by a page that belongs to nobody, so an
access beyond its end faults under ``strict``.  Code and staged uniforms come from the other end of
memory than the caller's buffers, so that a freed buffer is not at once somebody else's.

With ``timing`` on (the default), a launch reports simulated cycles of the chip under that set of
costs (:mod:`piblas.isa.timing`); "off" counts instructions only, and is faster.
"""

from __future__ import annotations

import operator
import os
import threading
import weakref
from typing import Any, Callable, Collection, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..errors import DeviceError, OutOfDeviceMemory
from ..isa.timing import CAUSES, Timing, timing_set
from . import collect, needs
from .detail import Hot, Timeline
from .device import (
    Buffer,
    BufferProgram,
    Device,
    LoadedProgram,
    MemoryState,
    RunReport,
    Uniforms,
    Words,
    buffer_view,
    make_room,
    program_words,
    uniform_words,
)
from .heap import Heap

__all__ = ["Emulator"]

_PAGE = 4096
TIMINGS = ("off", "pessimistic", "calibrated", "optimistic")

_devices: "weakref.WeakSet[Emulator]" = weakref.WeakSet()


def _whole(name: str, value: Any) -> int:
    """A whole number, or a float that is one."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} = {value!r}: give a whole number") from None


class _EmulatedBuffer(Buffer):
    def __init__(self, device: "Emulator", page: int, nbytes: int) -> None:
        self._device = device
        self._page = page
        self._nbytes = nbytes
        self._freed = False

    def _check(self) -> None:
        if self._freed:
            raise DeviceError("this buffer was freed")
        self._device._check_open()

    @property
    def bus_address(self) -> int:
        self._check()
        return self._device._base + self._page * _PAGE

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def array(
        self,
        dtype: Any,
        shape: Union[int, Sequence[int], None] = None,
        offset: int = 0,
        order: str = "C",
    ) -> np.ndarray:
        self._check()
        start = self._page * _PAGE
        memory = self._device.machine.cpu.view(np.uint8)[start : start + self._nbytes]
        return buffer_view(memory, dtype, shape, offset, order)

    def clean(self) -> None:
        self._check()
        with self._device._lock:
            self._device.machine.clean(self._page, self._nbytes)

    def invalidate(self) -> None:
        self._check()
        with self._device._lock:
            self._device.machine.invalidate(self._page, self._nbytes)

    def free(self) -> None:
        with self._device._lock:
            usable = not self._device._closed and not self._device._forked_in_use
            if not self._freed and usable:
                self._device._release(self)
            self._freed = True


class Emulator(Device):
    """An emulated VideoCore IV.

    - ``memory``: bytes of device memory; ``n_qpus``: 1 to 12, QPU q is in slice q // 4.
    - ``clock_hz``: turns cycles into seconds, times of the memory into cycles, and the time-out
      into instructions (four clocks each, at least).
    - ``timing``: "pessimistic", "calibrated", "optimistic", a :class:`~piblas.isa.timing.Timing`,
      or "off".  Cycles start with the first instruction: what the launch itself costs is in the
      rows ``launch_mailbox`` and ``launch_registers`` and in no result.
    - ``strict``: fault where the chip's result is undefined, or where an access leaves the buffers;
      ``keep_going`` names rules of these to pass over ("vpm-race", ...: a fault's ``rule``).
    - ``incoherent``: the CPU's view, the caches and memory are kept apart as on the chip.
    - ``seed``: memory, VPM and registers start as noise; without a clock, turns of the QPUs vary in
      length.
    - ``trap_uninitialised``: fault on reads of words that nobody has written.
    - ``announce``: gets a line of text when something takes long (the first compilation); without
      it the log "piblas.emu" does.

    In the child of a fork a device works on with a copy of its memory, unless a thread of the
    parent was using it at that moment: then every use of it raises DeviceError.
    """

    name = "emulator"

    def __init__(
        self,
        memory: int = 256 << 20,
        n_qpus: int = 12,
        clock_hz: float = 250e6,
        timing: Union[str, Any] = "calibrated",
        strict: bool = True,
        incoherent: bool = False,
        seed: Optional[int] = None,
        *,
        trap_uninitialised: bool = False,
        keep_going: Collection[str] = (),
        quantum: int = 128,
        announce: Optional[Callable[[str], None]] = None,
    ) -> None:
        try:
            from ..emu import layout
            from ..emu.machine import Machine, prepare
        except ImportError as error:
            raise DeviceError(
                f"the emulator needs numba ({error}): {needs.emulator()}"
            ) from error
        memory, n_qpus = _whole("memory", memory), _whole("n_qpus", n_qpus)
        quantum = _whole("quantum", quantum)
        seed = None if seed is None else _whole("seed", seed)
        if isinstance(keep_going, str):
            keep_going = (keep_going,)
        if not 1 <= n_qpus <= layout.MAX_QPUS:
            raise DeviceError(f"n_qpus = {n_qpus}: a VideoCore IV has 1 to {layout.MAX_QPUS}")
        if isinstance(timing, str):
            if timing not in TIMINGS:
                raise DeviceError(f"timing = {timing!r}: choose one of {', '.join(TIMINGS)}")
            timing = None if timing == "off" else timing_set(timing)
        elif not isinstance(timing, Timing):
            raise DeviceError(f"timing = {timing!r} is neither a name nor a Timing")
        if not 2 * _PAGE <= memory <= layout.MAX_MEMORY:
            raise DeviceError(f"memory = {memory}: choose {2 * _PAGE} to {layout.MAX_MEMORY} bytes")
        if not clock_hz > 0:
            raise DeviceError(f"clock_hz = {clock_hz} is no frequency")
        if quantum < 1:
            raise DeviceError(f"quantum = {quantum}: a turn has at least one instruction")
        if seed is not None and not 0 <= seed < 1 << 30:
            raise DeviceError(f"seed = {seed}: choose 0 to 2**30 - 1")
        prepare(announce)
        self._base = layout.BASE
        self._n_qpus = n_qpus
        self._clock_hz = float(clock_hz)
        self.timing = timing
        self._lock = threading.RLock()
        self._closed = False
        self._forked_in_use = False
        self._pid = os.getpid()
        self.machine = Machine(
            memory,
            n_qpus,
            strict=strict,
            keep_going=keep_going,
            incoherent=incoherent,
            trap_uninitialised=trap_uninitialised,
            seed=seed,
            quantum=quantum,
            timing=timing,
            clock_hz=clock_hz,
        )
        # Page 0 stays unused, so that nothing lies right below the first buffer.
        self._pages = memory // _PAGE
        self._heap = Heap(1, self._pages)
        _devices.add(self)

    @property
    def n_qpus(self) -> int:
        return self._n_qpus

    @property
    def clock_hz(self) -> float:
        return self._clock_hz

    @property
    def is_open(self) -> bool:
        return not (self._closed or self._forked_in_use)

    def _check_open(self) -> None:
        if self._forked_in_use:
            raise DeviceError(
                "this process was forked while a thread of its parent was using this device: open "
                "one after the fork"
            )
        if self._closed:
            raise DeviceError("this device was closed")

    def survives_fork(self) -> bool:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            # Held by a thread that is not here: a call of its was under way.
            self._forked_in_use = not self._lock.acquire(blocking=False)
            self._lock = threading.RLock()
        return not self._forked_in_use

    # --- memory --------------------------------------------------------------------------------

    def memory_state(self) -> MemoryState:
        self._check_open()
        with self._lock:
            total, free = _PAGE * self._pages, _PAGE * self._heap.free
            return total, total - free, free, _PAGE * self._heap.largest

    def alloc(self, nbytes: int) -> Buffer:
        return self._alloc(nbytes, self._heap.take)

    def _alloc(self, nbytes: int, take: Callable[[int], Optional[int]]) -> Buffer:
        self._check_open()
        if nbytes < 1:
            raise DeviceError(f"a buffer of {nbytes} bytes: the smallest has 1")
        pages = -(-int(nbytes) // _PAGE)
        with self._lock:
            page = take(pages)
            if page is None:
                make_room(self)
                page = take(pages)
            if page is None:
                raise OutOfDeviceMemory(
                    f"no room for {nbytes} bytes: {self._heap.free * _PAGE} bytes are free, "
                    f"{self._heap.largest * _PAGE} in one piece"
                )
            self.machine.open_range(page, int(nbytes))
            return _EmulatedBuffer(self, page, int(nbytes))

    def _release(self, buffer: _EmulatedBuffer) -> None:
        self.machine.close_range(buffer._page, buffer._nbytes)
        self._heap.give_back(buffer._page, -(-buffer._nbytes // _PAGE))

    def load(self, words: Words) -> LoadedProgram:
        code = program_words(words)
        padded = -(-code.size // 8) * 8
        # The chip fetches whole lines, so the rest of the last line is memory of the program, too.
        buffer = self._alloc(8 * padded, self._heap.take_last)
        target = buffer.array("<u8", padded)
        target[: code.size] = code
        target[code.size :] = 0
        buffer.clean()
        return BufferProgram(buffer, code.size)

    def clear_caches(self) -> None:
        self._check_open()
        with self._lock:
            self.machine.clear_caches()

    # --- launches ------------------------------------------------------------------------------

    def execute(
        self,
        program: Union[LoadedProgram, int],
        uniforms: Uniforms,
        timeout: float = 10.0,
        clear_caches: bool = True,
        *,
        threads: int = 1,
        watch: Optional[Callable[[int], None]] = None,
    ) -> RunReport:
        """As every device's; ``threads=2`` runs two threads on each QPU.

        Then entries 2q and 2q + 1 of ``uniforms`` are for the threads of QPU q.  A chip does so
        with fragment shaders only; what one sends it to compute runs alone.
        ``watch`` is called every few dozen milliseconds with the number of instructions so far;
        what it raises ends the launch.
        """
        self._check_open()
        with self._lock:
            launches, staged = self._stage(program, uniforms, threads)
            try:
                return self._launch(launches, timeout, clear_caches, threads, watch)
            finally:
                for buffer in staged:
                    buffer.free()

    def _check_count(self, count: int, threads: int, what: str) -> None:
        """Refuse a number of programs that does not fit; ``what`` calls them by their name."""
        if threads not in (1, 2):
            raise DeviceError(f"threads = {threads}: a QPU has 1 or 2")
        if count % threads:
            raise DeviceError(f"{what}: two threads for each QPU take an even number")
        if not 1 <= count // threads <= self._n_qpus:
            raise DeviceError(f"{what}: this device has 1 to {self._n_qpus} QPUs")

    def _stage(
        self, program: Union[LoadedProgram, int], uniforms: Uniforms, threads: int = 1
    ) -> Tuple[List[Tuple[int, int]], List[Buffer]]:
        """What each QPU is launched with, and the buffers that hold its uniforms for the launch."""
        what = "QPUs" if threads == 1 else "threads"
        self._check_count(len(uniforms), threads, f"uniforms for {len(uniforms)} {what}")
        code = program.bus_address if isinstance(program, LoadedProgram) else int(program)
        launches: List[Tuple[int, int]] = []
        staged: List[Buffer] = []
        try:
            for qpu, stream in enumerate(uniforms):
                if isinstance(stream, (int, np.integer)):
                    launches.append((int(stream), code))
                    continue
                words = uniform_words(stream, qpu)
                if words.size == 0:
                    launches.append((0, code))
                    continue
                buffer = self.alloc(4 * words.size)
                staged.append(buffer)
                buffer.array(np.uint32)[:] = words
                buffer.clean()
                launches.append((buffer.bus_address, code))
        except BaseException:
            for buffer in staged:
                buffer.free()
            raise
        return launches, staged

    def execute_list(
        self,
        control_bus_address: int,
        count: int,
        timeout: float = 10.0,
        clear_caches: bool = True,
        *,
        threads: int = 1,
    ) -> RunReport:
        """As every device's; for ``threads`` see :meth:`execute`."""
        self._check_open()
        self._check_count(count, threads, f"a list of {count} launches")
        with self._lock:
            words = self.machine.words(control_bus_address, 2 * count)
            if words is None:
                raise DeviceError(
                    f"the list of launches at {control_bus_address:#010x} is outside device memory"
                )
            pairs = [(int(words[2 * q]), int(words[2 * q + 1])) for q in range(count)]
            return self._launch(pairs, timeout, clear_caches, threads)

    def _launch(
        self,
        launches: Sequence[Tuple[int, int]],
        timeout: float,
        clear_caches: bool,
        threads: int,
        watch: Optional[Callable[[int], None]] = None,
    ) -> RunReport:
        machine = self.machine
        if not timeout > 0:
            raise DeviceError(f"timeout = {timeout}: a launch needs more than 0 seconds")
        limit = max(1, int(min(timeout * self._clock_hz / 4, 2.0**62)))
        if clear_caches:
            machine.clear_caches()
        try:
            machine.start(launches, limit, collect.wanted(), threads)
            machine.finish(f"no end after {timeout:g} s of the chip's time", watch)
        except BaseException:
            machine.reset()
            raise
        per_qpu = machine.counters()
        issued = [row["instructions"] for row in per_qpu]
        cycles, timeline = machine.cycles, machine.timeline()
        return RunReport(
            n_qpus=len(per_qpu),
            clock_hz=self._clock_hz,
            instructions=sum(issued),
            issue_cycles=4 * max(issued),
            bytes=machine.traffic(),
            per_qpu=per_qpu,
            interrupts=machine.interrupts,
            cycles=cycles,
            seconds=None if cycles is None else cycles / self._clock_hz,
            stalls=machine.stalls(),
            timing=self.timing,
            counters=machine.performance(),
            hot=self._hot(launches),
            timeline=None if timeline is None else Timeline(**timeline),
        )

    def _hot(self, launches: Sequence[Tuple[int, int]]) -> Optional[Hot]:
        counts = self.machine.hot()
        if counts is None:
            return None
        addresses, words, table = counts
        stalls = {cause: table[:, 1 + index] for index, cause in enumerate(CAUSES[:-1])}
        starts = tuple(code for _, code in launches)
        return Hot(addresses, words, table[:, 0], stalls, starts)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self.forget_kept()


def _after_fork() -> None:
    for device in list(_devices):
        device.survives_fork()


os.register_at_fork(after_in_child=_after_fork)
