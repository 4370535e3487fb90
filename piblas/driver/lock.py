"""One user of the GPU at a time: a lock file that names its holder.

The kernel drops the lock when the holder ends, however it ends.  The file's text is the holder's
pid while there is one: it names him in messages, and what is left of it tells that he was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Optional

from ..errors import DeviceBusy, DeviceError

__all__ = ["GpuLock", "directory", "holder"]

NAME = "piblas-gpu.lock"


def directory() -> str:
    """Where the lock file lies: the same place for root and for everybody else."""
    for path in ("/run/lock", "/tmp"):
        try:
            mode = os.stat(path).st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode) and mode & stat.S_IWOTH:
            return path
    raise DeviceError("no place for the GPU's lock file: neither /run/lock nor /tmp is writable")


def _open(path: str) -> int:
    """Open or create the file.

    Without O_CREAT first: in a sticky directory the kernel refuses that flag for files of other
    users (fs.protected_regular), to root as well.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(10):
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        os.fchmod(fd, 0o666)  # whatever the umask: the next user may be another one
        return fd
    raise DeviceError(f"{path} comes and goes: somebody removes the GPU's lock file")


def _named(fd: int) -> str:
    try:
        text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    except OSError:
        return "another process"
    if not text.isdigit():
        return "another process"
    try:
        with open(f"/proc/{text}/comm", encoding="utf-8", errors="replace") as file:
            return f"process {text} ({file.read().strip()})"
    except OSError:
        return f"process {text}"


def holder() -> Optional[str]:
    """Who has the GPU now; None if nobody has."""
    try:
        fd = os.open(os.path.join(directory(), NAME), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _named(fd)
    finally:
        os.close(fd)
    return None


class GpuLock:
    """The lock, taken; :meth:`release` drops it.

    ``abandoned``: the holder before did not release it but died, so a program that still runs on
    the QPUs may well be his.
    """

    def __init__(self) -> None:
        self.abandoned = False
        self.path = os.path.join(directory(), NAME)
        try:
            self._fd = _open(self.path)
        except OSError as error:
            raise DeviceError(f"the GPU's lock file {self.path}: {error.strerror}") from error
        try:
            self._take()
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise DeviceBusy(
                    f"the GPU is in use by {_named(self._fd)}, which holds {self.path}"
                ) from error
            raise DeviceError(f"the GPU's lock file {self.path}: {error.strerror}") from error
        try:
            self.abandoned = bool(os.pread(self._fd, 1, 0))
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        except OSError:
            pass  # a full disk: the lock holds, only messages lose the pid

    def release(self) -> None:
        """Drop the lock."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            os.ftruncate(fd, 0)
        except OSError:
            pass
        os.close(fd)

    def forget(self) -> None:
        """Close this process's copy after a fork: the lock stays with the parent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
