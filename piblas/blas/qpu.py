"""Runs a routine's kernel on a device: stage the operands, launch, bring the result back.

Each function leaves the caller's arrays alone until the result is complete, so that an exception
(no memory, a time-out, a fault) changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, Iterator, List, Mapping, Tuple

import numpy as np

from ..driver.device import Buffer, Device, RunReport
from ..host import arrays, limits
from ..kernels import gemm, gemm_choice, gemm_layout, gemm_schedule, uniforms

__all__ = [
    "device_buffers", "loaded_program", "room_of", "sgemm", "watched", "write_streams",
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


def sgemm(
    device: Device,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: np.ndarray,
    timeout: float = 60.0,
) -> RunReport:
    """c = alpha * a @ b + beta * c on the QPUs of ``device``.

    ``a`` is (m, k), ``b`` (k, n), both float32 with any strides; ``c`` is (m, n) float32,
    Fortran-ordered, and written only when every launch has succeeded.  m, n, k >= 1.

    There is one launch, or several where the device limits their length.  The order in which an
    element's products are added depends on its tile's place in the launch, so the cut may change
    last bits; the same call on the same device is cut the same way.
    """
    (m, k), n = a.shape, b.shape[1]
    options, split_k = gemm_choice.choose_parts(n, m, k, beta != 0)
    seconds = gemm_choice.clocks(options, n, m, k, parts=split_k) / device.clock_hz
    cut = limits.blocks(m, n, seconds, device.longest_launch)
    if len(cut) == 1:
        return _product(device, alpha, a, b, beta, c, timeout)
    result = c.copy(order="F") if beta else np.empty_like(c, order="F")
    reports = [
        _product(device, alpha, a[rows], b[:, columns], beta, result[rows, columns], timeout)
        for rows, columns in cut
    ]
    c[...] = result
    return limits.combined(reports)


def _product(
    device: Device,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: np.ndarray,
    timeout: float,
) -> RunReport:
    """One launch of :func:`sgemm`.

    The kernel works on rows, so it computes the transpose: c.T = alpha * b.T @ a.T + beta * c.T.
    """
    m, k = a.shape
    n = b.shape[1]
    options, split_k = gemm_choice.choose_parts(n, m, k, beta != 0)
    program = loaded_program(device, gemm.SPEC, options)
    p, q = gemm_layout.packed_words(options, n, m, k)
    with contextlib.ExitStack() as stack:
        p_buf, q_buf, d_buf = stack.enter_context(
            device_buffers(device, 4 * p.words, 4 * q.words, 4 * split_k * m * n)
        )
        skew = gemm_schedule.skew_of(options, p, q) if split_k == 1 else 0
        tiles = gemm_schedule.dense_tiles(options, p, q, m, skew, split_k=split_k)
        streams = gemm_schedule.streams(options, tiles, device.n_qpus, skew)
        (u_buf,) = stack.enter_context(device_buffers(device, room_of(streams)))
        gemm_layout.pack(p, b, p_buf.array(np.float32, (p.words,)))
        gemm_layout.pack(q, a.T, q_buf.array(np.float32, (q.words,)))
        starts = write_streams(
            streams,
            u_buf,
            {"p": p_buf.bus_address, "q": q_buf.bus_address, "d": d_buf.bus_address},
            alpha=np.array([alpha], np.float32),
            beta=np.array([beta], np.float32),
        )
        d = d_buf.array(np.float32, (split_k, n, m))
        if options.beta:
            d[0] = c.T
        # The result too: a dirty line of it, written back later, would overwrite the QPUs' stores.
        for buffer in (p_buf, q_buf, d_buf, u_buf):
            buffer.clean()
        report = device.execute(program, starts, timeout=timeout)
        d_buf.invalidate()
        if split_k == 1:
            c.T[...] = d[0]
        else:
            total = d.sum(axis=0)
            c.T[...] = total + np.float32(beta) * c.T if beta else total
    report.kernel = gemm.SPEC.name
    return report
