"""A program and profiles of launches that never happened."""

from __future__ import annotations

import pytest

from piblas.kernels import spec
from piblas.profiler import Profile

from . import synthetic


@pytest.fixture(scope="session")
def program():
    return spec.get("gemm").build(beta=False)


@pytest.fixture(scope="session")
def made(program):
    """(report, doings) of a launch of the gemm kernel."""
    return synthetic.launch(program.words[: program.length], kernel="gemm")


@pytest.fixture
def profile(made):
    profile = Profile(detail=True)
    profile.reports.append(made[0])
    profile.title, profile.flops = "sgemm 6 x 7 x 8 (NN)", 100_000
    return profile
