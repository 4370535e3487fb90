"""What a process does until the end of its first call, counted in function calls.

A Pi Zero needs about 10 us for each.  NumPy is imported before the count begins.
"""

from __future__ import annotations

import pytest

from bench import counting

MOST = 25_000


@pytest.mark.parametrize("routine", counting.FRESH)
def test_the_first_call_of_a_process(routine):
    """Importing piblas and everything that the call needs is part of it; SciPy is not needed."""
    calls, _, scipy = counting.in_a_fresh_process(routine)
    assert calls <= MOST and not scipy
