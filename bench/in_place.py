"""What reading Q in place costs beside packing it: the figures that products decide by.

``python -m bench in_place [--set NAME ...] [--json FILE] [--quick]``

Runs products of row-major operands in device memory whose second operand has rows of 64 to 127
lines of 64 bytes, read where it lies and packed, and prints

loss      how much longer the kernel takes if Q is read in place, by the distance of its rows, and
          the line through it that :data:`piblas.kernels.gemm_sources.LOSS` holds
packing   clocks of a word that the QPUs pack, of Q and of P:
          :data:`piblas.kernels.gemm_sources.PACK`

All figures are simulated.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Dict, List, Tuple

import numpy as np

from piblas.driver import Emulator
from piblas.host import arrays, gemm_resident
from piblas.isa.timing import SETS, timing_set
from piblas.kernels import gemm_sources
from piblas.kernels.gemm import GemmOptions

from .sgemm.runs import CLOCK_HZ

__all__ = ["fit", "main", "measure"]

M, N, K = 192, 384, 256
LINES = range(64, 128)
WORDS = 16


def measure(timing: str, lines: int, in_place: bool, m: int = M) -> Tuple[int, int]:
    """Clocks of packing and of the product, the rows of Q being so many lines apart."""
    rng = np.random.default_rng(lines)
    a = rng.standard_normal((m, K)).astype(np.float32)
    b = rng.standard_normal((K, WORDS * lines)).astype(np.float32)
    with Emulator(memory=24 << 20, timing=timing_set(timing), clock_hz=CLOCK_HZ) as device:
        left, right = (arrays.array(x, order="C", device=device) for x in (a, b))
        made = arrays.empty((m, N), order="C", device=device)
        packing, product = gemm_resident.sgemm_resident(
            device, 1.0, left, right[:, :N], 0.0, made, in_place=in_place
        )
        return packing.cycles or 0, product.cycles or 0


def fit(found: Dict[int, float]) -> Tuple[int, float]:
    """(life, loss): the instruction words that a line has to stay in its cache, and the share of
    the time that is lost for each that is missing, by least squares."""
    plan = GemmOptions().step(GemmOptions().vectors)
    best: Tuple[float, int, float] = (np.inf, 0, 0.0)
    y = np.array(list(found.values()))
    for life in range(20, 400, 5):
        x = np.array([gemm_sources.missing(plan, lines, life) for lines in found])
        if not x.any():
            continue
        loss = float(x @ y / (x @ x))
        off = float(((y - loss * x) ** 2).sum())
        best = min(best, (off, life, loss))
    return best[1], best[2]


def main(argv: Any = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench in_place", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS), dest="sets")
    parser.add_argument("--json", metavar="FILE", help="all figures")
    parser.add_argument("--quick", action="store_true", help="every sixteenth distance")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    rows: List[Dict[str, Any]] = []
    for name in args.sets:
        pack, packed = measure(name, LINES[1], False)
        lost: Dict[int, float] = {}
        p_only = 0
        for lines in LINES[:: 16 if args.quick else 1]:
            p_only, product = measure(name, lines, True)
            lost[lines] = product / packed - 1
        words = (pack - p_only) / (K * N), p_only / (M * K)
        life, loss = fit(lost)
        rows.append({"set": name, "lost": lost, "life": life, "loss": loss, "pack": words})
        print(f"{name}: rows of Q so many lines apart, share of time lost")
        listed = list(lost.items())
        for at in range(0, len(listed), 8):
            print("  " + "  ".join(f"{n:3} {share:6.1%}" for n, share in listed[at : at + 8]))
        print(f"  LOSS: a line has to live {life} words, {loss:.4f} lost for each that is missing")
        print(f"  PACK: {words[0]:.2f} clocks a word of Q, {words[1]:.2f} of P", flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=1)
    return 0
