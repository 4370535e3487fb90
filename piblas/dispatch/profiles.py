"""Figures of a board, kept for its user: ``piblas tune`` writes them, dispatch may read them.

A profile is a JSON file, one a board, in the user's configuration directory
(``$XDG_CONFIG_HOME/piblas``, else ``~/.config/piblas``; or where the setting PIBLAS_PROFILES says).
It holds whatever sections its writers give it, each by the device it was measured on and with the
time.  A file that is no profile is as good as none, and says so in the log.
"""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Mapping, Optional

from .. import config, log
from ..errors import PiblasError

__all__ = ["DEVICES", "directory", "load", "path", "remove", "save"]

FORMAT = 1
DEVICES = ("qpu", "emulator")
"""Where figures come from, the more trustworthy first."""


def directory() -> str:
    """Where profiles are kept; it need not exist."""
    chosen = config.get("PIBLAS_PROFILES")
    if chosen:
        return os.path.expanduser(chosen)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # the specification has relative ones ignored
        base = os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "piblas")


_MARKS = {ord("_"): "0", ord("-"): "0"}


def path(board: str) -> str:
    """The file of a board, named as in :data:`piblas.dispatch.boards.BOARDS`."""
    if not (board.isascii() and board[:1].isalnum() and board.translate(_MARKS).isalnum()):
        raise PiblasError(f"{board!r} is no name of a board")
    return os.path.join(directory(), f"{board}.json")


def load(board: str, device: Optional[str] = None) -> Dict[str, Any]:
    """The sections of a board's profile, empty where there is none.

    With ``device`` (of :data:`DEVICES`) only those that were measured there: figures of the
    emulator are no measurements of a board.  Without, a section that has both is the QPUs'.
    """
    file_name = path(board)
    try:
        with open(file_name, encoding="utf-8") as file:
            import json  # here, because most boards have no profile, and it takes a while

            found = json.load(file)
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}")
        sections = found["sections"]
        devices = DEVICES if device is None else (device,)
        made: Dict[str, Any] = {}
        for name, section in sections.items():
            for each in devices:
                if each in section:
                    made[name] = section[each]["values"]
                    break
        return made
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is left out: %s", file_name, error)
        return {}


def save(board: str, section: str, values: Mapping[str, Any], device: str) -> str:
    """Put ``values`` (anything that JSON holds) into a device's part of a section; all else stays.
    Returns the file's name.

    The file is replaced as a whole: a reader sees the old one or the new one.
    """
    import json

    from .. import files

    file_name = path(board)
    sections: Dict[str, Any] = {}
    try:
        with open(file_name, encoding="utf-8") as file:
            found = json.load(file)
        if found["format"] == FORMAT:
            sections = dict(found["sections"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    sections[section] = {
        **sections.get(section, {}),
        device: {
            "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "values": dict(values),
        },
    }
    text = json.dumps({"format": FORMAT, "board": board, "sections": sections}, indent=1)
    try:
        os.makedirs(os.path.dirname(file_name), exist_ok=True)
        files.replace(file_name, (text + "\n").encode())
    except OSError as error:
        raise PiblasError(f"the profile {file_name} cannot be written: {error.strerror}") from error
    return file_name


def remove(board: str) -> Optional[str]:
    """Delete a board's profile; the file's name, None where there was none."""
    file_name = path(board)
    try:
        os.unlink(file_name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PiblasError(f"the profile {file_name} cannot be deleted: {error.strerror}") from error
    return file_name
