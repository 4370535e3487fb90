"""Products cut into several launches: the blocks, their bits, their report."""

from __future__ import annotations

import numpy as np
import pytest

import piblas
from piblas import DeviceError
from piblas.blas import pieces, qpu
from piblas.kernels import gemm_data, reference


@pytest.mark.parametrize("m, n", [(1, 1), (192, 192), (193, 500), (1000, 192), (3000, 5000)])
@pytest.mark.parametrize("share", [0.3, 1.0, 3.7, 1000.0])
def test_blocks_cover_the_result_once(m, n, share):
    cover = np.zeros((m, n), int)
    cut = pieces.blocks(m, n, 0.4 * share, 0.4)
    for rows, columns in cut:
        cover[rows, columns] += 1
        assert rows.start % pieces.UNIT == columns.start % pieces.UNIT == 0
    assert (cover == 1).all()
    assert share > 1 or len(cut) == 1
    for rows, columns in cut:
        height, width = rows.stop - rows.start, columns.stop - columns.start
        smallest = height <= pieces.UNIT and width <= pieces.UNIT
        # Rounding up to whole units may add one unit in each direction.
        spare = (1 + pieces.UNIT / height) * (1 + pieces.UNIT / width)
        assert smallest or 0.4 * share * height * width / (m * n) <= 0.4 * spare


def test_no_limit_is_one_launch():
    assert pieces.blocks(5000, 5000, 100.0, None) == [(slice(0, 5000), slice(0, 5000))]


@pytest.fixture
def limited(device, monkeypatch):
    """A device whose launches have to be short."""
    monkeypatch.setattr(device, "longest_launch", 1e-4, raising=False)
    return device


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_cut_keeps_the_bound_and_repeats(device, limited, monkeypatch, beta):
    """A tile's place in its launch says where in k it begins, so last bits may differ."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 210, 200), dtype=np.float32)
    c = np.asfortranarray(rng.standard_normal((210, 210), dtype=np.float32))
    cut, whole = c.copy(order="F"), c.copy(order="F")
    report = qpu.sgemm(limited, 1.5, a, b.T, beta, cut)
    monkeypatch.setattr(device, "longest_launch", None)
    one = qpu.sgemm(device, 1.5, a, b.T, beta, whole)
    bound = gemm_data.error_bound(1.5, a, b.T, beta, c)
    exact = reference.sgemm(1.5, a, b.T, beta, c)
    assert (np.abs(cut - exact) <= bound).all() and (np.abs(whole - exact) <= bound).all()
    monkeypatch.setattr(device, "longest_launch", 1e-4)
    again = c.copy(order="F")
    qpu.sgemm(limited, 1.5, a, b.T, beta, again)
    np.testing.assert_array_equal(cut, again)
    assert (report.kernel, report.n_qpus) == (one.kernel, one.n_qpus)
    assert report.seconds > one.seconds and report.bytes["tmu"] >= one.bytes["tmu"]
    assert sum(report.stalls.values()) <= 12 * report.cycles


def test_a_failure_half_way_leaves_the_result_alone(limited, monkeypatch, fresh):
    a = np.ones((200, 16), np.float32)
    c = np.full((200, 200), 7, np.float32, order="F")
    real, launches = limited.execute, []

    def execute(*args, **kwargs):
        launches.append(1)
        if len(launches) == 2:
            raise DeviceError("the second launch fails")
        return real(*args, **kwargs)

    monkeypatch.setattr(limited, "execute", execute)
    with piblas.use(limited), pytest.raises(DeviceError, match="second launch"):
        piblas.sgemm(1.0, a, a.T, 0.0, c, overwrite_c=1)
    assert (c == 7).all()
