"""The chip's performance counters over a product, as py-videocore's example of them.

    python examples/counters.py --device emulator

On a Pi they can be read as root alone; the emulator always has them.
"""

import common
import numpy as np

import piblas
from piblas.driver import open_device
from piblas.isa.counters import COUNTERS


def main():
    args = common.arguments(__doc__, size=128)
    a = np.random.default_rng(0).standard_normal((args.size, args.size), dtype=np.float32)
    with open_device("qpu" if args.device in ("auto", "qpu") else "emulator") as device:
        with piblas.use(device), piblas.profile() as profile:
            piblas.sgemm(1.0, a, a)
    (report,) = profile.reports
    print(f"sgemm {args.size} x {args.size} x {args.size}: {1e6 * report.seconds:.1f} us")
    for number, value in (report.counters or {}).items():
        print(f"  {number:3} {value:12,}  {COUNTERS[number].meaning}")
    return report


if __name__ == "__main__":
    main()
