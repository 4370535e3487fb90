"""``piblas info`` and ``piblas why``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import platform
import sys
from typing import Any, Dict, List, Optional, Tuple

import piblas

from .. import config, routines
from ..dispatch import boards, devices, profiles
from ..driver import needs
from . import console

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    info = commands.add_parser(
        "info",
        help="versions, devices, settings, kernels",
        description="Show versions, which devices there are, the settings and the kernels.",
    )
    info.add_argument("--json", action="store_true", help="print one JSON object")
    info.set_defaults(run=run_info)

    why = commands.add_parser(
        "why",
        help="where a call would run, and why",
        description="Say where a call would run and why, e.g.: piblas why sgemm 512 512 512",
    )
    rows = sorted(routines.ROUTINES)
    why.add_argument("routine", choices=rows, metavar="routine", help="name of the routine")
    why.add_argument("size", type=size, nargs="+", help="its sizes; for sgemm m n k")
    why.add_argument("--device", choices=devices.NAMES, help="ask about this device")
    why.add_argument("--board", choices=list(boards.BOARDS), help="ask about this board")
    why.add_argument(
        "--resident", action="store_true", help="the operands are in GPU memory already"
    )
    why.add_argument("--json", action="store_true", help="print one JSON object")
    why.set_defaults(run=run_why, parser=why)


def size(text: str) -> int:
    """A size on the command line."""
    value = int(text) if text.isdigit() else -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 0")
    return value


def run_why(args: argparse.Namespace) -> int:
    names = routines.ROUTINES[args.routine].sizes
    if len(args.size) != len(names):
        args.parser.error(f"{args.routine} has the sizes {' '.join(names)}")
    choice = piblas.why(
        args.routine,
        device=args.device,
        board=args.board,
        resident=args.resident,
        **dict(zip(names, args.size)),
    )
    print(json.dumps(_facts(choice)) if args.json else choice)
    return 0


def _versions() -> Dict[str, str]:
    found = {"piblas": piblas.__version__, "python": platform.python_version()}
    for name in ("numpy", "scipy", "ioctl-opt", "numba", "rich"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _devices() -> Dict[str, str]:
    missing = devices.found().missing
    return {
        "qpu": missing or "available",
        "emulator": _emulator(),
        "cpu": "available (scipy.linalg.blas)",
    }


def _facts(choice: piblas.Choice) -> Dict[str, Any]:
    """A choice as plain values."""
    parts = {name: cost._asdict() for name, cost in choice.parts.items()}
    return {**choice._asdict(), "seconds": dict(choice.seconds), "parts": parts}


def _emulator() -> str:
    """Whether the emulator can be used, and where its compiled code is kept."""
    if importlib.util.find_spec("numba") is None:
        return f"needs numba: {needs.emulator()}"
    try:
        from ..emu.scheduler import kept_in
    except Exception as error:  # whatever a broken installation of numba raises
        return f"numba does not work here: {error}"
    place = kept_in()
    if place is None:
        return "available, but each process compiles it anew, for lack of a place: NUMBA_CACHE_DIR"
    return f"available, compiled code is kept in {place}"


def _figures(board: Optional[boards.Board]) -> str:
    """Whose figures dispatch decides by."""
    if board is None:
        return "none"
    path = profiles.path(board.name)
    return f"measured, {path}" if board.tuned else f"published ones; none measured in {path}"


def _settings() -> List[Tuple[str, str, str, str]]:
    return [
        (row.name, config.get(row.name), row.default, row.meaning) for row in config.SETTINGS
    ]


def _kernels() -> Dict[str, Dict[str, Any]]:
    from ..kernels import spec

    rows = {}
    for name in spec.names():
        kernel = spec.get(name)
        rows[name] = {
            "summary": kernel.summary,
            "routines": list(kernel.routines),
            "options": dataclasses.asdict(kernel.defaults),
        }
    return rows


def run_info(args: argparse.Namespace) -> int:
    board = devices.board()
    facts = {
        "versions": _versions(),
        "platform": f"{platform.machine()} {platform.system()}, {sys.byteorder}-endian",
        "board": f"{board.name}: {board.model}" if board else "no Raspberry Pi of these models",
        "figures": _figures(board),
        "devices": _devices(),
        "settings": {row[0]: {"value": row[1], "default": row[2]} for row in _settings()},
        "kernels": _kernels(),
    }
    if args.json:
        print(json.dumps(facts))
        return 0
    print("versions\n" + console.table(list(facts["versions"].items())))
    rows = [(name, facts[name]) for name in ("platform", "board", "figures")]
    print("machine\n" + console.table(rows))
    print("devices\n" + console.table(list(facts["devices"].items())))
    print("settings\n" + console.table([(n, v or '""', m) for n, v, _, m in _settings()]))
    print("kernels")
    for name, row in facts["kernels"].items():
        options = " ".join(f"{key}={value}" for key, value in row["options"].items())
        print(console.table([(name, row["summary"]), ("", f"options: {options}")]))
    return 0
