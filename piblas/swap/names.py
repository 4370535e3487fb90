"""Replaces objects under every name that modules have for them, and puts the originals back.

A module that did ``from numpy import dot`` has the function under a name of its own, so that all
imported modules are searched for the very objects; names in classes, closures and containers are
not found.  Replacing goes through the modules' dictionaries: that runs none of their code.
"""

from __future__ import annotations

import sys
import types
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Tuple

__all__ = ["Replaced"]

_slots: Any = vars(types.ModuleType)
_dict_of = _slots["__dict__"].__get__


class _Saved(NamedTuple):
    module: types.ModuleType
    name: str
    original: Any
    ours: Any

    def __str__(self) -> str:
        return f"{_dict_of(self.module).get('__name__')}.{self.name}"


def _modules() -> Iterator[types.ModuleType]:
    """The imported modules, but for those of piblas, which need the originals."""
    for key, module in list(sys.modules.items()):
        if isinstance(module, types.ModuleType) and key.split(".")[0] != "piblas":
            yield module


def _find(wanted: Mapping[int, Any]) -> Iterator[Tuple[types.ModuleType, str, Any]]:
    """(module, name, value) of each name whose value is one of those that ``wanted`` has by id."""
    seen = set()
    for module in _modules():
        if id(module) in seen:
            continue
        seen.add(id(module))
        for name, value in list(_dict_of(module).items()):
            if id(value) in wanted:
                yield module, name, value


class Replaced:
    """Objects replaced by others, ``pairs`` of (original, ours), under all names that there are."""

    def __init__(self, pairs: List[Tuple[Any, Any]]) -> None:
        self._ours = {id(original): ours for original, ours in pairs}
        self._originals = {id(ours): original for original, ours in pairs}
        self._pairs = pairs  # which keeps the ids theirs
        self._saved: Dict[Tuple[int, str], _Saved] = {}
        for module, name, value in _find(self._ours):
            ours = self._ours[id(value)]
            self._saved[id(module), name] = _Saved(module, name, value, ours)
            _dict_of(module)[name] = ours

    def names(self) -> List[str]:
        """The names that were replaced."""
        return sorted(map(str, self._saved.values()))

    def restore(self) -> List[str]:
        """Put the originals back, also under names that other modules have taken since.  Returns
        the names that somebody else has given another value meanwhile, and which keep it."""
        left = []
        for saved in self._saved.values():
            now = _dict_of(saved.module).get(saved.name)
            if now is saved.ours:
                _dict_of(saved.module)[saved.name] = saved.original
            elif now is not saved.original:
                left.append(str(saved))
        self._saved.clear()
        for module, name, value in _find(self._originals):
            _dict_of(module)[name] = self._originals[id(value)]
        return left
