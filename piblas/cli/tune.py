"""``piblas tune``: measures this board, or simulates one, and keeps it as the board's profile."""

from __future__ import annotations

import argparse
import contextlib
import json
from typing import Any, Dict, Iterator, List, Tuple

from ..dispatch import boards, devices, profiles, tuned
from ..driver import open_device
from ..driver.device import Device
from ..errors import PiblasError
from . import calls, console

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "tune",
        help="measure this board, so that dispatch decides by its own figures",
        description="Measure launches, copies, the CPU and every routine with a kernel on the "
        "QPUs of this board, and keep the figures as the board's profile, which dispatch reads "
        "from then on in place of published ones. On the emulator the routines are simulated; "
        "dispatch takes no figures from there. `piblas info` shows where profiles are.",
    )
    parser.add_argument(
        "--device", choices=("qpu", "emulator"), default="qpu", help="what to measure (qpu)"
    )
    parser.add_argument(
        "--board", choices=list(boards.BOARDS), help="whose profile (the board that this is)"
    )
    parser.add_argument(
        "--routine", action="append", choices=calls.routines(), metavar="NAME",
        help="only this routine; may be repeated",
    )  # fmt: skip
    parser.add_argument("--step", action="append", metavar="STEP", help="only this step")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller sizes")
    parser.add_argument("--dry-run", action="store_true", help="keep nothing")
    parser.add_argument("--forget", action="store_true", help="delete the profile and do no more")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_tune, parser=parser)


def _board(args: argparse.Namespace) -> str:
    here = devices.board()
    if args.board:
        elsewhere = here is None or here.name != args.board
        if elsewhere and args.device == "qpu" and not args.forget:
            what = f"a {here.name}" if here else "none of the boards"
            raise PiblasError(f"--board {args.board}: this is {what}, and has not its QPUs")
        return str(args.board)
    if here is None:
        raise PiblasError(
            f"this is none of the boards {', '.join(boards.BOARDS)}: name one by --board, with "
            "--device emulator"
        )
    return here.name


def _steps(args: argparse.Namespace) -> Tuple[Any, ...]:
    from .. import tune  # here, because it is nothing that other commands need

    names = [step.name for step in tune.STEPS if args.device in step.devices]
    for name in args.step or ():
        if name not in names:
            args.parser.error(
                f"--step {name}: with --device {args.device} choose {', '.join(names)}"
            )
    return tuple(step for step in tune.STEPS if step.name in (args.step or names))


def _start(
    published: boards.Board, steps: Tuple[Any, ...], args: argparse.Namespace
) -> boards.Board:
    """The figures that a step's factors are relative to: those that dispatch will multiply."""
    kept = profiles.load(published.name, "qpu").get(tuned.FIGURES)
    if args.device == "emulator" or kept is None or tuned.FIGURES in [s.name for s in steps]:
        return published
    return tuned.with_figures(published, kept)


@contextlib.contextmanager
def _opened(args: argparse.Namespace, board: boards.Board) -> Iterator[Device]:
    if args.device == "emulator":
        with open_device("emulator", clock_hz=1e6 * board.clock) as device:
            yield device
    else:
        with open_device("qpu") as device:
            yield device


def run_tune(args: argparse.Namespace) -> int:
    name = _board(args)
    if args.forget:
        path = profiles.remove(name)
        devices.figures_changed()
        print(json.dumps({"removed": path}) if args.json else
              f"deleted: {path}" if path else f"{name} has no profile")  # fmt: skip
        return 0
    from ..tune import Bench

    steps, published = _steps(args), boards.BOARDS[name]
    routines = tuple(args.routine or calls.routines())
    facts: Dict[str, Any] = {"board": name, "device": args.device, "file": None, "sections": {}}
    texts: List[str] = []
    problems: List[str] = []
    with console.progress("opening the device") as say, console.follow_log(say):
        with _opened(args, published) as device:
            board = _start(published, steps, args)
            for step in steps:
                at = Bench(device, board, _prepare, routines, args.quick, say)
                values = step.run(at)
                facts["sections"][step.name] = values
                problems += step.problems(values)
                texts.append(f"{step.name}: {step.what}\n{step.text(values, at)}")
                board = step.board(board, values)
                if not args.dry_run:
                    if args.routine:  # those that were not measured now keep their figures
                        values = {**profiles.load(name, args.device).get(step.name, {}), **values}
                    facts["file"] = profiles.save(name, step.name, values, args.device)
                    devices.figures_changed()
    facts["problems"] = problems
    if args.json:
        print(json.dumps(facts))
        return 1 if problems else 0
    print(_head(name, args.device, published))
    print("\n".join(texts))
    print("".join(f"FAILED {row}\n" for row in problems), end="")
    print(f"kept: {facts['file']}" if facts["file"] else "nothing was kept")
    return 1 if problems else 0


def _prepare(routine: str, function: Any, sizes: Dict[str, int], place: Any = None) -> Any:
    return calls.prepare(routine, function, sizes, calls.Options(), place)


def _head(name: str, device: str, board: boards.Board) -> str:
    if device == "emulator":
        return f"{name}: {board.model}, SIMULATED at {board.clock:g} MHz, timing set calibrated"
    return f"{name}: {board.model}, measured"
