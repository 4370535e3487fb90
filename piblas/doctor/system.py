"""What the system's files say: nodes, groups, kernel."""

from __future__ import annotations

import glob
import grp
import gzip
import os
import pwd
import re
import stat
from typing import Dict, NamedTuple, Optional, Tuple

from ..driver import soc

__all__ = [
    "Node",
    "groups",
    "in_container",
    "is_member",
    "kernel_options",
    "node",
    "os_name",
    "user",
    "v3d_driver",
    "v3d_status",
]

V3D_NODE = "v3d@7ec00000"


class Node(NamedTuple):
    """A device node as ``ls -l`` shows it."""

    path: str
    mode: int
    owner: str
    group: str

    def __str__(self) -> str:
        return f"{stat.filemode(self.mode)} {self.owner} {self.group} {self.path}"

    @property
    def root_only(self) -> bool:
        return self.owner == "root" and not self.mode & 0o077


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def node(path: str) -> Optional[Node]:
    """The node, or None where there is none."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return Node(path, info.st_mode, _user(info.st_uid), _group(info.st_gid))


def user() -> str:
    return _user(os.geteuid())


def groups() -> Tuple[str, ...]:
    """Groups of this process."""
    return tuple(_group(gid) for gid in sorted({*os.getgroups(), os.getegid()}))


def is_member(group: str) -> bool:
    """Whether the user is entered in the group, at the next login at the latest."""
    try:
        return user() in grp.getgrnam(group).gr_mem
    except KeyError:
        return False


def v3d_status() -> Optional[str]:
    """``status`` of the V3D node, "okay" where the node has none, None without a node."""
    base = os.path.join(soc.TREE, "soc", V3D_NODE)
    if not os.path.isdir(base):
        return None
    try:
        with open(os.path.join(base, "status"), "rb") as file:
            return file.read().rstrip(b"\0").decode("ascii", "replace")
    except OSError:
        return "okay"


def v3d_driver() -> Optional[str]:
    """The device that the kernel's V3D driver is bound to."""
    found = glob.glob("/sys/bus/platform/drivers/vc4_v3d/*v3d")
    return os.path.basename(found[0]) if found else None


def in_container() -> bool:
    return any(os.path.exists(path) for path in ("/.dockerenv", "/run/.containerenv"))


def os_name() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            match = re.search(r'^PRETTY_NAME="?([^"\n]*)', file.read(), re.M)
            return match.group(1) if match else "?"
    except OSError:
        return "?"


def kernel_options(*names: str) -> Dict[str, str]:
    """Options of the running kernel by /proc/config.gz; empty where there is no such file."""
    try:
        with gzip.open("/proc/config.gz", "rt", encoding="ascii", errors="replace") as file:
            text = file.read()
    except (OSError, EOFError):
        return {}
    found = {}
    for name in names:
        match = re.search(rf"^CONFIG_{name}=(.*)$", text, re.M)
        found[name] = match.group(1) if match else "n"
    return found
