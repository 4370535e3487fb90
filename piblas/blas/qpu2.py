"""Runs the level-2 kernels on a device: stage the operands, launch, join what comes back.

A matrix is copied once, from the caller's array into device memory, with its columns on lines of 64
bytes where they are long; vectors are copied once, too, to contiguous memory or into the uniforms.
The caller's arrays are written by nobody here but :func:`update`'s ``out``, when all has succeeded.

A matrix whose columns are contiguous in device memory already (:mod:`.arrays`) is used where it
lies, and changed there by an update: a launch that fails may have written a part of it.

Every function returns None for the values where the kernels met Inf, NaN or what may be an overflow
(:mod:`piblas.kernels.panel`): SciPy has to compute the call then.
"""

from __future__ import annotations

import contextlib
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import Buffer, Device, RunReport
from ..host import arrays, limits
from ..kernels import panel_plan, storage, trsv, update_plan
from ..kernels.spec import KernelSpec
from ..kernels.storage import Storage
from . import scipy_blas
from .qpu import device_buffers, loaded_program

__all__ = [
    "Matrix",
    "Panel",
    "band",
    "full",
    "located",
    "packed",
    "resident",
    "solve",
    "staged",
    "triangle",
    "update",
]

TIMEOUT = 60.0
LONG = 64
"""Columns of so many words begin on lines of 64 bytes in device memory."""


class Matrix(NamedTuple):
    """A matrix in the caller's memory: ``source`` is a table with an axis of rows and one of
    columns, or the words of a packed one; in device memory its columns are ``ld`` words apart."""

    storage: Storage
    source: np.ndarray
    ld: int

    @property
    def words(self) -> int:
        """Words that it takes in device memory."""
        return self.ld * self.source.shape[1] if self.source.ndim == 2 else self.source.size

    def image(self, buffer: Buffer) -> np.ndarray:
        """The place of ``source`` in device memory."""
        if self.source.ndim == 1:
            return buffer.array(np.float32, (self.words,))
        table = buffer.array(np.float32, (self.ld, self.source.shape[1]), order="F")
        return table[: self.source.shape[0]]

    def at(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """The elements at rows ``i`` and columns ``j``, which are stored, as float32."""
        words = self.storage.first + self.storage.step * j + i
        words = words + self.storage.growth * (j * (j - 1) // 2)
        if self.source.ndim == 1:
            found = self.source[words]
        else:
            found = self.source[words % self.ld, words // self.ld]
        return np.asarray(found, dtype=np.float32)

    def block(self, first: int, last: int) -> np.ndarray:
        """Rows and columns ``first`` to ``last`` as a table, with zeros where nothing is stored."""
        i, j = np.mgrid[first:last, first:last]
        there = (self.storage.low <= i - j) & (i - j <= self.storage.high)
        made = np.zeros(i.shape)
        made[there] = self.at(i[there], j[there])
        return made

    def diagonal(self) -> np.ndarray:
        along = np.arange(self.storage.n)
        return self.at(along, along)


def _ld(rows: int) -> int:
    return -(-rows // 16) * 16 if rows >= LONG else max(rows, 1)


def full(a: np.ndarray) -> Matrix:
    ld = _ld(a.shape[0])
    return Matrix(storage.full(a.shape[0], a.shape[1], ld), a, ld)


def triangle(a: np.ndarray, lower: bool) -> Matrix:
    ld = _ld(a.shape[0])
    return Matrix(storage.triangle(a.shape[0], lower, ld), a, ld)


def band(a: np.ndarray, m: int, kl: int, ku: int) -> Matrix:
    """The diagonals of an m x n matrix as rows 0 to kl + ku of ``a``."""
    a = a[: kl + ku + 1]
    return Matrix(storage.band(m, a.shape[1], kl, ku, a.shape[0], ku), a, a.shape[0])


def packed(ap: np.ndarray, n: int, lower: bool) -> Matrix:
    return Matrix(storage.packed(n, lower), ap[: n * (n + 1) // 2], 0)


def located(device: Device, matrix: Matrix) -> Matrix:
    """The matrix as it lies in device memory if it does (:mod:`.arrays`) and its columns are
    contiguous, else as it is."""
    source = matrix.source
    if arrays.place(source, device) is None or source.ndim == 1:
        return matrix
    (rows, columns), (down, along) = source.shape, source.strides
    ld = along // 4 if columns > 1 else max(rows, 1)
    if (rows > 1 and down != 4) or along % 4 or ld < rows:
        return matrix
    moved = matrix.storage._replace(step=matrix.storage.step + ld - matrix.ld)
    return Matrix(moved, source, ld)


def resident(device: Device, matrix: Matrix) -> Optional[arrays.Place]:
    """Where a located matrix lies in device memory; None where it has to be copied there."""
    found = arrays.place(matrix.source, device)
    if matrix.source.ndim == 1:
        there = matrix.source.strides == (4,)
    else:
        (rows, columns), (down, along) = matrix.source.shape, matrix.source.strides
        there = (rows == 1 or down == 4) and (columns == 1 or along == 4 * matrix.ld)
    return found if there else None


class Panel:
    """A matrix in device memory, to be multiplied with; ``reports`` gathers the launches."""

    def __init__(self, device: Device, spec: KernelSpec, address: int) -> None:
        self.device, self.spec, self.address = device, spec, address
        self.reports: List[RunReport] = []

    def multiply(
        self,
        use: str,
        x: np.ndarray,
        kept: Storage,
        rows: Optional[Tuple[int, int]] = None,
        columns: Optional[Tuple[int, int]] = None,
    ) -> Optional[np.ndarray]:
        """A x, A^T x or their sum (``use``: "n", "t", "s") in double precision, for the elements of
        ``kept`` in these rows and columns; 0 for rows of the result that none belongs to."""
        plan = panel_plan.plan(kept, use, rows, columns)
        if not len(plan.tiles):
            return np.zeros(kept.n if use == "t" else kept.m)
        options, device = plan.options, self.device
        program = loaded_program(device, self.spec, options)
        x_words = kept.m + options.height if options.transposed else 1
        with device_buffers(device, 4 * x_words, 4 * plan.words) as (of_x, out):
            if options.transposed:
                vector = of_x.array(np.float32, (x_words,))
                vector[: kept.m] = x
                vector[kept.m :] = 0
                of_x.clean()
            # A dirty line, written back later, would overwrite the QPUs' stores.
            out.clean()
            stored = out.array(np.float32, (plan.words,))
            at = {"a": self.address, "x": of_x.bus_address, "out": out.bus_address}
            values = {"x": np.ascontiguousarray(x, dtype=np.float32)}
            costs = plan.clocks() / (device.clock_hz * device.n_qpus)
            for part in limits.runs(costs, device.longest_launch, device.n_qpus):
                streams = plan.streams(device.n_qpus, part).filled(at, values)
                report = device.execute(program, streams, timeout=TIMEOUT)
                report.kernel = self.spec.name
                self.reports.append(report)
                out.invalidate()
                if plan.watched(stored, device.n_qpus, part):
                    return None
            stored = stored.copy()  # device memory may be uncached: it is read once
            return None if plan.too_large(stored) else plan.join(stored)


def solve(
    device: Device, spec: KernelSpec, matrix: Matrix, transposed: bool, unit: bool, x: np.ndarray
) -> Tuple[Optional[np.ndarray], List[RunReport]]:
    """The x' with op(A) x' = x for finite x, float32 (:mod:`piblas.kernels.trsv`)."""
    substitute = scipy_blas.functions()["dtrsv"]
    n, lower = matrix.storage.n, matrix.storage.low == 0
    if unit:
        matrix = matrix._replace(storage=matrix.storage.without_diagonal())
    solved, rest = np.zeros(n, dtype=np.float32), x.astype(np.float64)
    with staged(device, spec, matrix) as panel_:
        for own, before in trsv.blocks(n, forward=lower != transposed):
            if before[0] < before[1]:
                rows, columns = (before, own) if transposed else (own, before)
                use = "t" if transposed else "n"
                known = panel_.multiply(use, solved, matrix.storage, rows, columns)
                if known is None:
                    return None, panel_.reports
                rest[slice(*own)] -= known[slice(*own)]
            block = matrix.block(*own)
            with np.errstate(all="ignore"):
                solved[slice(*own)] = substitute(
                    block, rest[slice(*own)], lower=lower, trans=transposed, diag=unit
                )
            if not (np.isfinite(block).all() and np.isfinite(solved[slice(*own)]).all()):
                return None, panel_.reports
    return solved, panel_.reports


@contextlib.contextmanager
def staged(device: Device, spec: KernelSpec, matrix: Matrix) -> Iterator[Panel]:
    """The matrix in device memory for the length of a call: copied, or where it lies."""
    own = resident(device, matrix)
    if own is not None:
        own.buffer.clean()
        yield Panel(device, spec, own.bus_address)
        return
    with device_buffers(device, 4 * max(matrix.words, 1)) as (buffer,):
        matrix.image(buffer)[...] = matrix.source
        buffer.clean()
        yield Panel(device, spec, buffer.bus_address)


def update(
    device: Device,
    spec: KernelSpec,
    matrix: Matrix,
    out: np.ndarray,
    vectors: Sequence[np.ndarray],
    factors: Sequence[np.ndarray],
    routine: str,
) -> Tuple[bool, List[RunReport]]:
    """A = A + the sum of vector factor^T for what is stored; ``out``, shaped as the matrix's
    source, gets the result if the first value is True.

    Where ``out`` is the matrix itself and lies in device memory, it is changed there, whatever
    values are met; the warning names the ``routine``.
    """
    plan = update_plan.plan(matrix.storage, len(vectors), device.n_qpus)
    program = loaded_program(device, spec, plan.options)
    length = matrix.storage.m + plan.options.height
    own = resident(device, matrix) if out.ctypes.data == matrix.source.ctypes.data else None
    sizes = [4 * plan.watch_words] + [4 * length for _ in vectors]
    with contextlib.ExitStack() as stack:
        watch, *places = stack.enter_context(device_buffers(device, *sizes))
        if own is None:
            (buffer,) = stack.enter_context(device_buffers(device, 4 * matrix.words))
            image = matrix.image(buffer)
            image[...] = matrix.source
            address = buffer.bus_address
        else:
            buffer, address = own.buffer, own.bus_address
        for place, vector in zip(places, vectors):
            words = place.array(np.float32, (length,))
            words[: matrix.storage.m] = vector
            words[matrix.storage.m :] = 0
        for each in (buffer, watch, *places):
            each.clean()
        reports, special = [], False
        stored = watch.array(np.float32, (plan.watch_words,))
        at = dict(zip("xy", (place.bus_address for place in places)))
        at.update(a=address, watch=watch.bus_address)
        values = {name: np.ascontiguousarray(f, np.float32) for name, f in zip("st", factors)}
        for part in limits.runs(plan.clocks() / device.clock_hz, device.longest_launch):
            streams = plan.streams(part).filled(at, values)
            report = device.execute(program, streams, timeout=TIMEOUT)
            report.kernel = spec.name
            reports.append(report)
            watch.invalidate()
            special = special or plan.overflowed(stored)
            if special and own is None:
                return False, reports
        buffer.invalidate()
        if own is None:
            out[...] = image
        elif special:
            arrays.warn_of_special(routine)
    return True, reports
