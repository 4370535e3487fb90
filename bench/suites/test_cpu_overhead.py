"""A small call on the CPU through piblas beside the same call of SciPy."""

import pytest
from scipy.linalg import blas

import piblas
from bench import cpu_overhead

CALLS = [(n, *call) for n in cpu_overhead.SMALL for call in cpu_overhead.calls(n)]


@pytest.mark.parametrize(
    "n, routine, args, keywords", CALLS, ids=[f"{c[1]}-{c[0]}-{i}" for i, c in enumerate(CALLS)]
)
def test_cpu_overhead(benchmark, n, routine, args, keywords):
    with piblas.use("cpu"):
        pair = getattr(blas, routine), getattr(piblas, routine)
        theirs, ours = cpu_overhead.seconds(pair, args, keywords, rounds=5)
        benchmark(pair[1], *args, **keywords)
    benchmark.extra_info["source"] = "measured on this machine, in turn with SciPy"
    benchmark.extra_info["ratio"] = {"piblas / SciPy": ours / theirs}
