"""Runs the gemm kernel with given options and compares with float64.

D lies inside a larger buffer full of guard words; strict mode faults on accesses outside the
buffers, the guard words catch those inside.
"""

from __future__ import annotations

import numpy as np

from piblas.kernels import gemm, gemm_data, reference

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
    lag=None,
    parts=1,
    values=uniform,
    program=None,
    meet=gemm_data.MEET,
):
    """The report of a launch, after comparing D and the guard words around it.

    With ``parts`` the steps of k are cut, and D is the sum of as many matrices.  ``values`` makes
    operands, ``program`` is one that is loaded already.
    """
    rng = rng or np.random.default_rng(m * 1_000_003 + n * 1009 + k)
    a, b, c = values(rng, (m, k)), values(rng, (k, n)), values(rng, (m, n))
    ldd = ldd or n
    p, q = gemm_data.packed_words(options, m, n, k)
    p_buf, q_buf = dev.alloc(4 * p.words), dev.alloc(4 * q.words)
    words = BEFORE + parts * m * ldd + AFTER
    d_buf = dev.alloc(4 * words)
    raw = d_buf.array(np.uint32, (words,))
    raw[:] = GUARD
    d = d_buf.array(np.float32, (parts, m, ldd), offset=4 * BEFORE)[:, :, :n]
    if options.beta:
        d[...] = 0
        d[0] = c
    gemm_data.pack(p, a.T, p_buf.array(np.float32, (p.words,)))
    gemm_data.pack(q, b, q_buf.array(np.float32, (q.words,)))
    addresses = p_buf.bus_address, q_buf.bus_address, d_buf.bus_address + 4 * BEFORE
    if lag is None:
        lag = gemm_data.lag_of(options, p, q) if parts == 1 else 0
    tiles = list(gemm_data.grid(options, p, q, *addresses, ldd, lag, parts=parts))
    streams = gemm_data.Streams(options, tiles, alpha, beta, ldd, n_qpus, lag, meet)
    u_buf = dev.alloc(streams.nbytes)
    stream_words, starts = streams.at(u_buf.bus_address)
    u_buf.array(np.uint32, stream_words.shape)[:] = stream_words
    loaded = program or dev.load(gemm.SPEC.program(options).words)
    buffers = p_buf, q_buf, d_buf, u_buf
    for buffer in buffers:
        buffer.clean()
    report = dev.execute(loaded, starts)
    d_buf.invalidate()
    product = alpha, a, b, beta, c
    total = d.sum(axis=0, dtype=np.float64) if parts > 1 else d[0]
    error, bound = np.abs(total - reference.sgemm(*product)), gemm_data.error_bound(*product)
    assert np.all(error <= bound), f"{options}, {m} x {k} x {n}: off by {np.max(error - bound)}"
    guards = np.ones(words, dtype=bool)
    guards[BEFORE : words - AFTER].reshape(parts, m, ldd)[:, :, :n] = False
    assert np.all(raw[guards] == GUARD), "a word outside D was written"
    for buffer in buffers:
        buffer.free()
    if program is None:
        loaded.free()
    return report
