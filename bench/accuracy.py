"""Accuracy of sgemm on the QPUs: errors for each accuracy beside the CPU's, and what they cost.

``python -m bench accuracy [--part errors cycles] [--set NAME ...] [--json FILE] [--quick]``

errors   norm-wise relative errors, |C - exact| / |exact| in the Frobenius norm with ``exact`` in
         float64, for k from 16 to 8192 and operands of several kinds (:data:`KINDS`), judged by the
         bars of "default" and "high".  C is 264 x 256.
cycles   clocks of row-major resident operands, all launches counted, under the timing sets, and how
         much longer "default" and "high" take than "fast".

All figures are simulated, but for those of the CPU.  Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

import piblas
from piblas.dispatch.devices import ACCURACIES
from piblas.driver import Emulator
from piblas.isa.timing import SETS, timing_set

from .sgemm import runs

__all__ = ["BARS", "KINDS", "error", "main", "operands"]

BARS = {"default": 8e-6, "high": 2e-6}
"""Most of a norm-wise relative error."""

Pair = Tuple[np.ndarray, np.ndarray]


def _normal(rng: Any, m: int, n: int, k: int) -> Pair:
    return rng.standard_normal((m, k)), rng.standard_normal((k, n))


def _uniform(rng: Any, m: int, n: int, k: int) -> Pair:
    return rng.uniform(0, 1, (m, k)), rng.uniform(0, 1, (k, n))


def _alternating(rng: Any, m: int, n: int, k: int) -> Pair:
    a, b = _uniform(rng, m, n, k)
    return a * (-1.0) ** np.arange(k), b


def _ill_scaled(rng: Any, m: int, n: int, k: int) -> Pair:
    a, b = _normal(rng, m, n, k)
    rows, inner, columns = (10.0 ** rng.uniform(-3, 3, size) for size in (m, k, n))
    return a * rows[:, None] * inner, b * columns


def _falling(rng: Any, m: int, n: int, k: int) -> Pair:
    a, b = _normal(rng, m, n, k)
    return a * np.logspace(0, -6, k), b


KINDS: Dict[str, Callable[..., Pair]] = {
    "normal": _normal,
    "uniform": _uniform,
    "alternating": _alternating,
    "ill-scaled": _ill_scaled,
    "falling": _falling,
}
"""normal: of both signs; uniform: from 0 to 1; alternating: the same, of which every other term is
subtracted; ill-scaled: rows, columns and terms multiplied by powers of 10 from -3 to 3; falling:
terms multiplied by powers of 10 from 0 down to -6, so that the sum soon has its size and loses with
each of many small terms, which is the worst that there is."""

DEPTHS = tuple(16 << doublings for doublings in range(10))
ROWS, COLUMNS = 264, 256
"""Large enough that k is not cut into parts which the CPU adds up."""


def operands(kind: str, m: int, n: int, k: int, seed: int = 0) -> Pair:
    """A (m, k) and B (k, n) in float32."""
    a, b = KINDS[kind](np.random.default_rng((seed, m, n, k)), m, n, k)
    return a.astype(np.float32), b.astype(np.float32)


def error(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The norm-wise relative error of c = a b."""
    exact = a.astype(np.float64) @ b.astype(np.float64)
    return float(np.linalg.norm(c - exact) / np.linalg.norm(exact))


def errors(quick: bool) -> Tuple[List[Dict[str, Any]], bool]:
    """Rows of the table, and whether the bars are met."""
    rows, met = [], True
    print(f"norm-wise relative errors, C = A B of {ROWS} x k x {COLUMNS}")
    names = (*ACCURACIES, "CPU")
    print(f"  {'operands':12}{'k':>6}" + "".join(f"{name:>10}" for name in names))
    with Emulator(memory=64 << 20, timing="off") as device:
        for kind in KINDS:
            for k in DEPTHS[:4] if quick else DEPTHS:
                a, b = operands(kind, ROWS, COLUMNS, k)
                row: Dict[str, Any] = {"kind": kind, "k": k}
                for accuracy in ACCURACIES:
                    with piblas.use(device, accuracy=accuracy):
                        row[accuracy] = error(piblas.sgemm(1.0, a, b), a, b)
                with piblas.use("cpu"):
                    row["CPU"] = error(piblas.sgemm(1.0, a, b), a, b)
                missed = [name for name, bar in BARS.items() if row[name] > bar]
                met &= not missed
                note = f"   MISSED by {', '.join(missed)}" if missed else ""
                print(
                    f"  {kind:12}{k:6}" + "".join(f"{row[name]:10.1e}" for name in names) + note,
                    flush=True,
                )
                rows.append(row)
    bars = ", ".join(f"{name} {bar:g}" for name, bar in BARS.items())
    print(f"bars: {bars}: {'met' if met else 'MISSED'}")
    return rows, met


SHAPES = ((256, 256, 256), (512, 512, 512), (96, 3072, 363), (1024, 1024, 1024))
"""m, n, k."""


def cycles(quick: bool, sets: List[str]) -> List[Dict[str, Any]]:
    """Clocks of products of each accuracy."""
    rows = []
    print(f"clocks of resident operands at {runs.CLOCK_HZ / 1e6:g} MHz, all launches")
    for shape in SHAPES[:1] if quick else SHAPES:
        for name in sets:
            found = {
                accuracy: runs.product(shape, timing_set(name), in_place=True, accuracy=accuracy)
                for accuracy in ACCURACIES
            }
            clocks = {accuracy: run.clocks + run.packing for accuracy, run in found.items()}
            m, n, k = shape
            text = f"  {m} x {k} x {n}, {name}:"
            print(f"{text:34} fast {found['fast'].packed_rate:5.2f} GFLOPS", end="")
            for accuracy in ACCURACIES[1:]:
                more = clocks[accuracy] / clocks["fast"] - 1
                print(f"   {accuracy} {found[accuracy].packed_rate:5.2f} ({more:+.1%})", end="")
            print(flush=True)
            rows.append({"shape": shape, "set": name, **clocks})
    return rows


def main(argv: Any = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench accuracy", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parts = ("errors", "cycles")
    parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS), dest="sets")
    parser.add_argument("--json", metavar="FILE", help="all figures")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    found: Dict[str, Any] = {}
    met = True
    if "errors" in args.part:
        found["errors"], met = errors(args.quick)
    if "cycles" in args.part:
        found["cycles"] = cycles(args.quick, args.sets)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)
    return int(not met)
