"""Devices for the conformance tests: a strict and a forgiving emulator for the whole session."""

from __future__ import annotations

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # harness.py and reference.py


def _lab(**options):
    pytest.importorskip("numba")
    from harness import Lab

    from piblas.driver import Emulator

    return Lab(Emulator(memory=8 << 20, timing="off", **options))


@pytest.fixture(scope="session")
def lab():
    """Lines on a strict emulator: what the chip leaves undefined is a fault."""
    lab = _lab(strict=True)
    with lab.device:
        yield lab


@pytest.fixture(scope="session")
def loose():
    """Lines on an emulator that gives the documented outcome where ``strict`` faults."""
    lab = _lab(strict=False)
    with lab.device:
        yield lab


@pytest.fixture
def incoherent():
    """Lines on an emulator that keeps caches, memory and the CPU's view apart."""
    lab = _lab(strict=True, incoherent=True)
    with lab.device:
        yield lab


@pytest.fixture(params=["strict", "loose"])
def both(request, lab, loose):
    """A test that runs on both kinds of emulator."""
    return lab if request.param == "strict" else loose
