"""``np.empty_like`` and its like: arrays on the same device, where the type is the same or float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..host.device_array import DeviceArray

__all__ = ["empty_like", "full_like", "ones_like", "zeros_like"]


def empty_like(
    prototype: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    if not (isinstance(prototype, DeviceArray) and subok and device is None):
        return None
    if dtype is not None and np.dtype(dtype) not in (prototype.dtype, np.float32):
        return None
    return prototype._unset(dtype, order, shape)


def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: bool = True,
    shape: Any = None, *, device: Any = None,
) -> Any:  # fmt: skip
    made = empty_like(a, dtype, order, subok, shape, device=device)
    if made is not None:
        np.copyto(made, fill_value, casting="unsafe")
    return made


def zeros_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    return full_like(a, 0, dtype, order, subok, shape, device=device)


def ones_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    return full_like(a, 1, dtype, order, subok, shape, device=device)
