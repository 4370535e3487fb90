"""Random lists of up to 40 operations on the emulator, against the interpreter, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from front import interpreted, same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_lists import lists

from piblas.vector import Function

EASY = {
    "deadline": None, "derandomize": True, "database": None,
    "suppress_health_check": list(HealthCheck),
}  # fmt: skip


def check(case, precise):
    found = Function(case.ops, precise)(*case.values)
    found = found if isinstance(found, tuple) else (found,)
    wanted = interpreted(case.ops, case.types, case.values, case.n, precise)
    for each, exact in zip(found, wanted):
        if isinstance(each, np.ndarray):
            assert same(each, exact), case.ops
        else:  # of equal ones, such as 0 and -0, any may be the extreme
            assert each == exact or (each != each and exact != exact), case.ops


@settings(max_examples=200, **EASY)
@given(case=lists(), precise=st.booleans())
def test_random_lists(case, precise, on_chip):
    check(case, precise)


@pytest.mark.slow
@settings(max_examples=5000, **EASY)
@given(case=lists(), precise=st.booleans())
def test_many_random_lists(case, precise, on_chip):
    check(case, precise)
