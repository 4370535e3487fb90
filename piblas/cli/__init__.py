"""The command ``piblas``: each sub-command is a few lines over the library; and the name of a
program in place of one, which is run with ``piblas.patch``.

Exit codes: 0 done, 1 failed (with a message on stderr), 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import List, Optional

from .. import __version__
from ..errors import PiblasError
from . import (
    bench,
    check,
    demo,
    doctor,
    info,
    profile,
    programs,
    run,
    script,
    selftest,
    tune,
)

__all__ = ["main"]

DESCRIPTION = "Single-precision BLAS on the VideoCore IV QPUs of the Raspberry Pi Zero, 1, 2, 3."


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="piblas", description=DESCRIPTION, epilog=script.USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"piblas {__version__}")
    top.add_argument("-v", "--verbose", action="store_true", help="show the library's log")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    commands.required = True
    for module in (demo, info, doctor, selftest, tune, programs, check, run, profile, bench):
        module.add_commands(commands)
    return top


def _names(top: argparse.ArgumentParser) -> List[str]:
    """The names of the sub-commands."""
    (commands,) = (each for each in top._actions if isinstance(each, argparse._SubParsersAction))
    return list(commands.choices)


def _sentence(error: Exception) -> str:
    """What went wrong; of the operating system's errors, the file and the reason."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def main(argv: Optional[List[str]] = None) -> int:
    """Run a command line; returns the exit code."""
    known = parser()
    try:
        program = script.parse(sys.argv[1:] if argv is None else argv, _names(known))
    except PiblasError as error:
        known.error(str(error))
    if program is not None:
        return script.run(program)
    args = known.parse_args(argv)
    if args.verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger("piblas").setLevel(logging.DEBUG)
    try:
        code = args.run(args)
        sys.stdout.flush()
        return code
    except (PiblasError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # Whoever read our output has gone; a second complaint at exit helps nobody.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        print(f"piblas {args.command}: {_sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"piblas {args.command}: interrupted", file=sys.stderr)
        return 130
