"""sgemm on the emulated QPUs against float64: random shapes, orders, strides and values.

Every operand lies inside a larger array of guard words, which have to stay as they were; GPU memory
starts as noise and the emulator faults on any access outside the buffers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import piblas
from piblas.blas import level3
from piblas.driver import Emulator
from piblas.host.plan import PLANS
from piblas.host.runner import Runner
from piblas.kernels import gemm_choice, reference
from piblas.kernels.gemm_error import error_bound

F32 = np.float32
GUARD = F32(-7.125e17)
CASES_PER_SEED = 50


def check_residual(got, alpha, a, b, beta, c):
    """``got`` is within the documented bound of alpha * a @ b + beta * c."""
    error = np.abs(got - reference.sgemm(alpha, a, b, beta, c))
    bound = error_bound(alpha, a, b, beta, c)
    if not (error <= bound).all():
        worst = np.unravel_index(np.argmax(error - bound), error.shape)
        pytest.fail(f"at {worst}: error {error[worst]}, bound {bound[worst]}")


def values(rng, shape):
    kind = rng.integers(6)
    x = rng.standard_normal(shape)
    if kind == 0:  # magnitudes over 40 powers of ten
        x *= 10.0 ** rng.uniform(-20, 10, shape)
    elif kind == 1:  # products near and below the smallest normal number
        x *= 2.0**-64
    elif kind == 2:  # denormals among them
        x *= np.where(rng.random(shape) < 0.3, 2.0**-130, 1.0)
    elif kind == 3:
        x = rng.integers(-3, 4, shape)
    return x.astype(F32)


class Guarded:
    """A matrix somewhere inside an array of guard words, in either order, maybe with strides."""

    def __init__(self, rng, shape):
        steps = [int(rng.choice([1, 1, 1, 2, 3, -1])) for _ in shape]
        before = [int(rng.integers(1, 4)) for _ in shape]
        outer = [
            offset + abs(step) * size + int(rng.integers(1, 4))
            for offset, step, size in zip(before, steps, shape)
        ]
        self.outer = np.full(outer, GUARD, F32, order=rng.choice(["C", "F"]))
        inner = tuple(
            slice(offset, offset + abs(step) * size, abs(step))
            for offset, step, size in zip(before, steps, shape)
        )
        flip = tuple(slice(None, None, 1 if step > 0 else -1) for step in steps)
        self.mask = np.ones(outer, bool)
        self.mask[inner] = False
        self.matrix = self.outer[inner][flip]
        assert self.matrix.shape == tuple(shape)
        self.matrix[...] = values(rng, shape)
        self.before = self.matrix.copy()

    def check(self, changed=False):
        assert (self.outer[self.mask] == GUARD).all()
        if not changed:
            np.testing.assert_array_equal(self.matrix, self.before)


def size(rng):
    """0 to 200: small ones and the neighbours of a vector's length more often."""
    if rng.random() < 0.4:
        return int(rng.choice([0, 1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49]))
    return int(rng.integers(0, 201))


def one_case(rng):
    m, n, k = size(rng), size(rng), size(rng)
    trans_a, trans_b = (int(x) for x in rng.integers(0, 3, 2))
    alpha = float(F32(rng.choice([0.0, 1.0, -1.0, rng.standard_normal(), 1e-20])))
    beta = float(F32(rng.choice([0.0, 0.0, 1.0, -1.0, rng.standard_normal()])))
    a = Guarded(rng, (k, m) if trans_a else (m, k))
    b = Guarded(rng, (n, k) if trans_b else (k, n))
    c = Guarded(rng, (m, n))
    if beta == 0 and rng.random() < 0.5:
        c.matrix[...] = np.nan
        c.before = c.matrix.copy()
    overwrite = bool(rng.integers(2))
    given = c.matrix
    if overwrite and rng.random() < 0.5:
        given = c.before.copy(order="F")
    got = piblas.sgemm(alpha, a.matrix, b.matrix, beta, given, trans_a, trans_b, overwrite)
    assert got.shape == (m, n) and got.dtype == F32 and got.flags.f_contiguous
    shared = got is given
    assert not (shared and not overwrite)
    for operand in (a, b):
        operand.check()
    c.check(changed=given is c.matrix and shared)
    op_a = a.before.T if trans_a else a.before
    op_b = b.before.T if trans_b else b.before
    check_residual(got, alpha, op_a, op_b, beta, c.before)


@pytest.mark.parametrize("seed", range(10))
def test_random(device, fresh, seed):
    """500 cases in all."""
    rng = np.random.default_rng(1000 + seed)
    with piblas.use(device):
        for _ in range(CASES_PER_SEED):
            one_case(rng)
    counts = piblas.stats()[device.name]
    assert counts[f"the {device.name} was asked for"] > CASES_PER_SEED // 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_random_many(device, fresh, seed):
    rng = np.random.default_rng(5000 + seed)
    with piblas.use(device):
        for _ in range(CASES_PER_SEED):
            one_case(rng)


MEMBERS = [
    dataclasses.replace(tile, edge=edge)
    for tile in gemm_choice.FAMILY
    for edge in range(tile.vectors)
]
"""All kernels that dispatch can choose, each with and without beta."""
SETUPS = {
    "coherent": dict(incoherent=False),
    "incoherent": dict(incoherent=True),
    "7 QPUs": dict(incoherent=True, n_qpus=7),
}
LAUNCHES = 48
"""Of a member on a setup, 5184 in all."""


@pytest.fixture(scope="module", params=SETUPS)
def strict_device(request):
    with Emulator(memory=32 << 20, strict=True, seed=11, **SETUPS[request.param]) as emulator:
        yield emulator, list(SETUPS).index(request.param)


def always(member):
    """Instead of ``gemm_choice.choose_parts``: this member, k in as many parts as it allows."""

    def choose_parts(m, n, k, beta):
        counts = [count for count in gemm_choice.PARTS if k >= count * gemm_choice.DEPTH]
        parts = counts[(m + n + k) % len(counts)] if counts else 1
        return dataclasses.replace(member, beta=beta and parts == 1), parts

    return choose_parts


def test_members_are_those_of_the_choice():
    for beta in (False, True):
        chosen = set(gemm_choice._family(beta).options)
        assert {dataclasses.replace(member, beta=beta) for member in MEMBERS} == chosen


@pytest.mark.slow
@pytest.mark.parametrize(
    "member", MEMBERS, ids=[f"{each.rows}x{each.columns}-{each.edge}" for each in MEMBERS]
)
def test_random_on_every_member(strict_device, fresh, monkeypatch, member):
    """The member computes whatever does not go to gemv or to the CPU."""
    monkeypatch.setattr(gemm_choice, "choose_parts", always(member))
    emulator, setup = strict_device
    rng = np.random.default_rng((setup, MEMBERS.index(member)))
    launches, ran = 0, set()
    run = Runner.run

    def counted(self, plan, *args, **kwargs):
        nonlocal launches
        for launch in plan.launches:
            if launch.spec.name == "gemm":
                ran.add(launch.options)
                launches += 1
        return run(self, plan, *args, **kwargs)

    monkeypatch.setattr(Runner, "run", counted)
    PLANS.clear()
    with piblas.use(emulator):
        while launches < LAUNCHES:
            one_case(rng)
    with_beta = {beta: dataclasses.replace(member, beta=beta) for beta in (False, True)}
    assert ran == set(with_beta.values())
    PLANS.clear()


def test_same_call_same_bits(device, fresh):
    """Whatever ran before."""
    rng = np.random.default_rng(3)
    a, b = values(rng, (70, 90)), values(rng, (90, 50))
    with piblas.use(device):
        first = piblas.sgemm(1.5, a, b)
        one_case(rng)
        second = piblas.sgemm(1.5, a, b)
    np.testing.assert_array_equal(first.view(np.uint32), second.view(np.uint32))


SHAPES = {
    "tiles": (70, 130, 90),
    "parts of k": (40, 33, 700),
    "a column": (70, 1, 300),
    "a row": (1, 130, 300),
    "an element": (1, 1, 500),
}


@pytest.mark.parametrize("n_qpus", [1, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_number_of_qpus_gives_the_same_bits(device, fresh, n_qpus, shape):
    rng = np.random.default_rng(6)
    m, n, k = SHAPES[shape]
    a, b, c = values(rng, (m, k)), values(rng, (k, n)), values(rng, (m, n))
    with piblas.use(device):
        twelve = piblas.sgemm(1.5, a, b, -0.5, c)
    with piblas.driver.Emulator(memory=8 << 20, n_qpus=n_qpus, seed=2) as few, piblas.use(few):
        with piblas.profile() as profile:
            got = piblas.sgemm(1.5, a, b, -0.5, c)
    assert all(report.n_qpus <= n_qpus for report in profile.reports)
    np.testing.assert_array_equal(got.view(np.uint32), twelve.view(np.uint32))


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(16, 16, 5000), (8, 56, 1000), (65, 31, 2049), (5, 200, 777)])
def test_small_results_are_computed_in_parts(device, fresh, shape, beta):
    rng = np.random.default_rng(8)
    m, n, k = shape
    parts = gemm_choice.choose_parts(n, m, k, beta != 0)[1]
    assert parts > 1
    a, b = values(rng, (k, m)).T, values(rng, (k, n))
    c = np.asfortranarray(rng.standard_normal((m, n)), dtype=F32)
    with piblas.use(device), piblas.profile() as profile:
        got = piblas.sgemm(-1.5, a, b, beta, c)
    check_residual(got, -1.5, a, b, beta, c)
    if profile.reports[0].bytes is not None:  # a board does not count them
        # Each part is stored in full.
        assert profile.reports[0].bytes["vpm_dma_store"] == 4 * m * n * parts


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(300, 1, 200), (1, 300, 200), (1, 1, 77)])
def test_products_with_a_vector_go_to_gemv(device, fresh, shape, order, beta):
    rng = np.random.default_rng(9)
    m, n, k = shape
    a, b, c = values(rng, (m, k)), values(rng, (k, n)), values(rng, (m, n))
    a, b = (np.array(matrix, order=order) for matrix in (a, b))
    with piblas.use(device), piblas.profile() as profile:
        got = piblas.sgemm(0.75, a, b, beta, c)
    assert {report.kernel for report in profile.reports} == {"gemv"}
    check_residual(got, 0.75, a, b, beta, c)


def test_a_vector_whose_sum_overflows_goes_to_the_cpu(device, fresh):
    a, b = np.full((3, 40), 1e30, F32), np.full((40, 1), 1e30, F32)
    c = np.zeros((3, 1), F32, order="F")
    with piblas.use(device):
        got = piblas.sgemm(1.0, a, b, 0.0, c)
    assert np.isposinf(got).all() and (c == 0).all()
    assert piblas.stats() == {"cpu": {level3.OVERFLOW: 1}}
