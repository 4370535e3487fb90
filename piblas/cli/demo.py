"""``piblas demo``: one matrix product on the QPUs, emulated or real, checked against float64."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Dict, List, Tuple

import numpy as np

import piblas

from ..blas.arguments import matrix
from ..driver import Emulator, open_device
from ..driver.device import Device, RunReport
from ..errors import PiblasError
from ..isa.timing import SETS
from ..kernels import spec
from ..kernels.gemm_error import error_bound
from . import console
from .files import check_output
from .info import size

__all__ = ["add_commands"]

DEFAULT_SIZE = 256


def add_commands(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="a matrix product on the emulated QPUs (or this board's), checked against float64",
        description="Multiply two matrices by QPU machine code on the emulated VideoCore IV, check "
        "the product against float64 and say what it would cost on the chip; or on the QPUs of "
        "this board, and say what it took.",
    )
    demo.add_argument(
        "--device", choices=("emulator", "qpu"), default="emulator", help="where (emulator)"
    )
    demo.add_argument("--size", type=size, help=f"multiply N x N matrices ({DEFAULT_SIZE})")
    demo.add_argument("--a", metavar="FILE.npy", help="left matrix")
    demo.add_argument("--b", metavar="FILE.npy", help="right matrix")
    demo.add_argument("--out", metavar="FILE.npy", help="save the product")
    demo.add_argument("--listing", action="store_true", help="print the kernel's listing as well")
    demo.add_argument("--json", action="store_true", help="print one JSON object")
    demo.set_defaults(run=run_demo, parser=demo)


def _load(path: str) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise PiblasError(f"{path}: no .npy file of numbers ({error})") from error


def _operands(args: argparse.Namespace) -> Tuple[np.ndarray, np.ndarray, str]:
    if (args.a is None) != (args.b is None):
        args.parser.error("--a and --b go together")
    if args.a is not None:
        if args.size is not None:
            args.parser.error("--size makes the matrices that --a and --b would load")
        return _load(args.a), _load(args.b), f"{args.a} and {args.b}"
    n = DEFAULT_SIZE if args.size is None else args.size
    if n == 0:
        args.parser.error("--size 0 leaves nothing to multiply")
    rng = np.random.default_rng(2835)
    a, b = (rng.standard_normal((n, n), dtype=np.float32) for _ in range(2))
    return a, b, "standard normal random numbers"


def residual(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Dict[str, Any]:
    """How far ``c`` is from a @ b in float64, beside the bound of the QPUs' arithmetic."""
    exact = a.astype(np.float64) @ b.astype(np.float64)
    error = np.abs(c - exact)
    bound = error_bound(1.0, a, b, 0.0, c)
    ratio = np.divide(error, bound, out=np.zeros_like(error), where=bound > 0)
    size_of_product = np.linalg.norm(exact)
    return {
        "residual": float(np.linalg.norm(error) / (size_of_product or 1.0)),
        "largest_error": float(error.max()),
        "largest_share_of_bound": float(ratio.max()),
        "ok": bool((error <= bound).all()),
    }


def _multiply(
    device: Device, a: np.ndarray, b: np.ndarray
) -> Tuple[np.ndarray, RunReport, float]:
    """The product on a device, what it took there, and the seconds of the whole call."""
    with piblas.use(device), piblas.profile() as profile:
        begin = time.perf_counter()
        c = piblas.sgemm(1.0, a, b)
        wall = time.perf_counter() - begin
    if not profile.reports:
        raise PiblasError(
            "nothing ran on the QPUs: the product is empty, or holds Inf or NaN"
        )
    return c, profile.reports[-1], wall


def run_demo(args: argparse.Namespace) -> int:
    if args.out:
        check_output(args.parser, args.out, f"--out {args.out}")
    a, b, source = _operands(args)
    a, b = matrix("demo", "a", a), matrix("demo", "b", b)
    made = (_on_emulator if args.device == "emulator" else _on_board)(a, b)
    c, report, measured = made
    check = residual(a, b, c)
    facts = {
        "a": a.shape,
        "b": b.shape,
        "c": c.shape,
        "source": source,
        "inner": a.shape[1],
        **check,
        "kernel": report.kernel,
        "clock_hz": report.clock_hz,
        **measured,
    }
    print(json.dumps(facts) if args.json else _text(facts))
    if args.listing:
        print(spec.get(report.kernel).build(beta=False).listing())
    if args.out:
        np.save(args.out, c)
    return 0 if check["ok"] else 1


Made = Tuple[np.ndarray, RunReport, Dict[str, Any]]


def _on_emulator(a: np.ndarray, b: np.ndarray) -> Made:
    """The product, its report under the calibrated set, and simulated figures."""
    with console.progress("opening the emulated chip") as say, console.follow_log(say):
        Emulator().close()  # compiles it, once a machine: no part of the time below
        seconds = {}
        for timing in sorted(SETS, key=("calibrated",).__contains__):
            say(f"running the matrix product on the emulated QPUs, {timing} timing")
            with Emulator(timing=timing) as device:
                c, report, wall = _multiply(device, a, b)
            seconds[timing] = report.seconds
    return c, report, {
        "instructions": int(report.instructions),
        "instructions_per_qpu": [int(qpu["instructions"]) for qpu in report.per_qpu],
        "simulated_seconds": seconds,
        "emulation_seconds": wall,
    }


def _on_board(a: np.ndarray, b: np.ndarray) -> Made:
    """The same on this board's QPUs, with measured figures; the second of two calls, which finds
    its program loaded and its memory allocated."""
    with console.progress("opening the QPUs") as say, open_device("qpu") as device:
        say("running the matrix product on the QPUs")
        _multiply(device, a, b)
        c, report, wall = _multiply(device, a, b)
        how = {"memory": device.memory, "launcher": device.launcher.name}
        return c, report, {
            "board": device.board.model,
            **how,
            "measured_seconds": report.seconds,
            "call_seconds": wall,
        }


def _text(facts: Dict[str, Any]) -> str:
    shapes = {name: " x ".join(map(str, facts[name])) for name in "abc"}
    rows = [
        (
            "residual",
            f"{facts['residual']:.2e} |C - exact| / |exact|, "
            f"largest error {facts['largest_error']:.2e}, "
            f"at most {facts['largest_share_of_bound']:.1%} of its bound: "
            + ("ok" if facts["ok"] else "FAIL"),
        ),
    ]
    flops = 2 * facts["c"][0] * facts["c"][1] * facts["inner"]
    rows += (_simulated if "simulated_seconds" in facts else _measured)(facts, flops)
    head = f"C ({shapes['c']}) = A ({shapes['a']}) times B ({shapes['b']}), {facts['source']}"
    return head + "\n" + console.table(rows)


def _simulated(facts: Dict[str, Any], flops: int) -> List[Tuple[str, str]]:
    per_qpu = facts["instructions_per_qpu"]
    seconds = facts["simulated_seconds"]
    rate = {timing: flops / seconds[timing] / 1e9 for timing in seconds}
    return [
        ("kernel", f"{facts['kernel']}, {facts['instructions']:,} instructions issued"),
        (
            "per QPU",
            f"{min(per_qpu):,} to {max(per_qpu):,} instructions on {len(per_qpu)} QPUs",
        ),
        (
            "on the chip",
            f"simulated {1e3 * seconds['calibrated']:.3f} ms, {rate['calibrated']:.2f} GFLOPS, "
            f"at {facts['clock_hz'] / 1e6:g} MHz with the calibrated timing set",
        ),
        (
            "",
            f"{rate['pessimistic']:.2f} GFLOPS pessimistic, {rate['optimistic']:.2f} optimistic; "
            "packing and launch not included",
        ),
        ("emulation", f"{facts['emulation_seconds']:.2f} s on this computer"),
    ]


def _measured(facts: Dict[str, Any], flops: int) -> List[Tuple[str, str]]:
    launch, call = facts["measured_seconds"], facts["call_seconds"]
    return [
        ("board", f"{facts['board']}, QPUs at {facts['clock_hz'] / 1e6:g} MHz"),
        ("kernel", f"{facts['kernel']}, memory {facts['memory']}, launched by {facts['launcher']}"),
        ("launch", f"measured {1e3 * launch:.3f} ms, {flops / launch / 1e9:.2f} GFLOPS"),
        ("call", f"measured {1e3 * call:.3f} ms with packing and copies, "
                 f"{flops / call / 1e9:.2f} GFLOPS"),
    ]  # fmt: skip
