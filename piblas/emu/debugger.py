"""Running a program step by step: breakpoints, registers, flags, watches on memory.

::

    with Debugger(device, program, uniforms) as debugger:
        debugger.break_at(12)
        stop = debugger.run()            # Stop(reason="breakpoint", qpu=0, pc=12, ...)
        print(debugger.where(0))
        print(debugger.registers(0)["ra3"], debugger.flags(0)["z"])
        debugger.step(0)
        debugger.finish()

Every instruction is executed by the emulator's compiled code on the machine's own state, with a
budget of one instruction.  The QPUs take turns of one instruction each; a QPU that has to wait
leaves its turn out.  ``pc`` is always the number of a word from the start of the program.

Memory changes where a DMA store is carried out, which is when something waits for it, and that may
be many instructions after its start.  A watch therefore stops where the contents change and says
which instruction had started the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple, Union

import numpy as np

from ..errors import DecodeError, DeviceError, DeviceTimeout, EmulatorFault
from ..isa.disasm import disassemble
from ..isa.instr import decode
from ..isa.modes import SIGNAL_BY_NAME
from . import layout as x
from .trace import Tracer

__all__ = ["Debugger", "Stop"]

_BKPT = SIGNAL_BY_NAME["bkpt"].code


@dataclass(frozen=True)
class Stop:
    """Why the debugger stopped, and the instruction that comes next on that QPU.

    ``reason``: "step" (as many instructions as asked for), "end" (every program has ended),
    "waits" (the QPU cannot go on now), "breakpoint", "bkpt" (the signal), "until" or "watch".
    ``detail`` is a sentence for a person.
    """

    reason: str
    qpu: Optional[int] = None
    pc: Optional[int] = None
    instruction: str = ""
    detail: str = ""


class _Watch:
    def __init__(self, words: np.ndarray, address: int) -> None:
        self.words = words
        self.address = address
        self.last = words.copy()

    def changed(self) -> Optional[str]:
        different = np.flatnonzero(self.words != self.last)
        if not different.size:
            return None
        first = int(different[0])
        old, new = int(self.last[first]), int(self.words[first])
        self.last[:] = self.words
        more = f" and {different.size - 1} more words" if different.size > 1 else ""
        return f"{self.address + 4 * first:#010x}: {old:#010x} becomes {new:#010x}{more}"


class Debugger:
    """A launch of ``program`` on an emulator device, under control.

    ``program`` and ``uniforms`` are what the device's ``execute`` takes; instruction words do as
    well and are loaded for as long as the debugger is open.  ``labels`` (name -> word) appear in
    :meth:`where` and may name breakpoints.  ``trace`` gets a line about every instruction, or those
    of QPU ``trace_qpu``.  The device must not be used for other launches meanwhile.

    With ``threads=2``, pc, registers and flags of a QPU are those of the thread that runs
    (:meth:`thread`); a breakpoint holds for both.
    """

    def __init__(
        self,
        device: Any,
        program: Any,
        uniforms: Any,
        timeout: float = 10.0,
        *,
        labels: Optional[Mapping[str, int]] = None,
        trace: Optional[Callable[[str], None]] = None,
        trace_qpu: Optional[int] = None,
        trace_full: bool = False,
        clear_caches: bool = True,
        threads: int = 1,
    ) -> None:
        if not hasattr(device, "machine"):
            raise DeviceError("the debugger runs programs on the emulator only")
        if not timeout > 0:
            raise DeviceError(f"timeout = {timeout}: a launch needs more than 0 seconds")
        self._device = device
        self._machine = device.machine
        self._loaded: List[Any] = []
        if not hasattr(program, "bus_address") and not isinstance(program, int):
            program = device.load(program)
            self._loaded.append(program)
        self.n_words: Optional[int] = getattr(program, "n_words", None)
        self.labels = dict(labels or {})
        self.trace = trace
        self.trace_qpu = trace_qpu
        self._timeout = timeout
        self._limit = max(1, int(min(timeout * device.clock_hz / 4, 2.0**62)))
        self._breaks: Dict[int, Set[Optional[int]]] = {}
        self._watches: List[_Watch] = []
        self._store: Optional[str] = None  # who started the last DMA store
        self._writer: Optional[str] = None  # the same, before the last instruction
        self._turn = 0
        self._held: Optional[Tuple[int, int]] = None
        self._told_wait: Set[int] = set()
        self._tracer = Tracer(self._machine, trace_full)
        self._closed = False
        try:
            launches, staged = device._stage(program, uniforms, threads)
            self._loaded += staged
            self.n_qpus = len(launches) // threads
            if clear_caches:
                self._machine.clear_caches()
            self._machine.debugger = self._pass_breakpoint
            self._machine.start(launches, self._limit, threads=threads)
        except BaseException:
            self.close()
            raise
        self._counts = self._issued()

    def _pass_breakpoint(self, machine: Any, qpu: int) -> None:
        """The machine asks what to do at a breakpoint signal: go on, ``run`` has stopped before."""

    def close(self) -> None:
        """End the launch and free what was loaded for it; doing so twice is harmless."""
        if self._closed:
            return
        self._closed = True
        if self._machine.debugger == self._pass_breakpoint:
            self._machine.debugger = None
            if any(self._machine.running(qpu) for qpu in range(self._machine.n_qpus)):
                self._machine.reset()
        for loaded in self._loaded:
            loaded.free()

    def __enter__(self) -> "Debugger":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- what there is to see ------------------------------------------------------------------

    def pc(self, qpu: int) -> int:
        """The word that a QPU executes next."""
        return int(self._machine.instruction(self._qpu(qpu))[0])

    def instruction(self, qpu: int) -> str:
        """Its text."""
        return str(self._machine.instruction(self._qpu(qpu))[1])

    def thread(self, qpu: int) -> Optional[int]:
        """Which of two threads of a QPU runs; None where there is only one."""
        thread: Optional[int] = self._machine.thread(self._qpu(qpu))
        return thread

    def running(self, qpu: int) -> bool:
        """Whether a QPU's program has not ended yet."""
        return bool(self._machine.running(self._qpu(qpu)))

    def registers(self, qpu: int) -> Dict[str, np.ndarray]:
        """Copies of "ra0".., "rb0".. (32 each) and "r0".."r5": 16 uint32 words each.

        A register file that the last instruction wrote shows its new value here, though the next
        instruction still reads the old one.
        """
        registers: Dict[str, np.ndarray] = self._machine.registers(self._qpu(qpu))
        return registers

    def flags(self, qpu: int) -> Dict[str, np.ndarray]:
        """The flags "z", "n", "c": 16 booleans each."""
        flags: Dict[str, np.ndarray] = self._machine.flags(self._qpu(qpu))
        return flags

    def memory(self, address: int, count: int) -> np.ndarray:
        """A copy of ``count`` words of memory from a bus address on."""
        return self._words(address, count).copy()

    def counters(self) -> Tuple[Dict[str, int], ...]:
        """What each QPU has done so far."""
        counters: Tuple[Dict[str, int], ...] = self._machine.counters()
        return counters

    def where(self, qpu: int, before: int = 3, after: int = 4) -> str:
        """The program around a QPU's pc; ``->`` marks the pc, ``*`` a breakpoint."""
        here = self.pc(qpu)
        names = {index: name for name, index in self.labels.items()}
        lines = []
        for index in range(max(0, here - before), here + after + 1):
            words = self._machine.words(self._machine.code(qpu) + 8 * index, 2)
            if words is None or (self.n_words is not None and index >= self.n_words):
                break
            if index in names:
                lines.append(f"{names[index]}:")
            arrow = "->" if index == here else "  "
            star = "*" if index in self._breaks else " "
            text = disassemble(int(words[0]) | int(words[1]) << 32)
            lines.append(f"{arrow}{star}{index:5d}  {text}")
        return "\n".join(lines)

    def whereabouts(self) -> str:
        """One line for each QPU whose program has not ended."""
        return str(self._machine.whereabouts())

    # --- where to stop -------------------------------------------------------------------------

    def break_at(self, place: Union[int, str], qpu: Optional[int] = None) -> int:
        """Stop before a word (a number or a label) executes, on any QPU or on one."""
        pc = self._place(place)
        self._breaks.setdefault(pc, set()).add(None if qpu is None else self._qpu(qpu))
        return pc

    def clear(self, place: Union[int, str, None] = None) -> None:
        """Forget the breakpoints at a place, or every breakpoint and watch."""
        if place is None:
            self._breaks.clear()
            self._watches.clear()
        elif self._breaks.pop(self._place(place), None) is None:
            raise DeviceError(f"there is no breakpoint at {place}")

    def watch(self, start: Any, nbytes: Optional[int] = None) -> None:
        """Stop when the contents of a buffer, or of ``nbytes`` from a bus address, change."""
        address = start if isinstance(start, int) else start.bus_address
        size = nbytes if nbytes is not None or isinstance(start, int) else start.nbytes
        if size is None or size < 1:
            raise DeviceError("watch a buffer, or a bus address and a number of bytes")
        first = address & ~3
        count = (address + size - first + 3) // 4
        self._watches.append(_Watch(self._words(first, count), first))

    # --- going on ------------------------------------------------------------------------------

    def step(self, qpu: Optional[int] = None, n: int = 1) -> Stop:
        """Execute ``n`` instructions of one QPU, or of every QPU in turn.

        Stops early where the QPU ends or has to wait, where all do, and where watched memory
        changes.  Breakpoints do not count.
        """
        self._check()
        if qpu is not None:
            self._qpu(qpu)
            for _ in range(n):
                if not self.running(qpu):
                    return self._stop("end", qpu)
                if not self._one(qpu):
                    return self._stop("waits", qpu, self._wait(qpu))
                change = self._change()
                if change is not None:
                    return self._stop("watch", qpu, change)
            return self._stop("step", qpu)
        for _ in range(n):
            live = self._live()
            if not live:
                return Stop("end")
            moved = False
            for each in live:
                moved = self._one(each) or moved
                change = self._change()
                if change is not None:
                    self._turn = each + 1
                    return self._stop("watch", each, change)
            if not moved:
                raise DeviceTimeout("every QPU waits for another one", self.whereabouts())
            self._turn = 0
        return Stop("step") if self._live() else Stop("end")

    def run(self, until: Union[int, str, Callable[["Debugger"], bool], None] = None) -> Stop:
        """Go on to a breakpoint, a breakpoint signal, a change of watched memory, or the end.

        ``until`` stops as well: at a word or label, or when a function of the debugger is true
        after an instruction.
        """
        self._check()
        place = None if until is None or callable(until) else self._place(until)
        moved = False
        while True:
            live = self._live()
            if not live:
                return Stop("end")
            if self._turn == 0:
                moved = False
            for qpu in [each for each in live if each >= self._turn]:
                stop = self._due(qpu, place)
                if stop is not None:
                    self._turn = qpu
                    return stop
                stepped = self._one(qpu)
                moved = moved or stepped
                if not stepped:
                    continue
                change = self._change()
                if change is None and not (callable(until) and until(self)):
                    continue
                self._turn = qpu + 1
                return self._stop("watch" if change else "until", qpu, change or "")
            if not moved and self._turn == 0:
                raise DeviceTimeout("every QPU waits for another one", self.whereabouts())
            self._turn = 0

    def finish(self, watch: Optional[Callable[[int], None]] = None) -> None:
        """Go on to the end at full speed, without stops and without trace.

        ``watch`` is called now and then with the number of instructions, and may raise to stop.
        """
        with self._device._lock:
            self._check()
            self._machine.finish(f"no end after {self._timeout:g} s of the chip's time", watch)
            self._counts = self._issued()

    # --- inside --------------------------------------------------------------------------------

    def _qpu(self, qpu: int) -> int:
        if not 0 <= qpu < self.n_qpus:
            raise DeviceError(f"QPU {qpu}: this launch has {self.n_qpus}")
        return qpu

    def _place(self, place: Union[int, str]) -> int:
        if isinstance(place, str):
            if place not in self.labels:
                raise DeviceError(f"there is no label {place!r}")
            return self.labels[place]
        if place < 0 or (self.n_words is not None and place >= self.n_words):
            raise DeviceError(f"there is no word {place} in a program of {self.n_words}")
        return place

    def _words(self, address: int, count: int) -> np.ndarray:
        words: Optional[np.ndarray] = self._machine.words(address, count)
        if words is None:
            raise DeviceError(f"{count} words at {address:#010x} are outside device memory")
        return words

    def _issued(self) -> List[int]:
        return [int(count) for count in self._machine._state.Q[: self.n_qpus, x.Q_COUNT]]

    def _check(self) -> None:
        if self._closed:
            raise DeviceError("this debugger was closed")
        if self._machine.debugger != self._pass_breakpoint or self._counts != self._issued():
            raise DeviceError("the device was used for another launch while this one was debugged")

    def _live(self) -> List[int]:
        return [qpu for qpu in range(self.n_qpus) if self._machine.running(qpu)]

    def _wait(self, qpu: int) -> str:
        wait = x.WAIT_TEXT.get(int(self._machine._state.Q[qpu, x.Q_WAIT]), "something")
        return f"waits for {wait}"

    def _stop(self, reason: str, qpu: int, detail: str = "") -> Stop:
        pc, text = self._machine.instruction(qpu)
        if reason in ("breakpoint", "bkpt", "until"):
            self._held = qpu, self._counts[qpu]
        return Stop(reason, qpu, int(pc), text, detail)

    def _due(self, qpu: int, until: Optional[int]) -> Optional[Stop]:
        """The stop before a QPU's next instruction, unless we stopped there just now."""
        if self._held == (qpu, self._counts[qpu]):
            return None
        pc, _ = self._machine.instruction(qpu)
        if pc == until:
            return self._stop("until", qpu)
        if self._breaks.get(pc, set()) & {None, qpu}:
            return self._stop("breakpoint", qpu)
        words = self._machine.words(self._machine.code(qpu) + 8 * pc, 2)
        try:
            if words is not None and decode(int(words[0]) | int(words[1]) << 32).sig == _BKPT:
                return self._stop("bkpt", qpu)
        except DecodeError:
            pass  # the machine faults with the reason when it gets there
        return None

    def _change(self) -> Optional[str]:
        """What changed in watched memory, and who had started the store."""
        changes = [change for change in (each.changed() for each in self._watches) if change]
        if not changes:
            return None
        return "; ".join(changes) + (f" (store started by {self._writer})" if self._writer else "")

    def _one(self, qpu: int) -> bool:
        """Execute an instruction of a QPU; False if it has to wait."""
        with self._device._lock:
            self._check()
            if self._counts[qpu] >= self._limit:
                raise DeviceTimeout(
                    f"no end after {self._timeout:g} s of the chip's time", self.whereabouts()
                )
            traced = self.trace is not None and self.trace_qpu in (None, qpu)
            if traced:
                self._tracer.before(qpu)
            stores = int(self._machine._state.Q[qpu, x.N_VDW])
            pc, text = self._machine.instruction(qpu) if self._watches else (0, "")
            try:
                stepped = bool(self._machine.step(qpu))
            except EmulatorFault as fault:
                if traced:
                    self._say(f"{self._tracer.head()}  |  faults: {fault.unit}: {fault.reason}")
                raise
            self._counts[qpu] = int(self._machine._state.Q[qpu, x.Q_COUNT])
            self._writer = self._store
            if self._machine._state.Q[qpu, x.N_VDW] > stores:
                self._store = f"QPU {qpu}, pc {pc} [{text}]"
            if stepped:
                self._told_wait.discard(qpu)
                if traced:
                    self._say(self._tracer.after())
            elif traced and qpu not in self._told_wait:
                self._told_wait.add(qpu)
                self._say(f"{self._tracer.head()}  |  {self._wait(qpu)}")
            return stepped

    def _say(self, line: str) -> None:
        if self.trace is not None:
            self.trace(line)
