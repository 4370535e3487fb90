"""``piblas bench``: the benchmarks of the source tree, through pytest and pytest-benchmark."""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from ..errors import PiblasError

__all__ = ["add_commands"]

SOURCE = pathlib.Path(__file__).parent.parent.parent


def add_commands(commands: Any) -> None:
    bench = commands.add_parser(
        "bench",
        help="run the benchmarks of the source tree",
        description="Run the benchmarks: simulated clocks on the emulator, or measured times on "
        "the QPUs of this board, and what the host does. They are part of the source tree, and "
        'need pip install ".[bench,test]" there. Arguments after -- go to pytest.',
    )
    bench.add_argument(
        "--suite", action="append", metavar="NAME", help="only this suite; repeatable"
    )
    bench.add_argument("--full", action="store_true", help="the sizes of the bars; takes minutes")
    bench.add_argument(
        "--timing", action="append", metavar="SET", help="pessimistic, calibrated or optimistic"
    )
    bench.add_argument(
        "--device", choices=("emulator", "qpu"), default="emulator", help="where (emulator)"
    )
    bench.add_argument("--json", metavar="FILE", help="pytest-benchmark's data")
    bench.add_argument("--report", metavar="FILE.html", help="a page with tables and pictures")
    bench.add_argument("rest", nargs="*", metavar="-- ...", help="arguments of pytest")
    bench.set_defaults(run=run_bench, parser=bench)


def run_bench(args: argparse.Namespace) -> int:
    """Run pytest on the suites; its exit code."""
    suites = SOURCE / "bench" / "suites"
    if not suites.is_dir():
        raise PiblasError("the benchmarks are part of the source tree, not of an installed package")
    for name in ("pytest", "pytest_benchmark"):
        if importlib.util.find_spec(name) is None:
            raise PiblasError(f'{name} is missing: pip install ".[bench,test]" in the source tree')
    words = [sys.executable, "-m", "pytest", "bench", "-q", "--target", args.device]
    for name in args.suite or ():
        words += ["--suite", name]
    for name in args.timing or ():
        words += ["--timing", name]
    if args.full:
        words.append("--full")
    with tempfile.TemporaryDirectory() as directory:
        data = pathlib.Path(args.json or f"{directory}/bench.json").absolute()
        words.append(f"--benchmark-json={data}")
        code = subprocess.run([*words, *args.rest], cwd=SOURCE).returncode
        if args.report and code == 0:
            page = pathlib.Path(args.report).absolute()
            words = [sys.executable, "-m", "bench", "report", str(data), "-o", str(page)]
            code = subprocess.run(words, cwd=SOURCE).returncode
    return int(code != 0)
