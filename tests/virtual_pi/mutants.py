"""piblas with one call that keeps caches right taken out, found in its sources.

A site is a statement that cleans, invalidates or clears: ``x.clean()``, ``x.invalidate()``,
``x.clear_caches()``, a block's ``begin()`` and ``end()``, a dma-buf's ``_sync``, the stores to
L2CACTL and SLCACTL; where a loop does it for several buffers, each of them is one; and the flag of
execute-QPU that has the firmware clear the caches.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import pathlib
import sys
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence

import piblas

__all__ = ["Site", "install", "sites"]

ROOT = pathlib.Path(piblas.__file__).parent
_METHODS = {"clean", "invalidate", "clear_caches"}
_DRIVER_METHODS = {"begin", "end", "_sync"}
_REGISTERS = {"L2CACTL", "SLCACTL"}


class Site(NamedTuple):
    """Where: the module, the line, and which element of a loop's tuple (-1: the statement)."""

    module: str
    line: int
    element: int
    text: str

    @property
    def name(self) -> str:
        which = "" if self.element < 0 else f"[{self.element}]"
        return f"{self.module}:{self.line}{which} {self.text}"


def _is_site(call: ast.Call, driver: bool) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    name = call.func.attr
    if name in _METHODS or driver and name in _DRIVER_METHODS:
        return True
    first = call.args[0] if call.args else None
    return name == "write" and isinstance(first, ast.Constant) and first.value in _REGISTERS


def _calls(tree: ast.AST, driver: bool) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if _is_site(node.value, driver):
                yield node


def _loops(tree: ast.AST) -> Iterator[ast.For]:
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple) and len(node.body) == 1:
            if list(_calls(node, False)):
                yield node


def _flags(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "execute_qpu" and len(node.args) == 4:
                yield node


def sites(packages: Sequence[str] = ("driver", "blas", "host")) -> List[Site]:
    """All sites in these packages of piblas."""
    found: List[Site] = []
    for package in packages:
        for path in sorted((ROOT / package).glob("*.py")):
            if path.name in ("emulated.py", "device.py"):
                continue
            source = path.read_text()
            tree = ast.parse(source)
            lines = source.splitlines()
            module = f"piblas.{package}.{path.stem}"
            for call in _calls(tree, package == "driver"):
                found.append(Site(module, call.lineno, -1, lines[call.lineno - 1].strip()))
            for loop in _loops(tree):
                for i in range(len(loop.iter.elts)):  # type: ignore[attr-defined]
                    found.append(Site(module, loop.lineno, i, lines[loop.lineno - 1].strip()))
            for flag in _flags(tree):
                if package == "driver":
                    found.append(Site(module, flag.lineno, -1, lines[flag.lineno - 1].strip()))
    return found


def _without(source: str, site: Site) -> ast.Module:
    tree = ast.parse(source)
    driver = site.module.startswith("piblas.driver.")
    for loop in _loops(tree):
        if loop.lineno == site.line and site.element >= 0:
            del loop.iter.elts[site.element]  # type: ignore[attr-defined]
            return tree
    for flag in _flags(tree):
        if flag.lineno == site.line:
            flag.args[2] = ast.copy_location(ast.Constant(True), flag.args[2])
            return tree
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if not isinstance(block, list):
                continue
            for i, statement in enumerate(block):
                if isinstance(statement, ast.Expr) and statement.lineno == site.line:
                    if isinstance(statement.value, ast.Call) and _is_site(statement.value, driver):
                        block[i] = ast.copy_location(ast.Pass(), statement)
                        return tree
    raise LookupError(site.name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, site: Site) -> None:
        self.site = site
        self.path = ROOT.joinpath(*site.module.split(".")[1:]).with_suffix(".py")
        self.used = False

    def find_spec(self, name: str, path: Any, target: Any = None) -> Optional[Any]:
        if name != self.site.module:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)  # type: ignore

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        self.used = True
        tree = _without(self.path.read_text(), self.site)
        exec(compile(tree, str(self.path), "exec"), module.__dict__)


def install(site: Site) -> _Finder:
    """From now on ``import piblas`` gives the mutant; in a process that is to be thrown away."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "piblas"]:
        del sys.modules[name]
    finder = _Finder(site)
    sys.meta_path.insert(0, finder)
    return finder
