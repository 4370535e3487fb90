"""Files that are written as a whole: a reader sees the old one or the new one."""

from __future__ import annotations

import os
from typing import Optional

__all__ = ["replace"]


def replace(path: str, data: bytes, mode: Optional[int] = None) -> None:
    """Put a file in place, or leave what was there; its owner's alone, unless ``mode`` says more.

    The folder has to exist.
    """
    import tempfile  # here, because few processes write

    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".piblas-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
