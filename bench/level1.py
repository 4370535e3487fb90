"""The level-1 bars: simulated time and the share of the modelled limit, in all timing sets.

``python -m bench level1 [routine ...] [--set calibrated] [--reading port] [--json]`` runs each
routine on 4 Mi elements that are on the device, and says what is lost (:mod:`bench.bars`).
"""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

import numpy as np

from piblas.kernels import asum, axpy, copy, dot, iamax, nrm2, rot, scal, swap
from piblas.kernels.reduce import CompensatedSum
from piblas.kernels.stream import LANES

from . import bars
from .bars import Case, filled

__all__ = ["CASES", "N", "cases", "main"]

N = 1 << 22


def _operands(n: int, count: int) -> List[np.ndarray]:
    rng = np.random.default_rng(6)
    return [rng.uniform(-1, 1, n).astype(np.float32) for _ in range(count)]


Outcome = Callable[..., Tuple[np.ndarray, ...]]


def _mapped(module: Any, constants: Tuple[float, ...], outcome: Outcome, n: int) -> Any:
    """A launch of an elementwise kernel; ``outcome(*operands)`` are the results in NumPy."""

    def launch(device: Any) -> Any:
        kernel, options = module.KERNEL, module.SPEC.defaults.fitted(device.n_qpus)
        count = max(kernel.inputs, kernel.outputs, 2 if module is copy else 0)
        operands = _operands(n, count)
        buffers = [filled(device, values) for values in operands]
        watch = device.alloc(64 * options.workers)
        addresses = [buffer.bus_address for buffer in buffers]
        program = device.load(module.SPEC.program(options).words)
        outputs = addresses[-kernel.outputs :]
        streams = kernel.streams(options, n, outputs[0] // 4 % LANES)
        at = dict(zip("xy", addresses), watch=watch.bus_address)
        at.update((f"out{number}", address) for number, address in enumerate(outputs))
        filled_in = streams.filled(at, {"constants": np.array(constants, dtype=np.float32)})
        report = device.execute(program, filled_in)
        for buffer, want in zip(buffers[-kernel.outputs :], outcome(*operands)):
            buffer.invalidate()
            np.testing.assert_allclose(buffer.array(np.float32, (n,)), want, atol=1e-6)
        return report

    return launch


def _reduced(
    module: Any, constants: Tuple[float, ...], outcome: Callable[..., float], n: int
) -> Any:
    """A launch of a reduction; ``outcome(*operands)`` is its result in NumPy."""

    def launch(device: Any) -> Any:
        kernel, options = module.KERNEL, module.SPEC.defaults
        operands = _operands(n, kernel.inputs)
        buffers = [filled(device, values) for values in operands]
        words = 16 * kernel.stored(options) * len(kernel.parts(options, n))
        out = device.alloc(4 * words)
        addresses = [buffer.bus_address for buffer in buffers]
        program = device.load(module.SPEC.program(options).words)
        at = dict(zip("xy", addresses), out=out.bus_address)
        filled_in = kernel.streams(options, n, device.n_qpus).filled(
            at, {"constants": np.array(constants, dtype=np.float32)}
        )
        report = device.execute(program, filled_in)
        out.invalidate()
        results = kernel.results(options, n, out.array(np.float32, (words,)))
        want = outcome(*(values.astype(np.float64) for values in operands))
        if module is iamax:
            firsts = [first for first, _, _ in kernel.parts(options, n)]
            assert iamax.first_largest(results, firsts)[0] == want
        else:
            np.testing.assert_allclose(CompensatedSum.value(results), want, rtol=1e-5)
        return report

    return launch


def cases(n: int) -> List[Case]:
    """The routines on ``n`` elements."""
    h = (0.8, 0.6, -0.6, 0.8)
    rows: List[Tuple[str, int, int, Any]] = [
        ("scopy", 1, 1, _mapped(copy, (), lambda x, y: (x,), n)),
        ("sswap", 2, 2, _mapped(swap, (), lambda x, y: (y, x), n)),
        ("sscal", 1, 1, _mapped(scal, (0.5,), lambda x: (x / 2,), n)),
        ("saxpy", 2, 1, _mapped(axpy, (0.5,), lambda x, y: (x / 2 + y,), n)),
        (
            "srot",
            2,
            2,
            _mapped(rot, h, lambda x, y: (0.8 * x + 0.6 * y, 0.8 * y - 0.6 * x), n),
        ),
        ("sdot", 2, 0, _reduced(dot, (), np.dot, n)),
        ("sasum", 1, 0, _reduced(asum, (), lambda x: np.abs(x).sum(), n)),
        ("snrm2", 1, 0, _reduced(nrm2, (1.0,), lambda x: x @ x, n)),
        ("isamax", 1, 0, _reduced(iamax, (), lambda x: np.argmax(np.abs(x)), n)),
    ]
    return [
        Case(name, f"n = {n}", 4 * n * read, 4 * n * written, launch)
        for name, read, written, launch in rows
    ]


CASES = cases(N)
"""The rows of the command."""


def main(argv: Any = None) -> int:
    return bars.main(CASES, "level1", argv)
