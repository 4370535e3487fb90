"""The level-1 bars: simulated time and the share of the modelled limit, in all timing sets.

``python -m bench level1 [routine ...] [--set calibrated] [--reading port] [--json]`` runs each
routine on 4 Mi elements that are on the device, and says what is lost (:mod:`bench.bars`).
"""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np

import piblas
from piblas.host import vectors
from piblas.kernels import reference
from piblas.routines import KERNELS, ROUTINES

from . import bars
from .bars import Case

__all__ = ["CASES", "N", "cases", "main"]

N = 1 << 22


def _case(routine: str, n: int) -> Case:
    """A call on ``n`` elements, by the arguments of the routine's row."""
    row = ROUTINES[routine]
    names = [name for name in ("x", "y") if name in row.arguments]
    scalars = {name: reference.SCALARS[name] for name in row.arguments if name in reference.SCALARS}
    read, written = range(len(names)), range(0)
    if routine in vectors.MAPS:
        _, read, written, _ = vectors.MAPS[routine]
    flags = {f"overwrite_{name}": 1 for name in names if f"overwrite_{name}" in row.arguments}

    def launch(device: Any) -> Any:
        rng = np.random.default_rng(6)
        given: Dict[str, Any] = {name: rng.uniform(-1, 1, n).astype(np.float32) for name in names}
        placed = {name: piblas.array(value, device=device) for name, value in given.items()}
        with piblas.use(device), piblas.profile() as profile:
            got = getattr(piblas, routine)(**placed, **scalars, **flags)
        given.update(scalars)
        check(routine, got, given)
        (report,) = profile.reports
        return report

    return Case(routine, f"n = {n}", 4 * n * len(read), 4 * n * len(written), launch)


def check(routine: str, got: Any, given: Dict[str, Any]) -> None:
    """Compare the result of a call with NumPy's, by the bound of the kernel."""
    wide = [np.asarray(np.float32(value), np.float64) for value in given.values()]
    results = got if isinstance(got, tuple) else (got,)
    of = reference.LEVEL_1[routine]
    for result, want, bound in zip(results, of.value(*wide), of.bound(*given.values())):
        np.testing.assert_array_less(np.abs(np.float64(result) - want), bound + 1e-300)


def cases(n: int) -> List[Case]:
    """The routines on ``n`` elements, one for each kernel."""
    first = {KERNELS[name]: name for name in reversed(list(reference.LEVEL_1))}
    return [_case(name, n) for name in reference.LEVEL_1 if first[KERNELS[name]] == name]


CASES = cases(N)
"""The rows of the command."""


def main(argv: Any = None) -> int:
    return bars.main(CASES, "level1", argv)
