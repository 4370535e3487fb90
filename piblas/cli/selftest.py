"""``piblas selftest``: tests and measures the QPUs of this board, and writes a report."""

from __future__ import annotations

import argparse
import json
import os
import re
from typing import Any, Dict

from ..driver import open_device
from ..errors import PiblasError
from . import console

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "selftest",
        help="test and measure this board's QPUs; writes a report to attach to an issue",
        description="Run every operation, BLAS routines and a micro-benchmark for each timing "
        "parameter on the QPUs of this board, compare with the emulator's results and predictions, "
        "and write a report as JSON and text. Exit code 0 if all results are right.",
    )
    parser.add_argument(
        "--device", choices=("qpu", "emulator"), default="qpu", help="what to test (qpu)"
    )
    parser.add_argument("--out", default=".", metavar="DIR", help="where to write the report (.)")
    parser.add_argument("--quick", action="store_true", help="measure less exactly")
    parser.add_argument("--json", action="store_true", help="print the report as JSON as well")
    parser.set_defaults(run=run_selftest)


def _name(facts: Dict[str, Any]) -> str:
    machine = facts["machine"]
    what = "emulator" if machine["device"] == "emulator" else machine["model"]
    day = machine["date"].split()[0]
    return "piblas-selftest-" + re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-") + "-" + day


def run_selftest(args: argparse.Namespace) -> int:
    from .. import selftest  # here, because it is nothing that other commands need

    if not os.path.isdir(args.out):
        raise PiblasError(f"--out {args.out}: there is no such directory")
    with console.progress("opening the device") as say, console.follow_log(say):
        # A board that computes wrong results is what this is for: no canary before.
        options = {"check": False} if args.device == "qpu" else {}
        with open_device(args.device, **options) as device:
            facts = selftest.run(device, say, args.quick)
    report = selftest.text(facts)
    stem = os.path.join(args.out, _name(facts))
    with open(stem + ".json", "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=1)
        file.write("\n")
    with open(stem + ".txt", "w", encoding="utf-8") as file:
        file.write(report)
    print(json.dumps(facts) if args.json else report, end="\n" if args.json else "")
    if not args.json:
        print(f"\nwritten: {stem}.txt and {stem}.json")
    return 1 if selftest.failures(facts) else 0
