"""Level 3 beside sgemm on a device: stage the operands, launch the gemm kernel, take the result.

Each function returns a new array and the reports of its launches, and changes no argument.
Matrices are float32 of any strides, with at least one element.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from typing import Callable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .. import log
from ..driver.device import Buffer, Device, RunReport
from ..host import limits
from ..kernels import gemm, gemm_choice, gemm_layout, gemm_schedule, triangle
from ..kernels.gemm_layout import Packed
from ..kernels.gemm_schedule import QPUS, TileRanges
from ..kernels.triangle import Method
from . import qpu, scipy_blas
from .launch import ILL_CONDITIONED, SINGULAR, Elsewhere

__all__ = ["Product", "batch", "half_product", "solve", "triangular_product"]

TIMEOUT = 60.0
"""Seconds that a launch may take."""

Outcome = Tuple[np.ndarray, List[RunReport]]
Ranges = Callable[[gemm.GemmOptions, Packed, Packed], TileRanges]


@contextlib.contextmanager
def _staged(device: Device, layout: Packed, operand: np.ndarray) -> Iterator[Buffer]:
    """A buffer with the operand (k x length) packed."""
    with qpu.device_buffers(device, 4 * layout.words) as (buffer,):
        gemm_layout.pack(layout, operand, buffer.array(np.float32, (layout.words,)))
        buffer.clean()
        yield buffer


def _launch(
    device: Device,
    options: gemm.GemmOptions,
    tiles: gemm_schedule.Tiles,
    addresses: Mapping[str, int],
    alphas: Sequence[float],
    betas: Sequence[float],
    skew: int,
    barriers: int = gemm_schedule.BARRIER_WAVES,
    names: Tuple[str, ...] = ("p", "q", "d", "watch"),
) -> List[RunReport]:
    """Compute tiles in as many launches as it takes; ``names`` of ``addresses`` are those of P, Q,
    D and what is watched."""
    program = qpu.loaded_program(device, gemm.SPEC, options)
    alpha, beta = (np.array(factors, np.float32) for factors in (alphas, betas))
    reports = []
    for part in _launches(device, options, tiles):
        own = tiles.part(part)
        streams = gemm_schedule.streams(options, own, device.n_qpus, skew, barriers, names)
        with qpu.device_buffers(device, qpu.room_of(streams)) as (buffer,):
            starts = qpu.write_streams(streams, buffer, addresses, alpha=alpha, beta=beta)
            buffer.clean()
            report = device.execute(program, starts, timeout=TIMEOUT)
        report.kernel = gemm.SPEC.name
        reports.append(report)
    return reports


def _launches(
    device: Device, options: gemm.GemmOptions, tiles: gemm_schedule.Tiles
) -> List[range]:
    """The tiles of each launch, cut by what each tile is predicted to add to it."""
    if device.longest_launch is None:
        return [range(len(tiles))]
    hertz = device.clock_hz * device.n_qpus
    return limits.runs(
        gemm_choice.clocks_of_tiles(options, tiles) / hertz, device.longest_launch, QPUS
    )


def _product(
    device: Device,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: Optional[np.ndarray],
    ranges: Ranges,
) -> Outcome:
    """alpha * a @ b + beta * c in the tiles of ``ranges``; what the rest holds is undefined."""
    (m, k), n = a.shape, b.shape[1]
    options = gemm_choice.choose(m, n, k, c is not None)
    p, q = gemm_layout.packed_words(options, m, n, k)
    with contextlib.ExitStack() as stack:
        p_buf = stack.enter_context(_staged(device, p, a.T))
        q_buf = stack.enter_context(_staged(device, q, b))
        (d_buf,) = stack.enter_context(qpu.device_buffers(device, 4 * m * n))
        d = d_buf.array(np.float32, (m, n))
        if c is not None:
            d[...] = c
        d_buf.clean()
        addresses = {"p": p_buf.bus_address, "q": q_buf.bus_address, "d": d_buf.bus_address}
        skew = gemm_schedule.skew_of(options, p, q)
        tiles = gemm_schedule.dense_tiles(options, p, q, n, skew, ranges(options, p, q))
        reports = _launch(device, options, tiles, addresses, [alpha], [beta], skew)
        d_buf.invalidate()
        return d.copy(), reports


def half_product(
    device: Device,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: Optional[np.ndarray],
    lower: bool,
) -> Outcome:
    """One triangle of alpha * a @ b + beta * c, a (n, k), b (k, n), c (n, n) or None.

    Outside that triangle the result is undefined and c has to be finite.
    """

    def ranges(options: gemm.GemmOptions, p: Packed, q: Packed) -> TileRanges:
        return triangle.half(options, p, q, lower)

    return _product(device, alpha, a, b, beta, c, ranges)


def triangular_product(device: Device, alpha: float, t: np.ndarray, b: np.ndarray) -> Outcome:
    """alpha * t @ b for a lower triangular t (n, n) with zeros above, b (n, m)."""
    return _product(device, alpha, t, b, 0.0, None, triangle.ramp)


def solve(
    device: Device, t: np.ndarray, g: np.ndarray
) -> Tuple[np.ndarray, np.ndarray, List[RunReport]]:
    """(x, what was last computed from g for each block, the reports) of t @ x = g.

    ``t`` is (n, n), lower triangular with zeros above a diagonal without zeros, ``g`` (n, m).  Inf
    or NaN in the second value say that a right-hand side of a block has overflowed.

    How each block is solved depends on ``t`` (:func:`.triangle.methods`, which bounds the error).
    Raises Elsewhere if there is only one block, and it is for the CPU to solve.
    """
    n, m = g.shape
    options = triangle.choose(n, m)
    block = triangle.block_of(options)
    factors = triangle.inverted(t, block)
    methods = triangle.methods(t, factors, block)
    if methods == (Method.SUBSTITUTE,):
        raise Elsewhere(ILL_CONDITIONED if np.isfinite(factors).all() else SINGULAR)
    p, q = gemm_layout.packed_words(options, n, m, n)
    skew = gemm_schedule.skew_of(options, p, q)
    reports: List[RunReport] = []
    with contextlib.ExitStack() as stack:
        p_buf = stack.enter_context(_staged(device, p, factors.T))
        r_buf = stack.enter_context(_staged(device, q, g))
        (x_buf,) = stack.enter_context(qpu.device_buffers(device, 4 * q.words))
        r, x = (buffer.array(np.float32, (q.words,)) for buffer in (r_buf, x_buf))
        d_addr = 0
        if set(methods) != {Method.MULTIPLY}:
            _log_methods(methods)
            x[...] = 0
            if Method.REFINE in methods:
                d, blocks = triangle.diagonal_layout(options, p), triangle.diagonals(t, block)
                d_addr = stack.enter_context(_staged(device, d, blocks)).bus_address
        x_buf.clean()
        addresses = {"p": p_buf.bus_address, "r": r_buf.bus_address, "x": x_buf.bus_address}
        addresses["diagonals"] = d_addr
        # A launch is too short for QPUs to get so far out of step that a barrier, where all wait
        # for the last, is worth it.
        for step in triangle.solve(options, p, q, skew, methods):
            if isinstance(step, triangle.Substitution):
                # X too: what the CPU has of its other rows must not be written back.
                r_buf.invalidate()
                x_buf.invalidate()
                _substitute(t, q, r, x, slice(step.begin, step.end))
                x_buf.clean()
            else:
                own = dataclasses.replace(options, beta=step.added)
                reports += _launch(
                    device, own, step.tiles, addresses, [1.0], [1.0], step.skew, 0, step.names
                )
        x_buf.invalidate()
        r_buf.invalidate()
        found, rest = (gemm_layout.unpack(q, words)[:n] for words in (x, r))
    return found, rest, reports


def _log_methods(methods: Sequence[Method]) -> None:
    for method, number in Counter(methods).items():
        if method is not Method.MULTIPLY:
            text = "strsm: %d of %d diagonal blocks, which are ill-conditioned, are solved %s"
            log.info(text, number, len(methods), method.value)


def _substitute(
    t: np.ndarray, q: Packed, r: np.ndarray, x: np.ndarray, own: slice
) -> None:
    """Solve a diagonal block by substitution: rows of X from those of R, both packed as ``q``."""
    dtrsm = scipy_blas.functions()["dtrsm"]
    block = t[own, own].astype(np.float64)
    panels = zip(gemm_layout.columns_of(q, r), gemm_layout.columns_of(q, x))
    with np.errstate(over="ignore", invalid="ignore"):
        for (_, right), (_, solved) in panels:
            solved[own] = dtrsm(1.0, block, right[own].astype(np.float64), lower=1)


# --- batches -------------------------------------------------------------------------------------


class Product(NamedTuple):
    """alpha * a @ b + beta * c: a (m, k), b (k, n), c (m, n) or None."""

    alpha: float
    a: np.ndarray
    b: np.ndarray
    beta: float
    c: Optional[np.ndarray]


def batch(device: Device, products: Sequence[Product]) -> Tuple[List[np.ndarray], List[RunReport]]:
    """The results of all products, from one launch if the device allows it."""
    sizes = [(x.a.shape[0], x.b.shape[1], x.a.shape[1]) for x in products]
    added = any(x.c is not None for x in products)
    options = gemm_choice.choose_for(tuple(sorted(Counter(sizes).items())), added)
    found = gemm_schedule.batch(options, sizes)
    at = np.stack((found.p_at, found.q_at, found.d_at)).tolist()
    with qpu.device_buffers(device, *(4 * ends[-1] for ends in at)) as buffers:
        p_all, q_all, d_all = (b.array(np.float32, (b.nbytes // 4,)) for b in buffers)
        results = []
        for each, (m, n, _), kind, p_at, q_at, d_at in zip(products, sizes, found.kind, *at):
            p, q = found.layouts[kind]
            gemm_layout.pack(p, each.a.T, p_all[p_at : p_at + p.words])
            gemm_layout.pack(q, each.b, q_all[q_at : q_at + q.words])
            d = d_all[d_at : d_at + m * n].reshape(m, n)
            if options.beta:  # the kernel reads it, even where it is to count nothing
                d[...] = 0 if each.c is None else each.c
            results.append(d)
        for buffer in buffers:
            buffer.clean()
        addresses = dict(zip("pqd", (buffer.bus_address for buffer in buffers)))
        alphas, betas = [each.alpha for each in products], [each.beta for each in products]
        reports = _launch(device, options, found.tiles, addresses, alphas, betas, found.skew)
        buffers[2].invalidate()
        return [d.copy() for d in results], reports
