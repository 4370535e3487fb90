"""``python -m tests.virtual_pi SET-UP [COMMAND ...]``: run a program on a virtual Pi.

Without a command it lists the set-ups.  Afterwards it prints what the program left behind; with
``--trace`` before the set-up, every system call too.
"""

from __future__ import annotations

import subprocess
import sys

from .pi import VirtualPi
from .setups import SETUPS


def main() -> int:
    arguments = sys.argv[1:]
    trace = "--trace" in arguments[:1]
    arguments = arguments[trace:]
    if len(arguments) < 2 or arguments[0] not in SETUPS:
        print(__doc__)
        for name, row in SETUPS.items():
            print(f"{name:20} {row.board.model}, {row.release}, {row.kernel}, uid {row.user[0]}")
        return 2
    with VirtualPi(arguments[0]) as pi:
        code = subprocess.call(arguments[1:], env=pi.environment())
        report = pi.report()
        if trace:
            for call in pi.faults.calls:
                print(f"{call.pid} {call.name}", file=sys.stderr)
        print(f"[virtual Pi: exit code {code}, {report}]", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
