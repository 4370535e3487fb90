"""Options and machine facts of the benchmarks that pytest runs: ``pytest bench``."""

from __future__ import annotations

import platform
from typing import Any, Dict

import numpy as np
import pytest

import piblas
from piblas.dispatch import boards
from piblas.isa.timing import SETS

SUITES = (
    "sgemm", "level1", "level2", "level3", "host", "emulator", "assembler", "cpu_overhead",
)  # fmt: skip


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("piblas")
    group.addoption("--suite", action="append", choices=SUITES, help="only this suite")
    group.addoption("--full", action="store_true", help="the sizes of the bars, not small ones")
    group.addoption(
        "--timing", action="append", choices=SETS, help="only this timing set of the emulator"
    )
    group.addoption(
        "--target", choices=("emulator", "qpu"), default="emulator", help="simulate or measure"
    )


def pytest_collection_modifyitems(config: Any, items: Any) -> None:
    """Leave the suites that were asked for; without pytest-benchmark there is nothing to run."""
    chosen = config.getoption("--suite")
    if chosen:
        items[:] = [item for item in items if item.path.stem.replace("test_", "") in chosen]


def pytest_benchmark_update_machine_info(config: Any, machine_info: Dict[str, Any]) -> None:
    """What a reader of the file wants to know of the machine, and of what was simulated."""
    machine_info["piblas"] = piblas.__version__
    machine_info["numpy"] = np.__version__
    machine_info["python"] = platform.python_version()
    machine_info["board"] = boards.detect() or "no Raspberry Pi"
    machine_info["target"] = config.getoption("--target")


@pytest.fixture(scope="session")
def full(request: Any) -> bool:
    """Whether the sizes of the bars are asked for."""
    return bool(request.config.getoption("--full"))


def _line(row: Any) -> str:
    info = row["extra_info"]
    cells = [f"{row['fullname'].split('/')[-1]:58}"]
    for name, cycles in info.get("cycles", {}).items():
        rates = info["rates"][name]
        cells.append(
            f"{name} {cycles:,} clocks, {rates['gflops']:.3g} GFLOPS, "
            f"{rates['gbytes_per_second']:.3g} GB/s, {rates['share_of_limit']:.1%} of the limit;"
        )
    for name, calls in info.get("function_calls", {}).items():
        cells.append(f"{name}: {calls:,} function calls;")
    for name, ratio in info.get("ratio", {}).items():
        cells.append(f"{name} {ratio:.2f};")
    if "residual" in info:
        cells.append(f"residual {info['residual']:.1e};")
    return " ".join(cells).rstrip(";")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """The figures themselves: pytest-benchmark's table has the time that emulating took."""
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    terminalreporter.section("figures")
    for bench in session.benchmarks:
        if bench.extra_info:
            line = _line({"fullname": bench.fullname, "extra_info": bench.extra_info})
            terminalreporter.write_line(line)
