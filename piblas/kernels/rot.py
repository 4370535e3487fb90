"""srot and srotm: x, y = h11 * x + h12 * y, h21 * x + h22 * y (:mod:`.elementwise`).

A plane rotation is h11 = h22 = c, h12 = s, h21 = -s; a modified one has units among its elements,
by which products are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Sequence, Tuple

import numpy as np

from . import axpby
from .elementwise import Elementwise

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["KERNEL", "SPEC", "error_bound"]


def _body(asm: Assembler, constants: List[Any], values: List[Any]) -> Tuple[List[Any], List[Any]]:
    (x, y), (h11, h12, h21, h22) = values, constants
    of_x, of_y = axpby.combined(asm, x, h11, y, h12), axpby.combined(asm, x, h21, y, h22)
    return [of_x, of_y], []


KERNEL = Elementwise(inputs=2, outputs=2, body=_body, constants=("h11", "h12", "h21", "h22"))
SPEC = KERNEL.spec("rot", ("srot", "srotm"), "x, y = h11 x + h12 y, h21 x + h22 y")


def error_bound(h: Sequence[float], x: np.ndarray, y: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Bounds of |computed - exact| of both results for h = (h11, h12, h21, h22): each is that of
    :func:`.axpby.error_bound`."""
    return axpby.error_bound(h[0], h[1], x, y), axpby.error_bound(h[2], h[3], x, y)
