"""sgemm of operands that lie in device memory, by the QPUs: for tests and benchmarks.

The CPU writes uniform streams and touches no element.  Inf, NaN and overflow show where the data
pass (:class:`Outcome`): in what is packed, and in the sums of products.  A row of Q that is read in
place and meets nothing but zeros leaves no trace there; such rows, of which packing P tells, are
looked at by the CPU.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import NamedTuple, Optional, Tuple

import numpy as np

from ..driver.device import Buffer, Device, RunReport
from ..errors import BlasError
from ..host import arrays
from ..kernels import (
    gemm, gemm_choice, gemm_error, gemm_layout, gemm_pack, gemm_schedule, gemm_sources,
)  # fmt: skip
from .qpu import device_buffers, loaded_program, room_of, watched, write_streams

__all__ = ["Copy", "Outcome", "View", "sgemm", "view"]

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

    def overlaps(self, other: "View") -> bool:
        """Whether both may have a word in common: their ranges of addresses do."""
        (low, high), (first, last) = self._range, other._range
        return self.buffer.bus_address + low < other.buffer.bus_address + last and (
            other.buffer.bus_address + first < self.buffer.bus_address + high
        )

    @property
    def _range(self) -> Tuple[int, int]:
        """Offsets in the buffer of the first byte and behind the last one."""
        steps = [stride * (size - 1) for size, stride in zip(self.shape, self.strides)]
        low = self.offset + sum(min(step, 0) for step in steps)
        return low, self.offset + sum(max(step, 0) for step in steps) + WORD

    @property
    def array(self) -> np.ndarray:
        """The elements, as the CPU sees them."""
        words = self.buffer.array(np.uint8, (self.buffer.nbytes,))
        return np.ndarray(self.shape, np.float32, words.data, self.offset, self.strides)

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
        low, high = self._range
        if low < 0 or high > self.buffer.nbytes:
            raise BlasError(
                routine, name, (low, high), f"the buffer holds {self.buffer.nbytes} bytes"
            )


class Copy:
    """What a matrix holds before a product overwrites it, in device memory.

    The packing launch makes it; before that (``made``), there is nothing to put back.
    """

    def __init__(self, device: Device, matrix: np.ndarray) -> None:
        found = view(device, matrix)
        assert found is not None
        self._rows = matrix.T if _pitch(found) is None else matrix
        self.layout = gemm_layout.Packed(self._rows.shape[1], self._rows.shape[0], COPIED)
        self._words = arrays.empty(self.layout.words, device=device)
        place = arrays.place(self._words, device)
        assert place is not None
        self.place = place
        self.made = False

    def put_back(self) -> None:
        """Write the elements back, by the CPU."""
        if self.made:
            self._rows[...] = gemm_layout.unpack(self.layout, self._words)


class Outcome(NamedTuple):
    """What a product has given: the reports of packing and of the product, the largest magnitude in
    the operands, ``copy`` included if beta counts it, and a bound of that of the sums of products,
    before alpha and beta.

    NaN or Inf in an operand makes ``operands`` NaN or Inf, or ``sums`` Inf.
    """

    packed: RunReport
    product: RunReport
    operands: float
    sums: float


COPIED = 64
"""Columns of a panel of a copy: blocks of whole lines."""


def sgemm(
    device: Device,
    alpha: float,
    a: View,
    b: View,
    beta: float,
    c: View,
    timeout: float = 60.0,
    copy: Optional[Copy] = None,
    in_place: bool = True,
) -> Outcome:
    """c = alpha * a @ b + beta * c on the QPUs, in two launches: packing and the product.

    ``a`` is (m, k) and ``b`` (k, n), of any strides, ``c`` is (m, n) with its rows or its columns
    contiguous and apart from each other; otherwise BlasError.  ``a`` and ``b`` may overlap ``c``:
    they are packed before it is written.  Only what does not overlap is read where it lies
    (:mod:`piblas.kernels.gemm_sources`), and nothing if ``in_place`` is False.

    ``copy`` is one of ``c``, which the first launch makes.  What the CPU wrote to the buffers is
    cleaned here, and what the QPUs wrote to those of ``c`` and ``copy`` invalidated.  If the second
    launch fails, ``c`` may be written in part.  Inf, NaN and overflow are what the QPUs make of
    them.
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
    may = in_place and gemm_sources.aligned(b.bus_address, b.strides) and not b.overlaps(c)
    for lies in (True, False) if may else (False,):
        options = gemm_choice.choose(m, n, k, beta != 0, lies)
        p, q = gemm_layout.packed_words(options, m, n, k)
        if lies and gemm_sources.in_place(options, q, m, k, b.strides[0]):
            break
    packing = loaded_program(device, gemm_pack.SPEC, gemm_pack.SPEC.defaults)
    program = loaded_program(device, gemm.SPEC, options)
    source = gemm_sources.InPlace(q, k, b.strides[0])
    if lies:
        p = gemm_sources.folded(p, k, options.unroll)
    first, packed_q = source.rest if lies else (0, q)
    most_name = "most" if lies else ""
    of_p = gemm_pack.Operand(p, k, 0, a.strides[1], a.strides[0], 0, "a", "p", True, most_name)
    operands = [of_p]
    if packed_q.length:
        at = first * b.strides[1]
        operands.append(gemm_pack.Operand(packed_q, k, at, *b.strides, 0, "b", "packed q"))
    if copy is not None:
        operands.append(
            gemm_pack.Operand(copy.layout, m, 0, pitch, WORD, 0, "d", "copy", look=beta != 0)
        )
    skew = gemm_schedule.skew_of(options, p, q)
    packs = gemm_pack.streams(operands, device.n_qpus)
    if lies:
        tiles = gemm_sources.tiles(options, p, source, pitch // WORD, skew)
    else:
        tiles = gemm_schedule.dense_tiles(options, p, q, pitch // WORD, skew)
    waves = gemm_sources.BARRIER_WAVES if lies else gemm_schedule.BARRIER_WAVES
    multiplies = gemm_schedule.streams(options, tiles, device.n_qpus, skew, waves)
    with contextlib.ExitStack() as stack:
        p_buf, q_buf, most = stack.enter_context(
            device_buffers(
                device, WORD * p.words, WORD * packed_q.words, WORD * of_p.most_words
            )
        )
        buffers = stack.enter_context(device_buffers(device, room_of(packs), room_of(multiplies)))
        addresses = {
            "a": a.bus_address, "b": b.bus_address, "d": c.bus_address, "p": p_buf.bus_address,
            "packed q": q_buf.bus_address, "rest": q_buf.bus_address, "most": most.bus_address,
            "q": b.bus_address if lies else q_buf.bus_address,
            "copy": 0 if copy is None else copy.place.bus_address,
        }  # fmt: skip
        factors = {"alpha": np.array([alpha], np.float32), "beta": np.array([beta], np.float32)}
        starts = [
            write_streams(each, buffer, addresses, **factors)
            for each, buffer in zip((packs, multiplies), buffers)
        ]
        # The packed ones too: a dirty line, written back later, would overwrite the QPUs' stores.
        written = [c.buffer, most, *buffers]
        written += [] if copy is None else [copy.place.buffer]
        for buffer in (p_buf, q_buf, a.buffer, b.buffer, *written):
            buffer.clean()
        packed = device.execute(packing, starts[0], timeout=timeout)
        if copy is not None:
            copy.place.buffer.invalidate()
            copy.made = True
        product = device.execute(program, starts[1], timeout=timeout)
        for buffer in written:
            buffer.invalidate()
        operand, sums = (
            float(watched(each, buffer).max().view(np.float32))
            for each, buffer in zip((packs, multiplies), buffers)
        )
        sums = max(sums, gemm_schedule.LIMIT / max(1.0, abs(alpha)))
        if lies:
            rows = of_p.most_of_rows(most.array(np.float32, (of_p.most_words,)))
            hidden = np.flatnonzero(rows < gemm_error.SMALLEST_NORMAL)
            if len(hidden):
                operand = np.maximum(operand, np.abs(b.array[hidden]).max())  # NaN stays NaN
    packed.kernel, product.kernel = gemm_pack.SPEC.name, gemm.SPEC.name
    return Outcome(packed, product, float(operand), sums)


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
