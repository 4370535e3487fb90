"""The sgemms of others that stand beside ours: correct, and as long as the published loops."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from piblas.driver import Emulator
from piblas.kernels import gemm_choice, gemm_error, gemm_rival_streams, gemm_rivals, reference, spec
from piblas.kernels.gemm_rivals import PYVIDEOCORE, QMKL, QMKL_FIRST, RivalOptions

GUARD = np.uint32(0x7FA5A5A5)
PUBLISHED = {PYVIDEOCORE: 67, QMKL: 126, QMKL_FIRST: 158}


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=16 << 20, seed=7, incoherent=request.param) as dev:
        yield dev


def run(dev, options, m, n, k, **more):
    """The report of a product, compared with float64; D has guard words around it."""
    rng = np.random.default_rng(m * 1_000_003 + n * 1009 + k)
    a = rng.uniform(-1, 1, (m, k)).astype(np.float32)
    b = rng.uniform(-1, 1, (k, n)).astype(np.float32)
    problem = gemm_rival_streams.Problem(m, n, k, **more)
    before = 19
    room = problem.room
    a_buf, b_buf, d_buf = (dev.alloc(size) for size in (*room[:2], room[2] + 4 * (before + 23)))
    for buffer, pitch, x in zip((a_buf, b_buf), problem.pitches, (a, b)):
        buffer.array(np.uint8, (buffer.nbytes,))[:] = 0
        buffer.array(np.float32, (len(x), pitch // 4))[:, : x.shape[1]] = x
    raw = d_buf.array(np.uint32, (before + m * n + 23,))
    raw[:] = GUARD
    addresses = a_buf.bus_address, b_buf.bus_address, d_buf.bus_address + 4 * before
    streams = gemm_rival_streams.Streams(options, problem, *addresses)
    u_buf = dev.alloc(streams.nbytes)
    words, starts = streams.at(u_buf.bus_address)
    u_buf.array(np.uint32, words.shape)[:] = words
    buffers = a_buf, b_buf, d_buf, u_buf
    for buffer in buffers:
        buffer.clean()
    program = dev.load(gemm_rivals.SPEC.program(options).words)
    report = dev.execute(program, starts)
    d_buf.invalidate()
    d = raw[before : before + m * n].view(np.float32).reshape(m, n)
    product = problem.alpha, a, b, 0.0, np.zeros_like(d)
    error = np.abs(d - reference.sgemm(*product))
    assert np.all(error <= gemm_error.error_bound(*product))
    assert np.all(raw[:before] == GUARD) and np.all(raw[before + m * n :] == GUARD)
    for buffer in buffers:
        buffer.free()
    program.free()
    return report


ALL = (*PUBLISHED, RivalOptions("uniforms", vectors=2), RivalOptions("rotate", 3))


@pytest.mark.parametrize("options", ALL, ids=str)
def test_every_tail(device, options):
    sizes = itertools.product((1, 16, 17, 40), (1, 15, 64, 65, 200), (1, 2, 7))
    for m, n, k in itertools.islice(sizes, 0, None, 5 if options in PUBLISHED else 11):
        run(device, options, m, n, k, alpha=-1.5)


@pytest.mark.parametrize("options", PUBLISHED, ids=str)
def test_all_qpus_work(device, options):
    report = run(device, options, 96, 700, 33)
    assert report.n_qpus == 12
    report = run(device, options, 96, 300, 33, lda=40, ldb=333, split=(3, 4))
    assert report.n_qpus == 12


@pytest.mark.parametrize("options", PUBLISHED, ids=str)
def test_words_of_a_step(device, options):
    """As many as published, by what one more step issues."""
    few, more = (run(device, options, 16, 64, k) for k in (5, 9))
    assert more.instructions - few.instructions == 4 * PUBLISHED[options]


@pytest.mark.parametrize(
    "bad", (dict(b_path="vpm"), dict(vectors=5), dict(vectors=0), dict(shared=2, vectors=3))
)
def test_impossible_options(bad):
    with pytest.raises(ValueError, match="no rival has"):
        dataclasses.replace(QMKL, **bad)


def test_no_call_comes_here():
    """They are for comparison: neither registered nor in the family that dispatch chooses from."""
    assert gemm_rivals.SPEC.name not in spec.names() and not gemm_rivals.SPEC.routines
    assert not any(isinstance(tile, RivalOptions) for tile in gemm_choice.FAMILY)
