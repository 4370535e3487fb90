"""How the operands of the gemm kernel are packed: into panels, step of k after step of k."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Iterator, List, Tuple

import numpy as np

from .gemm import LANES, GemmOptions

__all__ = [
    "PANEL",
    "Packed",
    "clear_padding",
    "columns_of",
    "cover",
    "pack",
    "packed_words",
    "panel_start",
    "panel_width",
    "unpack",
]


PANEL = LANES / 2
"""Fixed cost of one k step, in units of one packed word: loading the mr scalars of P takes one unit
of an instruction each, where a multiply-add takes two."""


SAME_SET = 2048
"""Columns a multiple of so many bytes apart share sets of the CPU's caches: a line of each of a
panel's columns does not stay there from step to step, but one of each of 16 does, for the most
part."""


@functools.lru_cache(maxsize=1024)
def cover(length: int, width: int, edge: int) -> Tuple[int, int]:
    """How many panels ``width`` wide, and how many ``edge`` wide after them, hold ``length`` words
    at the least cost."""
    if not edge:
        return -(-length // width), 0

    def cost(edges: int) -> float:
        wide = -(-max(0, length - edges * edge) // width)
        return wide * (width + PANEL) + edges * (edge + PANEL)

    edges = min(range(width // math.gcd(width, edge)), key=cost)
    return -(-max(0, length - edges * edge) // width), edges


def panel_width(panel: Any, wide: Any, width: int, edge: int) -> Any:
    """Words of a step of a panel, of which the first ``wide`` have the full width; ``panel`` and
    ``wide`` are numbers or arrays of them."""
    return edge + (panel < wide) * (width - edge)


def panel_start(panel: Any, wide: Any, width: int, edge: int) -> Any:
    """Place in the operand of the first word of a panel's step, as for :func:`panel_width`."""
    return panel * width - (panel > wide) * (panel - wide) * (width - edge)


@dataclasses.dataclass(frozen=True)
class Packed:
    """How an operand of ``k`` x ``length`` is laid out.

    It is cut into panels of ``steps`` steps of ``width`` words each, padded with zeros; the last
    ones are ``edge`` words wide, as many as suit (:func:`cover`).  The padding of k comes last, or,
    with ``fold``, just before the rows of k that follow step ``fold`` (:meth:`rows`).
    """

    length: int
    steps: int
    width: int
    edge: int = 0
    fold: int = 0

    def rows(self, k: int) -> np.ndarray:
        """For each step, the row of k that it holds; k itself for those of zeros."""
        rows = np.arange(self.steps)
        if self.fold:
            missing = self.steps - k
            rows[self.fold :] -= missing
            rows[self.fold : self.fold + missing] = k
        return np.minimum(rows, k)

    @functools.cached_property
    def wide(self) -> int:
        """Panels of full width; those after them are ``edge`` wide."""
        return cover(self.length, self.width, self.edge)[0]

    @functools.cached_property
    def panels(self) -> int:
        return sum(cover(self.length, self.width, self.edge))

    def width_of(self, panel: Any) -> Any:
        """Words of a step of a panel (a number or an array)."""
        return panel_width(panel, self.wide, self.width, self.edge)

    def first(self, panel: Any) -> Any:
        """Place in the operand of the first word of a panel's step."""
        return panel_start(panel, self.wide, self.width, self.edge)

    def offset(self, panel: Any) -> Any:
        """Bytes before a panel."""
        return 4 * self.steps * self.first(panel)

    @property
    def words(self) -> int:
        """Size of the buffer: the panels, and after them what the chip fetches ahead of a stream
        of uniforms and some lines more."""
        return self.steps * self.first(self.panels) + self.width + 2 * LANES


def packed_words(options: GemmOptions, m: int, n: int, k: int) -> Tuple[Packed, Packed]:
    """The layouts of P (m x k) and Q (k x n); k is padded with zeros to whole iterations."""
    steps = -(-k // options.unroll) * options.unroll
    return (
        Packed(m, steps, options.rows),
        Packed(n, steps, options.columns, LANES * options.edge),
    )


def _groups(layout: Packed, packed: np.ndarray) -> Iterator[Tuple[int, int, np.ndarray]]:
    """(first column, columns, view of the panels x steps x width) of the wide and the edge panels
    of a packed operand; there may be fewer columns than the panels hold."""
    wide, panels, steps = layout.wide, layout.panels, layout.steps
    middle = layout.width * wide
    if wide:
        view = packed[: middle * steps].reshape(wide, steps, layout.width)
        yield 0, min(middle, layout.length), view
    if panels > wide:
        end = middle + layout.edge * (panels - wide)
        view = packed[middle * steps : end * steps].reshape(panels - wide, steps, layout.edge)
        yield middle, layout.length - middle, view


def pack(layout: Packed, operand: np.ndarray, out: np.ndarray) -> None:
    """Write ``operand`` (k x length float32, any strides) into ``out`` (``layout.words`` float32).

    Padding is zeros, so that it adds nothing to the product.
    """
    k, steps = operand.shape[0], layout.steps
    if layout.fold and k < steps:
        held = np.zeros((steps, operand.shape[1]), dtype=np.float32)
        rows = layout.rows(k)
        held[rows < k] = operand
        operand, k = held, steps
    for first, columns, panels in _groups(layout, out):
        width = panels.shape[2]
        whole, rest = divmod(columns, width)
        inside = operand[:, first : first + whole * width]
        # Cutting an axis in two never copies: each element is read once, and written once.
        source = inside.reshape(k, whole, width).transpose(1, 0, 2)
        together = width if operand.strides[1] % SAME_SET else LANES
        for at in range(0, width, together):
            panels[:whole, :k, at : at + together] = source[..., at : at + together]
        if rest:
            panels[whole, :k, :rest] = operand[:, first + whole * width : first + columns]
            panels[whole, :k, rest:] = 0
        if k < layout.steps:
            panels[:, k:] = 0
    out[layout.steps * layout.first(layout.panels) :] = 0


def unpack(layout: Packed, packed: np.ndarray) -> np.ndarray:
    """The operand (k x length, k = ``layout.steps``) that lies ``packed`` in a buffer."""
    operand = np.empty((layout.steps, layout.length), dtype=np.float32)
    for first, columns, panels in _groups(layout, packed):
        width = panels.shape[2]
        whole, rest = divmod(columns, width)
        inside = operand[:, first : first + whole * width]
        inside.reshape(layout.steps, whole, width)[...] = panels[:whole].transpose(1, 0, 2)
        if rest:
            operand[:, first + whole * width : first + columns] = panels[whole, :, :rest]
    return operand


def clear_padding(layout: Packed, packed: np.ndarray) -> None:
    """Set to 0 what panels hold beyond the operand's last column."""
    for _, columns, panels in _groups(layout, packed):
        whole, rest = divmod(columns, panels.shape[2])
        panels[whole:, :, rest:] = 0


def columns_of(layout: Packed, packed: np.ndarray) -> List[Tuple[slice, np.ndarray]]:
    """Each panel's columns of the operand, and a view of them (``steps`` rows) in ``packed``."""
    found = []
    for first, columns, panels in _groups(layout, packed):
        width = panels.shape[2]
        for at, panel in zip(range(0, columns, width), panels):
            inside = min(width, columns - at)
            found.append((slice(first + at, first + at + inside), panel[:, :inside]))
    return found
