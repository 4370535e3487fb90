"""Why the QPUs of a board can or cannot be used: checks, reasons, remedies.

``examine`` runs the checks of :mod:`.checks` in order; :mod:`.fixes` has the files to install.
"""

from __future__ import annotations

from .checks import CHECKS, examine
from .finding import FAIL, INFO, OK, SKIP, WARN, Finding

__all__ = ["CHECKS", "FAIL", "Finding", "INFO", "OK", "SKIP", "WARN", "examine"]
