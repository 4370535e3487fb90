"""A virtual Pi as a context manager, and programs that run on it.

::

    with VirtualPi("bookworm64") as pi:
        done = pi.python("import os; print(os.uname().machine)")
        assert pi.report().clean
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

from .faults import Fault, Faults
from .kernel import Kernel
from .server import Server
from .setups import SETUPS, Setup

__all__ = ["Report", "VirtualPi", "compiler", "library"]

HERE = pathlib.Path(__file__).parent
TREE = HERE.parent.parent


def compiler() -> Optional[str]:
    """The C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


@functools.lru_cache(maxsize=None)
def library() -> str:
    """The preloaded library, compiled once in a process."""
    command = compiler()
    if command is None:
        raise RuntimeError("the virtual Pi needs a C compiler (cc): on Debian, apt install gcc")
    directory = tempfile.mkdtemp(prefix="vpi-lib-")
    target = os.path.join(directory, "virtual_pi.so")
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(
        [command, *flags, "-o", target, str(HERE / "preload.c"), "-ldl", "-lpthread"], check=True
    )
    import atexit

    atexit.register(shutil.rmtree, directory, True)
    return target


@dataclass
class Report:
    """What a virtual Pi still holds, and what clients did that they must not."""

    files: List[str] = field(default_factory=list)
    buffers: List[str] = field(default_factory=list)
    cma_used: int = 0
    handles: int = 0
    gpu_mem_used: int = 0
    enables: int = 0
    violations: List[str] = field(default_factory=list)
    launches: int = 0

    @property
    def leaks(self) -> List[str]:
        """One line for each thing that outlived its owner."""
        rows = [f"open file {name}" for name in self.files]
        rows += [f"dma-buf {text}" for text in self.buffers]
        if self.handles:
            rows.append(f"{self.handles} handles of GPU memory, {self.gpu_mem_used} bytes")
        if self.enables:
            rows.append(f"enable-QPU without disable: {self.enables}")
        return rows

    @property
    def clean(self) -> bool:
        return not self.leaks and not self.violations


class VirtualPi:
    """Boot a set-up (a name of :data:`SETUPS` or a :class:`Setup`, with changes)."""

    def __init__(self, setup: Union[str, Setup], **changes: Any) -> None:
        chosen = SETUPS[setup] if isinstance(setup, str) else setup
        self.setup = chosen.but(**changes) if changes else chosen
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="vpi-"))
        root = self._directory / "root"
        root.mkdir()
        self.kernel = Kernel(self.setup, root)
        self.server = Server(self.kernel, self._directory / "socket")

    def __enter__(self) -> "VirtualPi":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.server.close()
        self.kernel.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    # --- what happens, and what is to happen -----------------------------------------------------

    @property
    def faults(self) -> Faults:
        return self.kernel.faults

    @property
    def calls(self) -> List[str]:
        """The system calls so far, by name."""
        return self.faults.names()

    @contextlib.contextmanager
    def fault(self, *args: Any, **kwargs: Any) -> Iterator[Fault]:
        """A rule while the block runs; see :class:`Fault`."""
        rule = self.faults.add(*args, **kwargs)
        try:
            yield rule
        finally:
            self.faults.rules.remove(rule)

    def path(self, path: str) -> pathlib.Path:
        """Where a file of the Pi lies on this machine."""
        return self.kernel.root / path.lstrip("/")

    def report(self) -> Report:
        """After the last process has gone: everything that is left."""
        kernel = self.kernel
        if self.server.errors:
            raise RuntimeError("the virtual Pi itself failed") from self.server.errors[0]
        with kernel.lock:
            kernel.settle()
            return Report(
                files=[file.path for file in kernel.files.values()],
                buffers=[f"{b.exporter}, {b.nbytes} bytes" for b in kernel.buffers],
                cma_used=kernel.ram.cma.used - (kernel.udmabuf.nbytes if kernel.udmabuf else 0),
                handles=len(kernel.firmware.handles),
                gpu_mem_used=kernel.ram.vc.used,
                enables=kernel.firmware.enables,
                violations=list(kernel.gpu.violations),
                launches=kernel.gpu.launches,
            )

    # --- programs --------------------------------------------------------------------------------

    def environment(self, **more: str) -> Dict[str, str]:
        """The environment of a program that runs on this Pi."""
        uid, gid, groups = self.setup.user
        env = {k: v for k, v in os.environ.items() if not k.startswith("PIBLAS_")}
        env.update(
            LD_PRELOAD=library(),
            VPI_ROOT=str(self.kernel.root),
            VPI_SOCKET=str(self._directory / "socket"),
            VPI_UID=str(uid),
            VPI_GID=str(gid),
            VPI_GROUPS=",".join(map(str, groups)),
            VPI_POINTER=str(self.setup.pointer or 0),
            VPI_RELEASE=self.setup.kernel,
            VPI_MACHINE=self.setup.machine,
            VPI_VERSION=self.setup.version,
            VPI_USER=self.setup.user_name,
            VPI_IN_VIDEO=self.setup.in_video,
            PYTHONPATH=str(TREE),
            OPENBLAS_NUM_THREADS="1",
        )
        env.update(more)
        return env

    def popen(self, command: Sequence[str], **kwargs: Any) -> "subprocess.Popen[str]":
        """Start a program on this Pi."""
        env = self.environment(**kwargs.pop("env", {}))
        return subprocess.Popen(command, env=env, text=True, **kwargs)

    def run(
        self, command: Sequence[str], timeout: float = 60, **kwargs: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program on this Pi to its end, with what it printed."""
        env = self.environment(**kwargs.pop("env", {}))
        return subprocess.run(
            command, env=env, text=True, capture_output=True, timeout=timeout, **kwargs
        )

    def python(self, code: str, *args: str, **kwargs: Any) -> "subprocess.CompletedProcess[str]":
        """Run Python source on this Pi."""
        return self.run([sys.executable, "-c", code, *args], **kwargs)
