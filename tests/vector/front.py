"""Operands for tests of vector functions, and what the interpreter says of them."""

from __future__ import annotations

import numpy as np

from piblas.vector import interpret
from piblas.vector.functions import expand
from piblas.vector.parse import Builder, parsed

FLOATS = np.array([
    0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001,
    0x7F7FFFFF, 0xFF7FFFFF, 0x00800000, 0x80800000, 0x00000001, 0x807FFFFF, 0x3F7FFFFF, 0x4B000001,
    0x4EFFFFFF, 0x4F000000, 0xCF000000, 0x4F7FFFFF, 0x3EFEFEFE, 0x42F6E979, 0xC2FC0000, 0x43000000,
    0x3FC90FDB, 0xC0490FDB, 0x7E800000, 0xFE800001, 0x01000000, 0x3F000000, 0x40200000, 0xC0600000,
], np.uint32).view(np.float32)  # fmt: skip
"""Zeros, ones, infinities, NaN, the ends of the range, denormals, halves, ends of int32."""

INTEGERS = np.array([
    0, 1, -1, 2, -2, 31, 32, 33, 255, 256, -128, 32767, 32768, -32768, -32769, 65535, 65536,
    0x7FFFFF, 0x800000, 0xFFFFFF, 0x1000000, -0x1000000, 0x7FFFFFFF, -0x80000000, -0x7FFFFFFF,
], np.int32)  # fmt: skip


def floats(n, seed):
    """Special ones, ordinary ones, and any bits."""
    rng = np.random.default_rng(seed)
    some = rng.standard_normal(n).astype(np.float32) * 10
    wild = rng.integers(0, 1 << 32, n, dtype=np.uint32).view(np.float32)
    special = rng.choice(FLOATS, n)
    return np.where(rng.random(n) < 0.4, special, np.where(rng.random(n) < 0.7, some, wild))


def integers(n, seed):
    """Special ones, small ones, and any bits."""
    rng = np.random.default_rng(seed)
    wild = rng.integers(-(1 << 31), 1 << 31, n).astype(np.int32)
    small = rng.integers(-40, 300, n).astype(np.int32)
    special = rng.choice(INTEGERS, n)
    return np.where(rng.random(n) < 0.4, special, np.where(rng.random(n) < 0.5, small, wild))


def interpreted(ops, types, values, n, precise=False):
    """Results of a list of ops as the interpreter computes them; ``types`` by slot as
    :class:`~piblas.vector.parse.Builder` has them, ``values`` those of the inputs."""
    built = Builder("test", parsed("test", ops), types).build()
    graph, kept = expand(built.graph, precise)
    slots = [i for i, each in enumerate(types) if isinstance(each, tuple)]
    given = []
    for place in kept:
        each = built.inputs[place]
        value = values[slots.index(each.slot)]
        if not each.array and each.dtype != "float32":
            value = np.array(value & 0xFFFFFFFF, np.uint32).view(each.dtype)
        given.append(value)
    return interpret.run(graph, given, n)


def same(found, wanted):
    """Whether arrays have the same bits."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return False
    return found.tobytes() == wanted.tobytes()
