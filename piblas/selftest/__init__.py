"""Tests of a board by its own QPUs, with a report to attach to an issue.

- :mod:`.conformance`: every operation, pack mode, condition, rotation, word for word against what
  the emulator computes (``data/words.json``);
- :mod:`.routines`: BLAS routines against float64;
- :mod:`.benches` and :mod:`.fit`: a small loop for each timing parameter, measured, beside the
  emulator's prediction (``data/cycles.json``), and the parameter that the measurement implies;
- :mod:`.report`: the file.

The stored words and cycles are made by the emulator (a test compares them), so that a Pi without
numba can compare, too.
"""

from __future__ import annotations

from .report import failures, run, text

__all__ = ["failures", "run", "text"]
