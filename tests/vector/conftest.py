"""Tests of vector functions use the plain model of the QPU that the emulator's tests have."""

from __future__ import annotations

import pathlib
import sys

_HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "emu")]

import pytest  # noqa: E402

import piblas  # noqa: E402
from piblas.driver import Emulator  # noqa: E402


@pytest.fixture(scope="session")
def chip():
    """A strict emulator with caches apart from memory, which is full of noise."""
    with Emulator(memory=32 << 20, seed=5, incoherent=True, timing="off") as device:
        yield device


@pytest.fixture
def on_chip(chip, fresh):
    """Calls go to that emulator."""
    with piblas.use(chip):
        yield chip
