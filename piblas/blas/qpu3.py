"""Level 3 beside sgemm on a device: stage the operands, launch the gemm kernel, take the result.

Each function returns a new array and the reports of its launches, and changes no argument.
Matrices are float32 of any strides, with at least one element.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .. import log
from ..driver.device import Buffer, Device, RunReport
from ..host import limits
from ..kernels import gemm, gemm_choice, gemm_data, triangle
from ..kernels.gemm_data import QPUS, Packed, Place
from ..kernels.triangle import Method
from . import qpu, scipy_blas
from .launch import ILL_CONDITIONED, SINGULAR, Elsewhere

__all__ = ["Product", "batch", "half_product", "solve", "triangular_product"]

TIMEOUT = 60.0
"""Seconds that a launch may take."""

Outcome = Tuple[np.ndarray, List[RunReport]]
Places = Callable[[gemm.GemmOptions, Packed, Packed], Iterable[Place]]


@contextlib.contextmanager
def _staged(device: Device, layout: Packed, operand: np.ndarray) -> Iterator[Buffer]:
    """A buffer with the operand (k x length) packed."""
    with qpu.device_buffers(device, 4 * layout.words) as (buffer,):
        gemm_data.pack(layout, operand, buffer.array(np.float32, (layout.words,)))
        buffer.clean()
        yield buffer


def _launch(
    device: Device,
    options: gemm.GemmOptions,
    tiles: Sequence[gemm_data.Tile],
    alpha: float,
    beta: float,
    lag: int,
    meet: bool = True,
) -> List[RunReport]:
    """Compute tiles that have leading dimensions of their own, in as many launches as it takes."""
    program = qpu.loaded_program(device, gemm.SPEC, options)
    reports = []
    for part in limits.runs(_seconds(device, options, tiles), device.longest_launch, QPUS):
        own = tiles[part.start : part.stop]
        streams = gemm_data.Streams(options, own, alpha, beta, 0, device.n_qpus, lag, meet)
        with qpu.device_buffers(device, streams.nbytes) as (buffer,):
            words, starts = streams.at(buffer.bus_address)
            buffer.array(np.uint32, words.shape)[:] = words
            buffer.clean()
            report = device.execute(program, starts, timeout=TIMEOUT)
        report.kernel = gemm.SPEC.name
        reports.append(report)
    return reports


def _seconds(
    device: Device, options: gemm.GemmOptions, tiles: Sequence[gemm_data.Tile]
) -> List[float]:
    """What each tile adds to a launch, by the predicted clocks of a product of its size."""
    hertz = device.clock_hz * device.n_qpus
    known: Dict[Tuple[int, int, int], float] = {}
    found = []
    for tile in tiles:
        size = tile.rows, tile.columns, sum(steps for _, _, steps in tile.runs)
        if size not in known:
            known[size] = gemm_choice.clocks(options, *size, n_qpus=1) / hertz
        found.append(known[size])
    return found


def _product(
    device: Device,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: Optional[np.ndarray],
    places: Places,
) -> Outcome:
    """alpha * a @ b + beta * c in the tiles at ``places``; what the rest holds is undefined."""
    (m, k), n = a.shape, b.shape[1]
    options = gemm_choice.choose(m, n, k, c is not None)
    p, q = gemm_data.packed_words(options, m, n, k)
    with contextlib.ExitStack() as stack:
        p_buf = stack.enter_context(_staged(device, p, a.T))
        q_buf = stack.enter_context(_staged(device, q, b))
        (d_buf,) = stack.enter_context(qpu.device_buffers(device, 4 * m * n))
        d = d_buf.array(np.float32, (m, n))
        if c is not None:
            d[...] = c
        d_buf.clean()
        addresses = p_buf.bus_address, q_buf.bus_address, d_buf.bus_address
        lag = gemm_data.lag_of(options, p, q)
        tiles = list(
            gemm_data.grid(options, p, q, *addresses, n, lag, places(options, p, q))
        )
        reports = _launch(device, options, tiles, alpha, beta, lag)
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

    def places(options: gemm.GemmOptions, p: Packed, q: Packed) -> Iterable[Place]:
        return triangle.half(options, p, q, lower)

    return _product(device, alpha, a, b, beta, c, places)


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
    p, q = gemm_data.packed_words(options, n, m, n)
    lag = gemm_data.lag_of(options, p, q)
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
        addresses = p_buf.bus_address, r_buf.bus_address, x_buf.bus_address
        # A launch is too short for QPUs to get so far out of step that it is worth a meeting, where
        # all wait for the last.
        for step in triangle.solve(options, p, q, *addresses, lag, methods, d_addr):
            if isinstance(step, triangle.Substitution):
                # X too: what the CPU has of its other rows must not be written back.
                r_buf.invalidate()
                x_buf.invalidate()
                _substitute(t, q, r, x, slice(step.begin, step.end))
                x_buf.clean()
            else:
                own = dataclasses.replace(options, beta=step.added)
                reports += _launch(device, own, step.tiles, 1.0, 1.0, step.lag, meet=False)
        x_buf.invalidate()
        r_buf.invalidate()
        found, rest = (gemm_data.unpack(q, words)[:n] for words in (x, r))
    return found, rest, reports


def _log_methods(methods: Sequence[Method]) -> None:
    for method, number in Counter(methods).items():
        if method is not Method.MULTIPLY:
            text = "strsm: %d of %d diagonal blocks, which are ill-conditioned, are solved %s"
            log.info(text, number, len(methods), method.value)


def _substitute(
    t: np.ndarray, q: gemm_data.Packed, r: np.ndarray, x: np.ndarray, own: slice
) -> None:
    """Solve a diagonal block by substitution: rows of X from those of R, both packed as ``q``."""
    dtrsm = scipy_blas.functions()["dtrsm"]
    block = t[own, own].astype(np.float64)
    panels = zip(gemm_data.columns_of(q, r), gemm_data.columns_of(q, x))
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
    layouts = [gemm_data.packed_words(options, *size) for size in sizes]
    p_at, q_at, d_at = [0], [0], [0]
    for (m, n, _), (p, q) in zip(sizes, layouts):
        p_at.append(p_at[-1] + _lines(p.words))
        q_at.append(q_at[-1] + _lines(q.words))
        d_at.append(d_at[-1] + _lines(m * n))
    lag = min(gemm_data.lag_of(options, p, q) for p, q in layouts)
    with qpu.device_buffers(device, 4 * p_at[-1], 4 * q_at[-1], 4 * d_at[-1]) as buffers:
        p_all, q_all, d_all = (b.array(np.float32, (b.nbytes // 4,)) for b in buffers)
        tiles: List[gemm_data.Tile] = []
        results = []
        for index, (each, (m, n, _), (p, q)) in enumerate(zip(products, sizes, layouts)):
            at = p_at[index], q_at[index], d_at[index]
            gemm_data.pack(p, each.a.T, p_all[at[0] : at[0] + p.words])
            gemm_data.pack(q, each.b, q_all[at[1] : at[1] + q.words])
            d = d_all[at[2] : at[2] + m * n].reshape(m, n)
            if options.beta:  # the kernel reads it, even where it is to count nothing
                d[...] = 0 if each.c is None else each.c
            results.append(d)
            p_addr, q_addr, d_addr = (
                buffer.bus_address + 4 * word for buffer, word in zip(buffers, at)
            )
            for tile in gemm_data.grid(options, p, q, p_addr, q_addr, d_addr, n, lag):
                tiles.append(dataclasses.replace(tile, alpha=each.alpha, beta=each.beta))
        for buffer in buffers:
            buffer.clean()
        reports = _launch(device, options, tiles, 1.0, 1.0, lag)
        buffers[2].invalidate()
        return [d.copy() for d in results], reports


def _lines(words: int) -> int:
    """Rounded up to whole lines of 16 words."""
    return -(-words // gemm.LANES) * gemm.LANES
