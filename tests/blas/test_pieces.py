"""Work cut into several launches: products, tiles, vectors; their bits, their reports."""

from __future__ import annotations

import numpy as np
import pytest

import piblas
from piblas import DeviceError
from piblas.host import limits
from piblas.kernels import gemm_error, reference, update_plan


@pytest.mark.parametrize("m, n", [(1, 1), (192, 192), (193, 500), (1000, 192), (3000, 5000)])
@pytest.mark.parametrize("share", [0.3, 1.0, 3.7, 1000.0])
def test_blocks_cover_the_result_once(m, n, share):
    cover = np.zeros((m, n), int)
    cut = limits.blocks(m, n, 0.4 * share, 0.4)
    for rows, columns in cut:
        cover[rows, columns] += 1
        assert rows.start % limits.UNIT == columns.start % limits.UNIT == 0
    assert (cover == 1).all()
    assert share > 1 or len(cut) == 1
    for rows, columns in cut:
        height, width = rows.stop - rows.start, columns.stop - columns.start
        smallest = height <= limits.UNIT and width <= limits.UNIT
        # Rounding up to whole units may add one unit in each direction.
        spare = (1 + limits.UNIT / height) * (1 + limits.UNIT / width)
        assert smallest or 0.4 * share * height * width / (m * n) <= 0.4 * spare


def test_no_limit_is_one_launch():
    assert limits.blocks(5000, 5000, 100.0, None) == [(slice(0, 5000), slice(0, 5000))]


@pytest.fixture
def limited(device, monkeypatch):
    """A device whose launches have to be short."""
    monkeypatch.setattr(device, "longest_launch", 1e-4, raising=False)
    return device


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_cut_keeps_the_bound_and_repeats(device, limited, monkeypatch, fresh, beta):
    """A tile's place in its launch says where in k it begins, so last bits may differ."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 210, 200), dtype=np.float32)
    c = np.asfortranarray(rng.standard_normal((210, 210), dtype=np.float32))
    cut, whole = c.copy(order="F"), c.copy(order="F")

    def product(out):
        with piblas.use(device), piblas.profile() as profile:
            assert piblas.sgemm(1.5, a, b.T, beta, out, overwrite_c=1) is out
        return profile.reports

    cut_up = product(cut)
    monkeypatch.setattr(device, "longest_launch", None)
    (one,) = product(whole)
    bound = gemm_error.error_bound(1.5, a, b.T, beta, c)
    exact = reference.sgemm(1.5, a, b.T, beta, c)
    assert (np.abs(cut - exact) <= bound).all() and (np.abs(whole - exact) <= bound).all()
    monkeypatch.setattr(device, "longest_launch", 1e-4)
    again = c.copy(order="F")
    product(again)
    np.testing.assert_array_equal(cut, again)
    assert len(cut_up) > 1 and {report.kernel for report in cut_up} == {one.kernel}
    assert sum(report.seconds for report in cut_up) > one.seconds
    report = limits.combined(cut_up)
    assert (report.kernel, report.n_qpus) == (one.kernel, one.n_qpus)
    assert report.seconds > one.seconds and report.bytes["tmu"] >= one.bytes["tmu"]
    assert sum(report.stalls.values()) <= 12 * report.cycles


def test_a_failure_half_way_leaves_the_result_alone(limited, monkeypatch, fresh):
    a = np.ones((200, 16), np.float32)
    c = np.full((200, 200), 7, np.float32, order="F")
    real, launches = limited.execute_list, []

    def execute(*args, **kwargs):
        launches.append(1)
        if len(launches) == 2:
            raise DeviceError("the second launch fails")
        return real(*args, **kwargs)

    monkeypatch.setattr(limited, "execute_list", execute)
    with piblas.use(limited), pytest.raises(DeviceError, match="second launch"):
        piblas.sgemm(1.0, a, a.T, 0.0, c, overwrite_c=1)
    assert (c == 7).all()


# --- everything beside sgemm ---------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1, 12])
def test_runs_cover_the_list_once(unit):
    costs = np.random.default_rng(1).uniform(0, 0.1, 300).tolist()
    cut = limits.runs(costs, 0.4, unit)
    assert [at for part in cut for at in part] == list(range(300))
    assert len(cut) > 10 and all(part.start % unit == 0 for part in cut)
    for part in cut:
        assert sum(costs[at] for at in part) <= 0.4 or len(part) == unit
    assert limits.runs(costs, None) == limits.runs(costs, 100.0) == [range(300)]
    assert limits.runs([1.0, 1.0, 1.0], 0.4) == [range(0, 1), range(1, 2), range(2, 3)]
    assert limits.runs([], 0.4) == [range(0)]


@pytest.mark.parametrize("n", [1, 16384, 100_000])
@pytest.mark.parametrize("share", [0.5, 1.5, 40.0, 1e9])
def test_slices_cover_a_vector_once(n, share):
    cut = limits.slices(n, 0.4 * share, 0.4)
    assert np.array_equal(np.concatenate([np.arange(n)[part] for part in cut]), np.arange(n))
    assert all(part.start % limits.SLICE == 0 for part in cut)
    for part in cut:
        length = part.stop - part.start
        assert share * length / n <= 1 or length <= limits.SLICE
    assert share > 1 or len(cut) == 1


N = 300
F32 = np.float32


def operands(n=N):
    rng = np.random.default_rng(8)
    a, b = (np.asfortranarray(rng.uniform(-1, 1, (n, n)).astype(F32)) for _ in "ab")
    x, y = rng.uniform(-1, 1, (2, n)).astype(F32)
    return a, b, a / F32(n) + np.eye(n, dtype=F32, order="F"), x, y


def long_vectors():
    return np.random.default_rng(9).uniform(-1, 1, (2, 5000)).astype(F32)


EXACTLY = {
    "saxpy": lambda: piblas.saxpy(*long_vectors(), a=1.5),
    "saxpby": lambda: piblas.saxpby(*long_vectors(), a=1.5, b=-0.5),
    "sscal": lambda: piblas.sscal(1.5, long_vectors()[0]),
    "scopy": lambda: piblas.scopy(*long_vectors()),
    "sswap": lambda: np.array(piblas.sswap(*long_vectors())),
    "srot": lambda: np.array(piblas.srot(*long_vectors(), 0.8, 0.6)),
    "isamax": lambda: piblas.isamax(long_vectors()[0]),
    "sgemv": lambda: piblas.sgemv(1.5, operands(900)[0], operands(900)[3]),
    "sgemv transposed": lambda: piblas.sgemv(1.5, operands(900)[0], operands(900)[3], trans=1),
    "ssymv": lambda: piblas.ssymv(1.5, operands(1300)[0], operands(1300)[3]),
    "strmv": lambda: piblas.strmv(operands(1300)[0], operands(1300)[3]),
    "sger": lambda: piblas.sger(1.5, *operands()[3:], a=operands()[0]),
    "ssyr": lambda: piblas.ssyr(1.5, operands()[3], a=operands()[0]),
    "ssyr2": lambda: piblas.ssyr2(1.5, *operands()[3:], a=operands()[0]),
}
"""Calls whose result does not depend on the cut."""

NEARLY = {
    "sdot": lambda: piblas.sdot(*long_vectors()),
    "sasum": lambda: piblas.sasum(long_vectors()[0]),
    "snrm2": lambda: piblas.snrm2(long_vectors()[0]),
    "ssymm": lambda: piblas.ssymm(1.5, *operands()[:2]),
    "ssyrk": lambda: np.triu(piblas.ssyrk(1.5, operands()[0])),
    "ssyr2k": lambda: np.triu(piblas.ssyr2k(1.5, *operands()[:2])),
    "strmm": lambda: piblas.strmm(1.5, *operands()[:2]),
    "strsm": lambda: piblas.strsm(1.5, operands()[2], operands()[1]),
    "sgemm_batch": lambda: np.array(piblas.sgemm_batch(1.5, operands()[:2], operands()[:2])),
}


def launched(call, device, longest, monkeypatch):
    """(result, seconds of each launch that a report stands for)."""
    monkeypatch.setattr(device, "longest_launch", longest, raising=False)
    monkeypatch.setattr(limits, "SLICE", 512)
    monkeypatch.setattr(update_plan, "WIDTH", 64)
    seconds = []

    def timed(real):
        def launch(*args, **kwargs):
            report = real(device, *args, **kwargs)
            seconds.append(report.seconds)
            return report

        return launch

    for way in ("execute", "execute_list"):
        real = getattr(type(device), way)
        monkeypatch.setattr(device, way, timed(real), raising=False)
    with piblas.use(device), piblas.profile() as profile:
        result = call()
    total = sum(report.seconds for report in profile.reports)
    assert total == pytest.approx(sum(seconds)) and all(r.kernel for r in profile.reports)
    return result, seconds


@pytest.mark.parametrize("name", [*EXACTLY, *NEARLY])
def test_launches_are_short(name, device, fresh, monkeypatch):
    """A limit of a quarter of the time gives more launches, none of them longer than that, and the
    same result, or one whose last bits differ."""
    call = EXACTLY.get(name) or NEARLY[name]
    whole, one = launched(call, device, None, monkeypatch)
    longest = max(one) / 4
    cut, many = launched(call, device, longest, monkeypatch)
    assert len(many) > len(one)
    # The limit counts for long launches: a short one takes mostly what its beginning takes.
    assert max(many) <= 0.7 * max(one)
    if name in EXACTLY:
        np.testing.assert_array_equal(cut, whole)
    else:
        scale = np.max(np.abs(whole))
        np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-5 * scale)
        again, _ = launched(call, device, longest, monkeypatch)
        np.testing.assert_array_equal(cut, again)


@pytest.mark.parametrize("name", ["saxpy", "sgemv", "sger", "sdot", "ssyr2"])
def test_special_values_are_noticed_in_every_launch(name, device, fresh, monkeypatch):
    """Inf in what the first or the last launch reads."""
    monkeypatch.setattr(device, "longest_launch", 2e-5, raising=False)
    monkeypatch.setattr(limits, "SLICE", 512)
    for at in (0, -1):
        a, _, _, x, y = operands()
        long, other = long_vectors()
        a[at, at] = long[at] = np.inf
        call = {
            "saxpy": lambda long=long, other=other: piblas.saxpy(long, other, a=0.5),
            "sdot": lambda long=long, other=other: piblas.sdot(long, other),
            "sgemv": lambda a=a, x=x: piblas.sgemv(1.0, a, x),
            "sger": lambda a=a, x=x, y=y: piblas.sger(1.0, x, y, a=a),
            "ssyr2": lambda a=a, x=x, y=y: piblas.ssyr2(1.0, x, y, a=a),
        }[name]
        with piblas.use(device):
            got = call()
        with piblas.use("cpu"):
            wanted = call()
        assert np.isinf(wanted).any()
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
