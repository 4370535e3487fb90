"""What a call costs the host: function calls, exactly, and time beside a fixed loop in pure Python.

    python -m bench host              prints calls, launches and times
    python -m bench host --json       the same for programs
    python -m bench host --update     counts all routines and writes piblas/dispatch/host_calls.json

Launches return at once (bench/null_device.py).  What a Pi's driver adds for each launch is counted
apart, with its system calls left out; cleaning and invalidating cached memory is not counted.
Counts hold for one version of CPython and NumPy, give or take a few.
"""

from __future__ import annotations

import argparse
import json
import mmap
import pathlib
import platform
import sys
import timeit
from typing import Any, Dict, List, Mapping
from unittest import mock

import numpy as np

from bench import counting
from piblas.cli import calls as samples
from piblas.dispatch import host_calls
from piblas.tune.interpreter import CALLS, loop_seconds

__all__ = ["launch_calls", "main", "text"]

CASES = (
    ("saxpy", {"n": 4096}),
    ("sdot", {"n": 4096}),
    ("sgemv", {"m": 512, "n": 512}),
    ("sgemm", {"m": 64, "n": 64, "k": 64}),
    ("sgemm", {"m": 512, "n": 512, "k": 512}),
    ("strsm", {"m": 256, "n": 256}),
)


def launch_calls() -> int:
    """Function calls of a launch in the driver of a Pi, through the mailbox, whose system calls
    answer at once; that of ``Device.execute_list`` itself is not among them."""
    from piblas.driver import hardware, launchers, mailbox, memory, pools

    class Plain(memory.MemoryBackend):
        name = "plain"

        def take(self, nbytes: int) -> memory.Block:
            size = -(-nbytes // memory.PAGE) * memory.PAGE
            return memory.Block(0xC0000000, size, mmap.mmap(-1, size))

    class Answering(mailbox.Mailbox):
        def __init__(self) -> None:
            self.path, self._fd = "no file", 0

        def close(self) -> None:
            self._fd = -1

    def answered(fd: int, number: int, buffer: bytearray, times: int = 1) -> None:
        words = np.frombuffer(buffer, np.uint32)
        words[1] = words[4] = 0x80000000
        words[5:] = 0

    class Lock:
        def release(self) -> None:
            pass

        forget = release

    with mock.patch.object(mailbox, "ioctl", answered):
        box = Answering()
        both = pools.pools_for(Plain(), Plain())
        launcher = launchers.MailboxLauncher(box)
        unused: Any = None
        lock: Any = Lock()
        device = hardware.Pi(unused, 250e6, box, both, launcher, lock)
        try:
            program = device.load(np.zeros(8, np.uint64))
            listed = device.alloc(4096)
            listed.array(np.uint32, 24)[:] = np.tile([listed.bus_address, program.bus_address], 12)
            address = listed.bus_address
            device.execute_list(address, 12)
            counted = counting.function_calls(lambda: device.execute_list(address, 12))
        finally:
            device.close()
    return counted - 2  # neither the lambda nor execute_list


def builtin_seconds() -> float:
    """Seconds of a round of the loop that :data:`piblas.dispatch.boards.PYTHON` goes back to: two
    calls of a module's built-in function with two arguments."""
    rounds = 20000
    timer = timeit.Timer("m.pow(4, True); m.pow(4, False)", "import math as m")
    return min(timer.repeat(10, rounds)) / rounds


def text(data: Mapping[str, Any]) -> str:
    """The text of ``host_calls.json``: a list a line."""
    lines = [
        "{",
        f' "python": {json.dumps(data["python"])},',
        f' "launch": {data["launch"]},',
        ' "routines": {',
    ]
    for routine, row in sorted(data["routines"].items()):
        lines += [f'  "{routine}": {{']
        lines += [f'   "{key}": {json.dumps(row[key])},' for key in ("axes", "resident", "staged")]
        lines += [f'   "cpu": {row["cpu"]}', "  },"]
    lines[-1] = "  }"
    return "\n".join([*lines, " }", "}", ""])


def update() -> None:
    """Count every routine and write the file."""
    data: Dict[str, Any] = {
        "python": f"CPython {platform.python_version()}, NumPy {np.__version__}",
        "launch": launch_calls(),
        "routines": {},
    }
    for routine in samples.routines():
        data["routines"][routine] = counting.table(routine)
        print(routine, data["routines"][routine], flush=True)
    pathlib.Path(host_calls.PATH).write_text(text(data))


def measured() -> Dict[str, Any]:
    """All that the command prints."""
    rows: List[Dict[str, Any]] = []
    for routine, sizes in CASES:
        for resident in (False, True):
            counted = counting.measure(routine, sizes, resident)
            rows.append(
                {
                    "routine": routine,
                    "sizes": sizes,
                    "resident": resident,
                    **{name: row._asdict() for name, row in counted.items()},
                }
            )
    loop = loop_seconds(100)
    fresh = {}
    for routine in counting.FRESH:
        calls, seconds, scipy = counting.in_a_fresh_process(routine)
        fresh[routine] = {"calls": calls, "loops": seconds / loop, "scipy": scipy}
    hot = [row["repeated"] for row in rows if row["repeated"]["calls"] < 3000]
    call = float(np.median([row["seconds"] / row["calls"] for row in hot]))
    return {
        "rows": rows,
        "fresh": fresh,
        "loop_us": 1e6 * loop,
        "per_call": call / loop * CALLS,
        "per_builtin": call / (builtin_seconds() / 2),
        "launch": launch_calls(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench host", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--update", action="store_true", help="write the stored counts anew")
    args = parser.parse_args()
    if args.update:
        update()
        return 0
    found = measured()
    if args.json:
        print(json.dumps(found))
        return 0
    print("function calls (Python's and built-in ones) on a device whose launches return at once;")
    loop = f"a loop of {CALLS} calls in pure Python, here {found['loop_us']:.0f} us"
    print(f"times in runs of {loop}\n")
    print(
        f"{'a repeated call':34}{'calls':>8}{'launches':>10}{'time':>8}{'first of its shape':>20}"
    )
    for row in found["rows"]:
        where = "resident" if row["resident"] else "ordinary"
        sizes = " x ".join(map(str, row["sizes"].values()))
        again, first = row["repeated"], row["first"]
        loads = f", {first['loads']} loaded" if first["loads"] else ""
        print(
            f"{row['routine'] + ' ' + sizes + ', ' + where:34}{again['calls']:8}"
            f"{again['launches']:10}{again['loops']:8.2f}{str(first['calls']) + loads:>20}"
        )
    print("\nthe first call of a process, from importing piblas on (NumPy is there)")
    for routine, row in found["fresh"].items():
        scipy = "SciPy imported" if row["scipy"] else "no SciPy"
        print(f"  {routine:32}{row['calls']:8}{row['loops']:18.1f}   {scipy}")
    print(f"\na launch in the driver of a Pi, through the mailbox: {found['launch']} calls more")
    print(
        f"a call of piblas takes as long as {found['per_call']:.1f} calls of the loop, and as "
        f"{found['per_builtin']:.2f} calls of math.pow, two in a loop"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
