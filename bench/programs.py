"""Assemble every kernel that dispatch can choose, and write the file that the package brings.

To be run when a kernel, the assembler or a table of the instruction set has changed.
"""

from __future__ import annotations

import time

from piblas.kernels import shipped, store


def main() -> int:
    start = time.perf_counter()
    programs = list(shipped.programs())
    size = store.write_package(programs)
    words = sum(code.size for _, code in programs)
    seconds = time.perf_counter() - start
    print(f"{store.PATH}: {len(programs)} programs, {words} words, {size} bytes, {seconds:.1f} s")
    return 0
