"""Imports point downwards, and importing piblas touches nothing.  Read from the sources."""

from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys

import pytest

import piblas

ROOT = pathlib.Path(piblas.__file__).parent

# What the modules of a package (or a top module) may import of piblas beside their own package.
ALLOWED = {
    "files": set(),
    "errors": set(),
    "isa": {"errors"},
    "codegen": {"isa", "errors", "config"},
    "tables": set(),
    "log": set(),
    "kernels": {"codegen", "isa", "errors", "config", "files", "log", "tables"},
    "emu": {"isa", "errors"},
    "driver": {"emu", "isa", "errors", "config", "log"},
    "config": {"errors"},
    "routines": {"errors"},
    "record": {"errors"},
    "statistics": {"record"},
    "decorating": {"errors"},
    "dispatch": {
        "routines", "record", "decorating", "driver", "errors", "config", "files", "log", "tables",
    },
    "host": {"dispatch", "kernels", "driver", "isa", "errors", "log"},
    "blas": {
        "host", "dispatch", "routines", "record", "kernels", "driver", "errors", "config", "log",
    },
    "protocols": {"blas", "host", "dispatch", "errors"},
    "swap": {"blas", "dispatch", "routines", "record", "decorating", "errors", "log"},
    "vector": {"blas", "host", "dispatch", "kernels", "codegen", "isa", "driver", "errors"},
    "doctor": {"blas", "host", "dispatch", "kernels", "driver", "errors"},
    "selftest": {"blas", "dispatch", "record", "routines", "kernels", "driver", "isa", "errors"},
    "tune": {
        "selftest", "blas", "host", "dispatch", "record", "routines", "kernels", "driver", "isa",
        "errors",
    },
    "profiler": {
        "blas", "dispatch", "record", "routines", "kernels", "codegen", "driver", "isa", "errors",
    },
    "cli": {
        "", "doctor", "profiler", "swap", "blas", "host", "dispatch", "routines", "record",
        "driver", "emu", "kernels", "codegen", "isa", "errors", "config", "selftest", "tune",
    },
    "__main__": {"cli"},
    "": {
        "profiler", "swap", "blas", "host", "dispatch", "statistics", "record", "routines",
        "driver", "errors", "config",
    },
}
# The optional dependencies, each with the one package that may import it.
FOREIGN = {"numba": "emu", "llvmlite": "emu", "rich": "cli", "matplotlib": "profiler"}
SOURCES = sorted(ROOT.rglob("*.py"))


def part(path: pathlib.Path) -> str:
    """The package or top module that a source belongs to; "" for piblas/__init__.py."""
    first = path.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.replace(".py", "")


def imports(path: pathlib.Path):
    """(line, full module name) of every import in a source, relative ones made absolute."""
    package = ("piblas",) + path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join(base + ((node.module,) if node.module else ()))
            for name in node.names:
                # `from . import x` names the module x; `from .x import y` names x.
                yield node.lineno, f"{module}.{name.name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_direction(path):
    own = part(path)
    assert own in ALLOWED, f"say in ALLOWED what {own} may import"
    for line, name in imports(path):
        names = name.split(".")
        if names[0] != "piblas":
            home = FOREIGN.get(names[0], own)
            assert own == home, f"{path}:{line} imports {names[0]}, which belongs to {home}"
            continue
        target = names[1] if len(names) > 1 else ""
        if target and not (ROOT / target).is_dir() and not (ROOT / f"{target}.py").exists():
            target = ""  # a name of piblas itself
        assert target == own or target in ALLOWED[own], f"{path}:{line} imports piblas.{target}"


def test_the_rule_bites(tmp_path, monkeypatch):
    """A kernel that imports the driver is found out."""
    (tmp_path / "kernels").mkdir()
    bad = tmp_path / "kernels" / "bad.py"
    bad.write_text("from ..driver import device\n")
    (tmp_path / "driver").mkdir()
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert list(imports(bad)) == [(1, "piblas.driver.device")]
    with pytest.raises(AssertionError, match="imports piblas.driver"):
        test_direction(bad)


def test_importing_piblas_touches_nothing():
    """No numba, no rich, no device: seen from a fresh interpreter."""
    code = (
        "import builtins, os, sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda e, a: opened.append(str(a[0])) if e == 'open' else None)\n"
        "import numpy\n"
        "opened.clear()\n"
        "import piblas\n"
        "late = ('numba', 'llvmlite', 'rich', 'matplotlib', 'ioctl_opt', 'scipy', 'mmap',\n"
        "        'piblas.driver.opening', 'piblas.driver.emulated', 'piblas.kernels')\n"
        "print([m for m in late if m in sys.modules])\n"
        "print([p for p in opened if not p.endswith(('.py', '.pyc', '.so'))])\n"
        "from piblas.dispatch import devices\n"
        "print(devices._opened)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", "{}"]


def test_importing_piblas_takes_little_time():
    """Below 50 ms beyond NumPy's import on an idle machine; here it is compared with NumPy's own in
    the same process, so that a busy machine slows down both."""
    code = (
        "import time\n"
        "t = [time.process_time()]\n"
        "import numpy\n"
        "t.append(time.process_time())\n"
        "import piblas\n"
        "t.append(time.process_time())\n"
        "print(t[1] - t[0], t[2] - t[1])\n"
    )
    best = []
    # As installed: with compiled modules, which the first run leaves behind.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        of_numpy, of_piblas = map(float, done.stdout.split())
        best.append((of_piblas, of_piblas / of_numpy))
    seconds, share = min(best)[0], min(ratio for _, ratio in best)
    assert seconds < 0.05 or share < 0.4, f"{1e3 * seconds:.0f} ms, {share:.0%} of NumPy's"


def test_the_package_knows_its_modules():
    """What ``from .. import log`` asks the package for is not taken for a routine of BLAS, whose
    table would be imported to look for it."""
    modules = {part(path) for path in SOURCES} - {"", "__main__"}
    assert modules == piblas._MODULES, "piblas/__init__.py: _MODULES"
    for name in sorted(modules):
        assert getattr(piblas, name).__name__ == f"piblas.{name}"


def test_importing_piblas_imports_little():
    code = "import sys, piblas; print(sum(name.startswith('piblas') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 2  # the package and its errors


def test_public_names_are_there():
    names = [*piblas.__all__, "sgemm", "dgemm", "saxpby", "get_blas_funcs"]
    code = f"import piblas; assert {{*{names}}} <= {{*dir(piblas)}}; from piblas import "
    subprocess.run([sys.executable, "-c", code + ", ".join(names)], check=True)
