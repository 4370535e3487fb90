"""sgemm on operands in device memory: any strides, the same bits as for ordinary arrays."""

from __future__ import annotations

import numpy as np
import pytest
from resident_matrices import Held

import piblas
from piblas.driver import Emulator
from piblas.host import arrays, gemm_resident, gemm_staged
from piblas.host.outcome import SORT_OUT, CpuNeeded
from piblas.kernels import gemm_error, reference


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=32 << 20, seed=3, incoherent=request.param, strict=True) as dev:
        yield dev


def held(dev, data, order, pad=0, before=0):
    columns = data.shape[1 if order == "C" else 0]
    return Held(dev, data, columns + pad, before, order)


@pytest.mark.parametrize("order_c", "CF")
@pytest.mark.parametrize("order_b", "CF")
@pytest.mark.parametrize("order_a", "CF")
@pytest.mark.parametrize("m, n, k", ((1, 1, 1), (7, 130, 19), (65, 33, 40)))
def test_orders(device, m, n, k, order_a, order_b, order_c):
    rng = np.random.default_rng(m + n)
    a, b, c = (rng.uniform(-1, 1, s).astype(np.float32) for s in ((m, k), (k, n), (m, n)))
    matrices = [
        held(device, a, order_a, 3, 5),
        held(device, b, order_b, 1, 2),
        held(device, c, order_c, 4, 7),
    ]
    before = [each.raw.copy() for each in matrices]
    reports = gemm_resident.sgemm_resident(
        device, 1.5, matrices[0].array, matrices[1].array, -0.5, matrices[2].array
    )
    got = matrices[2].array
    want = reference.sgemm(1.5, a, b, -0.5, c)
    assert np.all(np.abs(got - want) <= gemm_error.error_bound(1.5, a, b, -0.5, c))
    if order_c == "F":
        same = np.array(c, order="F")
        gemm_staged.sgemm(device, 1.5, a, b, -0.5, same)
        assert np.array_equal(got, same)
    got[...] = c
    assert np.array_equal(matrices[2].raw, before[2]), "a word outside c was written"
    for each in range(2):
        assert np.array_equal(matrices[each].raw, before[each]), "an operand was written"
    assert [report.kernel for report in reports] == ["gemm_pack", "gemm"]


def test_the_result_may_overwrite_an_operand(device, fresh):
    a = np.random.default_rng(0).uniform(-1, 1, (30, 30)).astype(np.float32)
    with piblas.use(device):
        made = piblas.array(a, order="F")
        assert piblas.sgemm(1.0, made, made.T, 0.0, made, overwrite_c=1) is made
    assert piblas.stats().keys() == {"emulator"}
    bound = gemm_error.error_bound(1.0, a, a.T, 0.0, np.zeros_like(a))
    assert np.all(np.abs(made - a.astype(np.float64) @ a.T) <= bound)


def test_a_view_beyond_its_buffer_is_refused(device):
    """NumPy makes such views of any memory; a QPU would read and write there."""
    whole = arrays.empty(16, device=device)
    whole[:] = 1
    fine = np.ndarray((4, 4), np.float32, whole)

    def view(offset, *strides):
        first = np.ndarray(1, np.float32, whole, offset)
        return np.lib.stride_tricks.as_strided(first, (4, 4), strides)

    for bad in (view(4, 16, 4), view(0, 16, -4), view(0, -16, 4), view(2, 16, 4), view(0, 20, 4)):
        for place in range(3):
            operands = [fine, fine.copy(), fine.copy()]
            operands[1] = np.ndarray((4, 4), np.float32, arrays.empty(16, device=device))
            operands[2] = np.ndarray((4, 4), np.float32, arrays.empty(16, device=device))
            operands[place] = bad
            a, b, c = operands
            with pytest.raises(CpuNeeded, match=SORT_OUT):
                gemm_resident.sgemm_resident(device, 1.0, a, b, 0.0, c)
    assert (whole == 1).all()
