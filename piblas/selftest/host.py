"""What a launch and a copy cost: times of the host, which the emulator does not know."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List

import numpy as np

from .programs import assembled

__all__ = ["host_times"]

SIZE = 4 << 20


def _best(call: Callable[[], Any], repeats: int) -> float:
    times: List[float] = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def host_times(device: Any, repeats: int = 5) -> Dict[str, float]:
    """Microseconds of a launch of 1 and 12 QPUs that do nothing; MiB/s of copies to and from device
    memory and of cleaning and invalidating it; best of ``repeats``."""
    found: Dict[str, float] = {}
    program = device.load(assembled([], "nothing"))
    try:
        for count in (1, 12):
            streams = [[count - 1]] + (count - 1) * [[0xFFFFFFFF]]
            seconds = _best(lambda: device.execute(program, streams), 4 * repeats)
            found[f"launch_{count}_us"] = 1e6 * seconds
    finally:
        program.free()
    mine = np.ones(SIZE // 4, np.float32)
    buffer = device.alloc(SIZE)
    try:
        shared = buffer.array(np.float32)
        steps = {
            "copy_in": lambda: np.copyto(shared, mine),
            "clean": buffer.clean,
            "invalidate": buffer.invalidate,
            "copy_out": lambda: np.copyto(mine, shared),
        }
        for name, call in steps.items():
            found[f"{name}_mib_s"] = SIZE / 2**20 / max(_best(call, repeats), 1e-9)
    finally:
        buffer.free()
    return found
