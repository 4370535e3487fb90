"""``piblas profile``: run a routine once and show where its clocks went."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import piblas

from ..errors import PiblasError
from ..isa.timing import READINGS, SETS, timing_set
from ..profiler import hot, tables
from ..routines import ROUTINES
from . import calls, console, files
from .info import size

__all__ = ["add_commands"]

TIMINGS = ("off",) + SETS


class _Call(NamedTuple):
    """A call with its operands, what to call it, and its flops."""

    title: str
    run: Callable[[], Any]
    flops: Optional[int]


def add_commands(commands: Any) -> None:
    profile = commands.add_parser(
        "profile",
        help="where the clocks of a routine go: tables, pictures, a trace file",
        description="Run a routine once on random operands and show where its time goes.  On the "
        "emulator all times are simulated, with the timing set that the output names.",
    )
    names = calls.routines()
    profile.add_argument("routine", choices=names, metavar="ROUTINE", help=", ".join(names))
    profile.add_argument("sizes", nargs="+", type=size, metavar="SIZE", help="sgemm: M N K")
    profile.add_argument("--trans", choices=calls.TRANS, help="sgemm: operands transposed (nn)")
    profile.add_argument("--alpha", type=float, default=1.0, help="alpha, or a of saxpy (1)")
    profile.add_argument("--beta", type=float, default=0.0, help="beta (0)")
    profile.add_argument("--qpus", type=int, default=12, metavar="N", help="1 to 12 QPUs (12)")
    profile.add_argument(
        "--clock", type=float, default=250.0, metavar="MHZ", help="clock of the V3D block (250)"
    )
    profile.add_argument(
        "--timing", choices=TIMINGS, default="calibrated", help="timing set (calibrated)"
    )
    profile.add_argument(
        "--reading",
        choices=sorted(READINGS),
        default="memory",
        help="which reading of the published L2 line rates to simulate (memory)",
    )
    profile.add_argument(
        "--band", action="store_true", help="simulate every timing set and reading for comparison"
    )
    profile.add_argument("--hot", type=int, default=8, metavar="N", help="instructions shown (8)")
    profile.add_argument(
        "--listing", action="store_true", help="print the kernel's listing with costs as well"
    )
    profile.add_argument(
        "--png", metavar="DIR", help="draw roofline, timeline and heat pictures into DIR"
    )
    profile.add_argument("--svg", metavar="DIR", help="the same pictures as SVG")
    profile.add_argument(
        "--trace", metavar="FILE.json", help="write a trace for chrome://tracing, ui.perfetto.dev"
    )
    profile.add_argument("--json", action="store_true", help="print one JSON object")
    profile.set_defaults(run=run_profile, parser=profile)


def _timing(args: argparse.Namespace) -> Any:
    return "off" if args.timing == "off" else timing_set(args.timing, args.reading)


def _call(args: argparse.Namespace) -> _Call:
    """The call that the arguments describe."""
    parser, row = args.parser, ROUTINES[args.routine]
    if len(args.sizes) != len(row.sizes):
        parser.error(f"{row.name} has the sizes {' '.join(row.sizes)}")
    if not all(args.sizes):
        parser.error("a size of 0 leaves nothing to profile")
    if not 1 <= args.qpus <= 12:
        parser.error(f"--qpus {args.qpus}: there are 1 to 12")
    if args.hot < 0:
        parser.error(f"--hot {args.hot}: a number of lines")
    if args.timing == "off":
        for option in ("png", "svg", "trace", "band", "listing"):
            if getattr(args, option):
                parser.error(f"--{option} needs a clock: --timing off has none")
    if args.trans and row.name != "sgemm":
        parser.error("--trans goes with sgemm")
    sizes = dict(zip(row.sizes, args.sizes))
    options = calls.Options(args.alpha, args.beta, args.trans or calls.TRANS[0])
    title = f"{row.name} {' x '.join(map(str, args.sizes))}"
    if row.name == "sgemm":
        title += f" ({options.trans.upper()})"
    function = getattr(piblas, row.name)
    return _Call(title, calls.prepare(row.name, function, sizes, options), row.flops(**sizes))


def _simulate(
    args: argparse.Namespace, call: _Call, timing: Any, detail: bool, say: Any
) -> Any:
    """Run the call on an emulator with this timing; returns the closed profile."""
    from ..driver import Emulator

    with Emulator(
        n_qpus=args.qpus, clock_hz=1e6 * args.clock, timing=timing, announce=say
    ) as device:
        say(f"running {call.title} on the emulated QPUs")
        with piblas.use(device), piblas.profile(detail=detail) as profile:
            call.run()
    profile.title, profile.flops = call.title, call.flops
    return profile


def _band(args: argparse.Namespace, call: _Call, say: Any) -> List[Dict[str, Any]]:
    rows = []
    for name in SETS:
        for reading in READINGS:
            profile = _simulate(args, call, timing_set(name, reading), False, say)
            figures = profile.figures
            rows.append(
                {
                    "timing_set": name,
                    "reading": reading,
                    "cycles": figures.cycles,
                    "seconds": figures.seconds,
                    "flops_per_second": figures.flop_rate,
                }
            )
    return rows


def _band_table(rows: List[Dict[str, Any]]) -> tables.Table:
    texts = [
        (
            row["timing_set"],
            row["reading"],
            f"{row['cycles']:,}",
            tables.time_text(row["seconds"]),
            f"{(row['flops_per_second'] or 0.0) / 1e9:.2f}",
        )
        for row in rows
    ]
    columns = ("timing set", "L2 reading", "clocks", "time", "GFLOPS")
    return tables.Table("Band of all timing sets (simulated)", "<<>>>", columns, texts)


def _files(args: argparse.Namespace, profile: Any) -> List[str]:
    """Write what was asked for; returns the names."""
    names = []
    for folder, ending in ((args.png, "png"), (args.svg, "svg")):
        if folder:
            draws = [profile.timeline, profile.heat]
            if profile.flops:  # a copy has no place under a roofline
                draws.insert(1, profile.roofline)
            for draw in draws:
                names.append(draw(os.path.join(folder, f"{draw.__name__}.{ending}")))
    if args.trace:
        names.append(profile.trace(args.trace))
    return names


def _show(heading: str, shown: List[tables.Table]) -> None:
    """Print tables, by rich where that is installed and stdout is a terminal."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
        except ImportError:
            pass
        else:
            screen = Console(highlight=False)
            screen.print(heading, style="bold", markup=False)
            for table in shown:
                screen.print()
                screen.print(_rich(table))
            return
    print("\n\n".join([heading] + [tables.plain(table) for table in shown]))


def _rich(table: tables.Table) -> Any:
    """The table as rich draws it."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=table.title,
        title_justify="left",
        title_style="bold cyan",
        box=box.SIMPLE_HEAD,
        show_header=any(table.columns),
        pad_edge=False,
    )
    for name, side in zip(table.columns, table.align):
        justify = "right" if side == ">" else "left"
        drawn.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in table.rows:
        cells = [Text(_blocks(cell), "yellow" if _is_bar(cell) else "") for cell in row]
        drawn.add_row(*cells)
    return drawn


def _is_bar(cell: str) -> bool:
    return bool(cell) and set(cell) == {"#"}


def _blocks(cell: str) -> str:
    return "\u2588" * len(cell) if _is_bar(cell) else cell


def run_profile(args: argparse.Namespace) -> int:
    if args.trace:
        files.check_output(args.parser, args.trace, f"--trace {args.trace}")
    call = _call(args)
    with console.progress("opening the emulated chip") as say, console.follow_log(say):
        profile = _simulate(args, call, _timing(args), True, say)
        if not profile.reports:
            raise PiblasError(f"{call.title}: nothing ran on the QPUs")
        counted = call._replace(flops=profile.figures.flops)
        band = _band(args, counted, say) if args.band else []
        say("writing files")
        names = _files(args, profile)
    programs = [] if args.timing == "off" else profile.programs
    if args.json:
        facts = profile.facts()
        facts["hot"] = [hot.facts(program) for program in programs]
        if band:
            facts["band"] = band
        if names:
            facts["files"] = names
        print(json.dumps(facts))
        return 0
    figures = profile.figures
    shown = tables.summary(figures)
    for program in programs:
        shown += hot.hot_tables(program, args.hot)
    if band:
        shown.append(_band_table(band))
    _show(tables.heading(figures), shown)
    if args.listing:
        print("\n" + profile.listing(), end="")
    for name in names:
        print(f"wrote {name}", file=sys.stderr)
    return 0
