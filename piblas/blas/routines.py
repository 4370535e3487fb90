"""One row a routine: its level, the sizes it is called with, its flops and the bytes it moves.

``staged`` counts the bytes that the CPU copies when no operand lives in GPU memory: every operand
in, the result out.  ``kernel`` names the generator in ``piblas.kernels``; None means CPU only.
"""

from __future__ import annotations

from typing import Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from ..errors import BlasError

__all__ = ["ROUTINES", "Routine", "sizes"]


class Routine(NamedTuple):
    name: str
    level: int
    arguments: Tuple[str, ...]
    sizes: Tuple[str, ...]
    flops: Callable[..., int]
    staged: Callable[..., int]
    kernel: Optional[str]


_ROWS: Tuple[Routine, ...] = (
    Routine(
        "sgemm",
        level=3,
        arguments=("alpha", "a", "b", "beta", "c", "trans_a", "trans_b", "overwrite_c"),
        sizes=("m", "n", "k"),
        flops=lambda m, n, k: 2 * m * n * k,
        staged=lambda m, n, k: 4 * (m * k + k * n + 2 * m * n),
        kernel="gemm",
    ),
)
ROUTINES: Dict[str, Routine] = {row.name: row for row in _ROWS}


def sizes(routine: str, given: Mapping[str, int]) -> Routine:
    """The row of ``routine``, once ``given`` holds each of its sizes and nothing else."""
    row = ROUTINES.get(routine)
    if row is None:
        raise BlasError(
            "why", "routine", routine, f"not among the routines {', '.join(sorted(ROUTINES))}"
        )
    for name in row.sizes:
        if name not in given:
            raise BlasError(routine, name, None, f"a call has the sizes {', '.join(row.sizes)}")
    for name, value in given.items():
        if name not in row.sizes:
            raise BlasError(routine, name, value, f"a call has the sizes {', '.join(row.sizes)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BlasError(routine, name, value, "a size is an integer of at least 0")
    return row
