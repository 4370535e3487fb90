"""Compiled access to fields of setup words, from the tables of :mod:`piblas.isa.setup_words`."""

from __future__ import annotations

from numba import njit

from ..isa.setup_words import TABLES


def field(kind, name):
    """A compiled function: setup word -> value of a field of ``TABLES[kind]``."""
    row = next(row for row in TABLES[kind] if row.name == name)
    low, mask, zero_is = row.lo, row.mask, row.zero_is

    @njit
    def value(word):
        code = word >> low & mask
        return zero_is if code == 0 else code

    return value
