"""The gemm kernel on the device contract: any shape, any leading dimension, nothing outside D.

D lies inside a larger buffer full of guard words; strict mode faults on accesses outside the
buffers, the guard words catch those inside.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from piblas.driver import Emulator
from piblas.kernels import gemm, parts, reference

GUARD = np.uint32(0x7FA5A5A5)


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=64 << 20, seed=7, incoherent=request.param) as dev:
        yield dev


def run(dev, options, m, n, k, alpha=1.0, beta=0.0, ldd=None, n_qpus=12, rng=None):
    """Runs the kernel; returns the report after comparing D and the guard words around it."""
    rng = rng or np.random.default_rng(m * 1_000_003 + n * 1009 + k)
    a = rng.uniform(-1, 1, (m, k)).astype(np.float32)
    b = rng.uniform(-1, 1, (k, n)).astype(np.float32)
    ldd = ldd or n
    before, after = 19, 23
    p, q = gemm.packed_words(options, m, n, k)
    p_buf, q_buf = dev.alloc(4 * p.words), dev.alloc(4 * q.words)
    words = before + m * ldd + after
    d_buf = dev.alloc(4 * words)
    raw = d_buf.array(np.uint32, (words,))
    raw[:] = GUARD
    d = d_buf.array(np.float32, (m, ldd), offset=4 * before)[:, :n]
    c = rng.uniform(-1, 1, (m, n)).astype(np.float32)
    if options.beta:
        d[...] = c
    gemm.pack(p, a.T, p_buf.array(np.float32, (p.words,)))
    gemm.pack(q, b, q_buf.array(np.float32, (q.words,)))
    streams = gemm.uniforms(
        options,
        m,
        n,
        k,
        alpha,
        beta,
        p_buf.bus_address,
        q_buf.bus_address,
        d_buf.bus_address + 4 * before,
        ldd,
        n_qpus,
    )
    program = dev.load(gemm.SPEC.program(options).words)
    for buffer in (p_buf, q_buf, d_buf):
        buffer.clean()
    report = dev.execute(program, streams)
    d_buf.invalidate()
    want = reference.sgemm(alpha, a, b, beta, c)
    bound = gemm.error_bound(alpha, a, b, beta, c)
    assert np.all(np.abs(d - want) <= bound)
    guards = np.ones(words, dtype=bool)
    inside = guards[before : before + m * ldd].reshape(m, ldd)
    inside[:, :n] = False
    assert np.all(raw[guards] == GUARD), "a word outside D was written"
    for buffer in (p_buf, q_buf, d_buf):
        buffer.free()
    program.free()
    return report


EDGES = (1, 2, 11, 12, 13, 16, 17, 63, 64, 65)


@pytest.mark.parametrize("beta", (False, True))
def test_every_tail(device, beta):
    options = gemm.SPEC.options(beta=beta)
    for m, n in itertools.product(EDGES, EDGES):
        run(device, options, m, n, 1 + (m * n) % 5, alpha=1.5, beta=-0.5 if beta else 0.0)


@pytest.mark.parametrize("k", (1, 2, 3, 4, 7, 64, 129))
def test_every_depth(device, k):
    run(device, gemm.SPEC.options(), 20, 50, k, alpha=-2.0, beta=3.0)


@pytest.mark.parametrize(
    "ldd",
    (
        pytest.param(61, id="odd"),
        pytest.param(2047, id="largest pitch of a DMA load"),
        pytest.param(2048, id="load row by row"),
        pytest.param(16399, id="largest stride of a DMA store"),
        pytest.param(16400, id="store row by row, but whole vectors fit"),
        pytest.param(16420, id="store row by row"),
    ),
)
def test_leading_dimension(device, ldd):
    run(device, gemm.SPEC.options(), 18, 53, 3, alpha=1.0, beta=1.0, ldd=ldd)


@pytest.mark.parametrize("n_qpus", (1, 2, 5, 12))
def test_result_does_not_depend_on_qpus(device, n_qpus):
    run(device, gemm.SPEC.options(), 70, 70, 9, beta=0.25, n_qpus=n_qpus)


@pytest.mark.parametrize(
    "options",
    (
        gemm.GemmOptions(rows=16, vectors=3, unroll=2),
        gemm.GemmOptions(rows=16, vectors=2, unroll=4),
        gemm.GemmOptions(rows=5, vectors=1, unroll=1),
        gemm.GemmOptions(rows=1, vectors=3, unroll=3, beta=False),
    ),
    ids=str,
)
def test_other_tiles(device, options):
    run(device, options, 29, 70, 5, alpha=0.5, beta=1.0 if options.beta else 0.0)


def test_work_is_spread_over_all_qpus(device):
    options = gemm.SPEC.options(beta=False)
    report = run(device, options, 4 * options.rows, 6 * options.columns, 64)
    issued = [qpu["instructions"] for qpu in report.per_qpu]
    assert len(issued) == 12
    assert max(issued) < 1.1 * min(issued)


def test_beta_zero_kernel_does_not_read_d(device):
    """Without beta nothing is loaded from D, so NaN in it cannot spread."""
    report = run(device, gemm.SPEC.options(beta=False), 33, 33, 5)
    assert report.bytes["vpm_dma_load"] == 0
    report = run(device, gemm.SPEC.options(beta=True), 33, 33, 5, beta=1.0)
    assert report.bytes["vpm_dma_load"] == 4 * 33 * 33


def test_bytes_moved(device):
    """D is stored once; a tile reads its lines of P and Q once a step, and those of one more."""
    m, n, k = 32, 96, 10
    report = run(device, gemm.GemmOptions(rows=16, vectors=3, beta=False), m, n, k)
    tiles = 2 * 2
    assert report.bytes["vpm_dma_store"] == 4 * m * n
    assert report.bytes["tmu"] == 64 * 4 * (k + 1) * tiles


def test_qpus_in_step_share_lines(device):
    """12 tiles in one column of the grid: L2 hands a line of Q to each of the 3 slices once."""
    options = gemm.SPEC.options(beta=False)
    m, n, k = 12 * options.rows, options.columns, 64
    report = run(device, options, m, n, k)
    lines = (12 + 3 * options.vectors) * (k + 1)
    assert report.bytes["l2"] < 1.15 * 64 * lines


@pytest.mark.parametrize(
    "bad", (dict(rows=0), dict(rows=17), dict(vectors=0), dict(vectors=5), dict(unroll=0))
)
def test_impossible_options(bad):
    with pytest.raises(ValueError, match="no kernel has"):
        gemm.SPEC.options(**bad)


def test_too_many_accumulators():
    with pytest.raises(ValueError, match="leave no registers"):
        gemm.GemmOptions(rows=16, vectors=4)


def test_pack_is_zero_outside_the_operand():
    rng = np.random.default_rng(0)
    for k, length in itertools.product((1, 2, 5), (1, 15, 16, 17, 48, 100)):
        for layout in gemm.packed_words(gemm.SPEC.options(), length, length, k):
            operand = rng.standard_normal((length, k)).astype(np.float32).T
            out = np.full(layout.words, np.nan, dtype=np.float32)
            gemm.pack(layout, operand, out)
            panels = out[: -layout.width].reshape(layout.panels, layout.steps, layout.width)
            assert np.all(panels[:, :, layout.used :] == 0)
            used = panels[:, :, : layout.used]
            flat = used.transpose(1, 0, 2).reshape(layout.steps, -1)
            assert np.array_equal(flat[:k, :length], operand)
            assert np.all(flat[k:] == 0) and np.all(flat[:, length:] == 0)
            assert np.all(out[-layout.width :] == 0)


def test_block_words_never_exceed_the_tile():
    """Sum of the elements that the setup words name is the tile's, on every path."""
    from piblas.isa import setup_words as sw

    for store, ldd in itertools.product((False, True), (64, 2048, 20000)):
        words = parts.block_words(store, 7, [16, 16, 5], 16, 0xC0000000, 4 * ldd)
        assert words[1] == 3 and len(words) == 2 + 4 * 3
        total = 0
        for _, setup, _, times in zip(*[iter(words[2:])] * 4):
            fields = sw.unpack("vdw" if store else "vdr", setup)
            pair = ("units", "depth") if store else ("nrows", "rowlen")
            total += fields[pair[0]] * fields[pair[1]] * times
        assert total == 7 * 37
