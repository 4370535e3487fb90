"""Runs products on emulated QPUs: ours on resident operands and through the API, the rivals'.

Each run has a device of its own, so that a figure depends on nothing that ran before, and checks
its result against float64.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Dict, Tuple

import numpy as np

import piblas
from piblas.driver import Emulator
from piblas.host import arrays, gemm_resident, limits
from piblas.kernels import gemm_error, gemm_rival_streams, gemm_rivals, reference
from piblas.kernels.gemm_rival_streams import Problem
from piblas.kernels.gemm_rivals import RivalOptions

__all__ = ["CLOCK_HZ", "PEAK", "Run", "Shape", "call", "product", "rival"]

CLOCK_HZ = 250e6
PEAK = 24.0
"""GFLOPS of 12 QPUs at that clock."""

Shape = Tuple[int, int, int]
"""m, n, k."""
WORD = 4


@dataclasses.dataclass(frozen=True)
class Run:
    """A product of ``m`` x ``k`` and ``k`` x ``n``: clocks of its launch, or launches, those of the
    launch that packed its operands before (0 if there was none), and the share of clocks x QPUs
    that went to each cause."""

    what: str
    shape: Shape
    timing: str
    clocks: int
    packing: int
    causes: Dict[str, float]
    clock_hz: float = CLOCK_HZ

    @property
    def flops(self) -> int:
        m, n, k = self.shape
        return 2 * m * n * k

    @property
    def rate(self) -> float:
        """GFLOPS of the kernel alone."""
        return self.flops / self.clocks * self.clock_hz / 1e9

    @property
    def lost(self) -> Dict[str, float]:
        """Shares of clocks x QPUs that did no useful multiply-add, by reason.

        A useful one is 32 flops a word, so their words' share is the rate's share of the peak;
        "other words" is what else is issued, on padding too.
        """
        useful = self.rate / (PEAK * self.clock_hz / CLOCK_HZ)
        waits = {cause: share for cause, share in self.causes.items() if cause != "issue"}
        return {"other words": self.causes["issue"] - useful, **waits}

    @property
    def packed_rate(self) -> float:
        """GFLOPS if packing counts."""
        return self.flops / (self.clocks + self.packing) * self.clock_hz / 1e9


def _run(what: str, shape: Shape, device: Any, report: Any, packing: int = 0) -> Run:
    total = report.cycles * report.n_qpus
    causes = {cause: clocks / total for cause, clocks in report.stalls.items() if clocks}
    name = report.timing.name
    return Run(what, shape, name, report.cycles, packing, causes, device.clock_hz)


def _operands(shape: Shape) -> Tuple[np.ndarray, np.ndarray]:
    m, n, k = shape
    rng = np.random.default_rng(m * 1_000_003 + n * 1009 + k)
    a, b = rng.uniform(-1, 1, (m, k)), rng.uniform(-1, 1, (k, n))
    return a.astype(np.float32), b.astype(np.float32)


def _check(d: np.ndarray, a: np.ndarray, b: np.ndarray, accuracy: str = "fast") -> None:
    zeros = np.zeros(d.shape, np.float32)
    error = np.abs(d - reference.sgemm(1.0, a, b, 0.0, zeros))
    if not (error <= gemm_error.error_bound(1.0, a, b, 0.0, zeros, accuracy)).all():
        raise AssertionError(f"a product of {a.shape} and {b.shape} is wrong by {error.max()}")


def _memory(shape: Shape) -> int:
    m, n, k = shape
    return 3 * WORD * (m + 64) * (k + 64) + 3 * WORD * (n + 512) * (k + 64) + 2 * WORD * m * n + (
        8 << 20
    )


@functools.lru_cache(maxsize=None)
def product(
    shape: Shape, timing: Any, trans: str = "nn", in_place: bool = False, accuracy: str = "fast"
) -> Run:
    """Ours, on operands in device memory: the QPUs pack them, then multiply.  Once a process.

    The matrices lie as BLAS has them, in Fortran order, transposed where ``trans`` has a "t".  With
    ``in_place`` they are row-major, the result too, and the second operand is read where it lies if
    that pays, as a call does; otherwise both are packed.  ``accuracy`` is that of a call.
    """
    m, n, k = shape
    a, b = _operands(shape)
    last, place = ("C", None) if in_place else ("F", False)
    with Emulator(memory=_memory(shape), timing=timing, clock_hz=CLOCK_HZ) as device:
        operands = []
        for x, letter in zip((a, b), trans):
            order = last if letter == "n" else {"C": "F", "F": "C"}[last]
            operands.append(arrays.array(x, order=order, device=device))
        c = arrays.empty((m, n), order=last, device=device)
        packed, report = gemm_resident.sgemm_resident(
            device, 1.0, *operands, 0.0, c, in_place=place, accuracy=accuracy
        )
        _check(c, a, b, accuracy)
        return _run("piblas", shape, device, report, packed.cycles or 0)


def call(shape: Shape, timing: Any) -> Run:
    """Ours, as :func:`piblas.sgemm` launches it for operands in ordinary memory."""
    m, n, _ = shape
    a, b = _operands(shape)
    with Emulator(memory=_memory(shape), timing=timing, clock_hz=CLOCK_HZ) as device:
        with piblas.use(device), piblas.profile() as profile:
            c = piblas.sgemm(1.0, np.asfortranarray(a), np.asfortranarray(b))
        _check(c, a, b)
        return _run("piblas", shape, device, limits.combined(profile.reports))


def rival(
    what: str, options: RivalOptions, problem: Problem, timing: Any, clock_hz: float = CLOCK_HZ
) -> Run:
    """A published strategy, on operands that lie in device memory as it wants them."""
    shape = problem.m, problem.n, problem.k
    a, b = _operands(shape)
    with Emulator(memory=_memory(shape), timing=timing, clock_hz=clock_hz) as device:
        buffers = [device.alloc(size) for size in problem.room]
        for buffer, pitch, x in zip(buffers, problem.pitches, (a, b)):
            buffer.array(np.uint8, (buffer.nbytes,))[:] = 0
            buffer.array(np.float32, (len(x), pitch // WORD))[:, : x.shape[1]] = x
        streams = gemm_rival_streams.Streams(options, problem, *(b.bus_address for b in buffers))
        buffers.append(device.alloc(streams.nbytes))
        words, starts = streams.at(buffers[-1].bus_address)
        buffers[-1].array(np.uint32, words.shape)[:] = words
        for buffer in buffers:
            buffer.clean()
        program = device.load(gemm_rivals.SPEC.program(options).words)
        report = device.execute(program, starts, timeout=1e6)
        buffers[2].invalidate()
        _check(buffers[2].array(np.float32, (problem.m, problem.n)), a, b)
        return _run(what, shape, device, report)
