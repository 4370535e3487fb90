"""Level 2 on a matrix in device memory."""

import pytest

from .rows import row

AXES = {"sgemv": "mn", "sger": "mn", "ssymv": "n", "strmv": "n", "strsv": "n", "ssyr": "n"}


@pytest.mark.parametrize("routine", AXES)
def test_level2(benchmark, request, full, routine):
    order = 2048 if full else 256
    row(benchmark, request.config, routine, dict.fromkeys(AXES[routine], order))
