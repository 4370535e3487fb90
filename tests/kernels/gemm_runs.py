"""Runs the gemm kernel with given options and compares with float64.

D lies inside a larger buffer full of guard words; strict mode faults on accesses outside the
buffers, the guard words catch those inside.
"""

from __future__ import annotations

import numpy as np

from piblas.kernels import (
    gemm,
    gemm_error,
    gemm_layout,
    gemm_schedule,
    gemm_streams,
    reference,
    uniforms,
)  # fmt: skip

__all__ = ["GUARD", "run"]

GUARD = np.uint32(0x7FA5A5A5)
BEFORE, AFTER = 19, 23
"""Guard words in front of D and behind it."""


def uniform(rng, shape):
    return rng.uniform(-1, 1, shape).astype(np.float32)


def run(
    dev,
    options,
    m,
    n,
    k,
    alpha=1.0,
    beta=0.0,
    ldd=None,
    n_qpus=12,
    rng=None,
    skew=None,
    split_k=1,
    values=uniform,
    program=None,
    barriers=gemm_streams.BARRIER_WAVES,
    block=0,
    reads=True,
):
    """The report of a launch, after comparing D and the guard words around it.

    ``block`` and ``reads`` are those of :func:`gemm_streams.streams`.  With ``split_k`` the steps
    of k are cut, and D is the sum of as many matrices.  ``values`` makes operands, ``program`` is
    one that is loaded already.
    """
    rng = rng or np.random.default_rng(m * 1_000_003 + n * 1009 + k)
    a, b, c = values(rng, (m, k)), values(rng, (k, n)), values(rng, (m, n))
    ldd = ldd or n
    p, q = gemm_layout.packed_words(options, m, n, k)
    p_buf, q_buf = dev.alloc(4 * p.words), dev.alloc(4 * q.words)
    words = BEFORE + split_k * m * ldd + AFTER
    d_buf = dev.alloc(4 * words)
    raw = d_buf.array(np.uint32, (words,))
    raw[:] = GUARD
    d = d_buf.array(np.float32, (split_k, m, ldd), offset=4 * BEFORE)[:, :, :n]
    if options.beta:
        d[...] = 0
        d[0] = c if reads else np.nan  # which may not be read
        beta = beta if reads else 0.0
    gemm_layout.pack(p, a.T, p_buf.array(np.float32, (p.words,)))
    gemm_layout.pack(q, b, q_buf.array(np.float32, (q.words,)))
    if skew is None:
        skew = gemm_schedule.skew_of(options, p, q) if split_k == 1 else 0
    tiles = gemm_schedule.dense_tiles(options, p, q, ldd, skew, split_k=split_k)
    streams = gemm_streams.streams(
        options, tiles, n_qpus, skew, barriers, block=block, reads=reads
    )
    u_buf = dev.alloc(streams.nbytes)
    starts = streams.entries(u_buf.bus_address)
    watch = dev.alloc(4 * gemm_streams.watched_words(12))
    watch.array(np.uint32)[:] = 0
    addresses = {"p": p_buf.bus_address, "q": q_buf.bus_address, "watch": watch.bus_address}
    sums = dev.alloc(4 * gemm_streams.sums_words(options, n_qpus))
    addresses[gemm_streams.SUMS] = sums.bus_address
    addresses.update({"d": d_buf.bus_address + 4 * BEFORE, uniforms.OWN: u_buf.bus_address})
    factors = {"alpha": np.array([alpha], np.float32), "beta": np.array([beta], np.float32)}
    factors["limit"] = np.array([gemm_streams.LIMIT], np.float32)
    streams.fill(u_buf.array(np.uint32, streams.words.shape), addresses, factors)
    loaded = program or dev.load(gemm.SPEC.program(options).words)
    buffers = p_buf, q_buf, d_buf, u_buf, watch, sums
    for buffer in buffers:
        buffer.clean()
    report = dev.execute(loaded, starts)
    d_buf.invalidate()
    product = alpha, a, b, beta, c
    total = d.sum(axis=0, dtype=np.float64) if split_k > 1 else d[0]
    error, bound = np.abs(total - reference.sgemm(*product)), gemm_error.error_bound(*product)
    assert np.all(error <= bound), f"{options}, {m} x {k} x {n}: off by {np.max(error - bound)}"
    guards = np.ones(words, dtype=bool)
    guards[BEFORE : words - AFTER].reshape(split_k, m, ldd)[:, :, :n] = False
    assert np.all(raw[guards] == GUARD), "a word outside D was written"
    for buffer in buffers:
        buffer.free()
    if program is None:
        loaded.free()
    return report
