"""Programs, buffers and uniform streams of launches that have no plan (:mod:`.resident`)."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, Iterator, List, Mapping, Tuple

import numpy as np

from ..driver.device import Buffer, Device
from ..host import arrays
from ..kernels import gemm, gemm_schedule, uniforms

__all__ = [
    "device_buffers", "loaded_program", "room_of", "watched", "write_streams",
]  # fmt: skip

_lock = threading.Lock()


def _after_fork() -> None:
    """In the child: the thread that loaded a program meanwhile is not here."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def loaded_program(device: Device, spec: Any, options: Any) -> Any:
    """The kernel's program in the device's memory, loaded once a device."""
    key = (spec.name, options)
    with _lock:
        program = device.kept.get(key)
        if program is None:
            program = device.load(spec.words(options))
            arrays.keep(device, key, program)
        return program


@contextlib.contextmanager
def device_buffers(device: Device, *sizes: int) -> Iterator[Tuple[Buffer, ...]]:
    """Buffers of these many bytes for the length of a call."""
    arrays.collect()
    with contextlib.ExitStack() as stack:
        buffers = []
        for size in sizes:
            buffer = device.alloc(size)
            stack.callback(buffer.free)
            buffers.append(buffer)
        yield tuple(buffers)


def write_streams(
    streams: uniforms.Streams,
    buffer: Buffer,
    addresses: Mapping[str, int],
    **values: np.ndarray,
) -> List[int]:
    """Fill a buffer of :func:`room_of` bytes with uniform streams; where each QPU's begins."""
    own = buffer.bus_address
    out = buffer.array(np.uint32, streams.words.shape)
    watch = watched(streams, buffer)
    watch[:] = 0
    where = {"watch": own + buffer.nbytes - watch.nbytes, uniforms.OWN: own, **addresses}
    if "alpha" in values:
        values["limit"] = np.float32(gemm_schedule.LIMIT / np.abs(values["alpha"]).max(initial=1))
        values["limit"] = values["limit"].reshape(1)
    streams.fill(out, where, values)
    return streams.entries(own)


def room_of(streams: uniforms.Streams) -> int:
    """Bytes of a buffer for uniform streams and the words that the QPUs watch."""
    words = -(-streams.words.size // gemm.LANES) * gemm.LANES
    return 4 * (words + gemm_schedule.watched_words(streams.n_qpus))


def watched(streams: uniforms.Streams, buffer: Buffer) -> np.ndarray:
    """The words (uint32) that the QPUs watch, at the end of such a buffer."""
    words = buffer.array(np.uint32, (room_of(streams) // 4,))
    return words[words.size - gemm_schedule.watched_words(streams.n_qpus) :]
