"""The last check: programs on the QPUs, their results compared."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np

from ..driver import canary, opening
from ..driver.hardware import Pi
from ..errors import DeviceError
from .finding import FAIL, OK, WARN, Check, Outcome

__all__ = ["TRIAL", "product"]

SIZE = 96
log = logging.getLogger("piblas")


def product(device: Pi, size: int = SIZE) -> str:
    """Multiply two matrices on the device and compare with float64; "" or what is wrong."""
    from ..host.gemm_staged import sgemm
    from ..kernels.gemm_error import error_bound

    rng = np.random.default_rng(2835)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    c = np.zeros((size, size), np.float32, order="F")
    sgemm(device, 1.0, a, b, 0.0, c)
    error = np.abs(c - a.astype(np.float64) @ b.astype(np.float64))
    share = float((error / error_bound(1.0, a, b, 0.0, c)).max())
    return "" if share <= 1 else f"an error is {share:.3g} times its bound"


def _run(at: Any) -> Outcome:
    device, retried = opening.open_pi(check=False), ""
    try:
        problem = canary.run(device)
        if problem and device.uses_cached_memory:
            failed, retried = device.memory, f"with memory {device.memory}: {problem}; "
            device.close()
            device = opening.open_pi(memory="vcsm-cma", check=False)
            problem = canary.run(device)
            log.info("memory %s failed, %s tried", failed, device.memory)
        how = (
            f"12 QPUs, memory {device.memory}, launched by {device.launcher.name}, bus alias "
            f"{device.board.alias:#010x}"
        )
        if problem:
            return Outcome(
                FAIL,
                f"{retried}{problem} ({how})",
                "report this: `piblas selftest` makes a file to attach. Calls go to the CPU",
            )
        begin = time.perf_counter()
        wrong = product(device)
        seconds = time.perf_counter() - begin
        if wrong:
            return Outcome(FAIL, f"sgemm {SIZE} x {SIZE}: {wrong} ({how})", "report this")
        found = (
            f"saxpy on 12 QPUs is exact, sgemm {SIZE} x {SIZE} within its bound in "
            f"{1e3 * seconds:.3g} ms with staging ({how})"
        )
        if retried:
            return Outcome(WARN, f"wrong results {retried}with {device.memory} right: {found}",
                           "report this; piblas takes the uncached memory by itself")
        return Outcome(OK, found)
    except DeviceError as error:
        return Outcome(FAIL, str(error), "report this, with the findings above")
    finally:
        device.close()


TRIAL = Check("a program", "only a result that was compared proves the rest", _run)
