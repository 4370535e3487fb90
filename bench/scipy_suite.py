"""SciPy's own tests with piblas's functions in place of its BLAS: no failure may be new.

    python -m bench scipy_suite                      under all targets, all files
    python -m bench scipy_suite cpu emulator         under these
    python -m bench scipy_suite --fast               the tests of BLAS and of two solvers only
    python -m bench scipy_suite --numpy              np.matmul and np.dot are redirected as well

Runs the tests of the installed SciPy (some distributions leave them out) in a process for each
target, and once with SciPy's own functions; prints what fails with piblas's only.  Targets: "cpu";
"emulator", strict; "incoherent", the emulator that keeps caches and memory apart as the chip does.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Sequence

__all__ = ["FAST", "FILES", "TARGETS", "main", "outcomes"]

FAST = (
    "linalg/tests/test_blas.py",
    "linalg/tests/test_fblas.py",
    "sparse/linalg/_isolve/tests/test_lgmres.py",
    "sparse/linalg/_isolve/tests/test_gcrotmk.py",
)
FILES = (
    *FAST,
    "linalg/tests/test_basic.py",
    "linalg/tests/test_decomp.py",
    "linalg/tests/test_solvers.py",
    "linalg/tests/test_matfuncs.py",
    "optimize/tests/test_nonlin.py",
)
TARGETS = ("cpu", "emulator", "incoherent")
OWN = "SciPy's own"


class _Collected:
    """A plugin of pytest: the outcome of each test by its name."""

    def __init__(self) -> None:
        self.found: Dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.found[report.nodeid] = report.outcome

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.found[report.nodeid] = "failed"


def _child(target: str, output: str, numpy: bool, files: Sequence[str]) -> int:
    """Run the tests in this process, and write outcomes and statistics to a file."""
    import pytest
    import scipy

    import piblas

    if target != OWN:
        if target == "cpu":
            piblas.use("cpu")
        else:
            # In a fresh state for each process: noise in memory, and every rule kept.
            incoherent = target == "incoherent"
            piblas.use(piblas.driver.Emulator(64 << 20, incoherent=incoherent, seed=1))
        piblas.patch(["scipy.blas.all"] + (["numpy.matmul", "numpy.dot"] if numpy else []))
    root = pathlib.Path(scipy.__file__).parent
    collected = _Collected()
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-o", "addopts=", "-p", "no:randomly"]
    where = ["--rootdir", str(root.parent), "-c", os.devnull]
    pytest.main([*options, *where, *(str(root / name) for name in files)], [collected])
    pathlib.Path(output).write_text(json.dumps([collected.found, piblas.stats.by_routine()]))
    return 0


def outcomes(target: str, files: Sequence[str], numpy: bool = False) -> List[Dict[str, Any]]:
    """(test -> outcome, what ``piblas.stats.by_routine`` counted) under a target, or with SciPy's
    own functions."""
    with tempfile.TemporaryDirectory() as directory:
        output = os.path.join(directory, "found.json")
        command = [sys.executable, "-m", "bench.scipy_suite", "--child", target, output]
        command += ["--numpy"] * numpy
        done = subprocess.run([*command, *files], capture_output=True, text=True)
        if not os.path.exists(output):
            raise RuntimeError(f"{target}: {done.stdout}\n{done.stderr}")
        with open(output, encoding="utf-8") as file:
            found: List[Dict[str, Any]] = json.load(file)
    if not found[0]:
        raise RuntimeError(f"this SciPy has no tests: {done.stdout[-1000:]}")
    found.append({"log": done.stdout})
    return found


def new_failures(ours: Dict[str, str], own: Dict[str, str]) -> List[str]:
    """Tests that pass or are skipped with SciPy's functions and not so with piblas's."""
    return sorted(
        name for name, outcome in own.items()
        if outcome != "failed" and ours.get(name, "missing") != outcome
    )  # fmt: skip


def main(argv: Any = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="python -m bench scipy_suite", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--fast", action="store_true", help="a part of the files")
    parser.add_argument("--numpy", action="store_true", help="redirect NumPy's products too")
    parser.add_argument("--child", nargs=2, metavar=("TARGET", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        return _child(*args.child, args.numpy, args.targets)
    for each in args.targets:
        if each not in TARGETS:
            parser.error(f"{each}: choose of {', '.join(TARGETS)}")
    files = FAST if args.fast else FILES
    own, *_ = outcomes(OWN, files)
    failed = sum(outcome == "failed" for outcome in own.values())
    print(f"{OWN} functions: {len(own)} tests, {failed} failures", flush=True)
    worst = 0
    for target in args.targets or TARGETS:
        ours, counted, log = outcomes(target, files, args.numpy)
        more = new_failures(ours, own)
        calls: Dict[str, int] = {}
        for backends in counted.values():
            for backend, reasons in backends.items():
                calls[backend] = calls.get(backend, 0) + sum(reasons.values())
        text = ", ".join(f"{count} on {backend}" for backend, count in sorted(calls.items()))
        print(f"{target}: {len(ours)} tests, {len(more)} failures more; calls: {text}", flush=True)
        for name in more:
            print(f"  {name}: {ours.get(name, 'missing')}")
        if more:
            print(log["log"])
        worst += len(more)
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
