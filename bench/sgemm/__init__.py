"""The sgemm bars: rates, transposes, the rivals beside, any shape; what is lost; a picture.

``python -m bench sgemm [--part rates trans rivals resident shapes] [--png FILE] [--json FILE]
[--quick]``
runs products on 12 emulated QPUs at 250 MHz and judges them by the bars.  All figures are
simulated; beta is 0 and results are checked against float64.

rates    1024^3 and 96 x 363 x 3072 under every timing set and reading: the kernel alone, with the
         operands packed by the QPUs (resident operands), and, as an estimate from published copy
         rates, with operands in ordinary memory.  "lost" are shares of clocks x QPUs.
trans    the four pairs of transposes against the aligned NN cube of about the same volume, packing
         by the QPUs included, and the kernel alone, to which all pairs are the same.
rivals   py-videocore's and QMKL's strategies from :mod:`piblas.kernels.gemm_rivals`, as published
         (rows without gaps, D shared out 2 x 6) and at their best (rows so far apart that they do
         not meet in the direct-mapped caches, 3 x 4); the bars are against the better of both.
resident row-major operands in device memory, all launches counted, as a call has it; beside the
         QMKL strategy, which takes them as they lie.
shapes   clocks of a call's launches for sampled shapes against the next larger aligned one.

Exit code 1 if a bar is missed.  ``--quick`` runs small sizes, whose bars are not judged.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, Dict, List

from .parts import PARTS, QUICK, WHOLE, Found, Verdict

__all__ = ["main"]


def _judge(verdicts: List[Verdict], judged: bool) -> int:
    print("bars" if judged else "bars (not judged: small sizes)")
    for verdict in verdicts:
        word = ("met   " if verdict.met else "MISSED") if judged else "-     "
        print(f"  {word} {verdict.bar}: {verdict.found}")
    return int(judged and not all(verdict.met for verdict in verdicts))


def main(argv: Any = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench sgemm")
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--png", metavar="FILE", help="a picture of the parts that ran")
    parser.add_argument("--json", metavar="FILE", help="all figures")
    parser.add_argument("--quick", action="store_true", help="small sizes, no verdict")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    scale = QUICK if args.quick else WHOLE
    found: Dict[str, Found] = {}
    for name in dict.fromkeys(args.part):
        start = time.time()
        print(f"{name}: {PARTS[name].__doc__}", flush=True)
        found[name] = PARTS[name](scale)
        print(f"  ({time.time() - start:.0f} s on this computer)", flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({name: part.rows for name, part in found.items()}, file, indent=1)
    if args.png:
        from . import picture

        picture.draw({name: part.rows for name, part in found.items()}, args.png)
    return _judge([verdict for part in found.values() for verdict in part.verdicts], not args.quick)
