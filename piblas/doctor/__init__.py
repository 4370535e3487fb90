"""Why the QPUs of a board can or cannot be used: checks, reasons, remedies.

:mod:`.checks` runs the checks in order, :mod:`.trial` is the last of them, a program on the QPUs;
:mod:`.fixes` has the files to install.
"""

from __future__ import annotations
