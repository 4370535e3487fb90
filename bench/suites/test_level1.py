"""Level 1 on vectors in device memory, a row for each kernel."""

import pytest

from piblas.kernels import reference
from piblas.routines import KERNELS

from .rows import row

_FIRST = {KERNELS[name]: name for name in reversed(list(reference.LEVEL_1))}
ROUTINES = [name for name in reference.LEVEL_1 if _FIRST[KERNELS[name]] == name]


@pytest.mark.parametrize("routine", ROUTINES)
def test_level1(benchmark, request, full, routine):
    row(benchmark, request.config, routine, {"n": 1 << (22 if full else 16)})
