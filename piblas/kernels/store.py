"""Assembled kernels that are kept, so that a process need not assemble what it launches.

Two places are asked, in this order:

- ``programs.bin`` beside this file, part of the package: every kernel that dispatch can choose with
  default settings.  ``python -m bench programs`` writes it, and a test compares it with freshly
  assembled kernels.
- The user's cache directory (the setting PIBLAS_CACHE, else the platform's): kernels that were
  assembled before, a file each.

Both are keyed by the kernel's name and options and by a fingerprint: a hash over the sources of the
generators, the assembler and the tables of the instruction set.  After a change to any of them the
old words are not found any more.  Every program has a hash of its own, so that a damaged file is
noticed.  Whatever is missing, stale, damaged or cannot be written, the kernel is assembled, and the
log says so once a process.
"""

from __future__ import annotations

import functools
import hashlib
import os
import zlib
from typing import Any, Callable, Iterable, List, Optional, Tuple

import numpy as np

from .. import config, log

__all__ = ["PATH", "fingerprint", "key_of", "keys", "load", "save", "write_package"]

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs.bin")
"""The programs that come with the package."""

SOURCES = ("isa", "codegen", "kernels")
"""The packages whose sources decide what words a kernel has."""

_MAGIC = "piblas programs 2"
_SUFFIX = ".qpu"


def key_of(name: str, options: Any) -> str:
    """The key of a kernel: its name and all of its options."""
    return f"{name} {options!r}"


@functools.lru_cache(maxsize=None)
def fingerprint() -> str:
    """A hash over all sources that a kernel's words depend on; empty where there are no sources to
    read (a package in an archive, which nobody edits)."""
    found = hashlib.sha256()
    root = os.path.dirname(os.path.dirname(PATH))
    try:
        for package in SOURCES:
            folder = os.path.join(root, package)
            for name in sorted(os.listdir(folder)):
                if name.endswith(".py"):
                    with open(os.path.join(folder, name), "rb") as file:
                        found.update(b"%s\n%s" % (name.encode(), file.read()))
    except OSError:
        return ""
    return found.hexdigest()


def _replace(path: str, data: bytes) -> None:
    from .. import files  # here, because few processes write

    files.replace(path, data, 0o644)


# --- the package's programs --------------------------------------------------------------------


def _digest(code: bytes) -> str:
    return hashlib.sha256(code).hexdigest()


def write_package(programs: Iterable[Tuple[str, np.ndarray]], path: str = PATH) -> int:
    """Write the package's file from (key, words) of each program; the file's size in bytes.

    It begins with lines of text: the fingerprint; for each program its key, place, size and hash,
    with tabs in between; an empty one.  Then come the compressed programs.  The same programs make
    the same file.
    """
    lines = [_MAGIC, fingerprint()]
    packed = []
    at = 0
    for key, words in programs:
        code = np.ascontiguousarray(words, dtype="<u8").tobytes()
        small = zlib.compress(code, 9)
        lines.append(f"{key}\t{at}\t{len(small)}\t{_digest(code)}")
        packed.append(small)
        at += len(small)
    data = "\n".join((*lines, "", "")).encode() + b"".join(packed)
    _replace(path, data)
    return len(data)


@functools.lru_cache(maxsize=None)
def _index() -> Tuple[int, str]:
    """(where the first program begins, the lines of text) of the package's file; nothing where it
    is missing, damaged or made from other sources."""
    try:
        with open(PATH, "rb") as file:
            head, found, _ = file.read().partition(b"\n\n")
        text = head.decode()
        magic, _, rest = text.partition("\n")
        made_from = rest.partition("\n")[0]
        if magic != _MAGIC or not found:
            raise ValueError("no file of programs")
    except (OSError, ValueError) as error:
        _say(f"{PATH} cannot be used ({error})")
        return 0, ""
    if made_from != fingerprint() and fingerprint():
        _say(f"{PATH} was made from other sources")
        return 0, ""
    return len(head) + 2, text + "\n"


def keys() -> List[str]:
    """The keys of the package's programs."""
    return [line.partition("\t")[0] for line in _index()[1].splitlines()[2:]]


def _from_package(key: str) -> Optional[bytes]:
    start, text = _index()
    _, found, rest = text.partition(f"\n{key}\t")
    if not found:
        return None
    try:
        at, size, digest = rest.partition("\n")[0].split("\t")
        with open(PATH, "rb") as file:
            file.seek(start + int(at))
            code = zlib.decompress(file.read(int(size)))
        if _digest(code) == digest:
            return code
        reason = "another hash"
    except (OSError, ValueError, zlib.error) as error:
        reason = str(error)
    _say(f"{PATH} is damaged ({reason})")
    return None


# --- the user's cache --------------------------------------------------------------------------


def directory() -> str:
    """Where programs of this user are kept; it need not exist."""
    chosen = config.get("PIBLAS_CACHE")
    if chosen:
        return os.path.expanduser(chosen)
    import platformdirs  # here, because the package's own programs suffice for most processes

    return str(platformdirs.user_cache_dir("piblas"))


def _file_of(key: str) -> str:
    name = hashlib.sha256(f"{fingerprint()}\n{key}".encode()).hexdigest()
    return os.path.join(directory(), name + _SUFFIX)


def _from_cache(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        _say(f"{path} cannot be read ({error.strerror})")
        return None
    digest, code = data[:32], data[32:]
    if code and len(code) % 8 == 0 and hashlib.sha256(code).digest() == digest:
        return code
    _say(f"{path} is damaged")
    return None


def save(key: str, words: np.ndarray) -> None:
    """Keep a program in the user's cache, if that can be written."""
    if not fingerprint():
        return
    code = np.ascontiguousarray(words, dtype="<u8").tobytes()
    try:
        path = _file_of(key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _replace(path, hashlib.sha256(code).digest() + code)
    except (OSError, ImportError, RuntimeError) as error:
        _say(f"assembled kernels cannot be kept ({error})")


# --- both --------------------------------------------------------------------------------------


def load(key: str, assemble: Callable[[], np.ndarray]) -> np.ndarray:
    """The words of a kernel (uint64, read-only), from the package, the cache or ``assemble``."""
    code = _from_package(key)
    if code is None and fingerprint():
        try:
            code = _from_cache(_file_of(key))
        except (ImportError, OSError, RuntimeError) as error:
            _say(f"there is no place for assembled kernels ({error})")
    if code is not None:
        return np.frombuffer(code, dtype="<u8")
    words = assemble()
    save(key, words)
    return words


_said = False


def _say(what: str) -> None:
    """One line a process: assembling takes seconds on a small board, and somebody will wonder."""
    global _said
    if not _said:
        _said = True
        log.warning("kernels are assembled anew: %s", what)
