"""alpha times a matrix that lies in device memory, in Fortran order, as a new array there.

A matrix without gaps is a vector to the kernels of scopy and sscal, the latter with its error and
its eye on Inf and NaN.  Rows that are contiguous become columns by the kernel that packs for gemm,
which moves every bit.
"""

from __future__ import annotations

import ctypes
import dataclasses
from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np

from ..driver.device import RunReport
from ..kernels import gemm_layout, gemm_pack, gemm_segments
from . import arrays, limits
from .outcome import NO_ROOM, SORT_OUT, CpuNeeded, Outcome
from .plan import PLANS, Launch, LaunchPlan
from .runner import Runner
from .vectors import Map, Operand

__all__ = ["Copy", "has_kernel"]

WORD = 4

WIDEST = 16384
"""Rows of a matrix that one launch can bring into another order: the store engine's stride ends
at 65535 bytes."""

PACKED_RATE = 0.25e9
"""Bytes a second that a launch packs at least, read and written."""

class _Shape(NamedTuple):
    """What a plan depends on: m rows of n words each, ``down`` bytes apart, become columns."""

    m: int
    n: int
    down: int
    n_qpus: int
    longest: Optional[float]


def _layout(m: int, n: int) -> gemm_layout.Packed:
    """One panel, whose steps are the columns of the result."""
    return gemm_layout.Packed(m, n, m)


def _plan(shape: _Shape) -> LaunchPlan:
    m, n, down, n_qpus, longest = shape
    layout = _layout(m, n)
    launches = []
    for part in limits.runs([2 * WORD * m / PACKED_RATE] * n, longest):
        # What a launch writes after its columns, the next one overwrites.
        operand = gemm_segments.Operand(
            dataclasses.replace(layout, steps=len(part)), len(part), WORD * part.start, WORD, down,
            WORD * m * part.start, look=False,
        )  # fmt: skip
        streams = gemm_segments.streams((operand,), n_qpus)
        launches.append(Launch(gemm_pack.SPEC, gemm_pack.SPEC.defaults, streams))
    # Memory that the CPU never writes, so that no line of it is dirty.
    scratch = {"looked": WORD * gemm_segments.watched_words(gemm_segments.QPUS)}
    return LaunchPlan(launches, ["source", "packed", "watch"], (), scratch)


def _turns(matrix: np.ndarray) -> bool:
    """Whether one launch can make columns of its rows."""
    down, along = matrix.strides
    return len(matrix) <= WIDEST and along == WORD and down != WORD


def has_kernel(source: np.ndarray) -> bool:
    """Whether kernels take a matrix of these strides, at least for alpha = 1."""
    return source.flags.f_contiguous or source.flags.c_contiguous or _turns(source)


class Copy:
    """alpha * source for matrices of one shape and strides.  Values: alpha (not 0), the matrix.

    CpuNeeded, for the reason ``without``, where no kernel takes a matrix with gaps for this alpha.
    """

    def __init__(self, source: np.ndarray, runner: Runner, without: str) -> None:
        m, n = source.shape
        device = runner.device
        self.without = without
        self.shape = _Shape(m, n, source.strides[0], device.n_qpus, device.longest_launch)
        self.columns, self.rows = source.flags.f_contiguous, source.flags.c_contiguous
        self.turns = _turns(source)
        operands = Operand(slice(None), False, True), Operand(slice(None), False, True, True, True)
        self.copy = Map("scopy", m * n, operands, runner)
        self.scale = Map("saxpby, b = 0", m * n, operands, runner)

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        """(a new matrix in Fortran order in device memory, the reports)."""
        alpha, source = ctypes.c_float(values[0]).value, values[1]
        m, n = self.shape[:2]
        if arrays.place(source, runner.device) is None:
            raise CpuNeeded(SORT_OUT)  # a view that NumPy made out of nothing
        if runner.cut:
            raise CpuNeeded(NO_ROOM)
        if self.columns:
            made = arrays.fresh(runner.device, m, n)
            by = self.copy if alpha == 1 else self.scale
            return made, by(runner, (source.T.reshape(-1), made.T.reshape(-1), alpha))[1]
        if not self.turns or (alpha != 1 and not self.rows):
            raise CpuNeeded(self.without)
        # All memory before the first launch.
        words = arrays.fresh(runner.device, _layout(m, n).words, 1)[:, 0]
        reports: List[RunReport] = []
        if alpha != 1:
            scaled = arrays.fresh(runner.device, n, m).T
            reports += self.scale(runner, (source.reshape(-1), scaled.reshape(-1), alpha))[1]
            source = scaled
        self._turned(runner, source, words, reports)
        return words[: m * n].reshape(n, m).T, reports

    def _turned(
        self, runner: Runner, source: np.ndarray, words: np.ndarray, reports: List[RunReport]
    ) -> None:
        """The columns of a matrix, one after the other, by the packing kernel."""
        plan = PLANS.made(self.shape, _plan, self.shape)
        of, to = arrays.place(source, runner.device), arrays.place(words, runner.device)
        assert of is not None and to is not None
        (looked,) = runner.scratch(plan)
        # The result too: a dirty line, written back later, would overwrite what the QPUs store.
        of.buffer.clean()
        to.buffer.clean()
        at = of.bus_address, to.bus_address, looked.bus_address
        runner.run(plan, at, (), None, reports)
        to.buffer.invalidate()
