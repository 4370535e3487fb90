"""Where the elements of a matrix lie: columns with an address, a first row and a length.

Full, band, triangular and packed storage differ in two things only.  The elements that are stored
are those between two diagonals; and the address of row 0 grows from column to column by a step
that is constant or itself grows by one word.  :class:`Storage` holds just that, so that kernels
step through the columns of any matrix in the same few instructions.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Tuple

import numpy as np

from .uniforms import runs

__all__ = ["Storage", "band", "full", "packed", "tiles", "triangle"]


class Storage(NamedTuple):
    """An ``m`` x ``n`` matrix whose element (i, j) is there if ``low`` <= i - j <= ``high``.

    Element (i, j) is ``i + first + step * j + growth * j * (j - 1) / 2`` words from the
    beginning.  Elements outside that band are never touched, whatever their place holds.
    """

    m: int
    n: int
    low: int
    high: int
    first: int
    step: int
    growth: int = 0

    def column(self, j: Any) -> Any:
        """Words from the beginning to where element (0, j) is or would be (int64 arrays, too)."""
        return self.first + self.step * j + self.growth * (j * (j - 1) // 2)

    def steps(self, j: Any) -> Any:
        """Words from (0, j) to (0, j + 1)."""
        return self.step + self.growth * j

    def rows(self, j: Any) -> Tuple[Any, Any]:
        """The first row of column j and the row after its last; equal if there is none."""
        first = np.maximum(0, j + self.low)
        return first, np.maximum(first, np.minimum(self.m, j + self.high + 1))

    def without_diagonal(self) -> "Storage":
        """The same triangle without its diagonal."""
        return self._replace(low=1) if self.low == 0 else self._replace(high=-1)

    @property
    def is_full(self) -> bool:
        return self.low <= 1 - self.n and self.high >= self.m - 1


def full(m: int, n: int, ld: int) -> Storage:
    """A matrix with ``ld`` words from column to column."""
    return Storage(m, n, -n, m, 0, ld)


def band(m: int, n: int, kl: int, ku: int, ld: int, offset: int) -> Storage:
    """``kl`` diagonals below and ``ku`` above the main one, which is row ``offset`` of an array
    with ``ld`` words from column to column."""
    return Storage(m, n, -ku, kl, offset, ld - 1)


def triangle(n: int, lower: bool, ld: int) -> Storage:
    """The lower or upper triangle of a square matrix with its diagonal."""
    return Storage(n, n, 0 if lower else -n, n if lower else 0, 0, ld)


def packed(n: int, lower: bool) -> Storage:
    """The columns of a triangle one after the other."""
    if lower:
        return Storage(n, n, 0, n, 0, n - 1, -1)
    return Storage(n, n, -n, 0, 0, 1, 1)


def tiles(
    storage: Storage,
    height: int,
    width: int,
    rows: Tuple[int, int],
    columns: Tuple[int, int],
) -> np.ndarray:
    """Tiles of up to ``height`` x ``width`` that cover what is stored in a range of rows and
    columns: int64 of shape (tiles, 4), a row (i, rows, j, columns) for the rows ``i`` to
    ``i + rows`` of the columns ``j`` to ``j + columns``.  Every column of a tile has an element
    there."""
    if storage.low > storage.high:
        return np.zeros((0, 4), dtype=np.int64)  # a diagonal without it
    top = np.arange(rows[0], rows[1], height, dtype=np.int64)
    count = np.minimum(height, rows[1] - top)
    first = np.maximum(columns[0], top - storage.high)
    last = np.minimum(columns[1], top + count - storage.low)
    many = np.maximum(-(-(last - first) // width), 0)
    begins = runs(first, many, width)
    block = np.arange(top.size).repeat(many.astype(np.intp))
    found = (top[block], count[block], begins, np.minimum(width, last[block] - begins))
    return np.stack(found, axis=1)
