"""Level 3 but sgemm, on ordinary operands."""

import pytest

from .rows import row

AXES = {"ssymm": "mn", "ssyrk": "nk", "ssyr2k": "nk", "strmm": "mn", "strsm": "mn"}


@pytest.mark.parametrize("routine", AXES)
def test_level3(benchmark, request, full, routine):
    order = 1024 if full else 160
    sizes = dict.fromkeys(AXES[routine], order)
    row(benchmark, request.config, routine, sizes, resident=False)
