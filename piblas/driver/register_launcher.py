"""Launches through the registers of the V3D block: root, no limit of time, performance counters.

Programs are queued at the block itself, which counts those that have ended.  What is known after
a launch is told as by :mod:`.launchers`.
"""

from __future__ import annotations

import time
from typing import Dict, List, Sequence, Tuple

from ..errors import DeviceError, DeviceTimeout
from ..isa import v3d_regs
from ..isa.counters import ROWS as COUNTERS
from .launchers import Launched, Launcher
from .signals import Deferred
from .v3d import Registers

__all__ = ["RegisterLauncher"]


class RegisterLauncher(Launcher):
    """The V3D block's queue of user programs."""

    name = "registers"
    GRACE = 1.0
    """Seconds that a launch has left when the user wants to interrupt it."""

    def __init__(self, registers: Registers) -> None:
        super().__init__()
        self._v3d = registers
        registers.check()
        if registers.read("VPMBASE") & 0x1F < v3d_regs.VPM_ROWS_64 and self.ended():
            registers.write("VPMBASE", v3d_regs.VPM_ROWS_64)

    def ended(self) -> bool:
        counts = self._v3d.read("SRQCS")
        return v3d_regs.completed(counts) == v3d_regs.requested(counts)

    def run(
        self,
        control: int,
        pairs: Sequence[Tuple[int, int]],
        count: int,
        timeout: float,
        clear_caches: bool,
    ) -> Launched:
        v3d = self._v3d
        v3d.check()
        if not self.ended():
            raise DeviceError("the QPUs are at work for somebody else")
        with Deferred() as signals:
            self.lost = True
            for name, value in (("DBCFG", 0), ("DBQITE", 0), ("DBQITC", 0xFFFFFFFF)):
                v3d.write(name, value)
            if clear_caches or self._clear_next:
                v3d.write("L2CACTL", v3d_regs.CLEAR_L2)
                v3d.write("SLCACTL", v3d_regs.CLEAR_SLICES)
                self._clear_next = False
            v3d.write("SRQCS", v3d_regs.REQUEST_RESET)
            numbers = self._start_counters()
            begin = time.perf_counter()
            for uniforms, code in pairs:
                v3d.write("SRQUA", uniforms)
                v3d.write("SRQPC", code)
            self._wait(count, begin, timeout, signals)
            seconds = time.perf_counter() - begin
            self.lost = False
            return Launched(seconds, self._read_counters(numbers))

    def _wait(self, count: int, begin: float, timeout: float, signals: Deferred) -> None:
        """Poll: at first at once, then ever more seldom up to a thirtieth of the time so far."""
        turns = 0
        while v3d_regs.completed(self._v3d.read("SRQCS")) != count:
            passed = time.perf_counter() - begin
            if passed > timeout:
                raise DeviceTimeout(f"no end after {timeout:g} s", self._where())
            if signals.pending and passed > self.GRACE:
                raise DeviceTimeout("interrupted", self._where())
            turns += 1
            if turns > 50:
                time.sleep(min(1e-3, max(2e-5, passed / 30)))

    def _where(self) -> str:
        counts, errors = self._v3d.read("SRQCS"), self._v3d.read("ERRSTAT")
        return (
            f"{v3d_regs.completed(counts)} of {v3d_regs.requested(counts)} programs have ended; "
            f"SRQCS {counts:#010x}, ERRSTAT {errors:#010x}"
        )

    def _start_counters(self) -> List[int]:
        numbers = [row.number for row in COUNTERS][: len(v3d_regs.COUNTERS)]
        self._v3d.write("PCTRE", 0)
        self._v3d.write("PCTRC", 0xFFFF)
        for number, (_, source) in zip(numbers, v3d_regs.COUNTERS):
            self._v3d.write_at(source, number)
        self._v3d.write("PCTRE", v3d_regs.COUNTERS_ON | (1 << len(numbers)) - 1)
        return numbers

    def _read_counters(self, numbers: Sequence[int]) -> Dict[int, int]:
        counts = {
            number: self._v3d.read_at(count)
            for number, (count, _) in zip(numbers, v3d_regs.COUNTERS)
        }
        self._v3d.write("PCTRE", 0)
        return counts

    def close(self) -> None:
        self._v3d.close()
