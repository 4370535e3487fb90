"""A device whose launches return at once: what is left of a call is the host's own work.

Memory is ordinary NumPy memory, filled with zeros, and no launch changes it.  So results are not
computed: they are what was there, and words by which kernels report Inf, NaN or an overflow read 0,
"fine".  Function calls counted on this device are those of piblas above the device contract; what a
Pi's driver adds per launch and per buffer is not among them.
"""

from __future__ import annotations

from typing import Any, Dict, Sequence, Union

import numpy as np

from piblas.driver.device import (
    Buffer,
    BufferProgram,
    Device,
    LoadedProgram,
    RunReport,
    Uniforms,
    Words,
    program_words,
)
from piblas.errors import DeviceError

__all__ = ["NullDevice"]

PAGE = 4096
FIRST = 0xC0000000
"""The first bus address: the alias that a Pi 2 or 3 hands out."""


class _NullBuffer(Buffer):
    """NumPy memory that starts on a page, with a bus address that no buffer in use has."""

    def __init__(self, device: "NullDevice", nbytes: int, bus_address: int) -> None:
        self._device, self._nbytes, self._bus_address = device, nbytes, bus_address
        room = np.zeros(nbytes + PAGE, np.uint8)
        start = -room.ctypes.data % PAGE
        self._memory = room[start : start + nbytes]

    @property
    def bus_address(self) -> int:
        return self._bus_address

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def array(
        self,
        dtype: Any,
        shape: Union[int, Sequence[int], None] = None,
        offset: int = 0,
        order: str = "C",
    ) -> np.ndarray:
        kind = np.dtype(dtype)
        if shape is None:
            shape = (self._nbytes - offset) // kind.itemsize
        return np.ndarray(shape, kind, self._memory, offset, order=order)

    def clean(self) -> None:
        pass

    def invalidate(self) -> None:
        pass

    def free(self) -> None:
        self._device.in_use.pop(self._bus_address, None)


class NullDevice(Device):
    """Runs nothing.

    ``launches`` counts launches and ``loads`` programs; ``in_use`` holds the bytes of each buffer
    that was not freed, by bus address.
    """

    name = "null"

    def __init__(self, n_qpus: int = 12, clock_hz: float = 250e6) -> None:
        self._n_qpus, self._clock_hz = n_qpus, clock_hz
        self._next = FIRST
        self.in_use: Dict[int, int] = {}
        self.launches = self.loads = 0

    @property
    def n_qpus(self) -> int:
        return self._n_qpus

    @property
    def clock_hz(self) -> float:
        return self._clock_hz

    def alloc(self, nbytes: int) -> Buffer:
        if nbytes < 1:
            raise DeviceError(f"a buffer of {nbytes} bytes: the smallest has 1")
        address, self._next = self._next, self._next + (nbytes // PAGE + 2) * PAGE
        if self._next >= 1 << 32:
            address, self._next = FIRST, FIRST + (nbytes // PAGE + 2) * PAGE
        self.in_use[address] = nbytes
        return _NullBuffer(self, nbytes, address)

    def load(self, words: Words) -> LoadedProgram:
        code = program_words(words)
        self.loads += 1
        buffer = self.alloc(code.nbytes)
        buffer.array(np.uint64)[:] = code
        return BufferProgram(buffer, code.size)

    def execute(
        self,
        program: Union[LoadedProgram, int],
        uniforms: Uniforms,
        timeout: float = 10.0,
        clear_caches: bool = True,
    ) -> RunReport:
        self.launches += 1
        return RunReport(len(uniforms), self._clock_hz, 0.0)

    def execute_list(
        self,
        control_bus_address: int,
        count: int,
        timeout: float = 10.0,
        clear_caches: bool = True,
    ) -> RunReport:
        self.launches += 1
        return RunReport(count, self._clock_hz, 0.0)

    def clear_caches(self) -> None:
        pass

    def close(self) -> None:
        self.in_use.clear()
        self.forget_kept()
