"""Simulated time of packing sgemm's operands on the QPUs, beside the product's.

``python -m bench pack [m k n]``: for each orientation of both operands, under all timing sets, the
clocks of the launch that packs both, the share of that which the store engine needs at its best
(the modelled limit: no other engine is as narrow), and the clocks as a share of the product's.
"""

from __future__ import annotations

import sys
from typing import Dict, List, Tuple

import numpy as np

from piblas.driver import Emulator
from piblas.isa import timing
from piblas.kernels import (
    gemm,
    gemm_choice,
    gemm_layout,
    gemm_pack,
    gemm_schedule,
    gemm_segments,
    gemm_streams,
    uniforms,
)  # fmt: skip

SHAPES = ((1024, 1024, 1024), (96, 363, 3072))
"""m, k, n of P (m x k) and Q (k x n)."""
ORIENTATIONS = ("length", "k")
"""What an operand is contiguous along."""


def store_limit(words: int, rates: timing.Timing) -> float:
    """Clocks of the store engine for that many words: whole lines, 16 in a transfer."""
    lines = -(-words // 16)
    return lines * rates.dma_store_row + -(-lines // 16) * rates.dma_store_start


def write(
    dev: Emulator, streams: uniforms.Streams, addresses: Dict[str, int], **values: np.ndarray
) -> List[int]:
    """Write streams to a buffer of their own; the address of each QPU's."""
    buffer = dev.alloc(streams.nbytes)
    own = buffer.bus_address
    out = buffer.array(np.uint32, streams.words.shape)
    watch = dev.alloc(4 * gemm_streams.watched_words(gemm_schedule.QPUS)).bus_address
    streams.fill(out, {"watch": watch, **addresses, uniforms.OWN: own}, values)
    return streams.entries(own)


def measure(
    shape: Tuple[int, int, int], p_along: str, q_along: str, name: str, product: bool
) -> Tuple[int, float, int]:
    """Clocks of packing, the limit, and clocks of the product (0 unless asked for)."""
    m, k, n = shape
    options = gemm_choice.choose(m, n, k, False)
    layouts = gemm_layout.packed_words(options, m, n, k)
    rng = np.random.default_rng(5)
    with Emulator(memory=64 << 20, timing=name) as dev:
        operands, held = [], []
        for layout, along in zip(layouts, (p_along, q_along)):
            x = rng.uniform(-1, 1, (k, layout.length)).astype(np.float32)
            buffer, out = dev.alloc(4 * x.size), dev.alloc(4 * layout.words)
            view = buffer.array(np.float32, x.shape, order="C" if along == "length" else "F")
            view[...] = x
            held.append((layout, x, out))
            operands.append(
                gemm_segments.Operand(
                    layout, k, buffer.bus_address, *view.strides, out.bus_address
                )
            )
        streams = gemm_segments.streams(operands, dev.n_qpus)
        starts = write(dev, streams, {"source": 0, "packed": 0})  # operands have whole addresses
        report = dev.execute(dev.load(gemm_pack.SPEC.build().words), starts, timeout=1e6)
        for layout, x, out in held:
            want = np.empty(layout.words, np.float32)
            gemm_layout.pack(layout, x, want)
            if not np.array_equal(out.array(np.float32, want.shape), want):
                raise AssertionError(f"packed wrongly: {layout}, {p_along}, {q_along}")
        rates = timing.timing_set(name)
        limit = store_limit(sum(layout.words for layout in layouts), rates)
        assert report.cycles is not None
        if not product:
            return report.cycles, limit, 0
        d_buf = dev.alloc(4 * m * n)
        p, q = layouts
        skew = gemm_schedule.skew_of(options, p, q)
        addresses = dict(zip("pqd", (*(x.out for x in operands), d_buf.bus_address)))
        tiles = gemm_schedule.dense_tiles(options, p, q, n, skew)
        product_streams = gemm_streams.streams(options, tiles, dev.n_qpus, skew)
        one = np.ones(1, np.float32)
        largest = one * np.float32(gemm_streams.LIMIT)
        starts = write(dev, product_streams, addresses, alpha=one, limit=largest)
        second = dev.execute(dev.load(gemm.SPEC.program(options).words), starts, timeout=1e6)
        assert second.cycles is not None
        return report.cycles, limit, second.cycles


def main() -> int:
    given: List[int] = [int(word) for word in sys.argv[1:4]]
    shapes = ((given[0], given[1], given[2]),) if len(given) == 3 else SHAPES
    print("simulated clocks; a launch packs both operands, the next multiplies")
    for shape in shapes:
        m, k, n = shape
        print(f"P {m} x {k}, Q {k} x {n}")
        for name in timing.SETS:
            product = 0
            for p_along in ORIENTATIONS:
                for q_along in ORIENTATIONS:
                    clocks, limit, found = measure(shape, p_along, q_along, name, not product)
                    product = product or found
                    print(
                        f"  {name:12} P along {p_along:6} Q along {q_along:6} "
                        f"{clocks:9} clk, limit is {100 * limit / clocks:5.1f} % of it; "
                        f"{100 * clocks / product:5.1f} % of the product's {product} clk",
                        flush=True,
                    )
    return 0
