"""What a call of piblas costs on the CPU beside the same call of SciPy, and the ratio.

    python -m bench.cpu_overhead

The bars: saxpy of 16 elements at most 3 times SciPy's time, of 1,000,000 at most 1.02 times.
"""

from __future__ import annotations

import json
import os
import sys
import timeit

# Threads of SciPy's BLAS would make the large calls' times jump; set before it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy.linalg import blas

import piblas

BARS = {16: 3.0, 1_000_000: 1.02}


def calls(n):
    """Small and large calls as (name, arguments by position, by keyword)."""
    x, y = np.ones((2, n), np.float32)
    a = np.ones((16, 16), np.float32, order="F")
    yield "saxpy", (x, y), {"a": 0.5}
    yield "saxpy", (x, y), {}
    yield "sdot", (x, y), {}
    yield "scopy", (x, y), {}
    yield "dnrm2", (x.astype(float),), {}
    if n == 16:
        yield "sgemv", (1.0, a, x), {}
        yield "sgemm", (1.0, a, a), {}
        yield "dgemm", (1.0, a, a), {}


def seconds(functions, args, keywords, rounds=15):
    """The least time of one call of each function; the functions take turns."""
    number = max(1, int(2e-3 / timeit.timeit(lambda: functions[0](*args, **keywords), number=1)))
    number = min(number, 20_000)
    text = "f(*args, **keywords)" if keywords else "f(*args)"
    timers = [
        timeit.Timer(text, globals={"f": f, "args": args, "keywords": keywords})
        for f in functions
    ]
    times = [[timer.timeit(number) / number for timer in timers] for _ in range(rounds)]
    return [min(each) for each in zip(*times)]


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    results = []
    with piblas.use("cpu"):
        for n in BARS:
            for name, args, keywords in calls(n):
                pair = getattr(blas, name), getattr(piblas, name)
                theirs, mine = seconds(pair, args, keywords)
                results.append(
                    {
                        "routine": name,
                        "n": n,
                        "keywords": sorted(keywords),
                        "scipy_seconds": theirs,
                        "piblas_seconds": mine,
                        "ratio": mine / theirs,
                    }
                )
    if "--json" in argv:
        print(json.dumps(results))
        return 0
    print(f"{'call':24}{'SciPy':>12}{'piblas':>12}{'ratio':>8}   bar")
    for row in results:
        call = f"{row['routine']}{' with a=' if row['keywords'] else ''}, n = {row['n']}"
        theirs, mine = (1e6 * row[key] for key in ("scipy_seconds", "piblas_seconds"))
        bar = f"{BARS[row['n']]}" if row["routine"] == "saxpy" else ""
        print(f"{call:24}{theirs:9.3f} us{mine:9.3f} us{row['ratio']:8.3f}   {bar}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
