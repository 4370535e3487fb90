"""sgemm on resident operands and on ordinary ones."""

import pytest

from .rows import row

SMALL = [(128, 128, 128), (96, 90, 192)]
FULL = [(256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (96, 3072, 363), (257, 259, 263)]


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "ordinary"])
@pytest.mark.parametrize("shape", SMALL + FULL, ids=lambda shape: "x".join(map(str, shape)))
def test_sgemm(benchmark, request, full, shape, resident):
    if (shape in FULL) != full:
        pytest.skip("--full has the other sizes")
    row(benchmark, request.config, "sgemm", dict(zip("mnk", shape)), resident)
