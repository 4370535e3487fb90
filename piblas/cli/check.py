"""``piblas check``: does a program keep the rules of the hardware?"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any, Dict

from . import files

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="check a program against the hardware's rules",
        description="Check the program in FILE against every hazard rule.  Exit code 1 if one of "
        "level error is broken; warnings mark what runs, but may not do what was meant.",
        epilog=f"FILE: {files.FORMS}.",
    )
    check.add_argument("file", metavar="FILE", help="the program; - for stdin")
    check.add_argument(
        "--entry",
        metavar="WORD",
        help="begin at this word, or label (0); the words before it are a header",
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..codegen.check import check
    from ..isa.hazards import ERROR

    source = files.read_program(args.file)
    entry = files.entry_word(args.entry, source)
    places = {index: f"{args.file}:{line}" for index, line in enumerate(source.lines[entry:])}
    labels = [index - entry for index in source.labels.values() if index >= entry]
    findings = [
        dataclasses.replace(finding, index=finding.index + entry)
        for finding in check(source.words[entry:], places, labels)
    ]
    errors = sum(finding.level == ERROR for finding in findings)
    warnings = len(findings) - errors
    if args.json:
        rows = [_row(finding) for finding in findings]
        facts = {"words": len(source.words), "errors": errors, "warnings": warnings}
        print(json.dumps({**facts, "findings": rows}, indent=2))
    else:
        for finding in findings:
            place = f"  ({finding.where})" if finding.where else ""
            head = f"{finding.address:04x}  {finding.level:<5}  {finding.rule:<6}  "
            print(f"{head}{finding.message}")
            print(f"{' ' * len(head)}{finding.instruction}{place}")
        counts = ((len(source.words), "word"), (errors, "error"), (warnings, "warning"))
        print(", ".join(f"{count} {name}{'s' * (count != 1)}" for count, name in counts))
    return 1 if errors else 0


def _row(finding: Any) -> Dict[str, Any]:
    names = ("rule", "level", "message", "index", "address", "instruction", "where")
    return {name: getattr(finding, name) for name in names}
