"""The emulated chip: its state, launches, faults, and a view of every register.

The machine owns the arrays of :class:`~piblas.emu.layout.State` and calls the compiled loop
(:mod:`piblas.emu.scheduler`) in slices, so that Ctrl-C works; it decodes pages of code when the
loop asks for them.  Nothing here depends on wall time: a launch with the same inputs always does
the same.

Start of a launch: registers, accumulators, flags and TMU queues are fresh (zeros, or noise under
``seed``; ``strict`` faults where flags are used that nothing has set yet); semaphores, mutex, VPM
contents and the stride of DMA stores are as the last launch left them.  A launch that fails resets
those, too.  Memory is never touched.

User programs run alone on a QPU of the chip: a thread switch comes back to the same program, with
all registers its own, and without its accumulators and flags (guide, p. 20-21).  A launch may put
two programs on each QPU, as the chip does with fragment shaders (:mod:`piblas.emu.threads`).
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from typing import Any, Callable, Collection, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numba.core import event

from ..errors import DecodeError, DeviceError, DeviceTimeout, EmulatorFault
from ..isa.disasm import disassemble
from ..isa.instr import decode
from ..isa.modes import SMALL_IMMS
from . import accounts, fast, memory, races, scheduler, texture, tmu
from . import clock_layout as t
from . import layout as x
from .decode import decode_rows
from .rules import FAULTS, RULE_OF, rule_words

__all__ = ["Machine", "prepare"]

log = logging.getLogger("piblas.emu")

SLICE = 2_000_000
"""Instructions of one call of compiled code."""

_ROWS_OF_PAGE = x.PAGE // 8
_COUNTERS = {
    "instructions": x.Q_COUNT,
    "uniforms": x.N_UNIFORMS,
    "tmu_requests": x.N_TMU,
    "tmu_peak": x.N_TMU_PEAK,
    "sfu": x.N_SFU,
    "vpm_reads": x.N_VPM_READ,
    "vpm_writes": x.N_VPM_WRITE,
    "dma_loads": x.N_VDR,
    "dma_stores": x.N_VDW,
}
_QPU_START = {
    x.Q_HAZ_A: -2,
    x.Q_HAZ_B: -2,
    x.Q_BRANCHED: -1,
    x.Q_VIA: -1,
    x.Q_UNIF_AT: -1,
    x.Q_NOSWAP_AT: -1,
    x.Q_WR_SETUP: -1,
    x.Q_RD_SETUP: -1,
    x.Q_RD_NEXT: -1,
    x.Q_VDR_SETUP: -1,
    x.Q_VDR_PITCH: -1,
    x.Q_VDW_SETUP: -1,
}


class Machine:
    """A VideoCore IV with ``nbytes`` of memory and ``n_qpus`` QPUs.

    ``keep_going`` names rules of ``strict`` that are off (:data:`piblas.emu.rules.RULES`).
    ``base`` is the bus address of the memory.  ``memory`` and, if the machine is incoherent,
    ``cpu`` (the CPU's view of it) are uint32 arrays to be used instead of new ones, so that another
    process may share them.
    """

    def __init__(
        self,
        nbytes: int,
        n_qpus: int = x.MAX_QPUS,
        *,
        strict: bool = True,
        keep_going: Collection[str] = (),
        incoherent: bool = False,
        trap_uninitialised: bool = False,
        seed: Optional[int] = None,
        quantum: int = 128,
        timing: Any = None,
        clock_hz: float = 250e6,
        base: int = x.BASE,
        memory: Optional[np.ndarray] = None,
        cpu: Optional[np.ndarray] = None,
    ) -> None:
        pages = nbytes // x.PAGE
        tables = x.MAX_SLICES if incoherent else 1
        self.n_qpus = n_qpus
        self.seed = seed
        self.debugger: Optional[Callable[["Machine", int], None]] = None
        # Not zeros_like, which would touch every page.
        size = pages * x.PAGE // 4
        words = np.zeros(size, dtype=np.uint32) if memory is None else memory[:size]
        if not incoherent:
            self.cpu = words
        else:
            self.cpu = np.zeros(size, dtype=np.uint32) if cpu is None else cpu[:size]
        self._state = x.State(
            R=np.zeros(n_qpus * x.QPU_WORDS, dtype=np.uint32),
            Q=np.zeros((n_qpus, x.Q_WIDTH), dtype=np.int64),
            G=np.zeros(x.G_WIDTH, dtype=np.int64),
            T=np.zeros(x.T_WORDS, dtype=np.uint32),
            V=np.zeros(x.VPM_STORE_ROWS * 16, dtype=np.uint32),
            M=words,
            M8=words.view(np.uint8),
            L=np.zeros(pages, dtype=np.int32),
            U=np.zeros((_ROWS_OF_PAGE, x.U_WIDTH), dtype=np.int32),
            F=np.zeros(_ROWS_OF_PAGE, dtype=np.int64),
            W=np.zeros((_ROWS_OF_PAGE, 2), dtype=np.uint32),
            P=np.full(tables * pages, -1, dtype=np.int32),
            CT=np.zeros(x.C_WIDTH, dtype=np.int64),
            CD=np.zeros(x.C_LINES * 16, dtype=np.uint32),
            E=np.zeros(t.E_WIDTH, dtype=np.int64),
            K=np.zeros(t.K_WIDTH, dtype=np.int64),
            X=np.zeros(t.X_WIDTH, dtype=np.int64),
            Z=np.zeros((n_qpus, t.Z_WIDTH), dtype=np.int64),
            HB=np.zeros(races.HB_WIDTH, dtype=np.int64),
            H=np.zeros((_ROWS_OF_PAGE, t.H_WIDTH), dtype=np.int64),
            TB=np.zeros(1, dtype=np.int64),
            TS=np.zeros(1, dtype=np.int64),
        )
        g = self._state.G
        g[x.G_STRICT], g[x.G_INCOHERENT] = strict, incoherent
        g[x.G_RULES : x.G_RULES + 3] = rule_words(strict, keep_going)
        g[x.G_TRAP] = trap_uninitialised
        g[x.G_BASE], g[x.G_SIZE] = base, pages * x.PAGE
        g[x.G_QUANTUM] = quantum
        self._state.K[:] = accounts.costs(timing, clock_hz)
        self._blocks: Dict[Tuple[int, int], int] = {}
        self._code: List[List[int]] = [[0]] * n_qpus
        self._touched = 0
        self._registers = self._fresh_registers()
        self.reset()
        self.clear_caches()

    # --- state -----------------------------------------------------------------------------------

    def _noise(self, stream: int, size: int) -> np.ndarray:
        if self.seed is None:
            return np.zeros(size, dtype=np.uint32)
        rng = np.random.default_rng((self.seed, stream))
        return rng.integers(0, 1 << 32, size, dtype=np.uint32)

    def _fresh_registers(self) -> np.ndarray:
        registers = self._noise(1, self.n_qpus * x.QPU_WORDS).reshape(self.n_qpus, x.SLOTS, 16)
        registers[:, x.SLOT_ELEMENT] = np.arange(16)
        registers[:, x.SLOT_QPU] = np.arange(self.n_qpus)[:, None]
        for row in SMALL_IMMS:
            registers[:, x.SLOT_CONST + row.code] = row.bits
        return registers.reshape(-1)

    def reset(self) -> None:
        """Everything but memory and caches as after power-up."""
        s = self._state
        s.V[:] = self._noise(2, s.V.size)
        s.Q[:, x.Q_VDW_STRIDE] = 0
        s.G[x.G_SEMAPHORE :] = 0
        s.G[x.G_MUTEX] = -1
        self._reset_qpus()

    def _reset_qpus(self) -> None:
        s = self._state
        stride = s.Q[:, x.Q_VDW_STRIDE].copy()
        s.Q[:] = 0
        s.Q[:, x.Q_VDW_STRIDE] = stride
        for index, value in _QPU_START.items():
            s.Q[:, index] = value
        s.Q[:, x.Q_OTHER : 2 * x.Q_OTHER] = s.Q[:, : x.Q_OTHER]
        s.R[:] = self._registers
        if self.seed is not None:
            flags = self._noise(3, 3 * self.n_qpus).reshape(-1, 3) & 0xFFFF
            s.Q[:, [x.Q_Z, x.Q_N, x.Q_C]] = flags
        s.G[x.G_VDR_OWNER] = s.G[x.G_VDW_OWNER] = -1
        s.G[x.G_CURRENT] = s.G[x.G_LEFT] = s.G[x.G_INTERRUPTS] = s.G[x.G_UNEVEN] = 0
        s.G[x.G_MOVED] = 1
        s.G[x.G_NOISE] = 0 if self.seed is None else self.seed + 1
        for index in (x.G_BYTES_LOADED, x.G_BYTES_STORED, x.G_L2_LINES, x.G_SDRAM_LINES):
            s.G[index] = 0

    def clear_caches(self) -> None:
        """Empty all caches."""
        self._state.CT[: x.C_AGE] = -1
        self._state.CT[x.C_AGE :] = 0
        accounts.clear_tags(self._state)

    # --- memory ----------------------------------------------------------------------------------

    def open_range(self, page: int, nbytes: int) -> None:
        """Make ``nbytes`` from a page on a buffer with fresh contents."""
        s = self._state
        pages = -(-nbytes // x.PAGE)
        self._forget_code(page, pages)
        s.L[page : page + pages] = x.PAGE
        s.L[page + pages - 1] = nbytes - (pages - 1) * x.PAGE
        first, last = page * x.PAGE // 4, (page + pages) * x.PAGE // 4
        if s.G[x.G_TRAP]:
            memory.fill_poison(s.M, int(s.G[x.G_BASE]), first, last)
        elif self.seed is not None:
            s.M[first:last] = self._noise(4 + page, last - first)
        else:
            s.M[first : min(last, self._touched)] = 0
        self._touched = max(self._touched, last)
        if self.cpu is not s.M:
            self.cpu[first:last] = s.M[first:last]

    def close_range(self, page: int, nbytes: int) -> None:
        """The buffer is gone."""
        pages = -(-nbytes // x.PAGE)
        self._forget_code(page, pages)
        self._state.L[page : page + pages] = 0

    def _forget_code(self, page: int, pages: int) -> None:
        """Decode pages anew when they are fetched next."""
        self._state.P.reshape(-1, len(self._state.L))[:, page : page + pages] = -1

    def clean(self, page: int, nbytes: int) -> None:
        """What the CPU wrote reaches memory."""
        part = slice(page * x.PAGE // 4, -(-(page * x.PAGE + nbytes) // 4))
        if self.cpu is not self._state.M:
            self._state.M[part] = self.cpu[part]

    def invalidate(self, page: int, nbytes: int) -> None:
        """What is in memory reaches the CPU."""
        part = slice(page * x.PAGE // 4, -(-(page * x.PAGE + nbytes) // 4))
        if self.cpu is not self._state.M:
            self.cpu[part] = self._state.M[part]

    def words(self, address: int, count: int) -> Optional[np.ndarray]:
        """Words of memory, as the chip sees it; None where it ends."""
        offset = address - int(self._state.G[x.G_BASE])
        if offset < 0 or offset % 4 or offset + 4 * count > self._state.M.size * 4:
            return None
        return self._state.M[offset // 4 : offset // 4 + count]

    # --- code ------------------------------------------------------------------------------------

    def _block(self, table: int, page: int) -> int:
        """The first of the rows for a page of code."""
        key = table, page
        if key not in self._blocks:
            first = _ROWS_OF_PAGE * len(self._blocks)
            s = self._state
            if first + _ROWS_OF_PAGE > len(s.U):
                bigger = 2 * len(s.U)
                u, w = np.zeros((bigger, x.U_WIDTH), np.int32), np.zeros((bigger, 2), np.uint32)
                u[:first], w[:first] = s.U[:first], s.W[:first]
                f, h = np.zeros(bigger, np.int64), np.zeros((bigger, t.H_WIDTH), np.int64)
                f[:first], h[:first] = s.F[:first], s.H[:first]
                self._state = s._replace(U=u, F=f, W=w, H=h)
            self._blocks[key] = first
        return self._blocks[key]

    def _decode(self) -> None:
        """Decode what the compiled loop asked for."""
        table = int(self._state.G[x.G_DECODE_TABLE])
        offset = int(self._state.G[x.G_DECODE_ADDR]) - int(self._state.G[x.G_BASE])
        page = offset // x.PAGE
        first = self._block(table, page)
        s = self._state
        if s.G[x.G_INCOHERENT]:
            if s.P[table * len(s.L) + page] < 0:
                s.F[first : first + _ROWS_OF_PAGE] = 0
            line = int(s.G[x.G_DECODE_ADDR]) >> 6
            entry = x.C_CODE + table * x.CODE_LINES
            entry += int(np.flatnonzero(s.CT[entry : entry + x.CODE_LINES] == line)[0])
            words, at, count = s.CD[16 * entry : 16 * entry + 16], offset % x.PAGE // 64 * 8, 8
        else:
            words, at, count = s.M[page * 1024 : page * 1024 + 1024], 0, _ROWS_OF_PAGE
        present = np.arange(at + 1, at + count + 1) * 8 <= s.L[page]
        rows = slice(first + at, first + at + count)
        if count == 8:
            s.U[rows] = _line_rows(words.tobytes(), present.tobytes())
        else:
            s.U[rows] = decode_rows(words.view("<u8"), present)
        s.F[rows] = fast.pack_rows(s.U[rows])
        s.W[rows] = words.reshape(-1, 2)
        s.P[table * len(s.L) + page] = first

    def _check_code(self) -> None:
        """Forget decoded pages that the host has changed since."""
        s = self._state
        if s.G[x.G_INCOHERENT]:
            return  # the instruction cache keeps track of the lines itself
        for (_, page), first in self._blocks.items():
            if s.P[page] >= 0:
                decoded = s.W[first : first + _ROWS_OF_PAGE].reshape(-1)
                if not np.array_equal(decoded, s.M[page * 1024 : page * 1024 + 1024]):
                    s.P[page] = -1

    def instruction(self, qpu: int) -> Tuple[int, str]:
        """Index in the program and text of a QPU's next instruction."""
        pc = int(self._state.Q[qpu, x.Q_PC])
        words = self.words(pc & ~7, 2)
        text = "?" if words is None else disassemble(int(words[0]) | int(words[1]) << 32)
        return (pc - self.code(qpu)) // 8, text

    def code(self, qpu: int) -> int:
        """Bus address of the program that a QPU (its running thread) executes."""
        return self._code[qpu][self.thread(qpu) or 0]

    def thread(self, qpu: int) -> Optional[int]:
        """Which thread of a QPU runs; None where it has only one."""
        return int(self._state.Q[qpu, x.Q_THREAD]) if len(self._code[qpu]) > 1 else None

    # --- launches --------------------------------------------------------------------------------

    def start(
        self,
        launches: Sequence[Tuple[int, int]],
        limit: int = 1 << 62,
        collect: Collection[str] = (),
        threads: int = 1,
    ) -> None:
        """Put programs on QPUs: (uniforms address, code address) for QPU 0, 1, ...

        With ``threads=2`` the first two are for the threads of QPU 0, and so on.
        ``collect`` names what to keep beside the counts: "hot", "timeline".
        """
        if not _keeps_denormals():
            raise DeviceError(
                "this thread flushes denormals to zero (some library has switched that on), "
                "so the emulator's arithmetic would be wrong"
            )
        self._reset_qpus()
        self._check_code()
        s = self._state
        n_qpus = len(launches) // threads
        s.G[x.G_NQPUS] = n_qpus
        s.G[x.G_LIMIT] = limit
        s.G[x.G_FRESH] = 1
        for qpu in range(n_qpus):
            programs = launches[threads * qpu : threads * (qpu + 1)]
            self._code[qpu] = [code for _, code in programs]
            s.Q[qpu, x.Q_STATE] = 1
            for column, (uniforms, code) in zip((0, x.Q_OTHER), programs):
                s.Q[qpu, column + x.Q_PC] = code
                s.Q[qpu, column + x.Q_UNIF] = uniforms
        s.Q[:n_qpus, x.Q_SUSPENDED] = threads > 1
        if s.G[x.G_STRICT]:
            races.begin(s.G, s.HB)
            s.Q[:n_qpus, x.Q_UNDEF] = x.NO_FLAGS
            s.Q[:n_qpus, x.Q_SPECIAL] = x.SP_UNDEF | (x.SP_THREADS if threads > 1 else 0)
        self._state = accounts.start(s, n_qpus, collect)

    def finish(
        self, timeout_text: str = "", watch: Optional[Callable[[int], None]] = None
    ) -> None:
        """Run until every program has ended.

        ``watch`` is called every few dozen milliseconds with the number of instructions so far, and
        may raise to stop the launch.
        """
        while True:
            status = self._run(SLICE, -1)
            if watch is not None and status == x.END_BUDGET:
                watch(int(self._state.Q[:, x.Q_COUNT].sum()))
            if status == x.END_ALL:
                self._warn()
                return
            if status == x.END_DEADLOCK:
                raise DeviceTimeout("every QPU waits for another one", self.whereabouts())
            if status == x.END_LIMIT:
                raise DeviceTimeout(timeout_text or "instruction limit", self.whereabouts())

    def _warn(self) -> None:
        """Say what was done that sources tell different things of."""
        uneven = int(self._state.G[x.G_UNEVEN])
        for qpu in range(self.n_qpus):
            if uneven >> qpu & 1:
                log.warning(
                    "QPU %d branched by a register whose elements differ: element 15 was taken, "
                    "as measured, and the guide says element 0",
                    qpu,
                )

    def step(self, qpu: int) -> bool:
        """Run one instruction of one QPU; False if its program has ended or it has to wait."""
        status = self._run(1, qpu)
        self._state.Q[qpu, x.Q_WAIT] = status if status <= x.LAST_WAIT else x.OK
        return status == x.END_STEP

    def _run(self, budget: int, only: int) -> int:
        s = self._state
        s.G[x.G_DEBUGGER] = self.debugger is not None
        while True:
            status = int(scheduler.run(self._state, budget, only))
            if status >= x.FIRST_FAULT:
                raise self._fault(status)
            if status == x.END_DECODE:
                self._decode()
            elif status == x.END_TEXTURE:
                self._look_up(only if only >= 0 else int(s.G[x.G_CURRENT]))
            elif status == x.END_BREAKPOINT:
                qpu = only if only >= 0 else int(s.G[x.G_CURRENT])
                if self.debugger is not None:
                    self.debugger(self, qpu)
                s.Q[qpu, x.Q_PASS] = 1
            else:
                return status

    def _look_up(self, qpu: int) -> None:
        """The texture lookup that a QPU's next instruction asks for."""
        s = self._state
        asked = int(s.Q[qpu, x.Q_AGAIN]) - 1
        unit = tmu.which.py_func(s.Q, qpu, asked)
        entry = int(s.Q[qpu, x.Q_HEAD0 + unit] + s.Q[qpu, x.Q_FILL0 + unit])
        ring = (2 * qpu + unit) * tmu.DEPTH
        count = tmu.results.py_func(s.Q, qpu, asked)
        targets = [16 * (ring + (entry + i) % tmu.DEPTH) for i in range(count)]
        try:
            texture.lookup(s, qpu, asked, unit, targets)
        except texture.TextureFault as fault:
            s.G[x.G_FAULT_QPU], s.G[x.G_FAULT_ADDR] = qpu, fault.address
            raise self._fault(fault.code) from None

    def _fault(self, status: int) -> EmulatorFault:
        name, unit, reason = FAULTS[status - x.FIRST_FAULT]
        g = self._state.G
        qpu, address = int(g[x.G_FAULT_QPU]), int(g[x.G_FAULT_ADDR])
        index, text = self.instruction(qpu)
        if name == "RESERVED":
            words = self.words(int(self._state.Q[qpu, x.Q_PC]), 2)
            assert words is not None
            try:
                decode(int(words[0]) | int(words[1]) << 32)
            except DecodeError as error:
                reason = f"reserved encoding: {error.reason}"
        elif name in ("FETCH", "FETCH_ALIGN"):
            reason += self._unset_target(qpu)
        elif RULE_OF.get(name) in ("memory-race", "vpm-race"):
            reason += ": " + races.description(self._state.HB, qpu, self._index)
        return EmulatorFault(
            reason,
            qpu=qpu,
            thread=self.thread(qpu),
            pc=index,
            instruction=text,
            unit=unit,
            address=None if address < 0 else address & 0xFFFFFFFF,
            rule=RULE_OF.get(name),
        )

    def _index(self, qpu: int, address: int) -> int:
        """The number of an instruction in a QPU's program."""
        return (address - self.code(qpu)) // 8

    def _unset_target(self, qpu: int) -> str:
        """What explains a program counter that came from a register nobody wrote; or ""."""
        place = int(self._state.Q[qpu, x.Q_VIA])
        if place < 0:
            return ""
        part = slice(qpu * x.QPU_WORDS + place, qpu * x.QPU_WORDS + place + 16)
        if not np.array_equal(self._state.R[part], self._registers[part]):
            return ""
        return f": the last branch went by ra{place // 16}, which has not been set"

    def whereabouts(self) -> str:
        """One line for each QPU whose program has not ended."""
        lines = []
        for qpu in range(int(self._state.G[x.G_NQPUS])):
            if self._state.Q[qpu, x.Q_STATE]:
                index, text = self.instruction(qpu)
                wait = x.WAIT_TEXT.get(int(self._state.Q[qpu, x.Q_WAIT]))
                doing = f"waits for {wait}" if wait else "running"
                thread = self.thread(qpu)
                name = f"QPU {qpu}" if thread is None else f"QPU {qpu}, thread {thread}"
                lines.append(f"{name}, pc {index} [{text}]: {doing}")
        return "\n".join(lines)

    # --- what there is to see --------------------------------------------------------------------

    def registers(self, qpu: int) -> Dict[str, np.ndarray]:
        """Copies of the registers: "ra0".. and "rb0".. (32 each), "r0".."r5"; 16 words each.

        Of two threads, these are the registers as the running one numbers them.
        """
        slots = self._state.R.reshape(self.n_qpus, x.SLOTS, 16)[qpu]
        names = [f"ra{n}" for n in range(32)] + [f"rb{n}" for n in range(32)]
        names += [f"r{n}" for n in range(6)]
        return {name: slots[index].copy() for index, name in enumerate(names)}

    def flags(self, qpu: int) -> Dict[str, np.ndarray]:
        """The flags "z", "n", "c": 16 booleans each."""
        row = self._state.Q[qpu]
        bits = np.arange(16)
        pairs = (("z", x.Q_Z), ("n", x.Q_N), ("c", x.Q_C))
        return {name: (int(row[index]) >> bits & 1).astype(bool) for name, index in pairs}

    def running(self, qpu: int) -> bool:
        """Whether a QPU's program has not ended yet."""
        return bool(self._state.Q[qpu, x.Q_STATE])

    @property
    def vpm(self) -> np.ndarray:
        """A copy of the 64 rows of the VPM."""
        return self._state.V.reshape(-1, 16)[: x.VPM_ROWS].copy()

    @property
    def semaphores(self) -> np.ndarray:
        """The counts of the 16 semaphores."""
        return self._state.G[x.G_SEMAPHORE : x.G_SEMAPHORE + 16].copy()

    @property
    def interrupts(self) -> Tuple[int, ...]:
        """QPUs that have raised the host interrupt in this launch."""
        word = int(self._state.G[x.G_INTERRUPTS])
        return tuple(qpu for qpu in range(self.n_qpus) if word >> qpu & 1)

    def counters(self) -> Tuple[Dict[str, int], ...]:
        """What each QPU of the launch has done, exactly."""
        rows = self._state.Q[: int(self._state.G[x.G_NQPUS])]
        return tuple({name: int(row[i]) for name, i in _COUNTERS.items()} for row in rows)

    def traffic(self) -> Dict[str, int]:
        """Bytes by path; see :class:`piblas.driver.RunReport`."""
        g, q = self._state.G, self._state.Q
        bytes_of = {
            "tmu": 64 * int(q[:, x.N_TMU].sum()),
            "uniforms": 4 * int(q[:, x.N_UNIFORMS].sum()),
            "vpm_dma_load": int(g[x.G_BYTES_LOADED]),
            "vpm_dma_store": int(g[x.G_BYTES_STORED]),
            "sdram_write": int(g[x.G_BYTES_STORED]),
        }
        if g[x.G_INCOHERENT]:
            bytes_of["l2"] = 64 * int(g[x.G_L2_LINES])
            bytes_of["sdram_read"] = 64 * int(g[x.G_SDRAM_LINES]) + bytes_of["vpm_dma_load"]
        bytes_of.update(accounts.traffic(self._state))
        return bytes_of

    # --- time: see accounts ----------------------------------------------------------------------

    @property
    def cycles(self) -> Optional[int]:
        return accounts.cycles(self._state)

    def stalls(self) -> Optional[Dict[str, int]]:
        return accounts.stalls(self._state)

    def performance(self) -> Optional[Dict[int, int]]:
        return accounts.counters(self._state)

    def hot(self) -> Optional[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return accounts.hot(self._state, self._blocks)

    def timeline(self) -> Optional[Dict[str, Any]]:
        return accounts.timeline(self._state)


@functools.lru_cache(maxsize=2048)
def _line_rows(words: bytes, present: bytes) -> np.ndarray:
    """Decoded rows of a line of code: an incoherent machine decodes a program line by line."""
    return decode_rows(np.frombuffer(words, "<u8"), np.frombuffer(present, bool))


def _keeps_denormals() -> bool:
    """Whether arithmetic of this thread handles denormals."""
    return bool((np.full(1, 1.2e-38, dtype=np.float32) * np.float32(0.25))[0] != 0)


_prepared = False
_prepare_lock = threading.Lock()
_forked_early = False
COMPILING = "compiling the emulator, once: a minute or two"


class _Compilation(event.Listener):  # type: ignore[misc]
    """Says that the compiled loop is being compiled, and not fetched from numba's cache."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def on_start(self, event: Any) -> None:
        if event.data.get("dispatcher") is scheduler.run:
            self.say(COMPILING)

    def on_end(self, event: Any) -> None:
        pass


def prepare(announce: Optional[Callable[[str], None]] = None) -> None:
    """Compile the emulator or fetch it from numba's cache, once in a process.

    ``announce`` gets a line of text if it has to be compiled; without it the line goes to the log
    "piblas.emu", as a warning.
    """
    global _prepared
    if _forked_early:
        raise DeviceError(
            "this process was forked while another thread compiled the emulator, which leaves the "
            "compiler locked: open the emulator before the fork, or start processes by \"spawn\""
        )
    with _prepare_lock:
        if _prepared:
            return
        with event.install_listener("numba:compile", _Compilation(announce or log.warning)):
            machine = Machine(x.PAGE, 1)
            machine.start([])
            machine.finish()
            memory.fill_poison(np.zeros(1, dtype=np.uint32), x.BASE, 0, 1)
        _prepared = True


def _after_fork() -> None:
    """In the child, where the thread that compiles is missing."""
    global _prepare_lock, _forked_early
    _forked_early = not _prepared and _prepare_lock.locked()
    _prepare_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
