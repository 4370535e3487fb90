"""What a call of piblas costs on the CPU beside the same call of SciPy: ratios and differences.

    python -m bench cpu_overhead

Once under "cpu"; and, for small operands, under "auto" with a GPU that dispatch does not choose (a
device that returns at once stands in for it, on the model of a Pi 3), without and with arrays in
device memory.  The bars: under "cpu" saxpy, sgemm, sgemv and strsm of size 4 and 16 at most 3 times
SciPy's time, saxpy of 1,000,000 elements at most 1.02 times; under "auto" at most 10 us more.

And what ``@`` and ``np.dot`` cost while ``piblas.patch`` has redirected them and the call stays on
the CPU, beside NumPy's own: at most 1 us more.
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
from bench import counting
from bench.null_device import NullDevice

SMALL, LARGE = (4, 16), 1_000_000
RATIO, RATIO_OF_LARGE, MORE, MORE_IF_PATCHED = 3.0, 1.02, 10e-6, 1e-6
JUDGED = ("saxpy", "sgemm", "sgemv", "strsm")


def calls(n):
    """Calls as (name, arguments by position, by keyword)."""
    x, y = np.ones((2, n), np.float32)
    yield "saxpy", (x, y), {"a": 0.5}
    yield "saxpy", (x, y), {}
    yield "sdot", (x, y), {}
    yield "scopy", (x, y), {}
    yield "dnrm2", (x.astype(float),), {}
    if n in SMALL:
        a = np.asfortranarray(np.tri(n, dtype=np.float32))
        yield "sgemv", (1.0, a, x), {}
        yield "sgemm", (1.0, a, a), {}
        yield "sgemm", (1.0, a.T, a.T), {}
        yield "strsm", (1.0, a, a), {"lower": 1}
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


def rows(target, sizes):
    """A row for each call at the present target."""
    for n in sizes:
        for name, args, keywords in calls(n):
            if target != "cpu" and name not in JUDGED:
                continue
            pair = getattr(blas, name), getattr(piblas, name)
            theirs, mine = seconds(pair, args, keywords)
            row = {
                "target": target, "routine": name, "n": n, "keywords": sorted(keywords),
                "order": "C" if len(args) > 1 and not args[1].flags.f_contiguous else "F",
                "scipy_seconds": theirs, "piblas_seconds": mine, "ratio": mine / theirs,
            }  # fmt: skip
            row["bar"] = _bar(row)
            row["met"] = _met(row)
            yield row


def patched_rows(target, rounds=20):
    """A row for each kind of product while NumPy's functions are redirected, at the present target,
    and not; the two take turns, in short runs, as other programs disturb long ones."""
    for name, text in (("@", "a @ a"), ("np.dot", "dot(a, a)")):
        for n in SMALL:
            a = np.ones((n, n), np.float32)
            times = [[], []]
            for _ in range(rounds):
                for patched in (False, True):
                    if patched:
                        piblas.patch(["numpy.matmul", "numpy.dot"])
                    timer = timeit.Timer(text, globals={"a": a, "dot": np.dot})
                    times[patched].append(min(timer.repeat(10, 200)) / 200)
                    piblas.unpatch()
            own, mine = map(min, times)
            yield {
                "target": target, "routine": name, "n": n, "keywords": [], "order": "F",
                "scipy_seconds": own, "piblas_seconds": mine, "ratio": mine / own,
                "bar": f"+{1e6 * MORE_IF_PATCHED:.0f} us", "met": mine - own <= MORE_IF_PATCHED,
            }  # fmt: skip


def _bar(row):
    if row["target"] != "cpu":
        return f"+{1e6 * MORE:.0f} us"
    if row["n"] == LARGE:
        return f"{RATIO_OF_LARGE} x" if row["routine"] == "saxpy" else ""
    return f"{RATIO:.0f} x" if row["routine"] in JUDGED else ""


def _met(row):
    if row["target"] != "cpu":
        return row["piblas_seconds"] - row["scipy_seconds"] <= MORE
    most = RATIO_OF_LARGE if row["n"] == LARGE else RATIO
    return not row["bar"] or row["ratio"] <= most


def measured():
    """All rows."""
    with piblas.use("cpu"):
        found = list(rows("cpu", (*SMALL, LARGE)))
        found += patched_rows("cpu, patched")
    device = NullDevice()
    with counting.on_a_board(), counting.found(device):
        found += rows("auto", SMALL)
        found += patched_rows("auto, patched")
        kept = piblas.array([1.0])  # from now on each call has to look where its operands lie
        assert kept.on_device is device
        found += rows("auto, arrays on the device", SMALL)
    assert device.launches == 0
    return found


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    found = measured()
    if "--json" in argv:
        print(json.dumps(found))
        return 0
    print(f"{'target':28}{'call':28}{'SciPy':>12}{'piblas':>12}{'ratio':>8}{'more':>12}   bar")
    for row in found:
        words = f" with {', '.join(row['keywords'])}" if row["keywords"] else ""
        order = ", C order" if row["order"] == "C" else ""
        call = f"{row['routine']}{words}, n = {row['n']}{order}"
        theirs, mine = (1e6 * row[key] for key in ("scipy_seconds", "piblas_seconds"))
        missed = "" if row["met"] else "  MISSED"
        print(
            f"{row['target']:28}{call:28}{theirs:9.2f} us{mine:9.2f} us{row['ratio']:8.2f}"
            f"{mine - theirs:9.2f} us   {row['bar']}{missed}"
        )
    return 0 if all(row["met"] for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
