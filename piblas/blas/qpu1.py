"""Runs the level-1 kernels on a device: stage the vectors, launch, bring results back.

Operands are float32 arrays that begin at the operand's offset, with an increment as in BLAS:
element i of n is ``x[i * incx]``, or ``x[(n - 1 - i) * -incx]`` if incx < 0.  They are copied to
contiguous device memory, so the kernels see increments of 1 only.  The caller's arrays change when
the result is complete, so that an exception (no memory, a time-out, a fault) changes nothing.

Special values: a host that looks for Inf and NaN reads every operand once more, which takes as long
as the routine; the kernels find them on the way (:mod:`piblas.kernels.stream`).  Where they report
one, or a number that may stand for an overflow, SciPy computes the result.  Copies and swaps keep
all bits.  A NaN or Inf among the scalars goes to SciPy without a launch, too.  Denormals count as
+0 in arithmetic (not in scopy, sswap and isamax).

Where a device limits the length of a launch, long vectors are taken in slices, a launch each.

With n <= 0, or where nothing is to be done, there is no launch and the report is None.
"""

from __future__ import annotations

import math
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import Device, RunReport
from ..errors import BlasError
from ..kernels import asum, axpy, copy, dot, iamax, nrm2, rot, scal, swap
from ..kernels.reduce import PARTS, CompensatedSum, overflowed
from ..kernels.stream import LANES, OVERFLOW
from . import cpu, pieces, record
from .qpu import device_buffers, loaded_program

__all__ = [
    "isamax",
    "sasum",
    "saxpy",
    "scopy",
    "sdot",
    "snrm2",
    "srot",
    "srotm",
    "sscal",
    "sswap",
]

WATCHED = "Inf, NaN or an overflow, which QPUs do not treat as IEEE 754 does"
RATE = 0.8e9
"""Bytes a second that a launch moves at least, for its length: less than the pessimistic timing set
gives the memory, and than the DMA store engine takes."""

Report = Optional[RunReport]
TIMEOUT = 60.0


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
    return pieces.slices(n, 4 * n * vectors / RATE, device.longest_launch)


def _scipy(routine: str, *operands: Any, **options: Any) -> Any:
    """What SciPy makes of (copies of) the operands; the log says that it had to."""
    record.log.info("%s on the CPU after all: %s", routine, WATCHED)
    copies = [v.copy() if isinstance(v, np.ndarray) else v for v in operands]
    return cpu.functions()[routine](*copies, **options)


# --- elementwise ---------------------------------------------------------------------------------


def _map(
    device: Device,
    module: Any,
    constants: Sequence[float],
    inputs: Sequence[np.ndarray],
    outputs: Sequence[int],
) -> Tuple[Optional[List[np.ndarray]], RunReport]:
    """Launch an elementwise kernel over vectors of one length.

    ``outputs`` names the inputs that results replace; one beyond the inputs is a vector of its own.
    The results are None where the kernel met a number that it must not judge.
    """
    spec, kernel = module.SPEC, module.KERNEL
    options, n = spec.defaults.fitted(device.n_qpus), inputs[0].size
    program = loaded_program(device, spec, options)
    count = max(len(inputs), max(outputs) + 1)
    watch_words = LANES * options.workers
    with device_buffers(device, *[4 * n] * count, 4 * watch_words) as buffers:
        vectors, watch = buffers[:count], buffers[count]
        for buffer, values in zip(vectors, inputs):
            buffer.array(np.float32, (n,))[...] = values
        # Results too: a dirty line of them, written back later, would overwrite the QPUs' stores.
        for buffer in buffers:
            buffer.clean()
        reports, special = [], False
        for part in _slices(device, n, len(inputs) + len(outputs)):
            addresses = [buffer.bus_address + 4 * part.start for buffer in vectors]
            streams = kernel.uniforms(
                options,
                part.stop - part.start,
                constants,
                addresses[: len(inputs)],
                [addresses[o] for o in outputs],
                watch.bus_address,
            )
            reports.append(device.execute(program, streams, timeout=TIMEOUT))
            if options.watch:
                watch.invalidate()
                special = special or watch.array(np.uint32, (watch_words,)).max() >= OVERFLOW
        report = pieces.combined(reports)
        report.kernel = spec.name
        if special:
            return None, report
        results = []
        for o in outputs:
            vectors[o].invalidate()
            results.append(vectors[o].array(np.float32, (n,)).copy())
    return results, report


def _finite(*scalars: float) -> bool:
    return all(math.isfinite(np.float32(value)) for value in scalars)


def scopy(device: Device, n: int, x: np.ndarray, incx: int, y: np.ndarray, incy: int) -> Report:
    """y = x."""
    if n <= 0:
        return None
    from_x, to_y = _elements("scopy", "x", n, x, incx), _elements("scopy", "y", n, y, incy)
    results, report = _map(device, copy, [], [from_x], [1])
    assert results is not None
    to_y[...] = results[0]
    return report


def sswap(device: Device, n: int, x: np.ndarray, incx: int, y: np.ndarray, incy: int) -> Report:
    """x, y = y, x."""
    if n <= 0:
        return None
    of_x, of_y = _elements("sswap", "x", n, x, incx), _elements("sswap", "y", n, y, incy)
    results, report = _map(device, swap, [], [of_x, of_y], [0, 1])
    assert results is not None
    of_x[...], of_y[...] = results
    return report


def sscal(device: Device, n: int, a: float, x: np.ndarray, incx: int) -> Report:
    """x = a * x."""
    if n <= 0:
        return None
    of_x = _elements("sscal", "x", n, x, incx)
    results: Any = None
    report: Report = None
    if _finite(a):
        results, report = _map(device, scal, [a], [of_x], [0])
    of_x[...] = results[0] if results else _scipy("sscal", a, of_x)
    return report


def saxpy(
    device: Device, n: int, a: float, x: np.ndarray, incx: int, y: np.ndarray, incy: int
) -> Report:
    """y = a * x + y; a = 0 reads nothing."""
    if n <= 0 or a == 0:
        return None
    of_x, of_y = _elements("saxpy", "x", n, x, incx), _elements("saxpy", "y", n, y, incy)
    results: Any = None
    report: Report = None
    if _finite(a):
        results, report = _map(device, axpy, [a], [of_x, of_y], [1])
    of_y[...] = results[0] if results else _scipy("saxpy", of_x, of_y, a=a)
    return report


def _rotate(
    device: Device, h: Sequence[float], x: np.ndarray, y: np.ndarray, scipy: Sequence[Any]
) -> Report:
    results: Any = None
    report: Report = None
    if _finite(*h):
        results, report = _map(device, rot, h, [x, y], [0, 1])
    x[...], y[...] = results if results else _scipy(*scipy)
    return report


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
    return _rotate(device, (c, s, -s, c), of_x, of_y, ("srot", of_x, of_y, c, s))


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
    return _rotate(device, (h11, h12, h21, h22), of_x, of_y, ("srotm", of_x, of_y, param))


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
    with device_buffers(device, *[4 * n] * len(inputs), 4 * words) as buffers:
        for buffer, values in zip(buffers, inputs):
            buffer.array(np.float32, (n,))[...] = values
        for buffer in buffers:
            buffer.clean()
        out = buffers[-1]
        for part in _slices(device, n, len(inputs)):
            count = part.stop - part.start
            addresses = [buffer.bus_address + 4 * part.start for buffer in buffers[:-1]]
            streams = kernel.uniforms(
                options, count, constants, addresses, out.bus_address, device.n_qpus
            )
            reports.append(device.execute(program, streams, timeout=TIMEOUT))
            out.invalidate()
            used = LANES * kernel.stored(options) * len(kernel.parts(options, count))
            stored = out.array(np.float32, (used,)).copy()
            results.append(kernel.results(options, count, stored))
    report = pieces.combined(reports)
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
        return float(_scipy("sdot", of_x, of_y)), report
    return _rounded(CompensatedSum.value(results)), report


def sasum(device: Device, n: int, x: np.ndarray, incx: int) -> Tuple[float, Report]:
    """The sum of |x|."""
    if n <= 0:
        return 0.0, None
    of_x = _elements("sasum", "x", n, x, incx)
    results, report = _reduce(device, asum, [], of_x)
    if overflowed(results):
        return float(_scipy("sasum", of_x)), report
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
    scale = nrm2.scale_for(n, largest) if math.isfinite(largest) else 0.0
    if scale not in (0.0, 1.0):
        results, report = _reduce(device, nrm2, [scale], of_x)
    if scale == 0 or overflowed(results[:, : CompensatedSum.ROWS]):
        return float(_scipy("snrm2", of_x)), report
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
        return int(_scipy("isamax", of_x)), report
    return element, report
