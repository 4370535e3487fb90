"""``piblas doctor``: can the QPUs of this board be used, and if not, what is to be done."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any, Iterator, List

from ..doctor.finding import FAIL, INFO, OK, SKIP, WARN, Finding
from ..driver import needs
from ..errors import PiblasError

__all__ = ["add_commands"]

_MARKS = {OK: "ok  ", INFO: "info", WARN: "WARN", FAIL: "FAIL", SKIP: "-   "}
_WIDTH = 92


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check whether the QPUs of this board can be used; remedies",
        description="Check everything that the QPUs of a Raspberry Pi need, say what is missing, "
        "why it matters and what to do, and end with a program on the QPUs whose results are "
        "compared. Exit code 0 if the QPUs work, 1 if not.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--fix-hints", action="store_true", help="print the udev rule and lines of config.txt"
    )
    parser.set_defaults(run=run_doctor)


def run_doctor(args: argparse.Namespace) -> int:
    try:
        from ..doctor import checks, fixes  # here, because they import all of the driver

        examined: Iterator[Finding] = checks.examine()
    except Exception as error:
        if args.fix_hints:
            raise PiblasError(f"{needs.driver(error)}; {needs.IOCTL_OPT}") from error
        examined = iter([_broken(error)])
    if args.fix_hints:
        print(json.dumps({"hints": fixes.hints()}) if args.json else fixes.hints())
        return 0
    findings: List[Finding] = []
    for finding in examined:
        findings.append(finding)
        if not args.json:
            print(_text(finding), flush=True)
    usable = not any(finding.status == FAIL for finding in findings)
    if args.json:
        print(json.dumps({"usable": usable, "findings": [row._asdict() for row in findings]}))
    else:
        print("\n" + _summary(findings, usable))
    return 0 if usable else 1


def _broken(error: Exception) -> Finding:
    why = "without it no call reaches the QPUs"
    return Finding("driver", FAIL, needs.driver(error), why, needs.IOCTL_OPT)


def _text(finding: Finding) -> str:
    head = f"{_MARKS[finding.status]}  {finding.check}: "
    indent = 6 * " "
    lines = textwrap.wrap(
        head + finding.found, _WIDTH, subsequent_indent=indent, break_on_hyphens=False
    )
    if finding.status in (WARN, FAIL):
        rows = [("why", finding.why), ("do", finding.remedy)]
        for name, text in rows:
            if text:
                lines += textwrap.wrap(
                    f"{name}: {text}",
                    _WIDTH,
                    initial_indent=indent,
                    subsequent_indent=indent + "  ",
                    break_on_hyphens=False,
                    break_long_words=False,
                )
    return "\n".join(lines)


def _summary(findings: List[Finding], usable: bool) -> str:
    warned = sum(finding.status == WARN for finding in findings)
    if not usable:
        failed = sum(finding.status == FAIL for finding in findings)
        what = "1 check failed" if failed == 1 else f"{failed} checks failed"
        return f"The QPUs cannot be used ({what}); piblas computes on the CPU."
    return "The QPUs work." + (f" Warnings: {warned}." if warned else "")
