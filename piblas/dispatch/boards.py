"""What the boards can do: the figures behind the cost model, with their sources.

No board has run this project's kernels yet.  Every figure is therefore somebody else's measurement
or an estimate derived from one, and stands here as data so that measurements on a real board can
replace it without touching code.

``copy``   MiB/s of a CPU copy into memory that the CPU maps uncached, which is what every kernel
           offers: librpimemmgr's README (134, 173, 268, 275 on Pi 1, 2, 3, 3+), measured; cached
           copies are 3 to 5 times as fast.  The Zero takes the Pi 1's and the Zero 2 the Pi 3's
           figure (same memory system), an assumption.
``clock``  V3D clock in MHz: Raspberry Pi documentation, overclocking options in config.txt.  For
           the Pi 3 the documentation has said both 300 and 400: the lower stands here.
``cpu``    GFLOPS of sgemm on the CPU, an estimate except where noted:
           Pi 1   HPL in double reaches 0.267 with OpenBLAS at 900 MHz (raspi.madavi.de/2015/07),
                  and the VFP11 does at best twice that in single;
           Pi 2   1 to 3 for the stock 32-bit BLAS, 4 to 6 with NEON: 3;
           Pi 3   stock 32-bit NumPy 3.3 in double on one core (piwheels, issue 31), so 6.6; 64-bit
                  OpenBLAS 4.5 flop a clock and core, measured on a like core (OpenBLAS pull
                  request 2643), so about 21 with 4 cores at 1.2 GHz and 18 at 1.0 GHz.
``python`` seconds of a function call in the Python interpreter: :data:`PYTHON` has the sources.
"""

from __future__ import annotations

import struct
import types
from collections import namedtuple  # its typed form takes many function calls at each start
from typing import Dict, Mapping, Optional, Tuple

__all__ = [
    "BOARDS",
    "Board",
    "CACHED_COPY",
    "CPU_CALL_SECONDS",
    "Factors",
    "LAUNCH_SECONDS",
    "PYTHON",
    "Speed",
    "detect",
]

#: One launch through the mailbox (userland, hello_fft/gpu_fft.txt: "about 100 us").
LAUNCH_SECONDS = 100e-6
#: A small BLAS call of SciPy itself (checks and wrapping in C) on such a core: a guess.
CPU_CALL_SECONDS = 5e-6
#: A copy in cached memory against ``copy`` (the lower end, see above).
CACHED_COPY = 3.0
FLOPS_PER_CLOCK = 96  # 12 QPUs x 4 lanes a clock x (one add + one mul)


class Speed(namedtuple("Speed", "seconds confidence source")):
    """Seconds that a function call takes in the Python interpreter, how sure that is, and why.

    What counts is every call that a profiler sees, of Python functions and of built-in ones.  The
    work between two calls is included.
    """

    __slots__ = ()


_DERIVED = "derived, within a factor of 3"
_GPIO = "codeandlife.com, Raspberry Pi 2 vs. 1 GPIO Benchmark (2015): a loop of 2 calls of RPi.GPIO"
_CALL = (
    "; a call of piblas is taken for twice as long as one of these, a guess: here it takes as long "
    "as 11 or more bare calls of a built-in function, which do less (python -m bench host)"
)
#: By processor.  Nobody has published the time of such code on these boards.
PYTHON: Mapping[str, Speed] = types.MappingProxyType({
    "ARM1176, 700 MHz": Speed(14e-6, _DERIVED, f"{_GPIO} runs 70,000 times a second{_CALL}"),
    "ARM1176, 1000 MHz": Speed(10e-6, _DERIVED, "that at 700 MHz, scaled by the clock"),
    "Cortex-A7, 900 MHz": Speed(4.1e-6, _DERIVED, f"{_GPIO} runs 243,000 times a second{_CALL}"),
    "Cortex-A53, 1200 MHz": Speed(
        2.6e-6, _DERIVED,
        "that of the Cortex-A7, as one core of a Pi 3 does 1.6 times the work of one of a Pi 2 "
        "(lifehacker.com, How the Raspberry Pi 3 Benchmarks Against Older Models: sysbench)",
    ),
    "Cortex-A53, 1000 MHz": Speed(
        3.1e-6, _DERIVED,
        "that at 1200 MHz, scaled by the clock; on a Zero 2 W four calls of a script took 15 us, "
        "3.8 us each (waveform80/rpi-lgpio, issue 2)",
    ),
})  # fmt: skip


class Factors(namedtuple("Factors", "kernel staging cpu host", defaults=(1.0, 1.0, 1.0, 1.0))):
    """Measured time in units of what the cost model says, for one routine: of its kernel, of
    bringing operands to the GPU and results back, on the CPU, and of the host's own work."""

    __slots__ = ()


class Board(
    namedtuple(
        "Board", "name model clock copy cpu python launch call cached factors tuned",
        defaults=(LAUNCH_SECONDS, CPU_CALL_SECONDS, 0.0, types.MappingProxyType({}), False),
    )
):  # fmt: skip
    """Figures of a board; ``python``, ``launch`` and ``call`` in seconds, ``cached`` MiB/s of a
    copy in cached memory (0: :data:`CACHED_COPY` times ``copy``), ``factors`` by routine; ``tuned``
    tells whether ``piblas tune`` has measured them on this very board."""

    __slots__ = ()

    @property
    def peak(self) -> float:
        """GFLOPS of all 12 QPUs."""
        return float(FLOPS_PER_CLOCK * self.clock / 1e3)


def _row(
    name: str, model: str, processor: str, clock: float, copy: float, cpu: float
) -> Board:
    return Board(name, model, clock, copy, cpu, PYTHON[processor].seconds)


_A53, _ZERO2 = "Cortex-A53, 1200 MHz", "Cortex-A53, 1000 MHz"
_ROWS: Tuple[Board, ...] = (
    _row("pi0", "Raspberry Pi Zero, Zero W", "ARM1176, 1000 MHz", clock=300, copy=134, cpu=0.45),
    _row("pi1", "Raspberry Pi 1", "ARM1176, 700 MHz", clock=250, copy=134, cpu=0.4),
    _row("pi2", "Raspberry Pi 2", "Cortex-A7, 900 MHz", clock=250, copy=173, cpu=3.0),
    _row("pi3", "Raspberry Pi 3, 64-bit system", _A53, clock=300, copy=268, cpu=21.0),
    _row("pi3-32", "Raspberry Pi 3, 32-bit system", _A53, clock=300, copy=268, cpu=6.6),
    _row("zero2", "Raspberry Pi Zero 2 W, 64-bit system", _ZERO2, clock=300, copy=268, cpu=18.0),
    _row("zero2-32", "Raspberry Pi Zero 2 W, 32-bit system", _ZERO2, clock=300, copy=268, cpu=5.5),
)
BOARDS: Dict[str, Board] = {board.name: board for board in _ROWS}

#: Beginnings of the device tree's model text, longest first.
_MODELS: Tuple[Tuple[str, str], ...] = (
    ("Raspberry Pi Zero 2", "zero2"),
    ("Raspberry Pi Zero", "pi0"),
    ("Raspberry Pi Model", "pi1"),
    ("Raspberry Pi Compute Module Rev", "pi1"),
    ("Raspberry Pi 2", "pi2"),
    ("Raspberry Pi 3", "pi3"),
    ("Raspberry Pi Compute Module 3", "pi3"),
)


def detect(path: str = "/proc/device-tree/model") -> Optional[Board]:
    """The board that this is, or None where the device tree names no Pi with a VideoCore IV."""
    try:
        with open(path, "rb") as file:
            model = file.read().rstrip(b"\0\n").decode("ascii", "replace")
    except OSError:
        return None
    for start, name in _MODELS:
        if model.startswith(start):
            narrow = struct.calcsize("P") == 4 and name + "-32" in BOARDS
            return BOARDS[name + "-32" if narrow else name]
    return None
