"""How long the assembler takes to build the sgemm program: from nothing, and from the cache.

    python -m bench build

The bars: at most 150 ms of processor time from nothing, and at most 50 us when it is built already.
The first build of a process stands beside the least of several.
"""

from __future__ import annotations

import sys
import time
import timeit

from piblas.codegen import Assembler
from piblas.kernels import gemm, gemm_choice

FROM_NOTHING, CACHED = 150e-3, 50e-6


def build(options: gemm.GemmOptions) -> int:
    """Words of the program, built without the cache."""
    asm = Assembler("gemm")
    gemm.generate(asm, options)
    return asm.finish().length


def seconds(options: gemm.GemmOptions) -> float:
    """Processor time of one build."""
    start = time.process_time()
    build(options)
    return time.process_time() - start


def main() -> int:
    options = gemm_choice.choose(1024, 1024, 1024, False)
    times = [seconds(options) for _ in range(10)]
    gemm.SPEC.program(options)
    cached = min(timeit.repeat(lambda: gemm.SPEC.program(options), number=1000)) / 1000
    print(f"sgemm of 1024 x 1024 x 1024: {build(options)} words")
    bar = f"bar {1e3 * FROM_NOTHING:.0f} ms"
    print(f"from nothing {1e3 * min(times):6.0f} ms, the first {1e3 * times[0]:.0f} ms ({bar})")
    print(f"cached       {1e6 * cached:6.1f} us (bar {1e6 * CACHED:.0f} us)")
    return 0 if min(times) <= FROM_NOTHING and cached <= CACHED else 1


if __name__ == "__main__":
    sys.exit(main())
