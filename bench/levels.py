"""The bars of levels 1, 2 and 3 in one command: the benchmarks level1, level2 and level3.

``python -m bench levels [--set calibrated]`` prints rates, shares of the limit or of sgemm's rate,
what is lost and a verdict for each; the exit code is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
from typing import Any

from . import bars, level1, level2, level3

__all__ = ["main"]


def main(argv: Any = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench levels", description=__doc__)
    parser.add_argument("--set", action="append", choices=bars.SETS, help="only this timing set")
    parser.add_argument("--size", type=int, default=level3.ORDER, help="order at level 3")
    chosen = parser.parse_args(argv)
    sets = chosen.set or list(bars.SETS)
    short = [word for name in sets for word in ("--set", name)]
    codes = [level1.main(short), level2.main(short)]
    codes.append(level3.main(["--size", str(chosen.size), "--timing", *sets]))
    return max(codes)
