"""The board's own figures: clock, launch, copies, its CPU and the speed of Python on it."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
import scipy.linalg.blas

from ..dispatch.tuned import FIGURES, with_figures
from ..selftest.host import host_times
from .interpreter import CALLS, PER_CALL, loop_seconds
from .step import Bench, Step, best

__all__ = ["STEP"]

_UNITS = {
    "clock": (1.0, "MHz, V3D"),
    "launch": (1e6, "us, a launch of 12 QPUs"),
    "copy": (1.0, "MiB/s, staging an operand, cleaning its memory included"),
    "cached": (1.0, "MiB/s, a copy in the CPU's own memory"),
    "cpu": (1.0, "GFLOPS, sgemm on the CPU"),
    "call": (1e6, "us, a small call on the CPU"),
    "python": (1e6, "us, a function call of piblas, by a loop in pure Python"),
}
COPIED = 4 << 20


def _run(at: Bench) -> Dict[str, Any]:
    repeats = 3 if at.quick else 7
    at.say("launches and copies")
    host = host_times(at.device, repeats)
    # In and out, each with what the caches want, in seconds a MiB.
    ways = [("copy_in", "clean"), ("copy_out", "invalidate")]
    seconds = sum(1 / host[f"{name}_mib_s"] for way in ways for name in way) / 2
    at.say("the CPU")
    size = 256 if at.quick else 512
    rng = np.random.default_rng(1)
    a, b = (np.asfortranarray(rng.standard_normal((size, size), np.float32)) for _ in range(2))
    product = best(lambda: scipy.linalg.blas.sgemm(1.0, a, b), repeats)
    mine, other = np.ones(COPIED // 4, np.float32), np.zeros(COPIED // 4, np.float32)
    copied = best(lambda: np.copyto(other, mine), repeats)
    x, y = np.ones((2, 4), np.float32)
    call = best(lambda: [scipy.linalg.blas.saxpy(x, y) for _ in range(100)], repeats) / 100
    return {
        "clock": at.device.clock_hz / 1e6,
        "launch": host["launch_12_us"] / 1e6,
        "copy": 1 / seconds,
        "cached": COPIED / 2**20 / copied,
        "cpu": 2 * size**3 / product / 1e9,
        "call": call,
        "python": PER_CALL * loop_seconds(10 * repeats) / CALLS,
    }


def _text(values: Dict[str, Any], at: Bench) -> str:
    return "\n".join(
        f"  {name:8} {scale * values[name]:10.4g} {unit}" for name, (scale, unit) in _UNITS.items()
    )


STEP = Step(
    FIGURES, "the board's clock, launch, copies, CPU and Python", ("qpu",), _run, _text,
    board=with_figures,
)  # fmt: skip
