"""Counts what the Python interpreter does in a call: function calls, exactly, and time.

Calls run on :class:`~bench.null_device.NullDevice`, so that the host's own work is all there is.  A
function call is what cProfile counts: one of a Python function or of a built-in one.
"""

from __future__ import annotations

import contextlib
import cProfile
import gc
import itertools
import os
import subprocess
import sys
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple
from unittest import mock

import numpy as np

import piblas
from bench.null_device import NullDevice
from piblas import config
from piblas.cli import calls as samples
from piblas.dispatch import devices
from piblas.host import arrays
from piblas.routines import ROUTINES
from piblas.tune.interpreter import loop_seconds
from piblas.tune.step import best

__all__ = [
    "Counted",
    "axes",
    "found",
    "function_calls",
    "in_a_fresh_process",
    "measure",
    "on_a_board",
    "prepare",
    "table",
]

POINTS: Dict[int, Dict[str, List[int]]] = {
    1: {"n": [64, 16384]},
    2: {"m": [64, 512], "n": [64, 512], "k": [4, 64], "kl": [4, 16], "ku": [4, 16]},
    3: {"m": [16, 128, 512], "n": [16, 128, 512], "k": [16, 128, 512]},
}
"""Where calls are counted, by level and size."""

BOARD = {"PIBLAS_BOARD": "pi3"}
"""The setting that lets dispatch predict as it does on a board."""


class Counted(NamedTuple):
    """Function calls of a call; seconds, and the same in runs of the fixed loop
    (:mod:`piblas.tune.interpreter`); launches, and programs that it loaded."""

    calls: int
    seconds: float
    loops: float
    launches: float
    loads: int


def function_calls(function: Callable[[], Any]) -> int:
    """Calls of Python functions and of built-in ones in ``function()``, itself included."""
    profile = cProfile.Profile()
    gc.collect()
    gc.disable()
    try:
        profile.enable()
        function()
        profile.disable()
    finally:
        gc.enable()
    entries: Any = profile.getstats()
    return sum(entry.callcount for entry in entries) - 1  # that of disable()


def prepare(
    routine: str, sizes: Mapping[str, int], resident: bool, device: NullDevice
) -> Callable[[], Any]:
    """A call of a routine, its operands ready: arrays in device memory, or ordinary ones."""

    def place(value: np.ndarray) -> np.ndarray:
        return arrays.array(value, device=device) if resident else np.array(value, order="K")

    return samples.prepare(
        routine, getattr(piblas, routine), sizes, samples.Options(), place
    )


def _others(sizes: Mapping[str, int]) -> Iterator[Dict[str, int]]:
    """Shapes that are near, so that their programs are those of this shape."""
    for step in (16, 32, -16, 64):
        yield {name: max(1, size + step) if size > 64 else size for name, size in sizes.items()}
    for factor in (2, 4):
        yield {name: factor * size for name, size in sizes.items()}


@contextlib.contextmanager
def on_a_board() -> Iterator[None]:
    """Let this be a Pi 3: dispatch predicts, and leaves small calls to the CPU under "auto"."""
    try:
        with mock.patch.dict("os.environ", BOARD):
            config.forget()
            yield
    finally:
        config.forget()


def measure(
    routine: str, sizes: Mapping[str, int], resident: bool
) -> Dict[str, Counted]:
    """What the "first" call of a shape takes, its programs having been loaded by other shapes as
    far as they use the same ones, and a "repeated" one."""
    device = NullDevice()
    with on_a_board(), piblas.use(device):
        for other in _others(sizes):
            prepare(routine, other, resident, device)()
        call = prepare(routine, sizes, resident, device)
        loads = device.loads
        first = function_calls(call)
        found = {"first": Counted(first, 0.0, 0.0, 0.0, device.loads - loads)}
        call()
        launches = device.launches
        repeated = function_calls(call)
        launches = device.launches - launches
        seconds = best(call, 15)
    device.close()
    found["repeated"] = Counted(repeated, seconds, seconds / loop_seconds(), launches, 0)
    return found


_FRESH = """
import sys, time
import numpy
before = set(sys.modules)
import cProfile
profile = cProfile.Profile()
begin = time.perf_counter()
{enable}
from bench.null_device import NullDevice
import piblas
x, y = numpy.ones((2, 4096), numpy.float32)
a, b = numpy.ones((2, 64, 64), numpy.float32)
device = NullDevice()
with piblas.use(device):
    {call}
{disable}
seconds = time.perf_counter() - begin
calls = sum(entry.callcount for entry in profile.getstats())
print(calls, seconds, device.launches, "scipy" in sys.modules)
"""
FRESH = {
    "saxpy": "piblas.saxpy(x, y, a=0.5)",
    "sdot": "piblas.sdot(x, y)",
    "sgemv": "piblas.sgemv(1.0, a, x[:64])",
    "sgemm": "piblas.sgemm(1.0, a, b)",
    "strsm": "piblas.strsm(1.0, numpy.eye(64, dtype=numpy.float32), b)",
}
"""The first call of a process, by routine: vectors of 4096 elements, matrices of 64 x 64."""


def in_a_fresh_process(routine: str) -> Tuple[int, float, bool]:
    """(function calls, seconds without counting, whether SciPy was imported) from importing piblas
    to the end of the first call, NumPy having been imported."""
    lines = []
    for enable, disable in (("profile.enable()", "profile.disable()"), ("", "")):
        code = _FRESH.format(enable=enable, disable=disable, call=FRESH[routine])
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, **BOARD},
        )  # fmt: skip
        lines.append(done.stdout.split())
    return int(lines[0][0]) - 1, float(lines[1][1]), lines[1][3] == "True"


# --- the stored table ----------------------------------------------------------------------------


def axes(routine: str) -> Dict[str, List[int]]:
    """The points at which a routine's calls are counted, by the names of its sizes."""
    row = ROUTINES[routine]
    return {name: POINTS[row.level][name] for name in row.sizes}


def _repeated(call: Callable[[], Any]) -> int:
    call()
    call()
    return function_calls(call)


@contextlib.contextmanager
def found(device: NullDevice) -> Iterator[None]:
    """Let "auto" find the device."""
    with mock.patch.object(devices, "open_device", lambda name, **options: device):
        devices.close()
        try:
            with piblas.use("auto"):
                yield
        finally:
            devices.close()


def _on_cpu(routine: str) -> int:
    """Function calls where dispatch, having found a GPU, leaves the call to the CPU."""
    device = NullDevice()
    with on_a_board(), found(device):
        kept = arrays.array([1.0])  # arrays in device memory exist, so that no call is cut short
        assert kept.on_device is device
        sizes = {name: points[0] for name, points in axes(routine).items()}
        counted = _repeated(prepare(routine, sizes, False, device))
        assert device.launches == 0, routine
    return counted


def table(routine: str) -> Dict[str, Any]:
    """The entry of a routine in ``piblas/dispatch/host_calls.json``."""
    grid = axes(routine)
    entry: Dict[str, Any] = {"axes": grid}
    device = NullDevice()
    with on_a_board(), piblas.use(device):
        for name in ("resident", "staged"):
            entry[name] = [
                _repeated(prepare(routine, dict(zip(grid, at)), name == "resident", device))
                for at in itertools.product(*grid.values())
            ]
    device.close()
    entry["cpu"] = _on_cpu(routine)
    return entry
