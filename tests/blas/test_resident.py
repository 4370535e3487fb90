"""sgemm on operands in device memory: any strides, the same bits as for ordinary arrays."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.blas import resident
from piblas.driver import Emulator
from piblas.errors import BlasError
from piblas.host import gemm as host_gemm
from piblas.kernels import gemm_error, reference

GUARD = np.uint32(0x7FA5A5A5)


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=32 << 20, seed=3, incoherent=request.param, strict=True) as dev:
        yield dev


def matrix(dev, shape, order, pad=0, offset=0):
    """(view, array of it, all words of its buffer); the rest is guard words."""
    rows, columns = shape if order == "C" else shape[::-1]
    ld = columns + pad
    buffer = dev.alloc(4 * (offset + rows * ld))
    raw = buffer.array(np.uint32)
    raw[:] = GUARD
    array = raw[offset:].reshape(rows, ld)[:, :columns].view(np.float32)
    if order == "F":
        array = array.T
    return resident.View(buffer, array.shape, array.strides, 4 * offset), array, raw


@pytest.mark.parametrize("order_c", "CF")
@pytest.mark.parametrize("order_b", "CF")
@pytest.mark.parametrize("order_a", "CF")
@pytest.mark.parametrize("m, n, k", ((1, 1, 1), (7, 130, 19), (65, 33, 40)))
def test_orders(device, m, n, k, order_a, order_b, order_c):
    rng = np.random.default_rng(m + n)
    views = [
        matrix(device, (m, k), order_a, 3, 5),
        matrix(device, (k, n), order_b, 1, 2),
        matrix(device, (m, n), order_c, 4, 7),
    ]
    for _, array, _ in views:
        array[...] = rng.uniform(-1, 1, array.shape)
    a, b, c = (array.copy() for _, array, _ in views)
    before = [raw.copy() for _, _, raw in views]
    reports = resident.sgemm(device, 1.5, views[0][0], views[1][0], -0.5, views[2][0])
    got, raw = views[2][1:]
    want = reference.sgemm(1.5, a, b, -0.5, c)
    assert np.all(np.abs(got - want) <= gemm_error.error_bound(1.5, a, b, -0.5, c))
    if order_c == "F":
        same = np.array(c, order="F")
        host_gemm.sgemm(device, 1.5, a, b, -0.5, same)
        assert np.array_equal(got, same)
    got[...] = c
    assert np.array_equal(raw, before[2]), "a word outside c was written"
    for each in range(2):
        assert np.array_equal(views[each][2], before[each]), "an operand was written"
    assert [report.kernel for report in reports[:2]] == ["gemm_pack", "gemm"]
    for view, _, _ in views:
        view.buffer.free()


def test_the_result_may_overwrite_an_operand(device):
    view, array, _ = matrix(device, (30, 30), "C")
    array[...] = np.random.default_rng(0).uniform(-1, 1, array.shape)
    a = array.copy()
    resident.sgemm(device, 1.0, view, view.T, 0.0, view)
    bound = gemm_error.error_bound(1.0, a, a.T, 0.0, np.zeros_like(a))
    assert np.all(np.abs(array - a.astype(np.float64) @ a.T) <= bound)
    view.buffer.free()


def test_bad_arguments(device):
    a, b, c = (matrix(device, (4, 4), "C")[0] for _ in range(3))

    def refused(name, **changes):
        views = {"a": a, "b": b, "c": c, **changes}
        with pytest.raises(BlasError, match=f"sgemm.*{name}"):
            resident.sgemm(device, 1.0, views["a"], views["b"], 0.0, views["c"])

    refused("b", b=resident.View(b.buffer, (3, 4), (16, 4)))
    refused("c", c=resident.View(c.buffer, (3, 4), (16, 4)))
    refused("a", a=resident.View(a.buffer, (4, 4), (16, 4), 4))
    refused("a", a=resident.View(a.buffer, (4, 4), (16, -4)))
    refused("a", a=resident.View(a.buffer, (4, 4), (16, 4), 2))
    refused("c", c=resident.View(c.buffer, (4, 4), (4, 4)))
    for view in (a, b, c):
        view.buffer.free()
