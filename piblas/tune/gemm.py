"""What the parts of a tile cost each member of the gemm family, simulated under all timing sets.

A member runs alone, on all QPUs, at the width of its tiles and at each narrower one: at two depths
whose difference gives the clocks of a step, and at no depth to speak of, where one store follows
the other.  :mod:`piblas.kernels.gemm_choice` decides by these figures, which the package brings
along; ``python -m bench costs`` makes them anew.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Dict

import numpy as np

from ..driver import open_device
from ..driver.device import Device
from ..isa.timing import SETS
from ..kernels import gemm, gemm_layout, gemm_schedule, gemm_streams, uniforms
from ..kernels.gemm_choice import CLOCK, FAMILY, LAUNCH, name_of
from .step import Bench, Step

__all__ = ["STEP", "costs", "table"]

DEPTHS = 256, 512
"""Steps of k; a tile of fewer takes less than the stores of all QPUs, with beta."""
WAVES = gemm_streams.BARRIER_WAVES + 2
"""Tiles of a QPU: one barrier, as what happens between barriers is no matter of a few steps."""


def _clocks(device: Device, options: gemm.GemmOptions, vectors: int, k: int, skew: int) -> int:
    """Of a product whose tiles, ``WAVES`` a QPU, are all ``vectors`` wide."""
    m, n = WAVES * gemm_schedule.QPUS * options.rows, gemm.LANES * vectors
    p, q = gemm_layout.packed_words(options, m, n, k)
    sizes = 4 * p.words, 4 * q.words, 4 * m * n, 4 * gemm_streams.watched_words(gemm_schedule.QPUS)
    buffers = [device.alloc(size) for size in sizes]
    try:
        tiles = gemm_schedule.dense_tiles(options, p, q, n, skew)
        streams = gemm_streams.streams(options, tiles, gemm_schedule.QPUS, skew)
        buffers.append(device.alloc(streams.nbytes))
        own = buffers[-1].bus_address
        names = "p", "q", "d", "watch", uniforms.OWN
        addresses = dict(zip(names, (buffer.bus_address for buffer in buffers)))
        one = np.ones(1, dtype=np.float32)
        out = buffers[-1].array(np.uint32, streams.words.shape)
        limit = one * gemm_streams.LIMIT
        streams.fill(out, addresses, {"alpha": one, "beta": one, "limit": limit})
        for buffer in buffers:
            buffer.clean()
        program = device.load(gemm.SPEC.program(options).words)
        return device.execute(program, streams.entries(own), timeout=60).cycles or 0
    finally:
        for buffer in buffers:
            buffer.free()


def costs(timing: str, options: gemm.GemmOptions, vectors: int) -> Dict[str, float]:
    """Clocks of a step of a tile of that many vectors, of the rest of it, and of a store if all
    QPUs want to store at once."""
    # A device of its own, as addresses settle which lines share a place in the caches.
    with open_device("emulator", timing=timing, clock_hz=CLOCK) as device:
        return _costs(device, options, vectors)


def _costs(device: Device, options: gemm.GemmOptions, vectors: int) -> Dict[str, float]:
    edge = 0 if vectors == options.vectors else vectors
    options = dataclasses.replace(options, edge=edge)
    skew = gemm_schedule.SKEWS[options.beta]
    low, high = (_clocks(device, options, vectors, k, skew) for k in DEPTHS)
    step = (high - low) / (DEPTHS[1] - DEPTHS[0]) / WAVES
    late = (gemm_schedule.QPUS - 1) * skew * step
    rest = (low - LAUNCH - late) / WAVES - DEPTHS[0] * step
    shallow = _clocks(device, options, vectors, options.unroll, 0)
    store = (shallow - LAUNCH) / (WAVES * gemm_schedule.QPUS)
    return {"step": round(step, 1), "rest": round(max(rest, 0.0)), "store": round(store)}


def table(say: Any = lambda text: None) -> Dict[str, Any]:
    """``costs`` of the whole family: timing set -> member -> a row of figures a width."""
    found: Dict[str, Any] = {}
    for name, tile, beta in itertools.product(SETS, FAMILY, (False, True)):
        options = dataclasses.replace(tile, beta=beta)
        say(f"{name}, {name_of(options)}")
        rows = [costs(name, options, vectors) for vectors in range(1, tile.vectors + 1)]
        found.setdefault(name, {})[name_of(options)] = {
            part: [row[part] for row in rows] for part in ("step", "rest", "store")
        }
    return found


def _text(values: Dict[str, Any], at: Bench) -> str:
    lines = [f"  {'clocks of a step, full width':30}" + "".join(f"{name:>13}" for name in values)]
    for member in next(iter(values.values())):
        steps = [f"{values[name][member]['step'][-1]:13.1f}" for name in values]
        lines.append(f"  {member:30}" + "".join(steps))
    return "\n".join(lines)


STEP = Step(
    "gemm", "the tiles that sgemm may choose", ("emulator",), lambda at: table(at.say), _text
)
