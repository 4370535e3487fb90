"""The interpreter's arithmetic is that of the plain model, which is written from the facts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import reference as ref
from front import floats, integers, same
from plain_graph import evaluate
from random_graphs import random_graph, random_values

from piblas.isa import ops
from piblas.vector import interpret

N = 400


def words(seed):
    mixed = np.concatenate((floats(N, seed).view(np.uint32), integers(N, seed).view(np.uint32)))
    return np.concatenate((mixed, np.array(ref.EDGES, np.uint32)))


@pytest.mark.parametrize("row", [row for row in ops.ADD_OPS + ops.MUL_OPS if row.nsrc],
                         ids=lambda row: f"{row.unit}-{row.name}")  # fmt: skip
def test_machine_operations(row):
    a, b = words(1), np.roll(words(2), 5)
    model = ref.add_op if row.unit == ops.ADD else ref.mul_op
    wanted = [model(row.name, int(x), int(y))[0] for x, y in zip(a, b)]
    found = interpret.machine(row.name, *(a, b)[: row.nsrc])
    assert found.dtype == np.uint32
    known = np.array([row.name != "ftoi" or ref.ftoi_is_known(int(x)) for x in a])
    assert np.array_equal(found[known], np.array(wanted, np.uint32)[known])


def test_every_operation_of_the_machine_is_known():
    names = {row.name for row in ops.ADD_OPS + ops.MUL_OPS if row.nsrc}
    assert set(interpret.MACHINE) == names | {"recip", "rsqrt", "exp2", "log2"}


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(seed):
    """Loops, masks, selections, loads and stores of every type: against one element at a time."""
    rng, n = random.Random(seed), 21
    graph = random_graph(rng, 25, loops=0.2)
    values = random_values(rng, graph, n)
    found = interpret.run(graph, values, n)
    for each, wanted in zip(found, evaluate(graph, values, n)):
        assert same(each, wanted)
