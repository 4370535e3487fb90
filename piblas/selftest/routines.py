"""BLAS routines on the device, against float64, with each kernel's own error bound or a plain one.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, List, NamedTuple, Tuple

import numpy as np

from .. import record
from ..blas import functions
from ..dispatch import devices
from ..driver.device import Device
from ..errors import PiblasError
from ..kernels import spec

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


def _vectors(n: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((2, n), dtype=np.float32)
    return x, y, x.astype(np.float64), y.astype(np.float64)


def _copy(n: int, f: Any) -> Pair:
    x, y, x64, _ = _vectors(n)
    return f(x, y), x64, 0.0


def _swap(n: int, f: Any) -> Pair:
    x, y, x64, y64 = _vectors(n)
    got = f(x.copy(), y.copy())
    return np.concatenate(got), np.concatenate((y64, x64)), 0.0


def _scal(n: int, f: Any) -> Pair:
    x, _, x64, _ = _vectors(n)
    return f(2.7, x.copy()), np.float32(2.7) * x64, 2 * EPS * np.abs(3 * x64) + 1e-37


def _axpy(n: int, f: Any) -> Pair:
    x, y, x64, y64 = _vectors(n)
    wanted = np.float64(np.float32(2.7)) * x64 + y64
    return f(x, y.copy(), a=2.7), wanted, 3 * EPS * (np.abs(3 * x64) + np.abs(y64)) + 1e-37


def _dot(n: int, f: Any) -> Pair:
    x, y, x64, y64 = _vectors(n)
    return f(x, y), x64 @ y64, 4 * EPS * (np.abs(x64) @ np.abs(y64))


def _asum(n: int, f: Any) -> Pair:
    x, _, x64, _ = _vectors(n)
    total = np.abs(x64).sum()
    return f(x), total, 4 * EPS * total


def _nrm2(n: int, f: Any) -> Pair:
    x, _, x64, _ = _vectors(n)
    norm = float(np.sqrt(x64 @ x64))
    return f(x), norm, 4 * EPS * norm


def _iamax(n: int, f: Any) -> Pair:
    x, _, x64, _ = _vectors(n)
    return f(x), int(np.argmax(np.abs(x64))), 0.0


def _rot(n: int, f: Any) -> Pair:
    x, y, x64, y64 = _vectors(n)
    c, s = np.float64(np.float32(0.8)), np.float64(np.float32(0.6))
    wanted = np.concatenate((c * x64 + s * y64, c * y64 - s * x64))
    size = np.abs(x64) + np.abs(y64)
    return np.concatenate(f(x, y, 0.8, 0.6)), wanted, 4 * EPS * np.tile(size, 2) + 1e-37


_LEVEL1 = {
    "scopy": _copy, "sswap": _swap, "sscal": _scal, "saxpy": _axpy, "sdot": _dot,
    "sasum": _asum, "snrm2": _nrm2, "isamax": _iamax, "srot": _rot,
}  # fmt: skip


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
    """Every routine of the tables above at a few sizes."""
    rows = []
    for name, case in _LEVEL1.items():
        for n in LENGTHS:
            rows.append(_one(device, name, str(n), functools.partial(case, n)))
    for shape in SHAPES:
        size = " x ".join(map(str, shape))
        rows.append(_one(device, "sgemm", size, functools.partial(_gemm, shape)))
    return rows


def untested() -> List[str]:
    """Routines that have a kernel but no row here."""
    served = {routine for name in spec.names() for routine in spec.get(name).routines}
    return sorted(served - set(_LEVEL1) - {"sgemm"})
