"""Tests of vector functions use the plain model of the QPU that the emulator's tests have."""

from __future__ import annotations

import pathlib
import sys

_HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "emu")]
