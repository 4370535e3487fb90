"""Which products NumPy computes without asking dispatch."""

from __future__ import annotations

import numpy as np
import pytest

import piblas
from bench import counting
from bench.null_device import NullDevice
from piblas.dispatch import choose
from piblas.dispatch.boards import BOARDS
from piblas.dispatch.choose import Call, Target
from piblas.swap import matmul, products


@pytest.mark.parametrize("name", BOARDS)
def test_no_product_that_pays_is_kept(name):
    """The bound is one from below: dispatch keeps every product with less multiplications."""
    board = BOARDS[name]
    least = choose.least_product(board)
    assert least > 1000
    rng = np.random.default_rng(1)
    auto, paid = Target("qpu", demanded=False), 0
    for _ in range(300):
        m, n, k = (int(2 ** rng.uniform(0, 12)) for _ in range(3))
        calls = [("sgemm", {"m": m, "n": n, "k": k}), ("sgemv", {"m": m, "n": k})]
        for routine, sizes in (*calls, ("sdot", {"n": m * k})):
            choice = choose.choose(Call(routine, sizes), auto, board)
            if choice.backend == "qpu":
                paid += 1
                assert np.prod([*sizes.values()], dtype=float) >= least
    assert paid or name not in ("pi0", "pi1")


def test_small_products_are_not_looked_at(fresh, monkeypatch):
    """Nor do they reach the device; larger ones are dispatched as calls of sgemm are."""
    small, large = np.ones((4, 4), np.float32), np.ones((64, 64), np.float32)
    looked = []
    monkeypatch.setattr(products, "matmul", lambda *args: looked.append("matmul") or args[-1]())
    monkeypatch.setattr(products, "dot", lambda *args: looked.append("dot") or args[-1]())
    device = NullDevice()
    with counting.on_a_board(), counting.found(device):
        with piblas.patch(["numpy.matmul", "numpy.dot"]):
            for _ in range(3):
                assert (small @ small == 4).all() and (np.dot(small, small) == 4).all()
            assert looked == [] and piblas.stats() == {"cpu": {choose.FASTER_ON_CPU: 6}}
            assert (large @ large == 64).all() and (np.dot(large, large) == 64).all()
            assert looked == ["matmul", "dot"]
    assert device.launches == 0 and matmul._limit.least == 0
