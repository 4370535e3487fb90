"""How many QPU instructions a second the emulator runs, on one core of this machine.

``python bench/emulator.py [seconds]`` prints one line a loop: plain dual-issue arithmetic, a loop
with a TMU load, a loop with uniforms, and the arithmetic on 12 QPUs.
"""

from __future__ import annotations

import sys
import time
from typing import Dict, List

from piblas.driver import Emulator
from piblas.isa.instr import encode
from piblas.isa.parse import parse

_FMA = [f"fadd ra{i}, ra{i}, r3; fmul r3, r5, rb{i}" for i in range(16)]
_FMA += [f"fadd rb{i}, rb{i}, r2; fmul r2, r5, ra{i}" for i in range(16)]
_TMU = ["mov t0s, ra31", "nop", *_FMA[:4], "nop; ldtmu0", "fadd r0, r0, r4"]
_UNIFORM = ["fadd ra0, ra0, r3; fmul r3, r5, unif"] + _FMA[1:8]
_MOVE = [f"fadd ra{i}, ra{i}, r3; m_mov r5rep, r1 rot {i + 1}" for i in range(8)] + _FMA[:8]

BODIES: Dict[str, List[str]] = {"fma": _FMA * 2, "rotate": _MOVE * 2, "tmu": _TMU * 4}
"""Bodies of the loops; rows are text of instructions."""


def loop(body: List[str], turns: int) -> List[int]:
    """Words of a program that runs a body ``turns`` times."""
    back = -8 * (len(body) + 2 + 4)
    lines = [
        "mov ra31, unif",
        f"ldi ra30, -, {turns}",
        "mov r3, 0",
        "nop",
        *body,
        "nop",
        "sub.sf ra30, ra30, 1",
        f"br.any_zc rel {back:+d}",
        "nop",
        "nop",
        "nop",
        "nop; thrend",
        "nop",
        "nop",
    ]
    return [encode(parse(line)) for line in lines]


def measure(name: str, n_qpus: int, seconds: float, timing: str = "calibrated") -> float:
    """Instructions a second of one loop."""
    with Emulator(memory=1 << 20, timing=timing) as device:
        data = device.alloc(64)
        data.array("f4")[:] = 1.0
        turns = 1000
        rate = 0.0
        while True:
            program = device.load(loop(BODIES[name], turns))
            start = time.process_time()
            report = device.execute(program, [[data.bus_address]] * n_qpus, timeout=1e6)
            spent = time.process_time() - start
            assert report.instructions is not None
            rate = report.instructions / spent
            if spent >= seconds / 2:
                return rate
            turns = int(turns * max(1.5, min(100.0, 0.8 * seconds / max(spent, 1e-3))))


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    for name in BODIES:
        for n_qpus in (1, 12):
            off, on = (measure(name, n_qpus, seconds, timing) for timing in ("off", "calibrated"))
            print(
                f"{name:8} {n_qpus:2} QPUs  {off / 1e6:6.1f} million instructions/s, "
                f"{on / 1e6:6.1f} with timing"
            )
    return 0


if __name__ == "__main__":
    main()
