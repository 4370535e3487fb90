"""Where a call runs, and why: ``choose`` looks at the call and the target and at nothing else.

The rules are a chain of early returns.  A device that the user demanded gets every call for which
it has a kernel; otherwise the cheaper of the two predictions decides.  The cost model is

    QPU   launches + bytes staged / copy rate + the kernel's simulated time
    CPU   call + flops / CPU rate

each but launch and call times what ``piblas tune`` has measured it to be off for the routine, and
where on the CPU at levels 1 and 2, which use a number once or twice, the time for moving the
operands stands in place of the arithmetic if it is longer.  The kernel's time is what the emulator
takes under its calibrated clock (``predictions``), the other figures are those of ``boards``;
operands that already live in GPU memory are not staged.  Reasons come from a small fixed set of
sentences (apart from what a device says about itself), so that ``piblas.stats`` can count them; the
numbers of one case stand in ``Choice.seconds``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional

from . import boards, predictions
from .boards import Board
from .routines import ROUTINES

__all__ = ["Call", "Choice", "Target", "choose", "predict"]

CPU_ASKED = "the CPU was asked for"
NO_KERNEL = "no QPU kernel for this routine"
WATCHED = "Inf, NaN or an overflow, which QPUs do not treat as IEEE 754 does"
TINY = "a norm of numbers too small for the QPUs, which take denormals for 0"


@dataclass(frozen=True)
class Call:
    """What dispatch knows about a call.

    ``resident``: every operand lives in GPU memory already.  ``bar``: why its values must not go
    to a QPU, for instance because one is NaN; empty if nothing is known against them.
    """

    routine: str
    sizes: Mapping[str, int]
    resident: bool = False
    bar: str = ""


@dataclass(frozen=True)
class Target:
    """The device that calls are aimed at.

    ``backend`` is "qpu", "emulator" or "cpu"; ``demanded`` tells a device that the user named from
    one that "auto" found; ``missing`` says why there is no such device, and is empty if there is.
    """

    backend: str
    demanded: bool = True
    missing: str = ""


@dataclass(frozen=True)
class Choice:
    """Where a call runs ("cpu", "qpu", "emulator"), by which kernel, and why.

    ``seconds`` holds the predicted time per backend on ``board``; it is empty when the board is
    not known.  The emulator never appears there: its own speed is no property of the chip.
    """

    backend: str
    kernel: Optional[str]
    reason: str
    seconds: Dict[str, float] = field(default_factory=dict)
    board: Optional[str] = None

    def __str__(self) -> str:
        where = f"{self.backend} (kernel {self.kernel})" if self.kernel else self.backend
        times = ", ".join(f"{name} {_duration(s)}" for name, s in sorted(self.seconds.items()))
        tail = f"; predicted on {self.board}: {times}" if times else ""
        return f"{where}: {self.reason}{tail}"


def _duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def predict(call: Call, board: Optional[Board]) -> Dict[str, float]:
    """Seconds that the call takes on each of the board's two processors."""
    if board is None:
        return {}
    row = ROUTINES[call.routine]
    flops, moved = row.flops(**call.sizes), row.staged(**call.sizes)
    copy = board.copy * 2**20
    cpu = flops / (board.cpu * 1e9)
    if row.level < 3:
        # A copy of n bytes moves 2 n.
        cached = board.cached * 2**20 or boards.CACHED_COPY * copy
        cpu = max(cpu, moved / (2 * cached))
    factors = board.factors.get(call.routine, boards.Factors())
    seconds = {"cpu": board.call + factors.cpu * cpu}
    kernel = predictions.seconds(call.routine, board.clock, call.sizes)
    if row.kernel is not None and kernel is not None:
        staging = 0 if call.resident else moved / copy
        launching = board.launch * predictions.launches(call.routine, call.sizes)
        seconds["qpu"] = launching + factors.staging * staging + factors.kernel * kernel
    return seconds


def choose(call: Call, target: Target, board: Optional[Board] = None) -> Choice:
    """The backend for a call aimed at ``target``."""
    row = ROUTINES[call.routine]
    seconds = predict(call, board)
    name = board.name if board else None

    def cpu(reason: str) -> Choice:
        return Choice("cpu", None, reason, seconds, name)

    if target.backend == "cpu":
        return cpu(CPU_ASKED)
    if row.kernel is None:
        return cpu(NO_KERNEL)
    if not row.flops(**call.sizes) and (row.level > 1 or not row.staged(**call.sizes)):
        return cpu("nothing to multiply")
    if target.missing:
        return cpu(target.missing)
    if call.bar:
        return cpu(call.bar)
    if target.demanded:
        return Choice(
            target.backend, row.kernel, f"the {target.backend} was asked for", seconds, name
        )
    if not seconds:
        return cpu("no figures for this board to decide by")
    if "qpu" not in seconds:
        return cpu("no prediction for this kernel")
    if seconds["qpu"] >= seconds["cpu"]:
        return cpu("predicted faster on the CPU")
    return Choice(target.backend, row.kernel, "predicted faster on the QPUs", seconds, name)
