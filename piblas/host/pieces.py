"""Calls whose operands do not fit device memory, computed in pieces that do.

Where a call finds no room, even after all caches were given up, :func:`again` has it computed anew
with ``runner.cut`` = 1, 2, ...: from then on whoever stages operands halves the longest of its
dimensions so many times, and works through the pieces one after the other.  At level 3 these are
blocks of rows, columns and steps of k (this module); at levels 1 and 2 slices of vectors and blocks
of a matrix are streamed through the same scratch memory (:mod:`.streaming`).  Nothing of this costs
a call that fits more than the look at ``runner.cut``.

The caller's arrays are written when the last piece is there, or not at all.  A result in device
memory that is written where it lies gets its old contents back if a piece fails.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import RunReport
from ..errors import OutOfDeviceMemory
from . import gemm_resident, gemm_staged, limits
from .gemm_staged import WORD
from .numbers import all_below, all_finite
from .outcome import NOT_FINITE, OVERFLOW, CpuNeeded, Outcome
from .runner import TIMEOUT, Runner

__all__ = ["again", "halved", "product", "ranges", "resident", "whole"]

CUTS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""How often the longest dimension is halved, attempt by attempt.  With the last one pieces have a
2**24th of the volume: a device that is too full for that is full."""

LEAST = 16
"""No dimension is cut into pieces that are shorter."""


class whole:
    """``with whole(runner) as cut:`` has what it computes done in one piece, as it is cut here."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.cut = runner, runner.cut

    def __enter__(self) -> int:
        self.runner.cut = 0
        return self.cut

    def __exit__(self, *exc: object) -> None:
        self.runner.cut = self.cut


def again(
    compute: Callable[[Runner, Sequence[Any]], Outcome], runner: Runner, values: Sequence[Any]
) -> Outcome:
    """``compute(runner, values)``, which had no room with what is kept from earlier calls: without
    that, which may lie in the middle of memory, then in smaller and smaller pieces."""
    try:
        for cut in (0, *CUTS):
            runner.abandon()
            runner.cut = cut
            try:
                return compute(runner, values)
            except OutOfDeviceMemory as error:
                problem = error.with_traceback(None)  # whose frames hold the result's memory
        raise problem
    finally:
        runner.cut = 0


def halved(sizes: Sequence[int], times: int) -> List[int]:
    """Lengths of pieces: the longest is halved, so many times; long ones stay multiples of
    :data:`.limits.UNIT`."""
    found = list(sizes)
    for _ in range(times):
        at = found.index(max(found))
        if found[at] <= LEAST:
            break
        half = -(-found[at] // 2)
        found[at] = -(-half // limits.UNIT) * limits.UNIT if half > limits.UNIT else half
    return found


def _need(runner: Runner, words: int) -> None:
    """Say at once what else would be known when a plan has been made: that pieces are too large."""
    free = runner.device.memory_state()[2]
    if free is not None and WORD * words > free + runner.kept_bytes:
        raise OutOfDeviceMemory(f"no room for {WORD * words} bytes: {free} bytes are free")


def ranges(begin: int, end: int, step: int) -> List[slice]:
    """Neighbouring slices of ``step`` elements, the last one as long as it is."""
    return [slice(start, min(start + step, end)) for start in range(begin, end, step)]


# --- products of matrices ------------------------------------------------------------------------


def _wanted(tiles: str, rows: slice, columns: slice) -> bool:
    """Whether a block of D has one of the wanted tiles (:class:`.gemm_staged.Dense`)."""
    if tiles == "lower":
        return bool(rows.stop > columns.start)
    return tiles != "upper" or bool(columns.stop > rows.start)


def product(
    runner: Runner,
    shape: gemm_staged.Dense,
    alpha: float,
    p_of: np.ndarray,
    q_of: np.ndarray,
    beta: float,
    old: Optional[np.ndarray],
    reports: List[RunReport],
    timeout: float = TIMEOUT,
    wanted: Optional[np.ndarray] = None,
) -> np.ndarray:
    """What :func:`.gemm_staged.staged` gives, as a new array in ordinary memory; zeros where it is
    undefined.  The CPU adds up what blocks of k give."""
    m, n, k = shape[:3]
    made = np.zeros((m, n), np.float32)
    with whole(runner) as cut:
        height, width, depth = halved((m, n, k), cut)
        _need(runner, height * depth + depth * width + height * width)
        for rows in ranges(0, m, height):
            for columns in ranges(0, n, width):
                if not _wanted(shape.tiles, rows, columns):
                    continue
                block = made[rows, columns]
                for steps in ranges(0, k, depth):
                    if shape.tiles == "ramp" and steps.start >= rows.stop:
                        break  # P is zero there
                    before = None if old is None or steps.start else old[rows, columns]
                    part = shape._replace(
                        m=block.shape[0], n=block.shape[1], k=steps.stop - steps.start,
                        beta=before is not None, tiles="all",
                    )  # fmt: skip
                    found = gemm_staged.staged(
                        runner, part, alpha, p_of[steps, rows], q_of[steps, columns], beta, before,
                        reports, timeout, None if wanted is None else wanted[rows, columns],
                    )  # fmt: skip
                    with np.errstate(over="ignore", invalid="ignore"):
                        block += found
    if not all_below(made if wanted is None else made[wanted]):
        raise CpuNeeded(OVERFLOW, reports)
    return made


def resident(
    runner: Runner,
    blocks: Sequence[Tuple[slice, slice]],
    depth: int,
    alpha: float,
    p_of: np.ndarray,
    q_of: np.ndarray,
    beta: float,
    d: np.ndarray,
    given: bool,
    reports: List[RunReport],
    in_place: Optional[bool],
    accuracy: str,
) -> None:
    """As :func:`.gemm_resident.in_device_memory`, for one block (rows, columns) of d after the
    other, and for at most ``depth`` steps of k at a time."""
    before = d.copy() if given else None
    if beta != 0 and not all_finite(d):
        raise CpuNeeded(NOT_FINITE)
    (m, n), k = d.shape, p_of.shape[1]
    n_qpus = runner.device.n_qpus
    try:
        with whole(runner) as cut:
            if cut:
                height, width, deep = halved((m, n, k), cut)
                depth = min(deep, depth)
                _need(runner, height * depth + depth * width)
                blocks = [
                    (rows, columns)
                    for columns in ranges(0, n, width) for rows in ranges(0, m, height)
                ]  # fmt: skip
            for rows, columns in blocks:
                for steps in ranges(0, k, depth):
                    gemm_resident.launch_pair(
                        runner, n_qpus, reports, in_place, accuracy, alpha, p_of[rows, steps],
                        q_of[steps, columns], 1.0 if steps.start else beta, d[rows, columns], False,
                    )  # fmt: skip
        # What the kernel adds to is not looked at by the launches of a block.
        if (beta != 0 or depth < k) and not all_below(d):
            raise CpuNeeded(OVERFLOW, reports)
    except BaseException as error:
        if before is not None:
            d[...] = before
        if isinstance(error, CpuNeeded):
            # What is in d when a block fails says nothing about the operands.
            finite = all_finite(p_of) and all_finite(q_of)
            raise CpuNeeded(OVERFLOW if finite else NOT_FINITE, reports) from None
        raise
