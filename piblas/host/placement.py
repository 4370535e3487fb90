"""Which arrays lie in device memory, where, and when that memory is given back.

The memory is freed some time after the last view of it is gone: a finaliser may run in the middle
of anything, so it only leaves a note, which the next allocation reads (:func:`collect`).
"""

from __future__ import annotations

import collections
import weakref
from typing import Any, Deque, Optional, Tuple

import numpy as np

from ..dispatch import devices
from ..driver.device import Buffer, BufferProgram, Device, LoadedProgram, on_shortage

__all__ = [
    "Memory",
    "Place",
    "collect",
    "dropped",
    "home",
    "keep",
    "located",
    "owner",
    "place",
    "taken",
]

_FLOAT32 = np.dtype(np.float32)

dropped: Deque[Tuple[Device, Buffer]] = collections.deque()
"""Buffers whose arrays and programs are gone, for :func:`collect`."""


class Memory:
    """Owns a buffer: the last base of every array in it.

    ``address`` is where the CPU sees its first byte, ``bus_address`` where a QPU does;
    ``device_key`` is the same for all memory of a device.
    """

    def __init__(self, device: Device, buffer: Buffer) -> None:
        self.device, self.buffer, self.device_key = device, buffer, id(device)
        self.bus_address, self.nbytes = buffer.bus_address, buffer.nbytes
        self._bytes = buffer.array(np.uint8)
        self.__array_interface__ = self._bytes.__array_interface__
        self.address: int = self.__array_interface__["data"][0]

    def __del__(self, note: Any = dropped.append) -> None:
        note((self.device, self.buffer))


def _free_after(owner: Any, device: Device, buffer: Buffer) -> None:
    """Have :func:`collect` free a buffer of the device once the owner is gone."""
    weakref.finalize(owner, dropped.append, (device, buffer)).atexit = False


def collect(device: Optional[Device] = None) -> None:
    """Free the buffers, of one device or of all, whose arrays and programs are gone."""
    for _ in range(len(dropped)):
        try:
            owner, buffer = dropped.popleft()
        except IndexError:  # another thread was faster
            return
        if device is None or owner is device:
            buffer.free()
        else:
            dropped.append((owner, buffer))


def keep(device: Device, key: Any, program: LoadedProgram) -> None:
    """Keep a program on the device until memory is short.

    Then it is forgotten, and its memory freed as soon as no call uses it any more.
    """
    if isinstance(program, BufferProgram):
        _free_after(program, device, program.buffer)
    device.kept[key] = program


def _release(device: Device) -> None:
    device.kept.clear()
    collect(device)


on_shortage(_release)


class Place:
    """Where an array begins: its buffer, and bytes from the buffer's beginning."""

    # Written out: making a NamedTuple takes hundreds of function calls at every start.
    __slots__ = ("buffer", "offset")

    def __init__(self, buffer: Buffer, offset: int) -> None:
        self.buffer, self.offset = buffer, offset

    @property
    def bus_address(self) -> int:
        return self.buffer.bus_address + self.offset


def taken(device: Device, nbytes: int) -> Memory:
    """New memory of a device, from the next call on looked for by dispatch."""
    collect()
    with devices.lock(device):
        made = Memory(device, device.alloc(nbytes))
    devices.resident()
    return made


def _memory(value: Any) -> Optional[Memory]:
    while isinstance(value, np.ndarray):
        value = value.base
    return value if isinstance(value, Memory) else None


def owner(array: np.ndarray) -> Any:
    """What owns an array's memory: a :class:`Memory`, the array of which it is a view, or any other
    object that lent it its memory."""
    while True:
        base = array.base
        if base is None:
            return array
        if not isinstance(base, np.ndarray):
            return base
        array = base


def located(view: np.ndarray) -> Tuple[Memory, int]:
    """The memory of an array that lies in a device's, and where it begins there, in bytes.

    Only for arrays that :func:`place` knows.
    """
    base: Any = view.base
    while type(base) is not Memory:
        base = base.base
    return base, view.__array_interface__["data"][0] - base.address


def home(value: Any) -> Optional[Device]:
    """The device in whose memory an array lies."""
    memory = _memory(value)
    return None if memory is None else memory.device


def place(value: np.ndarray, device: Optional[Device]) -> Optional[Place]:
    """Where a float32 array lies in this device's memory; None where it does not, or not wholly."""
    memory = _memory(value)
    if memory is None or memory.device is not device or value.dtype != _FLOAT32:
        return None
    offset = value.__array_interface__["data"][0] - memory.address
    steps = [(size - 1) * stride for size, stride in zip(value.shape, value.strides)]
    low = offset + sum(min(step, 0) for step in steps)
    high = offset + sum(max(step, 0) for step in steps) + _FLOAT32.itemsize
    if value.size == 0 or low < 0 or high > memory.buffer.nbytes or offset % 4:
        return None
    return Place(memory.buffer, offset)
