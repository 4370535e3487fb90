"""sgemm and somatcopy of operands that lie in device memory, by the QPUs.

The CPU writes uniform streams and touches no element, nor does it where operands are looked at for
Inf and NaN, and results for an overflow (:func:`below`): that is a launch of isamax's kernel.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import List, Optional, Tuple

import numpy as np

from ..driver.device import Buffer, Device, RunReport
from ..errors import BlasError
from ..host import arrays, limits
from ..kernels import gemm, gemm_choice, gemm_layout, gemm_pack, gemm_schedule
from . import qpu1
from .qpu import device_buffers, loaded_program, write_streams

__all__ = ["View", "below", "copied", "ordered", "product", "sgemm", "view"]

WORD = 4


@dataclass(frozen=True)
class View:
    """A float32 matrix in a buffer: its first element's byte offset, shape, strides in bytes."""

    buffer: Buffer
    shape: Tuple[int, int]
    strides: Tuple[int, int]
    offset: int = 0

    @property
    def bus_address(self) -> int:
        """Where a QPU sees the first element."""
        return self.buffer.bus_address + self.offset

    @property
    def T(self) -> "View":
        """The transpose of the same elements."""
        return View(self.buffer, self.shape[::-1], self.strides[::-1], self.offset)

    def check(self, routine: str, name: str) -> None:
        """Raise BlasError unless this is a matrix of words inside its buffer."""
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise BlasError(routine, name, self.shape, "a matrix has two sizes of at least 1")
        if self.offset % WORD or any(stride % WORD for stride in self.strides):
            raise BlasError(
                routine, name, (self.offset, self.strides), "offset and strides are whole words"
            )
        steps = [stride * (size - 1) for size, stride in zip(self.shape, self.strides)]
        low = self.offset + sum(min(step, 0) for step in steps)
        high = self.offset + sum(max(step, 0) for step in steps) + WORD
        if low < 0 or high > self.buffer.nbytes:
            raise BlasError(
                routine, name, (low, high), f"the buffer holds {self.buffer.nbytes} bytes"
            )


def sgemm(
    device: Device,
    alpha: float,
    a: View,
    b: View,
    beta: float,
    c: View,
    timeout: float = 60.0,
) -> Tuple[RunReport, RunReport]:
    """c = alpha * a @ b + beta * c on the QPUs; the reports of packing and of the product.

    ``a`` is (m, k) and ``b`` (k, n), of any strides, ``c`` is (m, n) with its rows or its columns
    contiguous and apart from each other; otherwise BlasError.  ``a`` and ``b`` may overlap ``c``:
    they are packed before it is written.  What the CPU wrote to the buffers is cleaned here, and
    what the QPUs wrote to that of ``c`` invalidated.  If the second launch fails, ``c`` may be
    written in part.  Inf, NaN and overflow are what the QPUs make of them.
    """
    for name, view in (("a", a), ("b", b), ("c", c)):
        view.check("sgemm", name)
    (m, k), n = a.shape, b.shape[1]
    if b.shape[0] != k:
        raise BlasError("sgemm", "b", b.shape, f"a is {m} x {k}, so b has to have {k} rows")
    if c.shape != (m, n):
        raise BlasError("sgemm", "c", c.shape, f"a @ b is {m} x {n}")
    pitch = _pitch(c)
    if pitch is None:
        # The kernel works on contiguous rows, so it computes the transpose.
        a, b, c, m, n = b.T, a.T, c.T, n, m
        pitch = _pitch(c)
    if pitch is None:
        raise BlasError(
            "sgemm", "c", c.T.strides, "its rows or its columns are contiguous, none overlaps"
        )
    options = gemm_choice.choose(m, n, k, beta != 0)
    packing = loaded_program(device, gemm_pack.SPEC, gemm_pack.SPEC.defaults)
    program = loaded_program(device, gemm.SPEC, options)
    p, q = gemm_layout.packed_words(options, m, n, k)
    with contextlib.ExitStack() as stack:
        p_buf, q_buf = stack.enter_context(device_buffers(device, WORD * p.words, WORD * q.words))
        operands = (
            gemm_pack.Operand(p, k, 0, a.strides[1], a.strides[0], 0, "a", "p"),
            gemm_pack.Operand(q, k, 0, *b.strides, 0, "b", "q"),
        )
        skew = gemm_schedule.skew_of(options, p, q)
        tiles = gemm_schedule.dense_tiles(options, p, q, pitch // WORD, skew)
        packs = gemm_pack.streams(operands, device.n_qpus)
        multiplies = gemm_schedule.streams(options, tiles, device.n_qpus, skew)
        buffers = stack.enter_context(device_buffers(device, packs.nbytes, multiplies.nbytes))
        addresses = {
            "a": a.bus_address, "b": b.bus_address, "p": p_buf.bus_address,
            "q": q_buf.bus_address, "d": c.bus_address,
        }  # fmt: skip
        factors = {"alpha": np.array([alpha], np.float32), "beta": np.array([beta], np.float32)}
        starts = [
            write_streams(each, buffer, addresses, **factors)
            for each, buffer in zip((packs, multiplies), buffers)
        ]
        # The packed ones too: a dirty line, written back later, would overwrite the QPUs' stores.
        for buffer in (p_buf, q_buf, a.buffer, b.buffer, c.buffer, *buffers):
            buffer.clean()
        packed = device.execute(packing, starts[0], timeout=timeout)
        product = device.execute(program, starts[1], timeout=timeout)
        c.buffer.invalidate()
    packed.kernel, product.kernel = gemm_pack.SPEC.name, gemm.SPEC.name
    return packed, product


def _pitch(c: View) -> Optional[int]:
    """Bytes from row to row if rows are contiguous and apart, else None."""
    (rows, columns), (down, along) = c.shape, c.strides
    if columns > 1 and along != WORD:
        return None
    if rows == 1:
        return WORD * columns
    return down if down >= WORD * columns else None


# --- on arrays -----------------------------------------------------------------------------------


def view(device: Device, matrix: np.ndarray) -> Optional[View]:
    """A float32 matrix as it lies in device memory; None where it does not."""
    found = arrays.place(matrix, device)
    if found is None or matrix.ndim != 2:
        return None
    rows, columns = matrix.shape
    down, along = matrix.strides
    return View(found.buffer, (rows, columns), (down, along), found.offset)


def _line(matrix: np.ndarray) -> Optional[np.ndarray]:
    """The elements of a matrix as one contiguous vector; None where there are gaps."""
    if matrix.flags.f_contiguous:
        matrix = matrix.T
    return matrix.reshape(-1) if matrix.flags.c_contiguous else None


def below(device: Device, matrix: np.ndarray, limit: float) -> Tuple[bool, List[RunReport]]:
    """Whether all magnitudes are below a limit (so, no NaN): by the QPUs where they see the matrix
    and it has no gaps, else by the CPU."""
    line = _line(matrix)
    if line is None or arrays.place(line, device) is None:
        return bool((np.abs(matrix) < limit).all()), []
    largest, report = qpu1.largest(device, line)
    return bool(largest < limit), [report]


def copied(device: Device, matrix: np.ndarray) -> Tuple[np.ndarray, List[RunReport]]:
    """A copy of a matrix to go back to: by the QPUs, in device memory, where it has no gaps."""
    line = _line(matrix)
    if line is None:
        return matrix.copy(order="F"), []
    kept = arrays.empty(line.size, device=device)
    report = qpu1.scopy(device, line.size, line, 1, kept, 1)
    return _like(matrix, kept), [report] if report is not None else []


def _like(matrix: np.ndarray, line: np.ndarray) -> np.ndarray:
    """A vector as a matrix of the same order as one without gaps."""
    if matrix.flags.f_contiguous:
        return line.reshape(matrix.T.shape).T
    return line.reshape(matrix.shape)


WIDEST = 16384
"""Rows of a matrix that one launch can bring into another order: the store engine's stride ends
at 65535 bytes."""

PACKED_RATE = 0.25e9
"""Bytes a second that a launch packs at least, read and written."""


def ordered(
    device: Device, alpha: float, source: np.ndarray
) -> Tuple[Optional[np.ndarray], List[RunReport]]:
    """alpha * source, which lies in device memory, in Fortran order in device memory; None where
    the CPU has to do it, :class:`.qpu1.Watched` where it has to because of a value.

    A matrix without gaps is a vector to copy's and scal's kernels, the latter with its error and
    its eye on Inf and NaN.  Rows that are contiguous become columns by the kernel that packs for
    gemm, which moves every bit.
    """
    reports: List[RunReport] = []
    (m, n), line = source.shape, _line(source)
    if line is not None and (alpha != 1 or source.flags.f_contiguous):
        made = arrays.empty(source.size, device=device)
        if alpha == 1:
            report = qpu1.scopy(device, line.size, line, 1, made, 1)
        else:
            report = qpu1.scaled(device, alpha, line, made)
        reports += [report] if report is not None else []
        source = _like(source, made)
        if source.flags.f_contiguous:
            return source, reports
    elif alpha != 1:
        return None, reports
    if m > WIDEST or source.strides[1] != WORD or source.strides[0] == WORD:
        return None, reports
    layout = gemm_layout.Packed(m, n, m)
    room = arrays.empty(layout.words, device=device)
    program = loaded_program(device, gemm_pack.SPEC, gemm_pack.SPEC.defaults)
    of, to = view(device, source), arrays.place(room, device)
    assert of is not None and to is not None
    seconds = 2 * WORD * m / PACKED_RATE
    of.buffer.clean()
    to.buffer.clean()
    for part in limits.runs([seconds] * n, device.longest_launch):
        # What a launch writes behind its columns, the next one overwrites.
        operand = gemm_pack.Operand(
            dataclasses.replace(layout, steps=len(part)),
            len(part),
            part.start * of.strides[1],
            of.strides[1],
            of.strides[0],
            WORD * m * part.start,
        )
        streams = gemm_pack.streams((operand,), device.n_qpus)
        with device_buffers(device, streams.nbytes) as (buffer,):
            addresses = {"source": of.bus_address, "packed": to.bus_address}
            starts = write_streams(streams, buffer, addresses)
            buffer.clean()
            report = device.execute(program, starts, timeout=60.0)
        report.kernel = gemm_pack.SPEC.name
        reports.append(report)
    to.buffer.invalidate()
    return room[: m * n].reshape(n, m).T, reports


def product(
    device: Device, alpha: float, a: np.ndarray, b: np.ndarray, beta: float, c: np.ndarray
) -> List[RunReport]:
    """c = alpha * a @ b + beta * c for arrays in device memory, of which ``c`` overlaps none.

    In as many launches as the device asks for.
    """
    (m, k), n = a.shape, b.shape[1]
    options = gemm_choice.choose(n, m, k, beta != 0)
    seconds = gemm_choice.clocks(options, n, m, k) / device.clock_hz
    reports: List[RunReport] = []
    for rows, columns in limits.blocks(m, n, seconds, device.longest_launch):
        views = [view(device, x) for x in (a[rows], b[:, columns], c[rows, columns])]
        of_a, of_b, of_c = (x for x in views if x is not None)
        reports += sgemm(device, alpha, of_a, of_b, beta, of_c)
    return reports
