"""Measures a board, or simulates it, and keeps what it finds in the board's profile.

Each of :data:`STEPS` makes a section of the profile (:mod:`piblas.dispatch.profiles`); dispatch
reads those that were measured on QPUs (:mod:`piblas.dispatch.tuned`).  A new step is a row here.
"""

from __future__ import annotations

from typing import Tuple

from . import figures, gemm, routines
from .step import Bench, Step

__all__ = ["Bench", "STEPS", "Step"]

STEPS: Tuple[Step, ...] = (figures.STEP, routines.STEP, gemm.STEP)
