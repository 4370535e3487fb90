"""The device contract over the QPUs of a Raspberry Pi.

Memory comes from :mod:`.memory`, launches go through a :mod:`launcher <.launchers>`.  A program
that is launched through the firmware has to interrupt the host when the last QPU is done, because
the firmware's call returns at the first interrupt; programs launched through registers need not.

What keeps memory safe, since a QPU reads and writes whatever address it is given:

- a launch that did not end in time may go on for good.  From then on nothing that is freed is used
  again, and no further launch is made, until the chip is known to have ended it;
- signal handlers of Python wait while a launch or an allocation is under way;
- a process that was forked off gets an error from every method, and its end changes nothing;
- one process has the GPU at a time (:mod:`.lock`);
- at the end of the process the QPUs are handed back to the firmware, whatever went wrong before.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from .. import log
from ..errors import DeviceError, OutOfDeviceMemory
from .device import (
    Buffer,
    BufferProgram,
    Device,
    LoadedProgram,
    MemoryState,
    RunReport,
    Uniforms,
    Words,
    buffer_view,
    make_room,
    program_words,
    uniform_words,
)
from .launchers import Launcher
from .lending import hand_back, stop_qpus
from .lock import GpuLock
from .mailbox import Mailbox
from .pools import Piece, Pool
from .signals import Deferred
from .soc import Board

__all__ = ["Pi"]

LINE = 64
SMALL = 16 << 10
"""Up to this many bytes a buffer lies in uncached memory: reading it there costs less than the
kernel's cleaning and invalidating, and small buffers do not use up descriptors."""

MAX_QPUS = 12

_ending = False
"""The process ends, so that arrays in memory that is not freed harm nobody."""

_open_devices: "weakref.WeakSet[Pi]" = weakref.WeakSet()
_kept: List[Any] = []
"""Memory of programs that may run on after their device was closed: held to the process's end."""


class _PiBuffer(Buffer):
    def __init__(self, device: "Pi", piece: Piece, nbytes: int) -> None:
        self._device = device
        self._piece: Optional[Piece] = piece
        self._nbytes = nbytes

    def _check(self) -> Piece:
        self._device._check_open()
        piece = self._piece
        if piece is None:
            raise DeviceError("this buffer was freed")
        return piece

    @property
    def bus_address(self) -> int:
        return self._check().bus

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
        return buffer_view(self._check().bytes, dtype, shape, offset, order)

    def clean(self) -> None:
        self._check().clean()

    def invalidate(self) -> None:
        self._check().invalidate()

    def free(self) -> None:
        self._device._free(self)


class Pi(Device):
    """The QPUs of this board; :func:`piblas.driver.opening.open_pi` makes one.

    ``memory`` and ``launcher`` name what serves it, ``passed_over`` says why better ones do not.
    """

    name = "qpu"

    def __init__(
        self,
        board: Board,
        clock_hz: float,
        mailbox: Mailbox,
        pools: Tuple[Pool, Pool],
        launcher: Launcher,
        lock: GpuLock,
        passed_over: Sequence[str] = (),
    ) -> None:
        self.board = board
        self.mailbox = mailbox
        self.launcher = launcher
        self.passed_over = tuple(passed_over)
        self.longest_launch = launcher.longest
        self._clock_hz = clock_hz
        self._data, self._control = pools
        self._gpu_lock = lock
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._closed = False
        self._waiting: List[Piece] = []  # freed while a lost launch may still use them
        self._pieces: Dict[int, Piece] = {}  # by bus address
        self._staging: Optional[Piece] = None
        _open_devices.add(self)

    @property
    def n_qpus(self) -> int:
        return MAX_QPUS

    @property
    def clock_hz(self) -> float:
        return self._clock_hz

    @property
    def memory(self) -> str:
        """The backend of large buffers."""
        return self._data.backend.name

    @property
    def uses_cached_memory(self) -> bool:
        """Whether the kernel has to clean and invalidate large buffers."""
        return self._data.backend.cached

    @property
    def is_open(self) -> bool:
        return not self._closed and self._pid == os.getpid()

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            raise DeviceError(
                f"this device was opened by process {self._pid} and this is process {os.getpid()}, "
                "forked off later: a device cannot be shared; open it after the fork, or start "
                'processes by "spawn"'
            )
        if self._closed:
            raise DeviceError("this device was closed")

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """This thread alone, and no signal handler, while the block runs."""
        self._check_open()
        with self._lock, Deferred():
            self._check_open()
            yield

    # --- memory --------------------------------------------------------------------------------

    def memory_state(self) -> MemoryState:
        with self._held():
            used = sum(piece.nbytes for piece in self._pieces.values())
            waiting = sum(pool.unused() for pool in {self._data, self._control})
            total, free, largest = self._data.backend.room()
        return total, used, None if free is None else free + waiting, largest

    def alloc(self, nbytes: int) -> Buffer:
        self._check_open()
        if nbytes < 1:
            raise DeviceError(f"a buffer of {nbytes} bytes: the smallest has 1")
        size = int(nbytes)
        return self._alloc(size, self._control if size <= SMALL else self._data)

    def _alloc(self, nbytes: int, pool: Pool) -> _PiBuffer:
        with self._held():
            return _PiBuffer(self, self._take(nbytes, pool), nbytes)

    def _take(self, nbytes: int, pool: Pool) -> Piece:
        self._recover()
        try:
            piece = pool.take(nbytes)
        except OutOfDeviceMemory:
            make_room(self)
            for each in {self._data, self._control}:
                each.trim()
            piece = pool.take(nbytes)
        self._pieces[piece.bus] = piece
        return piece

    def _give_back(self, piece: Piece) -> None:
        del self._pieces[piece.bus]
        if self.launcher.lost:
            self._waiting.append(piece)
        else:
            piece.pool.give_back(piece)

    def _free(self, buffer: _PiBuffer) -> None:
        if self._pid != os.getpid() or self._closed:
            return  # freed with the device, or nothing of this process
        with self._held():
            piece, buffer._piece = buffer._piece, None
            if piece is not None:
                self._give_back(piece)

    def _recover(self) -> bool:
        """Whether no lost launch can run any more; if so, free what had to wait for that."""
        if self.launcher.lost and self.launcher.ended():
            self.launcher.lost = False
        if self.launcher.lost:
            return False
        while self._waiting:
            piece = self._waiting.pop()
            piece.pool.give_back(piece)
        return True

    def load(self, words: Words) -> LoadedProgram:
        code = program_words(words)
        padded = -(-code.size // 8) * 8
        buffer = self._alloc(8 * padded, self._control)
        target = buffer.array("<u8", padded)
        target[: code.size] = code
        target[code.size :] = 0
        buffer.clean()
        # The place may have held another program, whose words the caches still know.
        self.launcher.clear_caches()
        return BufferProgram(buffer, code.size)

    def clear_caches(self) -> None:
        with self._held():
            self.launcher.clear_caches()

    # --- launches ------------------------------------------------------------------------------

    def execute(
        self,
        program: Union[LoadedProgram, int],
        uniforms: Uniforms,
        timeout: float = 10.0,
        clear_caches: bool = True,
    ) -> RunReport:
        self._check_open()
        if not 1 <= len(uniforms) <= MAX_QPUS:
            raise DeviceError(f"uniforms for {len(uniforms)} QPUs: this device has 1 to {MAX_QPUS}")
        code = program.bus_address if isinstance(program, LoadedProgram) else int(program)
        streams: List[Union[int, np.ndarray]] = [
            int(stream) if isinstance(stream, (int, np.integer)) else uniform_words(stream, qpu)
            for qpu, stream in enumerate(uniforms)
        ]
        with self._held():
            self._ready()
            control, pairs = self._stage(code, streams)
            return self._launch(control, pairs, timeout, clear_caches)

    def _stage(
        self, code: int, streams: Sequence[Union[int, np.ndarray]]
    ) -> Tuple[int, List[Tuple[int, int]]]:
        """Write the control list and behind it the streams, each on cache lines of its own.

        A line is left free behind a stream: QPUs fetch uniforms ahead of their use.
        """
        need = 2 * LINE
        places: List[int] = []
        for stream in streams:
            places.append(need)
            if isinstance(stream, np.ndarray):
                need += -(-stream.nbytes // LINE) * LINE + LINE
        piece = self._staged(need)
        words = piece.bytes[:need].view(np.uint32)
        pairs: List[Tuple[int, int]] = []
        for place, stream in zip(places, streams):
            if isinstance(stream, np.ndarray):
                words[place // 4 : place // 4 + stream.size] = stream
                pairs.append((piece.bus + place if stream.size else 0, code))
            else:
                pairs.append((stream, code))
        words[: 2 * len(pairs)] = np.array(pairs, np.int64).astype(np.uint32).ravel()
        piece.clean()
        return piece.bus, pairs

    def _staged(self, need: int) -> Piece:
        """The piece that holds lists and uniforms, grown where it is too small."""
        if self._staging is None or self._staging.nbytes < need:
            old, self._staging = self._staging, None
            if old is not None:
                self._give_back(old)
            self._staging = self._take(max(need, SMALL), self._control)
        return self._staging

    def execute_list(
        self,
        control_bus_address: int,
        count: int,
        timeout: float = 10.0,
        clear_caches: bool = True,
    ) -> RunReport:
        self._check_open()
        if not 1 <= count <= MAX_QPUS:
            raise DeviceError(f"a list of {count} launches: this device has 1 to {MAX_QPUS} QPUs")
        with self._held():
            self._ready()
            words = self._words_at(int(control_bus_address), 2 * count).tolist()
            pairs = list(zip(words[::2], words[1::2]))
            return self._launch(int(control_bus_address), pairs, timeout, clear_caches)

    def _words_at(self, bus: int, count: int) -> np.ndarray:
        own = self._pieces.get(bus)  # a list at the beginning of a buffer is found without a search
        for piece in self._pieces.values() if own is None else (own,):
            start = bus - piece.bus
            if 0 <= start and start + 4 * count <= piece.nbytes and start % 4 == 0:
                return piece.bytes[start : start + 4 * count].view(np.uint32)
        raise DeviceError(f"the list of launches at {bus:#010x} is outside device memory")

    def _ready(self) -> None:
        if not self._recover():
            raise DeviceError(
                "an earlier launch did not end in time and may still run on the QPUs: nothing "
                "more is launched by this process"
            )

    def _launch(
        self,
        control: int,
        pairs: Sequence[Tuple[int, int]],
        timeout: float,
        clear_caches: bool,
    ) -> RunReport:
        if not timeout > 0:
            raise DeviceError(f"timeout = {timeout}: a launch needs more than 0 seconds")
        done = self.launcher.run(control, pairs, len(pairs), timeout, clear_caches)
        return RunReport(
            n_qpus=len(pairs),
            clock_hz=self._clock_hz,
            seconds=done.seconds,
            counters=done.counters,
        )

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        if self._closed:
            return
        if self._pid != os.getpid():
            self._closed = True
            return
        with self._lock, Deferred():
            if self._closed:
                return
            self._closed = True
            self.forget_kept()
            _open_devices.discard(self)
            still_runs = not self._recover() and not stop_qpus(self.mailbox)
            if still_runs:
                _kept.append((self._data, self._control))
                log.warning(
                    "a launch may still run on the QPUs; its memory is kept until this process "
                    "ends. Reboot before you trust the machine"
                )
            steps: List[Callable[[], Any]] = [lambda: hand_back(self.mailbox)]
            if not still_runs:
                steps += [self._close_pool(pool) for pool in {self._data, self._control}]
            steps += [self.launcher.close, self.mailbox.close, self._gpu_lock.release]
            for step in steps:
                try:
                    step()
                except (OSError, DeviceError) as error:
                    log.warning("closing the GPU: %s", error)

    @staticmethod
    def _close_pool(pool: Pool) -> Callable[[], Any]:
        def close() -> None:
            if not pool.close() and not _ending:
                log.warning("arrays in GPU memory outlive their device: the memory is not freed")

        return close

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def _forked(self) -> None:
        """In the child of a fork: let go of what must stay the parent's."""
        self._gpu_lock.forget()
        self._lock = threading.RLock()


@atexit.register
def _close_all() -> None:
    global _ending
    _ending = True
    for device in list(_open_devices):
        device.close()


def _after_fork() -> None:
    for device in list(_open_devices):
        device._forked()


os.register_at_fork(after_in_child=_after_fork)
