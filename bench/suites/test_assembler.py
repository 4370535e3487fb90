"""How long the assembler takes for the sgemm program, from nothing."""

from bench import build
from piblas.kernels import gemm_choice


def test_assembler(benchmark):
    options = gemm_choice.choose(1024, 1024, 1024, False)
    words = benchmark.pedantic(build.build, (options,), rounds=5)
    benchmark.extra_info["source"] = "measured on this machine"
    benchmark.extra_info["words"] = words
