"""The arguments of a call by name: what was given, what a row of the table says otherwise."""

from __future__ import annotations

import operator
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ..routines import Routine

__all__ = ["Bound", "Unbound", "integer", "need"]


class Unbound(Exception):
    """The arguments do not bind to a kernel's operands: SciPy computes the call, or refuses it."""


def need(condition: bool) -> None:
    """Leave the call to SciPy unless this holds."""
    if not condition:
        raise Unbound


def integer(value: Any) -> int:
    """An integer of any integer type; TypeError for anything else."""
    return operator.index(value)


class Bound:
    """The arguments of a call of a routine.

    ``given`` maps each argument's name to its value or its default.  ``values`` are all arguments
    in the order of the call, by position and then by keyword, and after them the defaults;
    :meth:`take` says where in them an argument is found, so that the next call of the same kind
    need not be bound again.
    """

    def __init__(self, row: Routine, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.row = row
        names: List[str] = [*row.arguments[: len(args)], *kwargs]
        need(len(args) <= len(row.arguments) and len(set(names)) == len(names))
        need(all(name in row.arguments for name in kwargs))
        need(all(name in names for name in row.arguments[: row.required]))
        missing = [
            (name, default)
            for name, default in zip(row.arguments[row.required :], row.defaults)
            if name not in names
        ]
        self.extra: Tuple[Any, ...] = tuple(default for _, default in missing)
        names += [name for name, _ in missing]
        self.given: Dict[str, Any] = dict(zip(names, (*args, *kwargs.values(), *self.extra)))
        self._places = {name: place for place, name in enumerate(names)}

    def __contains__(self, name: str) -> bool:
        return name in self.given

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def take(self, *names: str) -> Tuple[int, ...]:
        """Where these arguments are found in the values of a call."""
        return tuple(self._places[name] for name in names)

    def integer(self, name: str, low: int = 0) -> int:
        """An argument that is an integer of at least ``low``."""
        value = integer(self.given[name])
        need(value >= low)
        return value

    def flag(self, name: str, most: int = 1) -> int:
        """An argument that is an integer from 0 to ``most``."""
        value = self.integer(name)
        need(value <= most)
        return value

    def truth(self, name: str) -> bool:
        """An argument that is any integer: whether it is not 0."""
        return integer(self.given[name]) != 0

    def array(self, name: str, axes: int) -> np.ndarray:
        """An argument as an array of real numbers of so many axes, with at least one element."""
        value = self.given[name]
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        need(array.ndim == axes and array.dtype.kind in "fiub" and array.size > 0)
        return array
