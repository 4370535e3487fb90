"""What the examples share: which device, and what ran where and how fast."""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any, Iterator

import piblas


def arguments(description: str, **options: Any) -> argparse.Namespace:
    """The command line: ``--device``, and ``--NAME`` for each option, of its default's type."""
    parser = argparse.ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument(
        "--device",
        choices=("auto", "qpu", "emulator", "cpu"),
        default="auto",
        help="where calls run; the emulator runs on any machine",
    )
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, metavar="N")
    return parser.parse_args()


@contextlib.contextmanager
def measured(device: str) -> Iterator[None]:
    """Aim calls at a device, and say at the end what ran where and what it took."""
    piblas.reset_stats()
    start = time.perf_counter()
    with piblas.use(device), piblas.profile() as profile:
        yield
    seconds = time.perf_counter() - start
    print(f"\n{seconds:.2f} s on this machine, all included")
    for where, reasons in piblas.stats().items():
        for reason, count in reasons.items():
            print(f"  {count} calls on {where}: {reason}")
    reports = profile.reports
    if reports:
        on_qpus = sum(report.seconds for report in reports)
        kernels = ", ".join(sorted({report.kernel for report in reports}))
        how = "simulated" if reports[0].cycles is not None else "measured"
        print(f"  {len(reports)} launches, {1e3 * on_qpus:.2f} ms on the QPUs ({how}): {kernels}")
