"""Matrices in device memory between guard words, in buffers no larger than they need."""

from __future__ import annotations

import numpy as np

from piblas.host import arrays

F32 = np.float32
GUARD = np.uint32(0x7FA5A5A5)
"""A NaN: what is read outside the operands spoils results."""


class Held:
    """A matrix in device memory; the words of its buffer outside it are guards.

    ``pitch``: words from row to row, of a matrix of order "F" from column to column; ``before``:
    words before the first element.
    """

    def __init__(self, device, data, pitch=None, before=0, order="C"):
        shape = data.shape if order == "C" else data.shape[::-1]
        pitch = pitch or shape[1]
        words = before + (shape[0] - 1) * pitch + shape[1]
        self.raw = np.asarray(arrays.empty(words, np.uint32, device=device))
        self.raw[:] = GUARD
        strides = (4 * pitch, 4) if order == "C" else (4, 4 * pitch)
        self._place = 4 * before, strides
        self.array = np.ndarray(data.shape, F32, self.raw, *self._place)
        self.array[...] = data

    def check(self):
        """The words outside the matrix are as they were."""
        now = self.raw.copy()
        np.ndarray(self.array.shape, np.uint32, now, *self._place)[...] = GUARD
        assert (now == GUARD).all(), "a word outside the matrix was written"
