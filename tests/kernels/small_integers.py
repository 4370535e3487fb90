"""NumPy as on a 32-bit system, where integers without a type of their own are int32.

There NumPy 2 refuses ``array & 0xFFFFFFFF`` and sums that leave 32 bits.  :class:`Small` stands for
the module ``np`` of a module under test: what its functions make of Python's integers is int32.
"""

from __future__ import annotations

import sys
import types

import numpy as np

WIDE = (np.int64, np.dtype(np.int64))
INT32 = np.iinfo(np.int32)


def _asks_for_64_bits(value):
    if isinstance(value, (list, tuple)):
        return any(_asks_for_64_bits(each) for each in value)
    if isinstance(value, np.ndarray):
        return value.dtype == np.int64
    return isinstance(value, np.int64) or any(value is wide for wide in WIDE)


def _narrow(value):
    if isinstance(value, (list, tuple)):
        return type(value)(_narrow(each) for each in value)
    if not isinstance(value, (np.ndarray, np.int64)) or value.dtype != np.int64:
        return value
    if np.size(value) and not (INT32.min <= np.min(value) and np.max(value) <= INT32.max):
        return value  # as np.array([2**31]) there
    return value.astype(np.int32)


class _Grid:
    def __init__(self, grid):
        self.grid = grid

    def __getitem__(self, key):
        return _narrow(self.grid[key])


class _Function:
    """A function, or a ufunc with its methods, as ``np.maximum.reduce``."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **kwargs):
        result = self.function(*args, **kwargs)
        wide = _asks_for_64_bits(args) or _asks_for_64_bits(list(kwargs.values()))
        return result if wide else _narrow(result)

    def __getattr__(self, name):
        return _Function(getattr(self.function, name))


class Small:
    def __getattr__(self, name):
        found = getattr(np, name)
        if name in ("mgrid", "ogrid"):
            return _Grid(found)
        if not callable(found) or isinstance(found, (type, types.ModuleType)):
            return found
        return _Function(found)


def narrow_all(monkeypatch, *packages):
    """Give every module of these packages, as far as they are imported, such an ``np``."""
    small, patched = Small(), []
    for name, module in list(sys.modules.items()):
        if name.startswith(packages) and getattr(module, "np", None) is np:
            monkeypatch.setattr(module, "np", small)
            patched.append(name)
    return patched
