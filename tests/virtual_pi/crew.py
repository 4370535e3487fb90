"""A virtual Pi with a worker on it (:mod:`.worker`): scenarios, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Dict, List, Union

from .faults import Fault
from .pi import VirtualPi
from .setups import Setup

__all__ = ["Crew", "faults_of"]


class Crew:
    """``run`` has a child of the worker do one scenario; the Pi's trace starts anew with each."""

    def __init__(self, setup: Union[str, Setup], env: Any = None, **changes: Any) -> None:
        self.pi = VirtualPi(setup, **changes)
        self._worker = self.pi.popen(
            [sys.executable, "-m", "tests.virtual_pi.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env or {},
        )

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        assert self._worker.stdin is not None and self._worker.stdout is not None
        self._worker.stdin.close()
        self._worker.wait()
        self._worker.stdout.close()
        self.pi.close()

    def run(self, *faults: Fault, **options: Any) -> Dict[str, Any]:
        """What the scenario told, with the trace (``calls``) and what is left (``report``)."""
        self.pi.faults.clear()
        self.pi.kernel.gpu.violations.clear()
        self.pi.faults.rules = list(faults)
        assert self._worker.stdin is not None and self._worker.stdout is not None
        self._worker.stdin.write(json.dumps(options) + "\n")
        self._worker.stdin.flush()
        line = self._worker.stdout.readline()
        if not line:
            raise RuntimeError("the worker is gone")
        self.pi.faults.rules = []
        told: Dict[str, Any] = json.loads(line)
        told["calls"] = self.pi.calls
        told["report"] = self.pi.report()
        return told

    def reboot(self) -> None:
        """Forget what an earlier scenario left in the firmware."""
        kernel = self.pi.kernel
        self.pi.report()  # lets go of what no process holds
        kernel.firmware.silent_for = 0
        kernel.gpu.begun = None
        kernel.v3d.power(False)
        kernel.firmware.enables = 0
        for handle in list(kernel.firmware.handles):
            memory = kernel.firmware.handles.pop(handle)
            kernel.ram.shut(memory.address, kernel.ram.vc.give(memory.address))
        kernel.gpu.violations.clear()
        journal = self.pi.path("/run/piblas-gpu-memory")
        if journal.exists():
            journal.unlink()


def faults_of(told: Dict[str, Any]) -> List[str]:
    """What is wrong with the end of a scenario, whatever else it was to show."""
    rows: List[str] = []
    if told["hang"]:
        rows.append("it hung")
    if told["status"] and not told["hang"]:
        rows.append(f"it died of {told['status']}")
    if "crash" in told:
        rows.append("an exception that no user expects: " + told["crash"].strip().split("\n")[-1])
    if not told["kept"]:
        rows.append("an operand was changed")
    if not told["right"] and not told["error"]:
        rows.append("a wrong result without an error")
    report = told["report"]
    rows += [f"left behind: {row}" for row in report.leaks]
    rows += [f"violation: {row}" for row in report.violations]
    return rows
