"""Runs everything and makes the report: a dictionary for programs, a text for people."""

from __future__ import annotations

import os
import platform
import time
from typing import Any, Callable, Dict, List

import numpy as np

from ..driver import soc
from ..driver.device import Device
from ..errors import EmulatorFault, PiblasError
from ..isa.counters import COUNTERS
from . import benches, conformance, fit, host, routines

__all__ = ["failures", "run", "text"]


def _machine(device: Device) -> Dict[str, Any]:
    uname = os.uname()
    found: Dict[str, Any] = {
        "device": device.name,
        "model": soc.model() or "?",
        "kernel": f"{uname.release} {uname.version} {uname.machine}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "clock_hz": device.clock_hz,
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }
    for name in ("memory", "passed_over"):
        if hasattr(device, name):
            found[name] = getattr(device, name)
    launcher = getattr(device, "launcher", None)
    if launcher is not None:
        found["launcher"] = launcher.name
    mailbox = getattr(device, "mailbox", None)
    if mailbox is not None:
        found["clock_hz_at_the_end"] = mailbox.clock_hz()
    return found


def _conformance(device: Device) -> Dict[str, Any]:
    wanted, differences = conformance.expected(), []
    for case in conformance.CASES:
        try:
            got = conformance.run_case(device, case)
        except PiblasError as error:
            if isinstance(error, EmulatorFault) and error.rule and error.rule == case.open_rule:
                continue  # a strict emulator refuses what only a board can decide
            differences.append(conformance.Difference(case.name, 0, str(error)))
            continue
        difference = conformance.compare(case, got, wanted[case.name])
        if difference is not None:
            differences.append(difference)
    return {"cases": len(conformance.CASES), "differences": [d._asdict() for d in differences]}


def run(device: Device, say: Callable[[str], None], quick: bool = False) -> Dict[str, Any]:
    """Test the device; ``say`` is told what comes next; ``quick`` measures less exactly."""
    say("operations, word for word")
    facts: Dict[str, Any] = {"conformance": _conformance(device)}
    say("BLAS routines")
    facts["routines"] = [
        {**row._asdict(), "ok": row.ok} for row in routines.check(device)
    ]
    facts["untested_routines"] = routines.untested()
    rows: List[fit.Measured] = []
    for row in benches.BENCHES:
        say(f"timing: {row.what}")
        rows.append(fit.measure(device, row, 3 if quick else 7, quick))
    facts["timing"] = [{**row._asdict(), "inside": row.inside, "noisy": row.noisy} for row in rows]
    facts["parameters"] = [row._asdict() for row in fit.fitted(rows, device.clock_hz)]
    if device.name != "emulator":
        say("launches and copies")
        facts["host"] = host.host_times(device)
    facts["machine"] = _machine(device)
    return facts


def failures(facts: Dict[str, Any]) -> List[str]:
    """What is wrong, in a line each; timing that differs from the emulator's is none of it."""
    found = [
        f"{row['name']}: {row['first']}" for row in facts["conformance"]["differences"]
    ]
    for row in facts["routines"]:
        if row["ok"]:
            continue
        what = row["problem"] or (
            f"error {row['error']:.3g} times its bound" if row["ran"] else "did not run on QPUs"
        )
        found.append(f"{row['routine']} {row['size']}: {what}")
    found += [f"{row['bench']}: {row['problem']}" for row in facts["timing"] if row["problem"]]
    return found


def _mark(row: Dict[str, Any]) -> str:
    if row["problem"]:
        return "  FAILED"
    if row["noisy"]:
        return "  noisy"
    return "" if row["inside"] else "  outside"


def text(facts: Dict[str, Any]) -> str:
    """The report as text."""
    machine, bad = facts["machine"], failures(facts)
    simulated = machine["device"] == "emulator"
    lines = ["piblas selftest" + (" on the EMULATOR: simulated, no board" if simulated else "")]
    lines += [f"  {name}: {value}" for name, value in machine.items()]
    conformity = facts["conformance"]
    good = sum(row["ok"] for row in facts["routines"])
    lines += [
        "",
        f"operations: {conformity['cases'] - len(conformity['differences'])} of "
        f"{conformity['cases']} as on the emulator",
        f"routines: {good} of {len(facts['routines'])} within their bounds; not tested here: "
        + (" ".join(facts["untested_routines"]) or "none"),
        *[f"  FAIL {row}" for row in bad],
        "",
        f"timing, V3D clocks a turn at {machine['clock_hz'] / 1e6:g} MHz"
        + (" (simulated)" if simulated else " (measured)"),
        f"  {'bench':16} {'clocks':>10} {'scatter':>8} {'pessimist.':>10} {'calibrated':>10} "
        f"{'optimistic':>10}",
    ]
    for row in facts["timing"]:
        sets = "".join(f" {row['predicted'].get(name, float('nan')):10.1f}"
                       for name in ("pessimistic", "calibrated", "optimistic"))
        lines.append(
            f"  {row['bench']:16} {row['clocks']:10.1f} {row['scatter']:8.1f}{sets}{_mark(row)}"
            f"  {row['what']}"
        )
    lines += ["", "timing parameters, one moved at a time (pessimistic, calibrated, optimistic)"]
    for row in facts["parameters"]:
        implied = "-" if row["implied"] is None else f"{row['implied']:.1f}"
        values = ", ".join(map(str, row["values"]))
        shown = row["bench"] or benches.NOT_SHOWN[row["parameter"]]
        lines.append(f"  {row['parameter']:20} {implied:>10} {row['unit']:5} ({values}) {shown}")
    counted = [row for row in facts["timing"] if row["counters"]]
    if counted:
        lines += ["", "performance counters of the longest launch"]
        for row in counted:
            cells = [
                f"{COUNTERS[int(number)].name} {count}"
                for number, count in row["counters"].items()
                if count and int(number) in COUNTERS
            ]
            lines.append(f"  {row['bench']:16} " + ", ".join(cells))
    if "host" in facts:
        lines += ["", "host"]
        lines += [f"  {name}: {value:.1f}" for name, value in facts["host"].items()]
    return "\n".join(lines) + "\n"
