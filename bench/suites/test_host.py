"""The host's work in a call whose launches return at once: function calls, exactly, and time beside
a fixed loop in pure Python."""

import pytest

from bench import counting
from bench.host import CASES


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "ordinary"])
@pytest.mark.parametrize(
    "routine, sizes", CASES, ids=[f"{name}-{'x'.join(map(str, s.values()))}" for name, s in CASES]
)
def test_host(benchmark, routine, sizes, resident):
    found = benchmark.pedantic(counting.measure, (routine, sizes, resident), rounds=1)
    info = benchmark.extra_info
    info["source"] = "counted; times as ratios to a loop in pure Python on this machine"
    repeated, first = found["repeated"], found["first"]
    info["function_calls"] = {"repeated": repeated.calls, "first": first.calls}
    info["ratio"] = {"repeated call / loop": repeated.loops}
