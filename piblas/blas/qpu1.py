"""Runs the level-1 kernels on a device: stage the vectors, launch, bring results back.

Operands are float32 arrays that begin at the operand's offset, with an increment as in BLAS:
element i of n is ``x[i * incx]``, or ``x[(n - 1 - i) * -incx]`` if incx < 0.  They are copied to
contiguous device memory, so the kernels see increments of 1 only.  The caller's arrays change when
the result is complete, so that an exception (no memory, a time-out, a fault) changes nothing.

An operand with increment 1 that lies in device memory already (:mod:`.arrays`) is not copied.  A
result goes there at once, so a launch that fails may have written a part of it.

Special values: a host that looks for Inf and NaN reads every operand once more, which takes as long
as the routine; the kernels find them on the way (:mod:`piblas.kernels.stream`).  Where they report
one, or a number that may stand for an overflow, :class:`Watched` is raised and nothing has changed:
the CPU has to compute the result.  Copies and swaps keep all bits.  In device memory an operand
that the result replaces is gone by then: what the QPUs made of it stays, with a warning
(:data:`.arrays.SPECIAL`).  A NaN or Inf among the scalars raises :class:`Watched` without a launch,
and so does sscal by 0 there: 0 times Inf or NaN is 0 for QPUs.  Denormals count as +0 in arithmetic
(not in scopy, sswap and isamax).

Where a device limits the length of a launch, long vectors are taken in slices, a launch each.

With n <= 0, or where nothing is to be done, there is no launch and the report is None.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import Buffer, Device, RunReport
from ..errors import BlasError
from ..host import arrays, limits
from ..host.outcome import TINY, WATCHED
from ..kernels import asum, axpy, copy, dot, iamax, nrm2, rot, scal, swap
from ..kernels.reduce import PARTS, CompensatedSum, overflowed
from ..kernels.stream import LANES, OVERFLOW, SMALLEST_NORMAL
from .qpu import device_buffers, loaded_program

__all__ = [
    "Watched",
    "isamax",
    "largest",
    "sasum",
    "saxpy",
    "scaled",
    "scopy",
    "sdot",
    "snrm2",
    "srot",
    "srotm",
    "sscal",
    "sswap",
]

BY_ZERO = "0 times Inf or NaN in device memory would be 0 on the QPUs, with nothing left to tell"
RATE = 0.8e9
"""Bytes a second that a launch moves at least, for its length: less than the pessimistic timing set
gives the memory, and than the DMA store engine takes."""

Report = Optional[RunReport]
TIMEOUT = 60.0


class Watched(Exception):
    """Inf, NaN or an overflow was met, in the launch of ``report`` or, if that is None, among the
    scalars; nothing has changed."""

    def __init__(self, report: Report, reason: str = WATCHED) -> None:
        super().__init__(reason)
        self.report, self.reason = report, reason


def _elements(routine: str, name: str, n: int, x: np.ndarray, inc: int) -> np.ndarray:
    """The n elements of an operand in BLAS order, as a view."""
    if inc == 0:
        raise BlasError(routine, f"inc{name}", 0, "an increment is not 0")
    need = (n - 1) * abs(inc) + 1
    if x.size < need:
        raise BlasError(routine, name, x.size, f"n = {n}, inc = {inc} need {need} words")
    view = x[:need:abs(inc)]
    return view if inc > 0 else view[::-1]


def _slices(device: Device, n: int, vectors: int) -> List[slice]:
    """What goes into a launch each, of n elements of so many vectors read or written."""
    return limits.slices(n, 4 * n * vectors / RATE, device.longest_launch)


# --- elementwise ---------------------------------------------------------------------------------


class _Span(NamedTuple):
    """Where a vector lies in device memory, and whether it is the caller's own memory."""

    buffer: Buffer
    offset: int
    own: bool

    @property
    def bus_address(self) -> int:
        return self.buffer.bus_address + self.offset


@contextlib.contextmanager
def _spans(device: Device, vectors: Sequence[np.ndarray], extra: int) -> Iterator[List[_Span]]:
    """Device memory for vectors of one length and for ``extra`` words after them.

    Contiguous vectors that are there already stay where they are, the others get buffers.
    """
    places = [arrays.place(v, device) if v.strides == (4,) else None for v in vectors]
    sizes = [4 * v.size for v, place in zip(vectors, places) if place is None]
    with device_buffers(device, *sizes, 4 * extra) as buffers:
        new = iter(buffers)
        yield [
            _Span(place.buffer, place.offset, True) if place else _Span(next(new), 0, False)
            for place in [*places, None]
        ]


def _map(
    routine: str,
    device: Device,
    module: Any,
    constants: Sequence[float],
    inputs: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
) -> Tuple[bool, RunReport]:
    """Launch an elementwise kernel over vectors of one length and write its results to ``targets``,
    each of which is one of the inputs or a vector of its own.

    False where the kernel met a number that it must not judge; targets are as before then.
    """
    spec, kernel = module.SPEC, module.KERNEL
    options, n = spec.defaults.fitted(device.n_qpus), inputs[0].size
    program = loaded_program(device, spec, options)
    vectors = [*inputs, *(t for t in targets if not any(t is v for v in inputs))]
    outputs = [next(i for i, v in enumerate(vectors) if v is t) for t in targets]
    watch_words = LANES * options.workers
    values = {"constants": np.array(constants, dtype=np.float32)}
    with _spans(device, vectors, watch_words) as (*spans, watch):
        for span, elements in zip(spans, inputs):
            if not span.own:
                span.buffer.array(np.float32, (n,))[...] = elements
        # Results too: a dirty line of them, written back later, would overwrite the QPUs' stores.
        for span in (*spans, watch):
            span.buffer.clean()
        reports, special = [], False
        for part in _slices(device, n, len(inputs) + len(outputs)):
            at = [span.bus_address + 4 * part.start for span in spans]
            first = at[outputs[0]] // 4 % LANES
            streams = kernel.streams(options, part.stop - part.start, first)
            addresses = dict(zip("xy", at[: len(inputs)]), watch=watch.bus_address)
            addresses.update((f"out{i}", at[o]) for i, o in enumerate(outputs))
            filled = streams.filled(addresses, values)
            reports.append(device.execute(program, filled, timeout=TIMEOUT))
            if options.watch:
                watch.buffer.invalidate()
                largest = watch.buffer.array(np.uint32, (watch_words,)).max()
                special = special or largest >= OVERFLOW
        report = limits.combined(reports)
        report.kernel = spec.name
        in_place = any(spans[o].own and o < len(inputs) for o in outputs)
        for o in outputs:
            spans[o].buffer.invalidate()
        if special:
            if not in_place:
                return False, report
            arrays.warn_of_special(routine)
        for o, target in zip(outputs, targets):
            if not spans[o].own:
                target[...] = spans[o].buffer.array(np.float32, (n,))
    return True, report


def _finite(*scalars: float) -> bool:
    return all(math.isfinite(np.float32(value)) for value in scalars)


def _watched(
    routine: str,
    device: Device,
    module: Any,
    constants: Sequence[float],
    inputs: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
) -> Report:
    """The report of :func:`_map`; :class:`Watched` where the CPU has to compute the result."""
    if not _finite(*constants):
        raise Watched(None)
    done, report = _map(routine, device, module, constants, inputs, targets)
    if not done:
        raise Watched(report)
    return report


def scopy(device: Device, n: int, x: np.ndarray, incx: int, y: np.ndarray, incy: int) -> Report:
    """y = x."""
    if n <= 0:
        return None
    from_x, to_y = _elements("scopy", "x", n, x, incx), _elements("scopy", "y", n, y, incy)
    return _map("scopy", device, copy, [], [from_x], [to_y])[1]


def sswap(device: Device, n: int, x: np.ndarray, incx: int, y: np.ndarray, incy: int) -> Report:
    """x, y = y, x."""
    if n <= 0:
        return None
    of_x, of_y = _elements("sswap", "x", n, x, incx), _elements("sswap", "y", n, y, incy)
    return _map("sswap", device, swap, [], [of_x, of_y], [of_x, of_y])[1]


def sscal(device: Device, n: int, a: float, x: np.ndarray, incx: int) -> Report:
    """x = a * x."""
    if n <= 0:
        return None
    of_x = _elements("sscal", "x", n, x, incx)
    if -SMALLEST_NORMAL < a < SMALLEST_NORMAL and arrays.place(of_x, device):
        raise Watched(None, BY_ZERO)
    return _watched("sscal", device, scal, [a], [of_x], [of_x])


def scaled(device: Device, a: float, x: np.ndarray, y: np.ndarray) -> Report:
    """y = a * x for vectors of one length that do not overlap."""
    return _watched("sscal", device, scal, [a], [x], [y])


def saxpy(
    device: Device, n: int, a: float, x: np.ndarray, incx: int, y: np.ndarray, incy: int
) -> Report:
    """y = a * x + y; a = 0 reads nothing."""
    if n <= 0 or a == 0:
        return None
    of_x, of_y = _elements("saxpy", "x", n, x, incx), _elements("saxpy", "y", n, y, incy)
    return _watched("saxpy", device, axpy, [a], [of_x, of_y], [of_y])


def srot(
    device: Device,
    n: int,
    x: np.ndarray,
    incx: int,
    y: np.ndarray,
    incy: int,
    c: float,
    s: float,
) -> Report:
    """x, y = c * x + s * y, c * y - s * x."""
    if n <= 0:
        return None
    of_x, of_y = _elements("srot", "x", n, x, incx), _elements("srot", "y", n, y, incy)
    return _watched("srot", device, rot, (c, s, -s, c), [of_x, of_y], [of_x, of_y])


def srotm(
    device: Device,
    n: int,
    x: np.ndarray,
    incx: int,
    y: np.ndarray,
    incy: int,
    param: np.ndarray,
) -> Report:
    """x, y = h11 * x + h12 * y, h21 * x + h22 * y with param = (flag, h11, h21, h12, h22).

    The flag says which elements stand there and which are implied: -2 the identity, -1 all, 0 the
    off-diagonal (units on the diagonal), 1 the diagonal (h12 = 1, h21 = -1).
    """
    flag, h11, h21, h12, h22 = (float(value) for value in param)
    if n <= 0 or flag == -2:
        return None
    of_x, of_y = _elements("srotm", "x", n, x, incx), _elements("srotm", "y", n, y, incy)
    if flag == 0:
        h11 = h22 = 1.0
    elif flag > 0:
        h12, h21 = 1.0, -1.0
    return _watched("srotm", device, rot, (h11, h12, h21, h22), [of_x, of_y], [of_x, of_y])


# --- reductions ----------------------------------------------------------------------------------


def _reduce(
    device: Device, module: Any, constants: Sequence[float], *inputs: np.ndarray
) -> Tuple[np.ndarray, RunReport]:
    """Launch a reduction: what its parts stored, as (part, vector, lane), and the report."""
    spec, kernel = module.SPEC, module.KERNEL
    options, n = spec.defaults, inputs[0].size
    program = loaded_program(device, spec, options)
    words = LANES * kernel.stored(options) * PARTS
    results, reports = [], []
    values = {"constants": np.array(constants, dtype=np.float32)}
    with _spans(device, inputs, words) as (*spans, (out, *_)):
        for span, elements in zip(spans, inputs):
            if not span.own:
                span.buffer.array(np.float32, (n,))[...] = elements
            span.buffer.clean()
        out.clean()
        for part in _slices(device, n, len(inputs)):
            count = part.stop - part.start
            at = [span.bus_address + 4 * part.start for span in spans]
            streams = kernel.streams(options, count, device.n_qpus)
            filled = streams.filled(dict(zip("xy", at), out=out.bus_address), values)
            reports.append(device.execute(program, filled, timeout=TIMEOUT))
            out.invalidate()
            used = LANES * kernel.stored(options) * len(kernel.parts(options, count))
            stored = out.array(np.float32, (used,)).copy()
            results.append(kernel.results(options, count, stored))
    report = limits.combined(reports)
    report.kernel = spec.name
    return np.concatenate(results), report


def _rounded(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def sdot(
    device: Device, n: int, x: np.ndarray, incx: int, y: np.ndarray, incy: int
) -> Tuple[float, Report]:
    """The sum of x * y."""
    if n <= 0:
        return 0.0, None
    of_x, of_y = _elements("sdot", "x", n, x, incx), _elements("sdot", "y", n, y, incy)
    results, report = _reduce(device, dot, [], of_x, of_y)
    if overflowed(results):
        raise Watched(report)
    return _rounded(CompensatedSum.value(results)), report


def sasum(device: Device, n: int, x: np.ndarray, incx: int) -> Tuple[float, Report]:
    """The sum of |x|."""
    if n <= 0:
        return 0.0, None
    of_x = _elements("sasum", "x", n, x, incx)
    results, report = _reduce(device, asum, [], of_x)
    if overflowed(results):
        raise Watched(report)
    return _rounded(CompensatedSum.value(results)), report


def snrm2(device: Device, n: int, x: np.ndarray, incx: int) -> Tuple[float, Report]:
    """The square root of the sum of x**2, without overflow or underflow on the way.

    The report is that of the last of one or two launches (:mod:`piblas.kernels.nrm2`).
    """
    if n <= 0:
        return 0.0, None
    of_x = _elements("snrm2", "x", n, x, incx)
    results, report = _reduce(device, nrm2, [1.0], of_x)
    largest = float(nrm2.largest(results))
    if largest == 0:
        return 0.0, report
    if not math.isfinite(largest):
        raise Watched(report)
    scale = nrm2.scale_for(n, largest)
    if scale == 0:
        raise Watched(report, TINY)
    if scale != 1:
        results, report = _reduce(device, nrm2, [scale], of_x)
    if overflowed(results[:, : CompensatedSum.ROWS]):
        raise Watched(report)
    return _rounded(math.sqrt(CompensatedSum.value(results)) / scale), report


def isamax(device: Device, n: int, x: np.ndarray, incx: int) -> Tuple[int, Report]:
    """The first element (from 0) with the largest |x|."""
    if n <= 0:
        return 0, None
    of_x = _elements("isamax", "x", n, x, incx)
    results, report = _reduce(device, iamax, [], of_x)
    firsts = [
        part.start + first
        for part in _slices(device, n, 1)
        for first, _, _ in iamax.KERNEL.parts(iamax.SPEC.defaults, part.stop - part.start)
    ]
    element, pattern = iamax.first_largest(results, firsts)
    if pattern > 0x7F800000:
        raise Watched(report)
    return element, report


def largest(device: Device, x: np.ndarray) -> Tuple[float, RunReport]:
    """The largest magnitude in a contiguous vector; NaN if there is one."""
    results, report = _reduce(device, iamax, [], x)
    return float(results[:, 0].view(np.uint32).max().reshape(1).view(np.float32)[0]), report
