"""Launch plans: what a call does on a device, worked out once and kept.

A plan depends on a routine's sizes, strides, alignment, options and the device's limits, and on no
address and no value.  It holds, for each launch, which program runs and its uniform streams with
places for addresses and values (:class:`piblas.kernels.uniforms.Streams`), and how much scratch
memory the call needs.  Plans are immutable, so threads share them.
"""

from __future__ import annotations

import collections
import os
import threading
from typing import Any, Callable, Hashable, Mapping, Optional, Sequence, Tuple

from ..kernels.uniforms import Streams

__all__ = ["Cache", "Launch", "LaunchPlan", "PLANS", "forgotten"]


class Launch:
    """One launch: a program, and a stream for each QPU that works.

    ``spec`` is a :class:`~piblas.kernels.spec.KernelSpec`, or has its ``name`` and ``words``.
    """

    __slots__ = ("options", "spec", "streams")

    def __init__(self, spec: Any, options: Any, streams: Streams) -> None:
        self.spec, self.options, self.streams = spec, options, streams


class LaunchPlan:
    """Launches that run one after the other, and the ``scratch`` memory that they share.

    ``names`` are those of the addresses in the order in which a call gives them; ``scalars`` are
    (name, how many) of its float32 numbers.  ``scratch`` maps a name to a number of bytes; ``data``
    is for whoever made the plan.
    """

    __slots__ = (
        "__weakref__", "data", "launches", "names", "nbytes", "rooms", "scalars", "scratch",
    )  # fmt: skip

    def __init__(
        self,
        launches: Sequence[Launch],
        names: Sequence[str],
        scalars: Sequence[Tuple[str, int]] = (),
        scratch: Optional[Mapping[str, int]] = None,
        data: Any = None,
        nbytes: int = 0,
    ) -> None:
        self.launches = tuple(launches)
        self.names, self.scalars = tuple(names), tuple(scalars)
        self.scratch = dict(scratch or {})
        self.rooms = frozenset(self.scratch)
        self.data = data
        self.nbytes = nbytes + 512 + sum(each.streams.kept_bytes for each in self.launches)


def forgotten() -> Optional[LaunchPlan]:
    """In place of a weak reference to a plan that was never made: jobs hold their last plan by one,
    so that the bound on all plans holds."""
    return None


class Cache:
    """The values made last, up to ``most`` bytes together; any thread may ask.

    Values have an attribute ``nbytes``.  One that is larger than ``most`` is not kept.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0
        self._kept: "collections.OrderedDict[Hashable, Any]" = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """The value kept for a key, or None."""
        try:
            self._kept.move_to_end(key)
            return self._kept[key]
        except KeyError:
            return None

    def put(self, key: Hashable, value: Any) -> Any:
        """Keep a value and return it; where two threads made one, the first is kept."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                return kept
            if value.nbytes <= self.most:
                self._kept[key] = value
                self.used += value.nbytes
                while self.used > self.most:
                    self.used -= self._kept.popitem(last=False)[1].nbytes
            return value

    def made(self, key: Hashable, make: Callable[..., Any], *args: Any) -> Any:
        """The value for a key, made by ``make(*args)`` if it is not kept."""
        found = self.get(key)
        return found if found is not None else self.put(key, make(*args))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self.used = 0

    def __len__(self) -> int:
        return len(self._kept)

    def renew_lock(self) -> None:
        """In the child of a fork: the thread that held the lock is not here."""
        self._lock = threading.Lock()


PLANS = Cache(16 << 20)
"""All plans of the process.  The largest ones (products of order 1024) take about 0.7 MB."""

os.register_at_fork(after_in_child=PLANS.renew_lock)
