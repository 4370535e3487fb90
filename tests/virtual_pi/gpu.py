"""The QPUs of the virtual Pi and the V3D registers in front of them.

A launch runs on the emulated chip, on the bytes that the client put into memory.  It is ``begun``
when it is requested and runs when somebody waits for it, so that what happens in between is always
the same.  What a client must not do is kept in ``violations``: a fault of the strict emulator,
results written after the host interrupt had told the client that they are there, registers accessed
by anything but 32-bit words, memory freed while a launch may still write it.
"""

from __future__ import annotations

import itertools
from typing import Dict, List, Optional, Sequence, Tuple

from piblas.emu import accounts
from piblas.emu import layout as x
from piblas.errors import EmulatorFault

from .ram import Ram

__all__ = ["Gpu", "V3D", "REGISTERS"]

_STEPS = (8, 1024)  # instructions between two looks at the host interrupt: first 64 times, then
OFF = 0xDEADBEEF

REGISTERS = {
    0x000: "IDENT0", 0x004: "IDENT1", 0x008: "IDENT2", 0x010: "SCRATCH", 0x020: "L2CACTL",
    0x024: "SLCACTL", 0x030: "INTCTL", 0x034: "INTENA", 0x038: "INTDIS", 0x410: "SQRSV0",
    0x414: "SQRSV1", 0x418: "SQCNTL", 0x41C: "SQCSTAT", 0x430: "SRQPC", 0x434: "SRQUA",
    0x438: "SRQUL", 0x43C: "SRQCS", 0x500: "VPACNTL", 0x504: "VPMBASE", 0x670: "PCTRC",
    0x674: "PCTRE", 0xE00: "DBCFG", 0xE20: "DBQRUN", 0xE24: "DBQHLT", 0xE28: "DBQSTP",
    0xE2C: "DBQITE", 0xE30: "DBQITC", 0xF00: "DBGE", 0xF04: "FDBGO", 0xF08: "FDBGB",
    0xF0C: "FDBGR", 0xF10: "FDBGS", 0xF20: "ERRSTAT",
    **{0x680 + 8 * n: f"PCTR{n}" for n in range(16)},
    **{0x684 + 8 * n: f"PCTRS{n}" for n in range(16)},
}  # fmt: skip


class Gpu:
    """Launches on the emulated chip."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self.machine = ram.machine
        self.violations: List[str] = []
        self.launches = 0
        self.longest = 0.0  # simulated seconds
        # A busy CPU writes dirty lines back whenever it likes, and after a launch is a bad time; an
        # idle one keeps them.
        self.busy_cpu = True
        self.endless = 200_000_000  # instructions of one QPU beyond which a program never ends
        self.begun: Optional[List[Tuple[int, int]]] = None
        self.totals: Dict[int, int] = {}

    def begin(self, pairs: Sequence[Tuple[int, int]]) -> None:
        """Launch {uniforms, code} pairs, QPU q the q-th."""
        self.begun = list(pairs)
        self.launches += 1

    def read_list(self, address: int, count: int) -> Optional[List[Tuple[int, int]]]:
        """The pairs of a control list, as the firmware reads it: past the GPU's own caches."""
        words = self.machine.words(address, 2 * count)
        if words is None:
            self.violations.append(f"control list at {address:#x} is outside the GPU's memory")
            return None
        return [(int(words[2 * q]), int(words[2 * q + 1])) for q in range(count)]

    def finish(self, needs_interrupt: bool = False) -> Optional[float]:
        """Run what was begun to its end: simulated seconds, or None if it never ends.

        With ``needs_interrupt``, a launch without a host interrupt never ends for the one who
        waits, and what is stored after the first interrupt comes too late.
        """
        pairs, self.begun = self.begun, None
        if not pairs:
            return 0.0
        machine = self.machine
        told: Optional[int] = None  # bytes stored when the host was interrupted
        late = False
        try:
            machine.start(pairs, self.endless)
            for turn in itertools.count():
                status = machine._run(_STEPS[turn > 64], -1)
                if told is None and machine.interrupts:
                    told = machine.traffic()["vpm_dma_store"]
                    late = machine._state.G[x.G_VDW_OWNER] >= 0  # a store still on its way
                if status == x.END_ALL:
                    break
                if status in (x.END_DEADLOCK, x.END_LIMIT):
                    self.violations.append("a launch never ends: " + machine.whereabouts())
                    machine.reset()
                    return None
        except EmulatorFault as fault:
            self.violations.append(f"the launch does what the chip does not define: {fault}")
            machine.reset()
            return None
        finally:
            if self.busy_cpu:
                self.ram.evict()
        if needs_interrupt and told is None:
            return None
        if needs_interrupt and (late or machine.traffic()["vpm_dma_store"] != told):
            self.violations.append("results were stored after the host interrupt")
        for number, count in (machine.performance() or {}).items():
            self.totals[number] = self.totals.get(number, 0) + count
        cycles = machine.cycles
        if cycles is None:
            cycles = 4 * max(row["instructions"] for row in machine.counters())
        self.longest = max(self.longest, cycles / self.hertz)
        return cycles / self.hertz

    @property
    def hertz(self) -> float:
        return self._hertz

    @hertz.setter
    def hertz(self, value: float) -> None:
        self._hertz = float(value)

    # --- caches of the GPU -----------------------------------------------------------------------

    def clear_l2(self) -> None:
        self._forget(x.C_L2, x.C_LINES)

    def clear_slices(self, bits: int) -> None:
        """SLCACTL: 27:24 and 19:16 the TMUs 1 and 0, 11:8 uniforms, 3:0 instructions, by slice."""
        for part in range(3):
            for tmu, shift in ((0, 16), (1, 24)):
                if bits >> shift + part & 1:
                    first = x.C_TMU + (2 * part + tmu) * x.TMU_LINES
                    self._forget(first, first + x.TMU_LINES)
            if bits >> 8 + part & 1:
                first = x.C_UNIF + part * x.UNIF_LINES
                self._forget(first, first + x.UNIF_LINES)
            if bits >> part & 1:
                first = x.C_CODE + part * x.CODE_LINES
                self._forget(first, first + x.CODE_LINES)

    def clear_caches(self) -> None:
        """What the firmware does before a launch unless told not to."""
        self.clear_l2()
        self.clear_slices(0x0F0F0F0F)

    def _forget(self, first: int, end: int) -> None:
        state = self.machine._state
        state.CT[first:end] = -1
        state.CT[x.C_AGE + first : x.C_AGE + end] = 0
        accounts.clear_tags(state)


class V3D:
    """The register block."""

    def __init__(self, gpu: Gpu, vpmbase: int = 16) -> None:
        self.gpu = gpu
        self.powered = False
        self.hang = False
        self.log: List[Tuple[str, str, int]] = []
        self._plain: Dict[int, int] = {0x504: vpmbase}
        self._queue: List[Tuple[int, int]] = []
        self._uniforms = 0
        self._completed = 0
        self._requested = 0
        self._error = 0
        self._polls = 0
        self._bases: Dict[int, int] = {}

    @property
    def idle(self) -> bool:
        return not self._queue

    def power(self, on: bool) -> None:
        """Without power everything is forgotten; enable-QPU does not reset what runs."""
        if self.powered and not on:
            self._queue, self._completed, self._requested, self._error = [], 0, 0, 0
            self.hang = False
            self.gpu.begun = None
        self.powered = on

    def load(self, offset: int) -> int:
        value = self._load(offset) & 0xFFFFFFFF
        self.log.append(("load", REGISTERS.get(offset, hex(offset)), value))
        return value

    def _load(self, offset: int) -> int:
        if not self.powered:
            return OFF
        name = REGISTERS.get(offset)
        if name == "IDENT0":
            return 0x02443356
        if name == "IDENT1":
            return 12 << 28 | 1 << 24 | 16 << 16 | 2 << 12 | 4 << 8 | 3 << 4 | 1
        if name == "SRQCS":
            return self._status()
        if name is not None and name.startswith("PCTR") and offset >= 0x680 and not offset & 4:
            n = (offset - 0x680) // 8
            if not (self._plain.get(0x674, 0) >> n & 1 and self._plain.get(0x674, 0) >> 31):
                return self._plain.get(offset, 0)
            source = self._plain.get(offset + 4, 0)
            return self.gpu.totals.get(source, 0) - self._bases.get(n, 0)
        return self._plain.get(offset, 0)

    def _status(self) -> int:
        """The first look at a queue finds it at work, the second finds it done."""
        if self._queue and not self.hang:
            self._polls += 1
            if self._polls > 1:
                self.run()
        waiting = max(len(self._queue) - 12, 0)
        return (
            (self._completed & 0xFF) << 16
            | (self._requested & 0xFF) << 8
            | self._error << 7
            | waiting
        )

    def run(self) -> None:
        """What is queued runs to its end."""
        while self._queue:
            batch, rest = self._queue[:12], self._queue[12:]
            if self._plain.get(0x504, 0) & 0x1F != 16:
                self.gpu.violations.append("launch without VPM memory for user programs (VPMBASE)")
                self.hang = True
                return
            self.gpu.begin(batch)
            if self.gpu.finish() is None:
                self.hang = True
                return
            self._queue = rest
            self._completed += len(batch)
        self._polls = 0

    def store(self, offset: int, value: int, width: int) -> None:
        name = REGISTERS.get(offset, hex(offset))
        self.log.append(("store", name, value))
        if width != 4:
            self.gpu.violations.append(f"{name} was stored to by {width} bytes, not 4")
        if not self.powered:
            return
        if name == "L2CACTL":
            if value & 4:
                self.gpu.clear_l2()
        elif name == "SLCACTL":
            self.gpu.clear_slices(value)
        elif name == "SRQUA":
            self._uniforms = value
        elif name == "SRQPC":
            if len(self._queue) >= 16:
                self._error = 1
                self.gpu.violations.append("a request to a full queue")
            else:
                self._queue.append((self._uniforms, value))
                self._requested += 1
                self._polls = 0
        elif name == "SRQCS":
            if value >> 16 & 1:
                self._completed = 0
            if value >> 8 & 1:
                self._requested = 0
            if value >> 7 & 1:
                self._error = 0
            if value & 1:
                self._queue = []
        elif name == "VPMBASE":
            if self._queue:
                self.gpu.violations.append("VPMBASE was written while programs run")
            self._plain[offset] = value
        elif name == "PCTRC":
            for n in range(16):
                if value >> n & 1:
                    source = self._plain.get(0x684 + 8 * n, 0)
                    self._plain[0x680 + 8 * n] = 0
                    self._bases[n] = self.gpu.totals.get(source, 0)
        elif name == "PCTRE":
            self._freeze(value)
        elif name.startswith("PCTRS"):
            self._plain[offset] = value
            n = (offset - 0x684) // 8
            self._bases[n] = self.gpu.totals.get(value, 0)
        elif name not in ("IDENT0", "IDENT1", "IDENT2", "ERRSTAT"):
            self._plain[offset] = value

    def _freeze(self, value: int) -> None:
        """Counters that stop keep their counts."""
        before = self._plain.get(0x674, 0)
        for n in range(16):
            if before >> 31 and before >> n & 1 and not (value >> 31 and value >> n & 1):
                source = self._plain.get(0x684 + 8 * n, 0)
                count = self.gpu.totals.get(source, 0) - self._bases.get(n, 0)
                self._plain[0x680 + 8 * n] = count
        self._plain[0x674] = value
