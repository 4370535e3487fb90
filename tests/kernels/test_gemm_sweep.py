"""Random products by every kernel that dispatch can choose: tiles x widths of edge tiles x beta.

Strict mode, memory and registers full of noise, guard words around D, coherent and incoherent
caches; shapes, leading dimension, alpha, beta, values, number of QPUs, skew and split-k vary.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")

from gemm_runs import run, uniform

from piblas.driver import Emulator
from piblas.kernels import gemm, gemm_choice, gemm_layout, gemm_schedule

KERNELS = [
    dataclasses.replace(tile, edge=edge, beta=beta)
    for tile in gemm_choice.FAMILY
    for edge in range(tile.vectors)
    for beta in (False, True)
]
CASES = 36
"""Of each kernel, coherent and incoherent each."""


def test_these_are_the_kernels_that_can_be_chosen():
    known = gemm_choice._family(False).options + gemm_choice._family(True).options
    assert sorted(KERNELS, key=str) == sorted(known, key=str)
    assert 2 * CASES * len(KERNELS) >= 5000


def values(rng, shape):
    """Magnitudes over many powers of ten, denormals, small integers, or plain ones."""
    x = rng.standard_normal(shape)
    kind = rng.integers(5)
    if kind == 0:
        x *= 10.0 ** rng.uniform(-20, 10, shape)
    elif kind == 1:
        x *= np.where(rng.random(shape) < 0.3, 2.0**-130, 1.0)
    elif kind == 2:
        x = rng.integers(-3, 4, shape)
    elif kind == 3:
        return uniform(rng, shape)
    return x.astype(np.float32)


def one_case(rng, dev, options, program):
    m = int(rng.integers(1, 4 * options.rows + 2))
    n = int(rng.integers(1, 2 * options.columns + 16 * options.edge + 2))
    k = int(rng.choice([1, 2, 3, 4, 5, int(rng.integers(1, 90))]))
    ldd = n + int(rng.choice([0, 0, 1, int(rng.integers(1, 300))]))
    if rng.random() < 0.05:
        ldd, m = n + int(rng.choice([2048, 16400])), min(m, 2 * options.rows)
    alpha = float(rng.choice([1.0, -1.0, rng.standard_normal(), 1e-20]))
    beta = float(rng.choice([1.0, -1.0, rng.standard_normal()])) if options.beta else 0.0
    split_k = int(rng.choice([1, 1, 1, 2, 3])) if not options.beta and k > 12 else 1
    skew = int(rng.choice([0, options.unroll])) if rng.random() < 0.3 and split_k == 1 else None
    if skew:
        p, _ = gemm_layout.packed_words(options, m, n, k)
        skew = min(skew, p.steps // gemm_schedule.QPUS // options.unroll * options.unroll)
    n_qpus = int(rng.choice([12, 12, 12, 1, 3, 7]))
    run(dev, options, m, n, k, alpha, beta, ldd, n_qpus, rng, skew, split_k, values, program)


def sweep(options, incoherent, cases):
    seed = 9000 + KERNELS.index(options)
    rng = np.random.default_rng([seed, incoherent])
    with Emulator(memory=32 << 20, seed=seed, incoherent=incoherent, strict=True) as dev:
        program = dev.load(gemm.SPEC.program(options).words)
        for _ in range(cases):
            one_case(rng, dev, options, program)


@pytest.mark.parametrize("incoherent", (False, True), ids=("coherent", "incoherent"))
def test_some(incoherent):
    """One case of the narrowest and the widest tile; the slow test does all kernels."""
    for options in (KERNELS[0], KERNELS[-1]):
        sweep(options, incoherent, 2)


@pytest.mark.slow
@pytest.mark.parametrize("incoherent", (False, True), ids=("coherent", "incoherent"))
@pytest.mark.parametrize("options", KERNELS, ids=str)
def test_every_kernel(options, incoherent):
    """More than 5,000 cases in all."""
    sweep(options, incoherent, CASES)
