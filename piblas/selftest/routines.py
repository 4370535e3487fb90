"""BLAS routines on the device, against float64, by the error bounds of their kernels; sgemm by a
plain one.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from .. import record
from ..blas import functions
from ..dispatch import devices
from ..driver.device import Device
from ..errors import PiblasError
from ..kernels import reference
from ..routines import KERNELS, ROUTINES

__all__ = ["Checked", "check", "untested"]

LENGTHS = (1, 16, 17, 1000, 4099)
SHAPES = ((1, 1, 1), (17, 5, 33), (64, 64, 64), (100, 65, 130))
EPS = 2.0**-23


class Checked(NamedTuple):
    """A routine at one size: the largest error, in units of what rounding explains; ``ran`` tells
    whether a launch was made at all."""

    routine: str
    size: str
    error: float
    ran: bool
    seconds: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem and self.ran and self.error <= 1


Pair = Tuple[Any, Any, Any]
"""Result, exact result, and what rounding may add up to."""


def _level_1(name: str, n: int, f: Any) -> Pair:
    """A call of a routine of level 1, by the arguments of its row."""
    row, rng = ROUTINES[name], np.random.default_rng(n)
    names = [name for name in ("x", "y") if name in row.arguments]
    given: Dict[str, Any] = {name: rng.standard_normal(n, np.float32) for name in names}
    given.update((s, value) for s, value in reference.SCALARS.items() if s in row.arguments)
    wide = [np.asarray(np.float32(value), np.float64) for value in given.values()]
    wanted = reference.LEVEL_1[name].value(*wide)
    bounds = reference.LEVEL_1[name].bound(*given.values())
    got = f(**{key: np.array(value) if key in "xy" else value for key, value in given.items()})
    limits = [np.broadcast_to(bound, np.shape(of)) for bound, of in zip(bounds, wanted)]
    return _joined(got), _joined(wanted), _joined(limits)


def _joined(results: Any) -> np.ndarray:
    parts = results if isinstance(results, (tuple, list)) else (results,)
    return np.concatenate([np.ravel(part).astype(np.float64) for part in parts])


def _gemm(shape: Tuple[int, int, int], f: Any) -> Pair:
    m, n, k = shape
    rng = np.random.default_rng(m + n + k)
    a, b = (rng.standard_normal(size, dtype=np.float32) for size in ((m, k), (k, n)))
    c = np.asfortranarray(rng.standard_normal((m, n), dtype=np.float32))
    a64, b64, c64 = (v.astype(np.float64) for v in (a, b, c))
    bound = (k + 4) * EPS * (1.5 * np.abs(a64) @ np.abs(b64) + 0.5 * np.abs(c64))
    return f(1.5, a, b, 0.5, c), 1.5 * a64 @ b64 + 0.5 * c64, bound + 1e-37


def _one(device: Device, name: str, size: str, run: Callable[[Any], Pair]) -> Checked:
    with devices.use(device), record.Profile() as profile:
        try:
            got, wanted, bound = run(functions.function(name))
        except PiblasError as error:
            return Checked(name, size, 0.0, bool(profile.reports), 0.0, str(error))
    difference = np.abs(np.asarray(got, np.float64) - wanted)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(difference == 0, 0.0, difference / bound)
    seconds = sum(report.seconds or 0.0 for report in profile.reports)
    return Checked(name, size, float(np.max(shares)), bool(profile.reports), seconds)


def check(device: Device) -> List[Checked]:
    """Every routine of level 1 that has a reference, and sgemm, at a few sizes."""
    rows = []
    for name in reference.LEVEL_1:
        for n in LENGTHS:
            rows.append(_one(device, name, str(n), functools.partial(_level_1, name, n)))
    for shape in SHAPES:
        size = " x ".join(map(str, shape))
        rows.append(_one(device, "sgemm", size, functools.partial(_gemm, shape)))
    return rows


def untested() -> List[str]:
    """Routines that have a kernel and are not checked here."""
    return sorted(set(KERNELS) - set(reference.LEVEL_1) - {"sgemm"})
