"""Where a call runs, and why: ``choose`` looks at the call and the target and at nothing else.

The rules are a chain of early returns.  A device that the user demanded gets every call for which
it has a kernel; otherwise the cheaper of the two predictions decides.  A prediction is the time of
a repeated call from beginning to end, in four parts (:class:`Cost`):

    QPU   host     Python's function calls, of the call and of its launches, x seconds of each
          launch   launches x what the kernel and the firmware take for one
          copy     bytes of operands and results in ordinary memory / rate of copies
          kernel   simulated time of the QPUs
    CPU   host     Python's function calls x seconds of each, and a small call of SciPy
          kernel   flops / rate of the CPU

Host (of the QPUs), copy and kernel are multiplied with what ``piblas tune`` has measured them to be
off for the routine.  On the CPU at levels 1 and 2, which use a number once or twice, moving the
operands counts instead of the arithmetic if it takes longer.  The kernel's time is what the
emulator takes under its calibrated clock (``predictions``), calls are counted (``host_calls``), the
other figures are those of ``boards``; operands that already live in GPU memory are not copied.
Reasons come from a small fixed set of sentences (apart from what a device says about itself), so
that ``piblas.stats`` can count them; the numbers of one case are in ``Choice``.
"""

from __future__ import annotations

import types
from typing import Dict, Mapping, NamedTuple, Optional

from ..routines import ROUTINES
from . import boards, host_calls, predictions
from .boards import Board

__all__ = [
    "Call",
    "Choice",
    "Cost",
    "Target",
    "any_staged_pays",
    "choose",
    "costs",
    "decide",
    "least_product",
    "predict",
    "size",
    "staging_pays",
]

CPU_ASKED = "the CPU was asked for"
NO_KERNEL = "no QPU kernel for this routine"
FASTER_ON_CPU = "predicted faster on the CPU"
NO_PRODUCT = "nothing to multiply"
TOO_SMALL = "smaller than piblas.patch was told to look at"
ALWAYS_COPIED = frozenset({"ssymm", "ssyrk", "ssyr2k", "strmm", "strsm"})
"""Routines whose operands are copied wherever they lie: the CPU cuts them into blocks."""


class Call(NamedTuple):
    """What dispatch knows about a call.

    ``resident``: every operand lives in GPU memory already.  ``bar``: why its values must not go
    to a QPU, for instance because one is NaN; empty if nothing is known against them.
    """

    routine: str
    sizes: Mapping[str, int]
    resident: bool = False
    bar: str = ""


class Target(NamedTuple):
    """The device that calls are aimed at.

    ``backend`` is "qpu", "emulator" or "cpu"; ``demanded`` tells a device that the user named from
    one that "auto" found; ``missing`` says why there is no such device, and is empty if there is.
    """

    backend: str
    demanded: bool = True
    missing: str = ""


class Cost(NamedTuple):
    """Predicted seconds of a call by part.

    ``host``: the Python interpreter, and SciPy's checks.  ``launch``: the kernel and the firmware.
    ``copy``: operands to GPU memory and results back.  ``kernel``: the computation itself.
    """

    host: float
    launch: float
    copy: float
    kernel: float

    @property
    def seconds(self) -> float:
        """The whole call."""
        return self.host + self.launch + self.copy + self.kernel

    def __str__(self) -> str:
        parts = (f"{name} {_duration(value)}" for name, value in self._asdict().items() if value)
        return f"{_duration(self.seconds)} ({', '.join(parts)})"


class Choice(NamedTuple):
    """Where a call runs ("cpu", "qpu", "emulator"), by which kernel, and why.

    ``seconds`` holds the predicted time per backend on ``board``, of a repeated call from beginning
    to end, and ``parts`` the same as a :class:`Cost` each: host, launch, copy and kernel apart.
    Both are empty when the board is not known.  The emulator never appears there: its own speed is
    no property of the chip.
    """

    backend: str
    kernel: Optional[str]
    reason: str
    seconds: Mapping[str, float] = types.MappingProxyType({})
    board: Optional[str] = None
    parts: Mapping[str, Cost] = types.MappingProxyType({})

    def __str__(self) -> str:
        where = f"{self.backend} (kernel {self.kernel})" if self.kernel else self.backend
        times = {name: _duration(seconds) for name, seconds in self.seconds.items()}
        times.update((name, str(cost)) for name, cost in self.parts.items())
        text = ", ".join(f"{name} {time}" for name, time in sorted(times.items()))
        return f"{where}: {self.reason}" + (f"; predicted on {self.board}: {text}" if text else "")


def _duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def costs(call: Call, board: Optional[Board]) -> Dict[str, Cost]:
    """What the call takes on each of the board's two processors."""
    if board is None:
        return {}
    row = ROUTINES[call.routine]
    resident = call.resident and row.name not in ALWAYS_COPIED
    flops, moved = row.flops(**call.sizes), row.staged(**call.sizes)
    copy = board.copy * 2**20
    cpu = flops / (board.cpu * 1e9)
    if row.level < 3:
        # A copy of n bytes moves 2 n.
        cached = board.cached * 2**20 or boards.CACHED_COPY * copy
        cpu = max(cpu, moved / (2 * cached))
    factors = board.factors.get(call.routine, boards.Factors())
    host = board.call + board.python * host_calls.on_cpu(call.routine)
    found = {"cpu": Cost(host, 0.0, 0.0, factors.cpu * cpu)}
    kernel = predictions.seconds(call.routine, board.clock, call.sizes, resident)
    if row.kernel is not None and kernel is not None:
        launches = predictions.launches(call.routine, call.sizes, resident)
        calls = host_calls.calls(call.routine, call.sizes, resident)
        found["qpu"] = Cost(
            factors.host * board.python * (calls + launches * host_calls.per_launch()),
            launches * board.launch,
            0.0 if resident else factors.staging * moved / copy,
            factors.kernel * kernel,
        )
    return found


def size(routine: str, sizes: Mapping[str, int]) -> int:
    """The size of a call: its floating-point operations, or the numbers that it moves if these are
    more."""
    row = ROUTINES[routine]
    return max(row.flops(**sizes), row.staged(**sizes) // 4)


def predict(call: Call, board: Optional[Board]) -> Dict[str, float]:
    """Seconds that the call takes on each of the board's two processors, from beginning to end."""
    return {name: cost.seconds for name, cost in costs(call, board).items()}


def least_product(board: Optional[Board]) -> int:
    """Multiplications below which "auto" sends no product of operands in ordinary memory to the
    QPUs, neither of matrices nor of vectors: a bound from below, so that a call with less of them
    need not be looked at further."""
    if board is None:
        return 0
    fixed = []
    for routine, sizes in (("sgemm", "mnk"), ("sgemv", "mn"), ("sdot", "n")):
        found = costs(Call(routine, dict.fromkeys(sizes, 1)), board)
        if "qpu" in found:
            factor = board.factors.get(routine, boards.Factors()).cpu
            fixed.append((found["qpu"].host + found["qpu"].launch - found["cpu"].host) / factor)
    cached = board.cached * 2**20 or boards.CACHED_COPY * board.copy * 2**20
    # Two operations, or three numbers that are moved, for each multiplication.
    each = max(2 / (board.cpu * 1e9), 3 * 4 / (2 * cached))
    return max(0, int(min(fixed, default=0.0) / each))


def staging_pays(level: int, board: Optional[Board]) -> bool:
    """Whether "auto" sends any call of a level to the QPUs whose operands lie in ordinary memory.

    By the published figures of every board no vector does (a test goes through them all), so that
    only figures measured on this board are searched.
    """
    if board is None or (level == 1 and not board.tuned):
        return False
    return any_staged_pays(level, board)


def any_staged_pays(level: int, board: Board) -> bool:
    """The answer of :func:`staging_pays` by trying all routines, all sizes being the same."""
    for routine, row in ROUTINES.items():
        if row.kernel is None or row.level != level:
            continue
        for n in TRIED[level]:
            seconds = predict(Call(routine, dict.fromkeys(row.sizes, n)), board)
            if "qpu" in seconds and seconds["qpu"] < seconds["cpu"]:
                return True
    return False


TRIED = {1: (1, 1 << 10, 1 << 18, 1 << 26), 2: (1, 64, 512, 4096), 3: (1, 64, 512, 4096)}
"""Sizes up to those of which an operand fills the memory of a board."""


def choose(call: Call, target: Target, board: Optional[Board] = None) -> Choice:
    """The backend for a call aimed at ``target``."""
    row = ROUTINES[call.routine]
    bar = call.bar
    if row.kernel is None:
        bar = NO_KERNEL
    elif not row.flops(**call.sizes) and (row.level > 1 or not row.staged(**call.sizes)):
        bar = NO_PRODUCT
    elif target.missing:
        bar = target.missing
    return decide(costs(call, board), target, board, row.kernel, bar)


def decide(
    parts: Mapping[str, Cost],
    target: Target,
    board: Optional[Board],
    kernel: Optional[str],
    bar: str = "",
) -> Choice:
    """The backend for a call that takes ``parts`` on each processor; ``bar`` says why it must not
    go to the QPUs."""
    seconds = {backend: cost.seconds for backend, cost in parts.items()}
    name = board.name if board else None

    def cpu(reason: str) -> Choice:
        return Choice("cpu", None, reason, seconds, name, parts)

    if target.backend == "cpu":
        return cpu(target.missing or CPU_ASKED)
    if bar or target.missing:
        return cpu(bar or target.missing)
    if target.demanded:
        reason = f"the {target.backend} was asked for"
        return Choice(target.backend, kernel, reason, seconds, name, parts)
    if not seconds:
        return cpu("no figures for this board to decide by")
    if "qpu" not in seconds:
        return cpu("no prediction for this kernel")
    if seconds["qpu"] >= seconds["cpu"]:
        return cpu(FASTER_ON_CPU)
    return Choice(target.backend, kernel, "predicted faster on the QPUs", seconds, name, parts)
