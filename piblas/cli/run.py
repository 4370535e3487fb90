"""``piblas run``: execute anybody's program on the emulator, with buffers and uniforms."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from ..emu.rules import RULES
from ..errors import DecodeError, DeviceTimeout, EmulatorFault, PiblasError
from ..isa.instr import decode
from ..isa.regs import WRITE_ADDR
from ..isa.source import Source
from . import console, files, operands

__all__ = ["add_commands"]

_UNIF_ADDRESS = WRITE_ADDR["unif_addr"][1]
_FAR = 1 << 20  # bytes from a buffer at which it explains nothing


def add_commands(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="run a QPU program on the emulator",
        description="Run the program in FILE on emulated QPUs and report what it did.  A program "
        "that leaves its buffers, or does what the chip leaves undefined, ends with exit code 1 "
        "and the QPU, pc, instruction, unit and address at fault.",
        epilog=f"FILE: {files.FORMS}.",
    )
    run.add_argument("file", metavar="FILE", help="the program; - for stdin")
    run.add_argument("--qpus", metavar="N", type=int, help="how many QPUs run it (1)")
    run.add_argument(
        "--uniforms",
        metavar="W,W,...",
        action="append",
        default=[],
        help="words of the uniforms: integers (decimal, 0x...), floats (with . or e), @NAME or "
        "@NAME+BYTES for the bus address of a buffer; or a .npy file, one row a QPU.  Once: for "
        "every QPU; repeated: for QPU 0, 1, ...  (--uniforms=-1,... if the first is negative)",
    )
    run.add_argument(
        "--buffer",
        metavar="NAME=WHAT",
        action="append",
        default=[],
        help="a buffer with the contents of a .npy file; or of zeros: SHAPE:DTYPE as in "
        "64x16:float32; or of 32-bit words as in --uniforms: @NAME,@NAME+BYTES,12,...",
    )
    run.add_argument(
        "--entry",
        metavar="WORD",
        help="start at this word, or label, of the program (0); pcs count from there",
    )
    run.add_argument(
        "--save",
        metavar="NAME=OUT.npy",
        action="append",
        default=[],
        help="write a buffer to a file afterwards",
    )
    run.add_argument(
        "--print",
        metavar="NAME",
        action="append",
        default=[],
        dest="shown",
        help="print a buffer afterwards",
    )
    run.add_argument(
        "--timeout",
        metavar="S",
        type=float,
        default=10.0,
        help="give up after so many seconds, of the chip's time or of real time (10)",
    )
    run.add_argument(
        "--no-strict",
        action="store_true",
        help="do not fault; go on with what the chip probably does",
    )
    run.add_argument(
        "--keep-going",
        metavar="RULE",
        action="append",
        default=[],
        help="do not fault for this rule, which the error names; may be repeated.  Rules: "
        + ", ".join(RULES),
    )
    run.add_argument(
        "--incoherent", action="store_true", help="keep caches and memory apart, as on the chip"
    )
    run.add_argument(
        "--threads",
        metavar="N",
        type=int,
        default=1,
        help="2: two threads on each QPU, as the chip has for fragment shaders; --uniforms are for "
        "thread 0 and 1 of QPU 0, of QPU 1, ... (1)",
    )
    run.add_argument("--seed", metavar="N", type=int, help="start with noise instead of zeros")
    run.add_argument(
        "--trace",
        action="store_true",
        help="print a line an instruction with operands and results (to stderr with --json); "
        "breakpoint signals are passed over",
    )
    run.add_argument("--trace-qpu", metavar="Q", type=int, help="trace this QPU only")
    run.add_argument("--trace-limit", metavar="N", type=int, help="stop tracing after N lines")
    run.add_argument("--trace-full", action="store_true", help="show all 16 elements of a vector")
    run.add_argument("--json", action="store_true", help="print JSON")
    run.set_defaults(run=run_program, parser=run)


# --- running -------------------------------------------------------------------------------------


class _Watch:
    """Called while a program runs: says how far it is, and gives up after ``timeout`` seconds."""

    EVERY = 5.0
    AT_LEAST = 1.0  # less is meant for the chip's time

    def __init__(
        self, path: str, timeout: float, device: Any, say: Optional[Callable[[str], None]] = None
    ) -> None:
        self._path, self._timeout, self._device, self._say = path, timeout, device, say
        self._start = self._told = time.monotonic()

    def __call__(self, instructions: int = 0) -> None:
        now = time.monotonic()
        if now - self._start > max(self._timeout, self.AT_LEAST):
            raise DeviceTimeout(
                f"no end after {now - self._start:.1f} s; give it more with --timeout",
                self._device.machine.whereabouts(),
            )
        if self._say is not None and now - self._told > self.EVERY:
            self._told = now
            passed = now - self._start
            count = instructions / 1e6
            self._say(f"running {self._path}: {count:.0f} million instructions, {passed:.0f} s")


def _execute(args: argparse.Namespace, device: Any, code: int, streams: List[Any]) -> Dict:
    if not args.trace:
        with console.progress(f"running {args.file}") as say:
            report = device.execute(
                code, streams, timeout=args.timeout, threads=args.threads,
                watch=_Watch(args.file, args.timeout, device, say),
            )  # fmt: skip
        facts = {
            "qpus": report.n_qpus,
            "instructions": report.instructions,
            "cycles": report.cycles,
            "per_qpu": [dict(row) for row in report.per_qpu],
            "bytes": dict(report.bytes),
            "interrupts": list(report.interrupts),
        }
        return {name: value for name, value in facts.items() if value is not None}
    return _traced(args, device, code, streams)


def _traced(args: argparse.Namespace, device: Any, code: int, streams: List[Any]) -> Dict:
    from ..emu.debugger import Debugger

    watch = _Watch(args.file, args.timeout, device)
    left = args.trace_limit
    stream = sys.stderr if args.json else sys.stdout

    def say(line: str) -> None:
        nonlocal left
        if left is not None:
            if left <= 0:  # the rest of the round in which the limit was reached
                return
            left -= 1
        print(line, file=stream)

    last = len(streams) // args.threads - 1
    if args.trace_qpu is not None and not 0 <= args.trace_qpu <= last:
        args.parser.error(f"--trace-qpu {args.trace_qpu}: QPUs 0 to {last} run")
    with Debugger(
        device,
        code,
        streams,
        args.timeout,
        trace=say,
        trace_qpu=args.trace_qpu,
        trace_full=args.trace_full,
        threads=args.threads,
    ) as debugger:
        while left is None or left > 0:
            if debugger.step().reason == "end":
                break
            watch()
        else:
            debugger.trace = None
            print(f"... the trace ends after {args.trace_limit} lines", file=stream)
            debugger.finish(watch)
        per_qpu = debugger.counters()
        return {
            "qpus": len(per_qpu),
            "instructions": sum(row["instructions"] for row in per_qpu),
            "per_qpu": list(per_qpu),
            "bytes": device.machine.traffic(),
            "interrupts": list(device.machine.interrupts),
        }


def _beside(address: int, buffers: Dict[str, Any]) -> str:
    """Where an address lies, seen from the nearest buffer; "" far from all of them."""
    places = []
    for name, buffer in buffers.items():
        start, end = buffer.bus_address, buffer.bus_address + buffer.nbytes
        if start <= address < end:
            return f"byte {address - start} of buffer {name}"
        if address < start:
            places.append((start - address, f"{start - address} bytes before buffer {name}"))
        else:
            places.append((address - end, f"{address - end} bytes behind the end of buffer {name}"))
    distance, text = min(places, default=(_FAR, ""))
    return text if distance < _FAR else ""


def _failure(
    error: PiblasError, source: Source, path: str, buffers: Dict[str, Any], entry: int
) -> Dict[str, Any]:
    """A fault as facts, with the line of the text that it happened on."""
    facts: Dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, EmulatorFault):
        for name in ("qpu", "pc", "instruction", "unit", "address", "reason", "rule"):
            facts[name] = getattr(error, name)
        if error.thread is not None:
            facts["thread"] = error.thread
        word = error.pc + entry
        if 0 <= word < len(source.lines):
            facts["where"] = f"{path}:{source.lines[word]}"
        elif entry and 0 <= word < len(source.words):
            facts["where"] = f"word {word} of {path}"
        elif word >= len(source.words):
            facts["where"] = f"behind the {len(source.words)} words of {path}"
        if error.address is not None:
            facts["beside"] = _beside(error.address, buffers)
    return facts


def _uniform_warnings(
    source: Source, streams: Sequence[Any], facts: Dict[str, Any], threads: int
) -> List[str]:
    """QPUs that have read more uniforms than they were given.

    That is a fault, too, unless the rule is off.  A program that writes the uniforms address
    says itself where its uniforms are.
    """
    for word in source.words:
        try:
            instr = decode(word)
        except DecodeError:
            continue
        if _UNIF_ADDRESS in (instr.waddr_add, instr.waddr_mul):
            return []
    warnings = []
    for qpu, row in enumerate(facts["per_qpu"]):
        given = sum(len(stream) for stream in streams[threads * qpu : threads * (qpu + 1)])
        if row["uniforms"] > given:
            warnings.append(f"QPU {qpu} read {row['uniforms']} uniforms and was given {given}")
    return warnings


def run_program(args: argparse.Namespace) -> int:
    from ..driver import Emulator

    parser = args.parser
    wanted = operands.settings(parser, "--buffer", args.buffer)
    saves = operands.settings(parser, "--save", args.save)
    for option, names in (("--save", list(saves)), ("--print", args.shown)):
        for name in names:
            if name not in wanted:
                parser.error(f"{option} {name}: there is no --buffer {name}")
    for option in ("trace_qpu", "trace_limit", "trace_full"):
        value = getattr(args, option)
        if not args.trace and value is not None and value is not False:
            parser.error(f"--{option.replace('_', '-')} goes with --trace")
    for name, path in saves.items():
        files.check_output(parser, path, f"--save {name}={path}")
    if args.trace_limit is not None and args.trace_limit < 0:
        parser.error(f"--trace-limit {args.trace_limit}: choose 0 or more")
    if args.qpus is not None and not 1 <= args.qpus <= 12:
        parser.error(f"--qpus {args.qpus}: there are 1 to 12")
    for rule in args.keep_going:
        if rule not in RULES:
            parser.error(f"--keep-going {rule}: choose from {', '.join(RULES)}")
    if args.threads not in (1, 2):
        parser.error(f"--threads {args.threads}: a QPU has 1 or 2")
    source = files.read_program(args.file)
    entry = files.entry_word(args.entry, source)
    contents = {name: operands.contents(parser, name, what) for name, what in wanted.items()}
    options: Dict[str, Any] = {"timing": "off"} if args.trace else {}
    with console.progress("starting the emulator") as say:
        device = Emulator(
            strict=not args.no_strict,
            keep_going=args.keep_going,
            incoherent=args.incoherent,
            seed=args.seed,
            announce=say,
            **options,
        )
    with device:
        buffers, arrays = operands.buffers(parser, device, contents)
        streams = operands.streams(args, buffers)
        code = device.load(source).bus_address + 8 * entry
        try:
            facts = _execute(args, device, code, streams)
        except (EmulatorFault, DeviceTimeout) as error:
            failure = _failure(error, source, args.file, buffers, entry)
            if failure.get("rule") == "unif":
                count = len(streams[args.threads * failure["qpu"] + failure.get("thread", 0)])
                failure["given"] = f"it was given {count} uniforms"
            if args.json:
                print(json.dumps({"ok": False, "fault": failure}, indent=2))
            notes = [failure[name] for name in ("beside", "given", "where") if failure.get(name)]
            sys.stdout.flush()
            print(f"piblas run: {error}" + "".join(f" ({note})" for note in notes), file=sys.stderr)
            if failure.get("rule"):
                rule = failure["rule"]
                print(f"(--keep-going {rule} passes over what breaks this rule)", file=sys.stderr)
            return 1
        for warning in _uniform_warnings(source, streams, facts, args.threads):
            print(f"piblas run: warning: {warning}", file=sys.stderr)
            facts.setdefault("warnings", []).append(warning)
        for buffer in buffers.values():
            buffer.invalidate()
        for name, path in saves.items():
            np.save(path, arrays[name])
        _report(args, facts, buffers, arrays)
    return 0


def _report(
    args: argparse.Namespace,
    facts: Dict[str, Any],
    buffers: Dict[str, Any],
    arrays: Dict[str, np.ndarray],
) -> None:
    if args.json:
        facts = {"ok": True, **facts}
        facts["buffers"] = {
            name: {
                "bus_address": buffers[name].bus_address,
                "dtype": str(array.dtype),
                "shape": list(array.shape),
                **({"values": array.tolist()} if name in args.shown else {}),
            }
            for name, array in arrays.items()
        }
        print(json.dumps(facts, indent=2))
        return
    for name in args.shown:
        print(f"{name} = {arrays[name]}")
    qpus, most = facts["qpus"], max(row["instructions"] for row in facts["per_qpu"])
    text = f"{qpus} QPU{'s' * (qpus > 1)}: {facts['instructions']} instructions"
    text += f", {most} on the busiest" if qpus > 1 else ""
    text += f", {facts['cycles']} clocks" if "cycles" in facts else ""
    print(text)
    used = [(path, count) for path, count in facts["bytes"].items() if count]
    print("bytes: " + (", ".join(f"{path} {count}" for path, count in used) or "none"))
    if facts["interrupts"]:
        print("host interrupt from QPU " + ", ".join(str(qpu) for qpu in facts["interrupts"]))
