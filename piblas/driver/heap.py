"""Allocation of pages: first fit from either end, with a guard page behind every block.

Free ranges are kept in order of address; a freed range joins its free neighbours.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

__all__ = ["Heap"]


class Heap:
    """Hands out ranges of the pages ``first .. end - 1``."""

    def __init__(self, first: int, end: int) -> None:
        self._free: List[Tuple[int, int]] = [(first, end)] if first < end else []

    def take(self, pages: int) -> Optional[int]:
        """The first of ``pages`` consecutive pages, followed by one that nobody gets; or None."""
        for index, (start, end) in enumerate(self._free):
            if end - start > pages:
                rest = start + pages + 1
                self._free[index : index + 1] = [(rest, end)] if rest < end else []
                return start
        return None

    def take_last(self, pages: int) -> Optional[int]:
        """The same from the other end of memory."""
        for index in range(len(self._free) - 1, -1, -1):
            start, end = self._free[index]
            if end - start > pages:
                rest = end - pages - 1
                self._free[index : index + 1] = [(start, rest)] if start < rest else []
                return rest
        return None

    def give_back(self, start: int, pages: int) -> None:
        """Free what ``take(pages)`` returned."""
        end = start + pages + 1
        index = len([each for each in self._free if each[0] < start])
        if index < len(self._free) and self._free[index][0] == end:
            end = self._free.pop(index)[1]
        if index and self._free[index - 1][1] == start:
            start = self._free.pop(index - 1)[0]
            index -= 1
        self._free.insert(index, (start, end))

    @property
    def largest(self) -> int:
        """Pages of the largest block that ``take`` could return now."""
        return max((end - start - 1 for start, end in self._free), default=0)

    @property
    def free(self) -> int:
        """Pages that are free, guards included."""
        return sum(end - start for start, end in self._free)
