"""How many launches a call takes: one for vectors and products with a matrix, wherever they lie."""

from __future__ import annotations

import numpy as np
import pytest

import piblas

RNG = np.random.default_rng(12)
X, Y = RNG.uniform(-1, 1, (2, 700)).astype(np.float32)
A = np.asfortranarray(RNG.uniform(-1, 1, (700, 700)).astype(np.float32))

CALLS = {
    "saxpy": (1, lambda a, x, y: piblas.saxpy(x, y, a=1.5)),
    "saxpy of every second": (1, lambda a, x, y: piblas.saxpy(x, y, n=350, incx=2, incy=-2)),
    "saxpby": (1, lambda a, x, y: piblas.saxpby(x, y, a=1.5, b=0.5)),
    "saxpby without y": (1, lambda a, x, y: piblas.saxpby(x, y, a=1.5, b=0)),
    "saxpby without x": (1, lambda a, x, y: piblas.saxpby(x, y, a=0, b=0.5)),
    "saxpby without either": (0, lambda a, x, y: piblas.saxpby(x, y, a=0, b=0)),
    "sdot": (1, lambda a, x, y: piblas.sdot(x, y)),
    "snrm2": (1, lambda a, x, y: piblas.snrm2(x)),
    "snrm2 of tiny numbers": (2, lambda a, x, y: piblas.snrm2(np.float32(1e-25) * X)),
    "sgemv": (1, lambda a, x, y: piblas.sgemv(1.5, a, x, beta=0.5, y=y)),
    "sgemv transposed": (1, lambda a, x, y: piblas.sgemv(1.5, a, x, trans=1)),
    "ssymv": (1, lambda a, x, y: piblas.ssymv(1.5, a, x)),
    "sger": (1, lambda a, x, y: piblas.sger(1.5, x, y, a=a)),
}


@pytest.mark.parametrize("resident", (False, True))
@pytest.mark.parametrize("name", CALLS)
def test_launches_of_a_call(name, resident, device, fresh, monkeypatch):
    launches, call = CALLS[name]
    seen = []

    def counted(real):
        def launch(*args, **kwargs):
            seen.append(1)
            return real(*args, **kwargs)

        return launch

    with piblas.use(device):
        operands = [piblas.asarray(each) if resident else each for each in (A, X, Y)]
        for way in ("execute", "execute_list"):
            monkeypatch.setattr(device, way, counted(getattr(device, way)), raising=False)
        call(*operands)
    assert len(seen) == launches
