"""Packing on the QPUs: the bytes that gemm_layout.pack writes, and nothing outside the operand read
or the packed buffer written."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from piblas.driver import Emulator
from piblas.kernels import gemm_layout, gemm_pack, gemm_segments, uniforms

GUARD = np.uint32(0x7FA5A5A5)
AROUND = 48
"""Guard words on either side of the packed buffer, three lines."""


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=64 << 20, seed=11, incoherent=request.param, strict=True) as dev:
        yield dev


def placed(dev, rng, k, length, transposed, pad, exact):
    """(buffer, view of k x length).  If ``exact`` the operand ends with its buffer, whose guard
    page faults in strict mode."""
    rows, columns = (length, k) if transposed else (k, length)
    ld = columns + pad
    before = 0 if exact else int(rng.integers(0, 40))
    words = before + (rows - 1) * ld + columns + (0 if exact else 20)
    buffer = dev.alloc(4 * words)
    raw = buffer.array(np.uint32, (words,))
    raw[:] = GUARD
    whole = np.lib.stride_tricks.as_strided(raw[before:], (rows, columns), (4 * ld, 4))
    # Any pattern is moved as it is, NaNs, infinities and denormals too.
    whole[...] = rng.integers(0, 1 << 32, (rows, columns), dtype=np.uint32)
    view = whole.T if transposed else whole
    return buffer, view, buffer.bus_address + 4 * before, raw.copy()


def check(dev, cases, seed=0, n_qpus=12, exact=False, backwards=False, most=False, look=True):
    """Packs the operands (layout, k, transposed, pad) in one launch and compares all bytes, and the
    largest magnitudes: of all, and with ``most`` of each row of k."""
    rng = np.random.default_rng(seed)
    operands, held, addresses = [], [], {"source": 0, "packed": 0}
    for layout, k, transposed, pad in cases:
        buffer, view, address, before = placed(
            dev, rng, k, layout.length, transposed, pad, exact
        )
        step, along = view.strides
        if backwards:
            address, step = address + (k - 1) * step, -step
            view = view[::-1]
        out = dev.alloc(4 * (layout.words + 2 * AROUND))
        raw = out.array(np.uint32, (layout.words + 2 * AROUND,))
        raw[:] = GUARD
        operand = gemm_segments.Operand(
            layout, k, address, step, along, out.bus_address + 4 * AROUND, look=look
        )
        rows = dev.alloc(4 * (operand.most_words + 2 * AROUND)) if most else None
        if rows is not None:
            rows.array(np.uint32)[:] = GUARD
            operand = dataclasses.replace(operand, most=f"most{len(operands)}")
            addresses[operand.most] = rows.bus_address + 4 * AROUND
        operands.append(operand)
        held.append((layout, view, buffer, before, out, raw, rows))
    streams = gemm_segments.streams(operands, n_qpus)
    u_buf = dev.alloc(streams.nbytes)
    watch = dev.alloc(4 * gemm_segments.watched_words(n_qpus))
    watch.array(np.uint32)[:] = 0
    addresses.update({uniforms.OWN: u_buf.bus_address, "watch": watch.bus_address})
    streams.fill(u_buf.array(np.uint32, streams.words.shape), addresses, {})
    starts = streams.entries(u_buf.bus_address)
    program = dev.load(gemm_pack.SPEC.build().words)
    buffers = [u_buf, watch] + [buffer for each in held for buffer in (each[2], each[4], each[6])]
    buffers = [buffer for buffer in buffers if buffer is not None]
    for buffer in buffers:
        buffer.clean()
    report = dev.execute(program, starts)
    watch.invalidate()
    largest = max((view & 0x7FFFFFFF).max() for _, view, *_ in held) if look else 0
    assert watch.array(np.uint32).max() == largest
    for operand, (layout, view, buffer, before, out, raw, rows) in zip(operands, held):
        out.invalidate()
        if rows is not None:
            rows.invalidate()
            found = rows.array(np.uint32)
            assert np.all(found[:AROUND] == GUARD) and np.all(found[-AROUND:] == GUARD)
            np.testing.assert_array_equal(
                operand.most_of_rows(found[AROUND:-AROUND].view(np.float32)),
                (view & 0x7FFFFFFF).max(axis=1).view(np.float32),
            )
        buffer.invalidate()
        want = np.empty(layout.words, np.float32)
        gemm_layout.pack(layout, view.view(np.float32), want)
        got = raw[AROUND:-AROUND]
        wrong = np.flatnonzero(got != want.view(np.uint32))
        assert wrong.size == 0, (layout, view.shape, view.strides, wrong[:8], wrong.size)
        assert np.all(raw[:AROUND] == GUARD) and np.all(raw[-AROUND:] == GUARD)
        assert np.array_equal(buffer.array(np.uint32, before.shape), before)
    for buffer in buffers:
        buffer.free()
    program.free()
    return report


def layout_of(length, k, width, edge=0, unroll=4):
    return gemm_layout.Packed(length, -(-k // unroll) * unroll, width, edge)


def folded(length, k, width):
    """A layout whose padding comes before its last iteration's rows."""
    layout = layout_of(length, k, width)
    return dataclasses.replace(layout, fold=layout.steps - 4 if layout.steps > k else 0)


@pytest.mark.parametrize("transposed", (False, True))
@pytest.mark.parametrize("width", (4, 8, 9, 10, 12, 14, 16))
def test_largest_of_each_row(device, width, transposed):
    """What is packed, and the largest magnitudes; padding does not count."""
    for k, length in ((4, width), (5, 1), (16, 3 * width + 1), (37, 5 * width), (130, 41)):
        check(device, [(folded(length, k, width), k, transposed, 3)], most=True, seed=k)
    check(device, [(folded(90, 7, width), 7, transposed, 0)], most=True, exact=True)
    check(device, [(folded(90, 7, width), 7, transposed, 0)], most=True, n_qpus=1)


def test_what_is_not_looked_at_does_not_count(device):
    check(device, [(layout_of(30, 20, 64), 20, False, 1)], look=False)


WIDTHS = (4, 8, 9, 10, 12, 14, 16, 32, 48, 64, 80, 96, 128)
"""Rows of P's panels and columns of Q's in the family, and the widest possible."""


@pytest.mark.parametrize("transposed", (False, True), ids=("along", "k"))
@pytest.mark.parametrize("width", WIDTHS)
def test_every_width(device, width, transposed):
    for length, k in ((1, 1), (width, 16), (width + 1, 33), (2 * width - 1, 70)):
        check(device, [(layout_of(length, k, width), k, transposed, 0)], exact=True)


@pytest.mark.parametrize("transposed", (False, True), ids=("along", "k"))
@pytest.mark.parametrize("width", (2, 3, 5, 6, 7, 11, 13, 15))
def test_widths_outside_the_family(device, width, transposed):
    for unroll in (2, 4, 6):
        layout = layout_of(2 * width + 1, 21, width, unroll=unroll)
        check(device, [(layout, 21, transposed, 3)])


@pytest.mark.parametrize("transposed", (False, True), ids=("along", "k"))
@pytest.mark.parametrize("width", (8, 9, 96))
def test_every_tail_of_k(device, width, transposed):
    for k in (*range(1, 36), 63, 64, 65, 127, 128, 129, 600):
        check(device, [(layout_of(width + 3, k, width), k, transposed, 1)], seed=k)


@pytest.mark.parametrize("transposed", (False, True), ids=("along", "k"))
def test_narrow_last_panel(device, transposed):
    for length in (97, 100, 112, 113, 128, 129, 191):
        check(device, [(layout_of(length, 40, 96, 32), 37, transposed, 5)], exact=True)


@pytest.mark.parametrize("n_qpus", (1, 2, 3, 12))
def test_both_operands_in_a_launch(device, n_qpus):
    p = layout_of(45, 90, 8), 90, True, 7
    q = layout_of(200, 90, 96, 16), 90, False, 1
    report = check(device, [p, q], n_qpus=n_qpus)
    assert report.n_qpus == min(n_qpus, gemm_segments.QPUS)


@pytest.mark.parametrize("transposed", (False, True), ids=("along", "k"))
def test_rows_from_the_last_to_the_first(device, transposed):
    check(device, [(layout_of(20, 50, 8), 50, transposed, 2)], backwards=True)


def random_cases(seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        cases = []
        for _ in range(2):
            width = int(rng.choice(WIDTHS))
            edge = 16 * int(rng.integers(0, width // 16)) if width > 16 else 0
            length, k = int(rng.integers(1, 150)), int(rng.integers(1, 100))
            unroll = int(rng.choice((2, 4, 6)))
            layout = layout_of(length, k, width, edge, unroll)
            cases.append((layout, k, bool(rng.integers(2)), int(rng.integers(0, 30))))
        yield cases


def test_random_shapes(device):
    for seed, cases in enumerate(random_cases(1, 100)):
        check(device, cases, seed, exact=seed % 2 == 0)


@pytest.mark.slow
def test_many_random_shapes(device):
    for seed, cases in enumerate(random_cases(2, 1500)):
        check(device, cases, seed, exact=seed % 2 == 0)


def test_bad_operands_are_refused():
    layout = layout_of(8, 4, 8)
    with pytest.raises(ValueError, match="does not fit"):
        gemm_segments.Operand(layout, 5, 0, 32, 4, 4096)
    with pytest.raises(ValueError, match="multiples of 4"):
        gemm_segments.Operand(layout, 4, 2, 32, 4, 4096)
    with pytest.raises(ValueError, match="need step = 4"):
        gemm_segments.Operand(layout_of(300, 4, 300), 4, 0, 1200, 4, 4096)
