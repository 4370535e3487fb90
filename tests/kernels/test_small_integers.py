"""Streams and results as NumPy 2 makes them on a 32-bit system (:mod:`small_integers`)."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest
from small_integers import Small, narrow_all

import piblas
from piblas import blas, host, kernels
from piblas.dispatch import devices
from piblas.driver import Emulator
from piblas.host.plan import PLANS
from piblas.host.runner import runner_of
from piblas.kernels import gemm, gemm_layout, gemm_segments
from piblas.kernels.stream import words_of
from piblas.kernels.uniforms import OWN

F32 = np.float32


def test_the_stand_in_is_as_narrow_as_numpy_there():
    small = Small()
    for made in (small.arange(3), small.where([True], 1, -1), small.zeros(2, int), small.mgrid[:2]):
        assert made.dtype == np.int32
        with pytest.raises(OverflowError):
            made & 0xFFFFFFFF
    assert small.arange(3, dtype=np.int64).dtype == np.int64
    assert small.array([2**31]).dtype == np.int64 and small.zeros(2).dtype == np.float64
    assert small.cumsum(np.arange(3)).dtype == np.int64


@pytest.mark.parametrize("kind", (list, np.int32, np.int64, np.uint32))
def test_words(kind):
    values = [0, 1, 2**31 - 1] + ([2**31, 2**32 - 1] if kind not in (np.int32,) else [])
    values += [-1, -(2**31)] if kind is not np.uint32 else []
    given = values if kind is list else np.array(values, kind)
    words = words_of(given)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(words, [value % 2**32 for value in values])


@pytest.fixture
def narrow(monkeypatch):
    for package in (kernels, blas, host):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    packages = "piblas.kernels", "piblas.blas", "piblas.host", "piblas.codegen"
    patched = narrow_all(monkeypatch, *packages)
    wanted = {"piblas.kernels.gemm_segments", "piblas.kernels.panel", "piblas.host.matvec"}
    assert wanted <= set(patched)


def pack_streams():
    options = gemm.SPEC.defaults
    p, q = gemm_layout.packed_words(options, 33, 50, 21)
    operands = (
        gemm_segments.Operand(p, 21, 0x1000, -4, 96, 0x100000),
        gemm_segments.Operand(q, 21, 0x4000, 200, 4, 0x200000),
    )
    streams = gemm_segments.streams(operands, 12)
    words = np.empty_like(streams.words)
    addresses = {"source": 0xFFFFFF00, "packed": 0xC0000000, "watch": 0xC0400000, OWN: 0xC0300000}
    streams.fill(words, addresses, {})
    return words, streams.entries(0xC0300000)


def test_packing(monkeypatch):
    words, starts = pack_streams()
    narrow_all(monkeypatch, "piblas.kernels")
    again, same = pack_streams()
    np.testing.assert_array_equal(words, again)
    assert starts == same and again.dtype == np.uint32


def values(*shape):
    return np.random.default_rng(list(shape)).uniform(-1, 1, shape).astype(F32)


def calls():
    """Results of routines of each level, with operands in device memory and elsewhere."""
    square, b = values(70, 70) / F32(70) + np.eye(70, dtype=F32), values(70, 33)
    packed, x, y = values(70 * 71 // 2), values(70), values(70)[::-1].copy()
    there = piblas.array(square)
    yield piblas.sgemm(1.5, there, piblas.array(b))
    yield piblas.sgemm(1.5, there, piblas.array(b, order="F"), trans_a=1)
    yield piblas.sgemm(1.5, square, b, 2.0, b)
    yield piblas.sgemm(1.5, square, x)
    yield from piblas.sgemm_batch(1.0, [square, b.T], [b, b])
    yield piblas.somatcopy(1.0, there, 1)
    yield piblas.somatcopy(2.0, there)
    yield piblas.ssymm(1.0, square, b)
    yield piblas.ssyrk(1.0, b)
    yield piblas.strmm(1.0, square, b)
    yield piblas.strsm(1.0, square, b)
    yield piblas.sgemv(1.0, square, x, trans=1)
    yield piblas.sgbmv(70, 70, 3, 2, 1.5, square[:6], x)
    yield piblas.ssymv(1.0, there, x)
    yield piblas.sspmv(70, 1.0, packed, x)
    yield piblas.strmv(square, x, lower=1)
    large = np.eye(200, dtype=F32) + values(200, 200) / F32(200)
    yield piblas.stbsv(5, large[:6] + F32(1), values(200))
    yield piblas.strsv(large, values(200))
    yield piblas.sger(1.0, x, y, a=square)
    yield piblas.sspr2(70, 1.0, x, y, packed)
    yield piblas.saxpy(x, y.copy(), a=2)
    yield np.array([piblas.sdot(x, y), piblas.sasum(x), piblas.snrm2(x), piblas.isamax(x)])
    yield from piblas.srot(x, y, 0.6, 0.8)


def test_calls_give_the_same_bits(fresh, request):
    with Emulator(memory=16 << 20, timing="off", seed=3) as dev, piblas.use(dev):
        wanted = [np.array(made) for made in calls()]
        request.getfixturevalue("narrow")
        dev.kept.clear()
        PLANS.clear()  # they are what is made of integers
        runner_of(dev).release()
        devices.figures_changed()  # which forgets the jobs
        piblas.reset_stats()
        count = 0
        for made, other in zip(calls(), wanted):
            np.testing.assert_array_equal(made, other)
            count += 1
    assert count == len(wanted) and "cpu" not in piblas.stats()
