"""The device contract: allocate, load, execute, close.

A program is a sequence of 64-bit instruction words, a launch a program and one stream of uniforms
per QPU, and memory is a set of buffers with bus addresses.  Every implementation takes the same
words, the same uniforms and the same memory layout::

    with piblas.driver.open_device("emulator") as dev:
        buf = dev.alloc(nbytes)
        prog = dev.load(words)
        report = dev.execute(prog, uniforms, timeout=10.0)
"""

from __future__ import annotations

import abc
import functools
import gc
import math
import struct
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    Union,
)

import numpy as np

from ..errors import DeviceError

if TYPE_CHECKING:
    from .detail import Hot, Timeline

    class Assembled(Protocol):
        """What an assembler returns: its ``words`` are the program."""

        words: Any

    Words = Union[bytes, bytearray, memoryview, np.ndarray, Sequence[int], Assembled]
    Uniforms = Sequence[Union[int, np.ndarray, Sequence[Union[int, float]]]]
    MemoryState = Tuple[Optional[int], Optional[int], Optional[int], Optional[int]]

else:  # types that nobody looks at while a program runs, and whose making is part of each start
    Words = Uniforms = MemoryState = Any

__all__ = [
    "Buffer",
    "BufferProgram",
    "Device",
    "LoadedProgram",
    "MemoryState",
    "RunReport",
    "Uniforms",
    "Words",
    "buffer_view",
    "make_room",
    "on_shortage",
    "open_device",
    "program_words",
    "uniform_words",
]


class RunReport:
    """What one launch did.

    On the emulator, ``instructions``, ``per_qpu`` and ``bytes`` are exact counts.  ``cycles``,
    ``seconds`` and ``stalls`` need a clock; where the device has none they are None, never a guess.
    ``issue_cycles`` is a lower bound of ``cycles``: four clocks for each instruction of the QPU
    that issued most.

    ``bytes`` maps a path to a number of bytes: "tmu" (words returned), "uniforms", "vpm_dma_load",
    "vpm_dma_store" and "sdram_write"; "l2" (lines that L2 handed out) and "sdram_read" (lines that
    L2 fetched, and DMA loads) are there only where caches are modelled.

    ``timing`` is the timing set that a simulated launch used (:mod:`piblas.isa.timing`); where it
    is None, ``cycles`` and ``seconds`` are measured or missing.  ``counters`` holds V3D performance
    counters by the chip's number (:mod:`piblas.isa.counters`).  ``hot`` and ``timeline`` are there
    when somebody asked for them (:mod:`.collect`).

    ``kernel`` is for the caller to fill in.
    """

    # Written out: making a dataclass takes hundreds of function calls at every start.
    def __init__(
        self,
        n_qpus: int,
        clock_hz: Optional[float] = None,
        seconds: Optional[float] = None,
        cycles: Optional[int] = None,
        instructions: Optional[int] = None,
        issue_cycles: Optional[int] = None,
        stalls: Optional[Mapping[str, int]] = None,
        bytes: Optional[Mapping[str, int]] = None,
        per_qpu: Tuple[Mapping[str, int], ...] = (),
        interrupts: Tuple[int, ...] = (),
        kernel: Optional[str] = None,
        timing: Optional[Any] = None,
        counters: Optional[Mapping[int, int]] = None,
        hot: Optional[Hot] = None,
        timeline: Optional[Timeline] = None,
    ) -> None:
        self.n_qpus, self.clock_hz, self.seconds = n_qpus, clock_hz, seconds
        self.cycles, self.instructions, self.issue_cycles = cycles, instructions, issue_cycles
        self.stalls, self.bytes, self.counters = stalls, bytes, counters
        self.per_qpu, self.interrupts, self.kernel = per_qpu, interrupts, kernel
        self.timing, self.hot, self.timeline = timing, hot, timeline

    def replaced(self, **changes: Any) -> "RunReport":
        """The same report with some facts changed."""
        return RunReport(**{**vars(self), **changes})

    def __repr__(self) -> str:
        given = (f"{name}={value!r}" for name, value in vars(self).items() if value is not None)
        return f"RunReport({', '.join(given)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunReport) and vars(self) == vars(other)


class Buffer(abc.ABC):
    """A piece of device memory that both the CPU and the QPUs see."""

    @property
    @abc.abstractmethod
    def bus_address(self) -> int:
        """Where a QPU sees the first byte; a multiple of 4096."""

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """The size that was asked for."""

    @abc.abstractmethod
    def array(
        self,
        dtype: Any,
        shape: Union[int, Sequence[int], None] = None,
        offset: int = 0,
        order: str = "C",
    ) -> np.ndarray:
        """A writable view of ``shape`` items of ``dtype`` from byte ``offset`` on, not a copy.

        Without a shape: all whole items to the end of the buffer.
        """

    @abc.abstractmethod
    def clean(self) -> None:
        """Make what the CPU wrote visible to the QPUs."""

    @abc.abstractmethod
    def invalidate(self) -> None:
        """Make what the QPUs wrote visible to the CPU."""

    @abc.abstractmethod
    def free(self) -> None:
        """Give the memory back; doing so twice is harmless, any other use raises DeviceError."""


class LoadedProgram(abc.ABC):
    """Code in device memory."""

    @property
    @abc.abstractmethod
    def bus_address(self) -> int:
        """Where a QPU finds the first instruction word."""

    @property
    @abc.abstractmethod
    def n_words(self) -> int:
        """Number of instruction words."""

    @abc.abstractmethod
    def free(self) -> None:
        """Give the code's memory back."""


class BufferProgram(LoadedProgram):
    """A program in a buffer of its own."""

    def __init__(self, buffer: Buffer, n_words: int) -> None:
        self._buffer = buffer
        self._n_words = n_words

    @property
    def bus_address(self) -> int:
        return self._buffer.bus_address

    @property
    def n_words(self) -> int:
        return self._n_words

    @property
    def buffer(self) -> Buffer:
        """Where the code lies."""
        return self._buffer

    def free(self) -> None:
        self._buffer.free()


class Device(abc.ABC):
    """Something that runs QPU programs; a context manager.  Any thread may call the methods."""

    name: str = "device"

    longest_launch: Optional[float] = None
    """Seconds that one launch should be predicted to take at most; callers cut longer work into
    several launches.  None: any length."""

    runner: Any = None
    """What :func:`piblas.host.runner.runner_of` keeps with the device."""

    @property
    def is_open(self) -> bool:
        """Whether this process can use it: it was not closed, and is not that of a parent."""
        return True

    @functools.cached_property
    def kept(self) -> Dict[Any, LoadedProgram]:
        """Programs that are loaded once and launched often, by a key of their user's."""
        return {}

    def forget_kept(self) -> None:
        """Let go of what users of the device keep with it, before its memory goes."""
        self.kept.clear()
        if self.runner is not None:
            self.runner.forget()

    @property
    @abc.abstractmethod
    def n_qpus(self) -> int:
        """How many QPUs a launch may use."""

    @property
    @abc.abstractmethod
    def clock_hz(self) -> float:
        """The clock of the V3D block."""

    def memory_state(self) -> MemoryState:
        """(all, used, free bytes of device memory, bytes of the largest free piece); None for what
        nobody tells."""
        return None, None, None, None

    @abc.abstractmethod
    def alloc(self, nbytes: int) -> Buffer:
        """A new buffer; :class:`~piblas.errors.OutOfDeviceMemory` if there is no room."""

    @abc.abstractmethod
    def load(self, words: Words) -> LoadedProgram:
        """Copy a program to device memory.

        ``words`` are its 64-bit instruction words: an assembled program, little-endian bytes, an
        array or a sequence of integers.  DeviceError if they are none.
        """

    @abc.abstractmethod
    def execute(
        self,
        program: Union[LoadedProgram, int],
        uniforms: Uniforms,
        timeout: float = 10.0,
        clear_caches: bool = True,
    ) -> RunReport:
        """Run a program (or the code at a bus address) on ``len(uniforms)`` QPUs and wait.

        Entry q of ``uniforms`` is QPU q's stream: a 1-D array or a list of ints and floats (floats
        become float32 patterns), copied to device memory for the launch; or an int, the bus address
        of a stream that is there already.  ``clear_caches`` clears the caches of the QPUs first.
        """

    @abc.abstractmethod
    def execute_list(
        self,
        control_bus_address: int,
        count: int,
        timeout: float = 10.0,
        clear_caches: bool = True,
    ) -> RunReport:
        """Launch ``count`` pairs of words {uniforms address, code address} in device memory.

        This is the layout of the firmware's launch call; pair q runs on QPU q.  That call returns
        at the first host interrupt; this one waits until every program has ended, and
        ``RunReport.interrupts`` says which QPUs raised the interrupt.
        """

    @abc.abstractmethod
    def clear_caches(self) -> None:
        """Clear the caches of the QPUs."""

    @abc.abstractmethod
    def close(self) -> None:
        """Free everything; doing so twice is harmless, any other use raises DeviceError."""

    def survives_fork(self) -> bool:
        """In the child of a fork: whether this device of the parent works here, too."""
        return False

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


_on_shortage: List[Callable[[Device], None]] = []


def on_shortage(release: Callable[[Device], None]) -> None:
    """Have ``release(device)`` called when that device has no room for a buffer.

    It frees what nobody needs, of that device alone: the caller may hold the device's lock.
    """
    _on_shortage.append(release)


def make_room(device: Device) -> None:
    """Free what can be freed; who finds no room for a buffer calls this, and tries once more.

    Arrays in reference cycles hold their memory until the garbage collector has looked at them,
    which is not triggered by a lack of device memory.
    """
    gc.collect()
    for release in _on_shortage:
        release(device)


def buffer_view(
    memory: np.ndarray,
    dtype: Any,
    shape: Union[int, Sequence[int], None],
    offset: int,
    order: str,
) -> np.ndarray:
    """What :meth:`Buffer.array` returns for a buffer whose bytes are ``memory`` (uint8)."""
    kind = np.dtype(dtype)
    if shape is None:
        shape = (max(memory.size - offset, 0) // kind.itemsize,)
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    need = math.prod(map(int, sizes)) * kind.itemsize  # np.prod would wrap around
    if offset < 0 or any(size < 0 for size in sizes) or offset + need > memory.size:
        raise DeviceError(
            f"an array of {need} bytes at offset {offset} does not fit a buffer of "
            f"{memory.size} bytes"
        )
    raw = memory[offset : offset + need]
    return np.ndarray(sizes, kind, raw, order=order)  # type: ignore[arg-type]


def program_words(words: Words) -> np.ndarray:
    """Instruction words as a 1-D uint64 array."""
    words = getattr(words, "words", words)
    if isinstance(words, (bytes, bytearray, memoryview)):
        raw = bytes(words)
        if len(raw) % 8:
            raise DeviceError(f"a program of {len(raw)} bytes is no sequence of 64-bit words")
        array = np.frombuffer(raw, dtype="<u8").astype(np.uint64)
    else:
        try:
            array = np.asarray(words, dtype=np.uint64)
        except (TypeError, ValueError, OverflowError):
            raise DeviceError(f"{_short(words)} is no sequence of 64-bit words") from None
    if array.ndim != 1 or array.size == 0:
        raise DeviceError(
            f"a program is a sequence of one or more 64-bit words, not of shape {array.shape}"
        )
    return array


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _uniform_word(value: Any, qpu: int) -> int:
    if isinstance(value, (float, np.floating)):
        try:
            return int(struct.unpack("<I", struct.pack("<f", value))[0])
        except OverflowError:
            raise DeviceError(f"uniforms of QPU {qpu}: {value!r} is beyond float32") from None
    if isinstance(value, (int, np.integer)) and -(1 << 31) <= int(value) < 1 << 32:
        return int(value) & 0xFFFFFFFF
    raise DeviceError(f"uniforms of QPU {qpu}: {value!r} is no 32-bit word")


def uniform_words(stream: Any, qpu: int) -> np.ndarray:
    """One QPU's uniforms as uint32 words."""
    if isinstance(stream, np.ndarray) and stream.dtype in (np.uint32, np.int32, np.float32):
        if stream.ndim != 1:
            raise DeviceError(f"uniforms of QPU {qpu} have {stream.ndim} dimensions, not 1")
        return np.ascontiguousarray(stream).view(np.uint32)
    try:
        values: List[Any] = list(stream)
    except TypeError:
        raise DeviceError(f"uniforms of QPU {qpu}: {stream!r} is no sequence of words") from None
    return np.array([_uniform_word(value, qpu) for value in values], dtype=np.uint32)


def open_device(name: str = "auto", **options: Any) -> Device:
    """Open the device called "qpu", "emulator" or "auto" (a Pi's GPU); options go to it.

    "auto" never means the emulator: where there is no GPU it raises DeviceError, and the caller
    decides what to do.
    """
    openers: Dict[str, Any] = {"auto": _open_qpu, "qpu": _open_qpu, "emulator": _open_emulator}
    if name not in openers:
        raise DeviceError(f"there is no device {name!r}: choose auto, qpu or emulator")
    device: Device = openers[name](**options)
    return device


def _open_emulator(**options: Any) -> Device:
    from .emulated import Emulator

    return Emulator(**options)


def _open_qpu(**options: Any) -> Device:
    from . import soc

    soc.require()  # first: no other computer needs what the driver imports
    try:
        from .opening import open_pi
    except Exception as error:  # an ioctl-opt that is missing, or fails in its own ways
        from . import needs

        raise DeviceError(f"{needs.driver(error)}; {needs.IOCTL_OPT}") from error
    return open_pi(**options)
