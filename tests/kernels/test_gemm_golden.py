"""The hot loop of sgemm as text, and cycles of each tile that dispatch may choose.

``pytest --update-golden`` rewrites tests/golden/gemm_loop.txt and tests/golden/gemm_cycles.json.
"""

from __future__ import annotations

import dataclasses
import json

import pytest

pytest.importorskip("numba")

from gemm_runs import run

from piblas.driver import Emulator
from piblas.isa.disasm import to_text
from piblas.isa.timing import SETS
from piblas.kernels import gemm, gemm_choice


def hot_loop(options):
    """The words of the k loop of full tiles, and the registers that it uses."""
    program = gemm.SPEC.program(options)
    first = program.labels["k"]
    branch = next(i for i in range(first, program.length) if program.instrs[i].sig == 15)
    return program, [to_text(instr) for instr in program.instrs[first : branch + 4]]


def test_hot_loop(golden):
    options = gemm_choice.choose(1024, 1024, 1024, False)
    program, texts = hot_loop(options)
    places = program.registers
    lines = [
        f"# The k loop of sgemm 1024 x 1024 x 1024: tile {options.rows} x {options.columns}, "
        f"{options.unroll} steps in {len(texts)} words.",
        "# d: sums; s: scalars of P, for odd and even steps where there are two registers; r4: 16",
        "# columns of Q; q_addr: where they are; offset: bytes to others; last: bytes to the next",
        "# step's; left: what is left of k; back: where the stream goes on after the run.",
    ]
    for row in range(options.rows):
        sums = " ".join(places[f"d{row}_{v}"] for v in range(options.vectors))
        scalars = [places[name] for name in (f"s{row}", f"s{row}'") if name in places]
        lines.append(f"# d{row}: {sums}   s{row}: {' '.join(scalars)}")
    kept = "q_addr", "offset", "left", "last", "back"
    others = [name for name in places if name.startswith(kept)]
    lines.append("# " + ", ".join(f"{name}: {places[name]}" for name in others) + ", offset64: r5")
    golden("gemm_loop.txt", "\n".join(lines + texts) + "\n")
    products = options.rows * options.vectors * options.unroll
    assert sum("fmul" in text for text in texts) == products
    assert sum("fadd" in text for text in texts) == products
    assert products >= 0.83 * len(texts)


def cycles(timing, options, m, n, k):
    """Of the kernel with these options, on a device of its own."""
    with Emulator(memory=8 << 20, timing=timing) as device:
        return run(device, options, m, n, k, beta=float(options.beta)).cycles


def test_cycles(golden):
    """Twelve whole tiles, and odd sizes with the widest edge, for each tile of the family."""
    kept = {}
    for tile in gemm_choice.FAMILY:
        whole = dataclasses.replace(tile, beta=True)
        edge = dataclasses.replace(tile, edge=tile.vectors - 1, beta=tile.vectors % 2 == 1)
        for options, m, n, k in (
            (whole, 4 * tile.rows, 3 * tile.columns, 96),
            (edge, 3 * tile.rows - 1, tile.columns + 16 * (tile.vectors - 1) - 3, 50),
        ):
            name = gemm_choice.name_of(options) + f" edge {options.edge}: {m}x{n}x{k}"
            times = {timing: cycles(timing, options, m, n, k) for timing in SETS}
            assert times["pessimistic"] > times["calibrated"] >= times["optimistic"]
            kept[name] = times
    rows = [f" {json.dumps(name)}: {json.dumps(times)}" for name, times in kept.items()]
    golden("gemm_cycles.json", "{\n" + ",\n".join(rows) + "\n}\n")
