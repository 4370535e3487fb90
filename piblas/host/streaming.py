"""Vectors and matrices of levels 1 and 2 that do not fit device memory, streamed through it.

:mod:`.pieces` says when, by ``runner.cut``.  Vectors come in slices, matrices in blocks of columns,
each copied to the same scratch memory as the one before.  A block of columns keeps its place in the
matrix as far as a kernel knows: it is told an address of the matrix at which the block lies where
it was copied to, and works on nothing else.  Results are gathered in ordinary memory and written at
the end.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import RunReport
from ..errors import DeviceError, OutOfDeviceMemory
from ..kernels import storage
from ..kernels.storage import Storage
from . import limits, matvec, updates, vectors
from .outcome import CpuNeeded
from .pieces import halved, ranges, whole
from .plan import PLANS, LaunchPlan
from .runner import Runner, Scratch

__all__ = ["mapped", "multiplied", "reduced", "updated"]

WORD = 4


# --- vectors -------------------------------------------------------------------------------------


def _slices(n: int, cut: int) -> List[slice]:
    (step,) = halved((n,), cut)
    if step > limits.SLICE:
        step = step // limits.SLICE * limits.SLICE
    return ranges(0, n, step)


def mapped(
    of: vectors.Map, runner: Runner, views: Sequence[np.ndarray], constants: Tuple[float, ...]
) -> Sequence[RunReport]:
    """What :meth:`.vectors.Map.launched` does, slice by slice.

    A result in device memory is written where it lies.
    """
    gathered: Dict[int, np.ndarray] = {
        at: np.empty(of.n, np.float32) for at in of.written if not of.resident[at]
    }
    reports: List[RunReport] = []
    with whole(runner) as cut:
        for part in _slices(of.n, cut):
            length = part.stop - part.start
            inner = vectors.Map(of.routine, length, of.operands, runner)
            given = [view[part] for view in views]
            for at, room in gathered.items():
                if at in of.read:
                    room[part] = given[at]
                given[at] = room[part]
            try:
                reports += inner.launched(runner, given, constants)
            except CpuNeeded as needed:
                raise CpuNeeded(needed.reason, [*reports, *needed.reports]) from None
            except OutOfDeviceMemory as error:
                if reports and of.in_place:
                    raise DeviceError(
                        f"{of.routine}: device memory ran out when a vector in it was changed up "
                        f"to element {part.start}: {error}"
                    ) from error
                raise
    for at, room in gathered.items():
        views[at][...] = room
    return reports


def reduced(of: vectors.Reduce, runner: Runner, values: Sequence[Any]) -> Any:
    """What a call of the :class:`.vectors.Reduce` gives: the parts of all slices are joined."""
    views, _ = vectors.views_of(of.operands, values)
    reports: List[RunReport] = []
    with whole(runner) as cut:
        parts = _slices(of.shape.n, cut)
        operands = [each._replace(cut=slice(None), reverse=False) for each in of.operands]
        inner = [
            vectors.Reduce(of.shape.routine, part.stop - part.start, operands, runner)
            for part in parts
        ]

        def launch(*constants: float) -> np.ndarray:
            """What the parts of all slices stored."""
            found = []
            for part, each in zip(parts, inner):
                each.evaluate = lambda launch, n, firsts: launch(*constants).copy()
                stored, made = each(runner, [view[part] for view in views])
                reports.extend(made)
                found.append(stored)
            return np.concatenate(found)

        firsts = np.concatenate(
            [part.start + each.made().data.firsts for part, each in zip(parts, inner)]
        )
        try:
            return of.evaluate(launch, of.shape.n, firsts), reports
        except CpuNeeded as needed:
            raise CpuNeeded(needed.reason, reports) from None


# --- matrices ------------------------------------------------------------------------------------


class _Columns:
    """Blocks of columns of a matrix (:class:`.matvec.Held`) in scratch memory, one at a time."""

    def __init__(self, runner: Runner, held: matvec.Held, source: np.ndarray) -> None:
        self.runner, self.held, self.source = runner, held, source
        self.room: Optional[Scratch] = None

    def words(self, columns: slice) -> slice:
        """The words of the matrix, as the kernels count them, that these columns take."""
        held, made = self.held, self.held.storage
        if held.rows:
            return slice(held.ld * columns.start, held.ld * columns.stop)
        first, last = columns.start, columns.stop - 1
        begin = made.column(first) + made.rows(first)[0]
        return slice(int(begin), int(made.column(last) + made.rows(last)[1]))

    def blocks(self, begin: int, end: int, cut: int) -> List[slice]:
        """The blocks, and room for the largest."""
        (step,) = halved((end - begin,), cut)
        found = ranges(begin, end, step)
        most = max(self.words(each).stop - self.words(each).start for each in found)
        (self.room,) = self.runner.scratch(LaunchPlan([], [], (), {"matrix": WORD * most}))
        return found

    def image(self, columns: slice) -> Tuple[np.ndarray, np.ndarray]:
        """(what these columns are of the source, their place in scratch memory)."""
        assert self.room is not None
        held, words = self.held, self.words(columns)
        place = self.room.floats[: words.stop - words.start]
        if not held.rows:
            return self.source[words], place
        return self.source[:, columns], place.reshape(-1, held.ld).T[: held.rows]

    def staged(self, columns: slice) -> int:
        """The address of the whole matrix that has these columns where they were copied to."""
        assert self.room is not None
        part, place = self.image(columns)
        place[...] = part
        self.room.buffer.clean()
        return self.room.bus_address - WORD * self.words(columns).start


def multiplied(
    of: matvec.Multiply,
    runner: Runner,
    matrix: Any,
    use: str,
    x: np.ndarray,
    kept: Storage,
    reports: List[RunReport],
    rows: Optional[Tuple[int, int]],
    columns: Optional[Tuple[int, int]],
) -> np.ndarray:
    """What a call of the :class:`.matvec.Multiply` gives; ``matrix`` is the source, or the address
    of a matrix in device memory, of which then only the results come in pieces."""
    with whole(runner) as cut:
        begin, end = columns or (0, kept.n)
        if rows is not None:  # those columns that have an element there
            begin, end = max(begin, rows[0] - kept.high), min(end, rows[1] - kept.low)
        total = np.zeros(kept.m if use != "t" else kept.n)
        if begin >= end:
            return total
        held = of.matrix
        dense = held.rows and kept.step == held.ld and (kept.is_full or rows is not None)
        if dense and not isinstance(matrix, int):
            block = slice(*(rows or (0, kept.m))), slice(begin, end)
            return _dense(of, runner, matrix, use, x, block, total, cut, reports)
        stage = None if isinstance(matrix, int) else _Columns(runner, held, matrix)
        if stage is None:
            (step,) = halved((end - begin,), cut)
            blocks = ranges(begin, end, step)
        else:
            blocks = stage.blocks(begin, end, cut)
        for each in blocks:
            address = matrix if stage is None else stage.staged(each)
            own = each.start, each.stop
            total += of(runner, address, use, x, kept, reports, rows, own)
    return total


def _dense(
    of: matvec.Multiply,
    runner: Runner,
    source: np.ndarray,
    use: str,
    x: np.ndarray,
    block: Tuple[slice, slice],
    total: np.ndarray,
    cut: int,
    reports: List[RunReport],
) -> np.ndarray:
    """The same for a block of the source of which every element is there, cut into smaller ones."""
    down, along = block
    height, width = halved((down.stop - down.start, along.stop - along.start), cut)
    for rows in ranges(down.start, down.stop, height):
        for columns in ranges(along.start, along.stop, width):
            part = source[rows, columns]
            m, n = part.shape
            made = storage.full(m, n, m)
            inner = matvec.Multiply(
                of.kernel, matvec.Held(made, False, slice(None), m, m, m * n, False),
                runner.device,
            )  # fmt: skip
            reads, writes = (rows, columns) if use == "t" else (columns, rows)
            total[writes] += inner(
                runner, inner.placed(runner, part), use, np.ascontiguousarray(x[reads]), made,
                reports,
            )  # fmt: skip
    return total


def updated(
    of: updates.Update,
    runner: Runner,
    source: np.ndarray,
    found: Sequence[np.ndarray],
    factors: Sequence[np.ndarray],
    reports: List[RunReport],
) -> None:
    """An update of a matrix that is not in device memory, which gets the new contents at the end.
    """
    gathered = np.empty_like(source)
    with whole(runner) as cut:
        stage = _Columns(runner, of.matrix, source)
        for columns in stage.blocks(0, of.shape.storage.n, cut):
            address = stage.staged(columns)
            part = of.shape._replace(columns=(columns.start, columns.stop))
            plan = PLANS.made(part, updates.launches_of, part)
            of.launched(runner, plan, address, found, factors, reports)
            assert stage.room is not None
            stage.room.buffer.invalidate()
            _, place = stage.image(columns)
            if of.matrix.rows:
                gathered[:, columns] = place
            else:
                gathered[stage.words(columns)] = place
    source[...] = gathered
