"""``piblas [options] SCRIPT ...`` and ``piblas [options] -m MODULE ...``: run somebody's program
with NumPy's and SciPy's functions redirected to piblas (``piblas.patch``).

The program sees ``sys.argv``, ``sys.path[0]`` and ``__main__`` as ``python SCRIPT`` and ``python -m
MODULE`` would set them.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Collection, List, NamedTuple, Optional

import piblas

from ..dispatch import devices
from ..errors import PiblasError
from ..swap.patching import TARGETS

__all__ = ["Program", "parse", "run"]

USAGE = """\
or, to run a program of yours with NumPy's and SciPy's functions redirected to piblas:

  piblas [--device D] [--stats] [--targets T,T,...] [--min-size N] SCRIPT [ARGUMENT ...]
  piblas [--device D] [--stats] [--targets T,T,...] [--min-size N] -m MODULE [ARGUMENT ...]

  --device D     auto, qpu, emulator or cpu, as for piblas.use (the setting PIBLAS_DEVICE)
  --stats        print at the end, on stderr, how many calls ran where, why, and how long they took
  --targets T,T  what is redirected, as for piblas.patch (scipy.blas,numpy.matmul,numpy.dot)
  --min-size N   calls of less operations stay on the CPU
"""


class Program(NamedTuple):
    """A program to run: a file, or a module's name, its arguments, and the options before it."""

    name: str
    module: bool
    arguments: List[str]
    device: Optional[str]
    stats: bool
    targets: Optional[List[str]]
    min_size: Optional[int]


def parse(argv: List[str], commands: Collection[str]) -> Optional[Program]:
    """The program that a command line asks for; None where it is not one of these, but one of the
    ``commands`` or nothing that is known here.  PiblasError: an option with a wrong value."""
    values = {}
    stats = False
    rest = list(argv)
    while rest:
        option, found, value = rest[0].partition("=")
        if option == "--stats" and not found:
            stats = True
            del rest[0]
        elif option in ("--device", "--targets", "--min-size"):
            if not found and len(rest) < 2:
                raise PiblasError(f"{option} wants a value")
            values[option] = value if found else rest[1]
            del rest[: 1 if found else 2]
        else:
            break
    asked = stats or bool(values)
    device = _one_of(values.get("--device"), "--device", devices.NAMES)
    targets, size = _targets(values.get("--targets")), _number(values.get("--min-size"))
    if not rest or rest[0].startswith("-") and rest[0] != "-m" or rest[0] in commands:
        if asked:
            raise PiblasError(f"{' '.join(argv[: len(argv) - len(rest)])}: of which program?")
        return None
    module = rest[0] == "-m"
    if module:
        if len(rest) < 2:
            raise PiblasError("-m wants the name of a module")
        del rest[0]
    elif not asked and not os.path.exists(rest[0]) and not rest[0].endswith(".py"):
        return None
    elif not os.path.exists(rest[0]):
        raise PiblasError(f"{rest[0]}: there is no such file")
    return Program(rest[0], module, rest[1:], device, stats, targets, size)


def _one_of(value: Optional[str], option: str, choices: Collection[str]) -> Optional[str]:
    if value is not None and value not in choices:
        raise PiblasError(f"{option} {value}: choose one of {', '.join(choices)}")
    return value


def _targets(value: Optional[str]) -> Optional[List[str]]:
    if value is None:
        return None
    found = [each.strip() for each in value.split(",")]
    for each in found:
        _one_of(each, "--targets", TARGETS)
    return found


def _number(value: Optional[str]) -> Optional[int]:
    if value is not None and not value.isdecimal():
        raise PiblasError(f"--min-size {value}: wants an integer of at least 0")
    return None if value is None else int(value)


def run(program: Program) -> int:
    """Run it; its exceptions, and its way to exit, are those of ``python`` itself."""
    if program.device is not None:
        piblas.use(program.device)
    if program.stats:
        piblas.stats.timing()
    before = sys.argv[:]
    piblas.patch(program.targets, program.min_size)
    try:
        sys.argv[:] = [program.name, *program.arguments]
        if program.module:
            sys.path.insert(0, os.getcwd())
            runpy.run_module(program.name, run_name="__main__", alter_sys=True)
        else:
            if not os.path.isdir(program.name):  # runpy puts that one there itself
                sys.path.insert(0, os.path.dirname(os.path.abspath(program.name)))
            runpy.run_path(program.name, run_name="__main__")
    finally:
        sys.argv[:] = before
        piblas.unpatch()
        if program.stats:
            sys.stdout.flush()
            piblas.stats.report(sys.stderr)
    return 0
