"""The level-1 kernels on the device contract: any length and alignment, nothing outside operands.

Operands lie inside buffers full of guard words.  Results are held against float64 and the error
bounds in the kernels' modules.
"""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from piblas.driver import Emulator
from piblas.kernels import (
    asum,
    axpby,
    axpy,
    copy,
    dot,
    iamax,
    nrm2,
    reduce,
    rot,
    scal,
    spec,
    stream,
    swap,
)  # fmt: skip

GUARD = np.uint32(0x7FA5A5A5)
PAD = 21
"""Guard words on each side."""

LENGTHS = [*range(1, 50), 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 257, 1000, 1537, 3000]
MODULES = {m.SPEC.name: m for m in (copy, swap, scal, axpy, axpby, rot, dot, asum, nrm2, iamax)}
ELEMENTWISE = ("copy", "swap", "scal", "axpy", "axpby", "rot")
REDUCTIONS = ("dot", "asum", "nrm2", "iamax")


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=16 << 20, seed=11, incoherent=request.param, timing="off") as dev:
        yield dev


class Operand:
    """A vector inside guard words, ``shift`` words behind a line of 64 bytes."""

    def __init__(self, dev, values, shift=0):
        self.n = len(values)
        self.before = 32 + shift
        words = self.before + self.n + PAD
        self.buffer = dev.alloc(4 * words)
        self.raw = self.buffer.array(np.uint32, (words,))
        self.raw[:] = GUARD
        self.values = self.buffer.array(np.float32, (self.n,), offset=4 * self.before)
        self.values[:] = values
        self.buffer.clean()

    @property
    def address(self):
        return self.buffer.bus_address + 4 * self.before

    def check(self):
        """Fetch the result; nothing around it has changed."""
        self.buffer.invalidate()
        outside = np.delete(self.raw, np.s_[self.before : self.before + self.n])
        assert np.all(outside == GUARD), "a word outside the operand was written"
        return self.values.copy()


PROGRAMS = weakref.WeakKeyDictionary()
"""What is loaded, for each device by kernel and options: decoding costs more than running."""


def launch(dev, module, streams, options):
    loaded = PROGRAMS.setdefault(dev, {})
    key = module.SPEC.name, options
    if key not in loaded:
        loaded[key] = dev.load(module.SPEC.program(options).words)
    report = dev.execute(loaded[key], streams)
    assert not dev.machine.semaphores.any()
    return report


def elementwise_streams(kernel, options, n, constants, inputs, outputs, watch):
    """The streams of a launch with operands at these addresses."""
    streams = kernel.streams(options, n, outputs[0] // 4 % 16)
    at = dict(zip("xy", inputs), watch=watch)
    at.update((f"out{number}", address) for number, address in enumerate(outputs))
    return streams.filled(at, {"constants": np.array(constants, np.float32)})


def reduction_streams(kernel, options, n, constants, inputs, out, n_qpus=12):
    streams = kernel.streams(options, n, n_qpus)
    at = dict(zip("xy", inputs), out=out)
    return streams.filled(at, {"constants": np.array(constants, np.float32)})


def mapped(dev, name, constants, *vectors, shifts=(0, 0), n_qpus=12, **changes):
    """Run an elementwise kernel: (results, largest magnitude, report).  Outputs are in place but
    for copy, whose result is an operand of its own."""
    module = MODULES[name]
    kernel, options = module.KERNEL, module.SPEC.options(**changes).fitted(n_qpus)
    operands = [Operand(dev, v, shift) for v, shift in zip(vectors, shifts)]
    n = operands[0].n
    outs = operands[-kernel.outputs :]
    if name == "copy":
        outs = [Operand(dev, np.zeros(n, np.float32), shifts[1])]
        operands.append(outs[0])
    watch = Operand(dev, np.zeros(12 * 16, np.float32))
    streams = elementwise_streams(
        kernel, options, n, constants, [o.address for o in operands], [o.address for o in outs],
        watch.address,
    )  # fmt: skip
    report = launch(dev, module, streams, options)
    for vector, operand in zip(vectors, operands):
        result = operand.check()
        if operand not in outs:
            assert np.array_equal(result.view(np.uint32), vector.view(np.uint32))
    largest = watch.check()[: 16 * options.workers].view(np.uint32).max() if options.watch else None
    results = [o.check() for o in outs]
    for operand in [*operands, watch]:
        operand.buffer.free()
    return results, largest, report


def reduced(dev, name, constants, *vectors, shifts=(0, 0), n_qpus=12, **changes):
    """Run a reduction: (what the parts stored, report)."""
    module = MODULES[name]
    kernel, options = module.KERNEL, module.SPEC.options(**changes)
    operands = [Operand(dev, v, shift) for v, shift in zip(vectors, shifts)]
    n = operands[0].n
    parts = kernel.parts(options, n)
    out = Operand(dev, np.zeros(16 * kernel.stored(options) * len(parts), np.float32))
    streams = reduction_streams(
        kernel, options, n, constants, [o.address for o in operands], out.address, n_qpus
    )
    report = launch(dev, module, streams, options)
    for vector, operand in zip(vectors, operands):
        assert np.array_equal(operand.check().view(np.uint32), vector.view(np.uint32))
    results = kernel.results(options, n, out.check())
    for operand in [*operands, out]:
        operand.buffer.free()
    return results, report


def vectors(n, count=2, seed=0, spread=1.0):
    """Random vectors whose magnitudes spread over ``spread`` decades."""
    rng = np.random.default_rng(1000 * n + seed)
    return [
        (rng.uniform(-1, 1, n) * 10.0 ** rng.uniform(-spread / 2, spread / 2, n)).astype(np.float32)
        for _ in range(count)
    ]


def check_elementwise(dev, name, n, seed=0, spread=1.0, **how):
    """Run one call and compare with float64; returns the report."""
    x, y = vectors(n, 2, seed, spread)
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    h = np.array([0.6, -0.8, 1.7, 0.25], dtype=np.float32)
    alpha = np.float32(-1.375 + seed / 7)
    if name == "copy":
        (got,), _, report = mapped(dev, name, [], x, **how)
        assert np.array_equal(got, x)
    elif name == "swap":
        (of_x, of_y), _, report = mapped(dev, name, [], x, y, **how)
        assert np.array_equal(of_x, y) and np.array_equal(of_y, x)
    elif name == "scal":
        (got,), largest, report = mapped(dev, name, [alpha], x, **how)
        assert np.all(np.abs(got - float(alpha) * wide_x) <= scal.error_bound(alpha, x))
        assert largest == max(np.abs(x).max(), np.abs(got).max()).view(np.uint32)
    elif name == "axpy":
        (got,), largest, report = mapped(dev, name, [alpha], x, y, **how)
        want = float(alpha) * wide_x + wide_y
        assert np.all(np.abs(got - want) <= axpy.error_bound(alpha, x, y))
        assert largest == max(np.abs(v).max() for v in (x, y, got)).view(np.uint32)
    elif name == "axpby":
        beta = np.float32(0.8125 - seed / 5)
        (got,), largest, report = mapped(dev, name, [alpha, beta], x, y, **how)
        want = float(alpha) * wide_x + float(beta) * wide_y
        assert np.all(np.abs(got - want) <= axpby.error_bound(alpha, beta, x, y))
        assert largest == max(np.abs(v).max() for v in (x, y, got)).view(np.uint32)
    else:
        got, largest, report = mapped(dev, name, h, x, y, **how)
        wide = h.astype(np.float64)
        for result, (a, b), bound in zip(got, (wide[:2], wide[2:]), rot.error_bound(h, x, y)):
            assert np.all(np.abs(result - (a * wide_x + b * wide_y)) <= bound)
        assert largest == max(np.abs(v).max() for v in (x, y, *got)).view(np.uint32)
    return report


def value_of(name, n, results):
    """The number that a reduction's stored vectors stand for."""
    if name == "iamax":
        firsts = [first for first, _, _ in iamax.KERNEL.parts(iamax.SPEC.defaults, n)]
        return iamax.first_largest(results, firsts)[0]
    total = reduce.CompensatedSum.value(results)
    return float(np.float32(np.sqrt(total) if name == "nrm2" else total))


def check_reduction(dev, name, n, seed=0, spread=1.0, **how):
    """Run one call and compare with float64; returns value and report."""
    x, y = vectors(n, 2, seed, spread)
    operands = (x, y) if name == "dot" else (x,)
    results, report = reduced(dev, name, [1.0] if name == "nrm2" else [], *operands, **how)
    got = value_of(name, n, results)
    wide = x.astype(np.float64)
    if name == "iamax":
        assert got == np.argmax(np.abs(x))
        return got, report
    want, bound = {
        "dot": (np.dot(wide, y.astype(np.float64)), dot.error_bound(x, y)),
        "asum": (np.abs(wide).sum(), asum.error_bound(x)),
        "nrm2": (np.linalg.norm(wide), nrm2.error_bound(x)),
    }[name]
    assert abs(got - want) <= bound
    largest = results[:, reduce.CompensatedSum.ROWS].view(np.uint32).max()
    assert largest >= np.abs(x).max().view(np.uint32)
    return got, report


# --- every length, alignment, number of QPUs -----------------------------------------------------


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_length_elementwise(device, name):
    for n in LENGTHS:
        check_elementwise(device, name, n, n_qpus=(1, 5, 12)[n % 3])


@pytest.mark.parametrize("name", REDUCTIONS)
def test_every_length_reduced(device, name):
    for n in LENGTHS:
        check_reduction(device, name, n, n_qpus=(1, 5, 12)[n % 3])


@pytest.mark.parametrize("name", (*ELEMENTWISE, *REDUCTIONS))
def test_any_word_address(device, name):
    check = check_elementwise if name in ELEMENTWISE else check_reduction
    for n in (1, 7, 15, 16, 33, 500):
        for shifts in ((1, 1), (0, 3), (15, 2), (8, 0)):
            check(device, name, n, shifts=shifts)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_do_not_depend_on_qpus(device, name):
    for n in (100, 2000):
        x, y = vectors(n)
        operands = (x, y) if name == "dot" else (x,)
        constants = [1.0] if name == "nrm2" else []
        kept = [reduced(device, name, constants, *operands, n_qpus=q)[0] for q in (1, 2, 5, 12)]
        for other in kept[1:]:
            assert np.array_equal(kept[0].view(np.uint32), other.view(np.uint32))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_does_not_depend_on_qpus(device, name):
    x, y = vectors(1500)
    constants = [0.37, 1.21, -0.5, 2.0][: len(MODULES[name].KERNEL.constants)]
    operands = (x, y)[: MODULES[name].KERNEL.inputs]
    kept = [mapped(device, name, constants, *operands, n_qpus=q)[0] for q in (1, 2, 12)]
    for other in kept[1:]:
        assert np.array_equal(np.array(kept[0]), np.array(other))


@pytest.mark.parametrize("name", (*ELEMENTWISE, *REDUCTIONS))
@pytest.mark.parametrize("watch", (False, True))
def test_other_options(device, name, watch):
    if name in ELEMENTWISE:
        x, y = vectors(777)
        constants = [0.5] * len(MODULES[name].KERNEL.constants)
        operands = (x, y)[: MODULES[name].KERNEL.inputs]
        for workers, rows, ahead, asked in ((11, 2, 1, 0), (3, 8, 3, 1), (2, 16, 4, 0)):
            results, largest, _ = mapped(
                device, name, constants, *operands, watch=watch, pace=workers,
                workers=workers, rows=rows, ahead=ahead, asked=asked,
            )
            plain, _, _ = mapped(device, name, constants, *operands)
            assert np.array_equal(np.array(results), np.array(plain))
            if watch:
                magnitudes = [np.abs(v).max() for v in (*operands, *results)]
                assert largest == max(magnitudes).view(np.uint32)
        return
    operands = vectors(777)[: MODULES[name].KERNEL.inputs]
    constants = [1.0] if name == "nrm2" else []
    for unroll in (2, 6):
        results, _ = reduced(device, name, constants, *operands, unroll=unroll, watch=watch)
        rows = MODULES[name].KERNEL.rows
        assert results.shape[1] == rows + watch
        if watch:
            largest = results[:, rows].view(np.uint32).max().view(np.float32)
            magnitudes = [np.abs(v).max() for v in operands]
            assert largest == max(magnitudes) or name == "dot" and largest > max(magnitudes)


@pytest.mark.parametrize("name", (*ELEMENTWISE, *REDUCTIONS))
def test_nothing_outside_the_operands_is_read(name):
    """Words around the operands were never written, and a read of one is a fault."""
    module = MODULES[name]
    kernel, options = module.KERNEL, module.SPEC.defaults
    with Emulator(memory=1 << 20, seed=3, timing="off", trap_uninitialised=True) as dev:
        program = dev.load(module.SPEC.program(options).words)
        for n, shift in ((1, 0), (5, 3), (16, 0), (47, 0), (300, 9)):
            buffers = [dev.alloc(4 * (n + 64)) for _ in range(2)]
            out = dev.alloc(1 << 14)
            for buffer in buffers:
                buffer.array(np.float32, (n,), offset=4 * (16 + shift))[:] = 1.0
                buffer.clean()
            at = [buffer.bus_address + 4 * (16 + shift) for buffer in buffers]
            constants = [1.0] * len(kernel.constants)
            if name in REDUCTIONS:
                streams = reduction_streams(kernel, options, n, constants, at, out.bus_address)
            else:
                streams = elementwise_streams(
                    kernel, options, n, constants, at, at[-kernel.outputs :], out.bus_address
                )
            dev.execute(program, streams)
            for buffer in (*buffers, out):
                buffer.free()


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("scal", "axpy", "axpby", "rot", "dot", "asum", "nrm2", "iamax"))
def test_magnitudes_far_apart(device, name):
    """30 decades within a vector, without overflow."""
    check = check_elementwise if name in ELEMENTWISE else check_reduction
    for seed in range(8):
        check(device, name, 400 + seed, seed=seed, spread=30.0)


def error_to_bound(dev, name, x, y):
    """The largest error in units of its bound."""
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    if name in REDUCTIONS:
        want, bound, operands = {
            "dot": (np.dot(wide_x, wide_y), dot.error_bound(x, y), (x, y)),
            "asum": (np.abs(wide_x).sum(), asum.error_bound(x), (x,)),
            "nrm2": (np.linalg.norm(wide_x), nrm2.error_bound(x), (x,)),
        }[name]
        scale = nrm2.scale_for(x.size, float(np.abs(x).max()))
        results, _ = reduced(dev, name, [scale] if name == "nrm2" else [], *operands)
        got = value_of(name, x.size, results)
        return abs((got / scale if name == "nrm2" else got) - want) / bound
    if name == "scal":
        (got,), _, _ = mapped(dev, name, [1.3], x)
        return np.max(np.abs(got - F13 * wide_x) / scal.error_bound(F13, x))
    if name == "axpy":
        (got,), _, _ = mapped(dev, name, [1.3], x, y)
        return np.max(np.abs(got - (F13 * wide_x + wide_y)) / axpy.error_bound(F13, x, y))
    if name == "axpby":
        (got,), _, _ = mapped(dev, name, [1.3, -1.3], x, y)
        return np.max(np.abs(got - F13 * (wide_x - wide_y)) / axpby.error_bound(F13, -F13, x, y))
    (got, _), _, _ = mapped(dev, name, [1.3, 1.3, 0.0, 1.0], x, y)
    bound, _ = rot.error_bound([F13, F13, 0.0, 1.0], x, y)
    return np.max(np.abs(got - F13 * (wide_x + wide_y)) / bound)


F13 = float(np.float32(1.3))


@pytest.mark.parametrize("spread", (0.0, 30.0, 60.0))
@pytest.mark.parametrize("name", ("scal", "axpy", "axpby", "rot", "dot", "asum", "nrm2"))
def test_bounds_are_not_slack(device, name, spread):
    """They hold, and errors come within a factor 100 of them, on ill-scaled data too: magnitudes
    from 1e-30 to 1e30; for the sum of products it is they that have these."""
    rng = np.random.default_rng(5)
    worst = 0.0
    for signs in ([1.0], [-1.0, 1.0]):
        for _ in range(3):
            scales = 10.0 ** rng.uniform(-spread / 2, spread / 2, (2, 900))
            x, y = rng.uniform(1, 2, (2, 900)) * scales * rng.choice(signs, (2, 900))
            if name == "dot" and spread > 30:
                y = np.clip(y / x, -1e37, 1e37)
            ratio = error_to_bound(device, name, x.astype(np.float32), y.astype(np.float32))
            assert ratio <= 1
            worst = max(worst, ratio)
    assert worst > 0.01


@pytest.mark.parametrize("name", ("dot", "asum", "nrm2"))
def test_bounds_hold_where_sums_cancel_or_creep(device, name):
    """Terms in the worst orders for a plain sum: small ones behind large ones, or large ones that
    cancel and leave the small ones."""
    n = 3000
    for large in (1e4, 1e8, 1e12):
        creeping = np.ones(n, np.float32)
        creeping[:200] = large
        cancelling = creeping.copy()
        cancelling[100:200] = -large
        for x in (creeping, creeping[::-1].copy(), cancelling, np.roll(cancelling, 1555)):
            assert error_to_bound(device, name, x, np.ones(n, np.float32)) <= 1


def test_sums_do_not_drift(device):
    """A plain truncated sum of equal signs would be off by hundreds of units here."""
    n = 60_000
    x = np.full(n, 1 / 3, dtype=np.float32)
    results, _ = reduced(device, "asum", [], x)
    exact = n * float(x[0])
    assert abs(value_of("asum", n, results) - exact) <= 3 * 2.0**-23 * exact


def test_denormals_count_as_zero(device):
    tiny = np.array([1e-40, -1e-40, 2.0**-126, 1.0] * 9, dtype=np.float32)
    zero_for_tiny = np.where(np.abs(tiny) < 2.0**-126, 0, tiny)
    (got,), _, _ = mapped(device, "scal", [1.0], tiny)
    assert np.array_equal(got, zero_for_tiny) and not np.any(np.signbit(got[got == 0]))
    assert np.all(np.abs(got - tiny.astype(np.float64)) <= scal.error_bound(1.0, tiny))
    (got,), _, _ = mapped(device, "scal", [0.5], tiny)
    assert got[2] == 0
    (got,), _, _ = mapped(device, "copy", [], tiny)
    assert np.array_equal(got.view(np.uint32), tiny.view(np.uint32))
    results, _ = reduced(device, "dot", [], tiny, tiny)
    assert abs(value_of("dot", 36, results) - 9) <= dot.error_bound(tiny, tiny)


def test_copies_keep_every_bit(device):
    rng = np.random.default_rng(9)
    x, y = rng.integers(0, 1 << 32, (2, 333), dtype=np.uint32).view(np.float32)
    (got,), _, _ = mapped(device, "copy", [], x)
    assert np.array_equal(got.view(np.uint32), x.view(np.uint32))
    (of_x, of_y), _, _ = mapped(device, "swap", [], x, y)
    assert np.array_equal(of_x.view(np.uint32), y.view(np.uint32))
    assert np.array_equal(of_y.view(np.uint32), x.view(np.uint32))


def test_first_of_equal_maxima(device):
    rng = np.random.default_rng(2)
    for n in (1, 5, 16, 17, 100, 1000, 2500):
        x = rng.integers(-3, 4, n).astype(np.float32)
        results, _ = reduced(device, "iamax", [], x)
        assert value_of("iamax", n, results) == np.argmax(np.abs(x))
    for x in (np.zeros(70), np.full(70, -2.0), np.full(70, 1e-42), -np.arange(70.0)):
        x = x.astype(np.float32)
        results, _ = reduced(device, "iamax", [], x)
        assert value_of("iamax", 70, results) == np.argmax(np.abs(x))


def test_special_values_are_noticed(device):
    """Wherever an Inf, a NaN or an overflow stands, the largest magnitude tells."""
    rng = np.random.default_rng(3)
    for bad in (np.inf, -np.inf, np.nan, 3e38):
        for n in (1, 16, 40, 700):
            x, y = rng.uniform(1, 2, (2, n)).astype(np.float32)
            x[rng.integers(n)] = bad
            factors = {"scal": [2.0], "axpy": [2.0], "axpby": [2.0, -2.0], "rot": [2.0, 1, 1, 1]}
            for name, constants in factors.items():
                operands = (x, y)[: MODULES[name].KERNEL.inputs]
                _, largest, _ = mapped(device, name, constants, *operands)
                assert largest >= stream.OVERFLOW
            y[:] = 0 if not np.isfinite(bad) else 2  # the QPU's Inf * 0 is 0
            assert reduce.overflowed(reduced(device, "dot", [], x, y)[0])
            if not np.isfinite(bad):
                assert reduce.overflowed(reduced(device, "asum", [], x)[0])
                assert not np.isfinite(nrm2.largest(reduced(device, "nrm2", [1.0], x)[0]))


def test_scale_of_a_norm():
    for n in (1, 100, 1 << 22):
        assert nrm2.scale_for(n, 1.0) == 1.0
        assert nrm2.scale_for(n, 1e-32) == 0.0 or n == 1
        for size in (2.0**127, 3e38, 1e25, 1e-20, 1e-25):
            scale = nrm2.scale_for(n, size)
            assert 1 <= scale * size < 4 and np.float32(scale) == scale
    assert nrm2.scale_for(1, 1e-45) == 0.0


# --- shape of the programs -----------------------------------------------------------------------


@pytest.mark.parametrize("name", (*ELEMENTWISE, *REDUCTIONS))
def test_each_operand_is_read_once(device, name):
    """Beside the operands, only what is asked for ahead of a segment's or part's end is read."""
    n = 16 * 16 * 48
    x, y = vectors(n)
    module = MODULES[name]
    kernel, options = module.KERNEL, module.SPEC.defaults
    operands = (x, y)[: kernel.inputs]
    constants = [1.0] * len(kernel.constants)
    if name in REDUCTIONS:
        _, report = reduced(device, name, constants, *operands)
        ranges = len(kernel.parts(options, n))
        ahead = stream.TMU_DEPTH * (2 if kernel.inputs == 1 else 1) * ranges
        stored = 64 * kernel.stored(options) * ranges
    else:
        _, _, report = mapped(device, name, constants, *operands)
        segments = len(kernel.segments(options, n, 0))
        ahead = (options.ahead - options.asked * (kernel.outputs - 1)) * options.workers * segments
        stored = 4 * n * kernel.outputs + options.watch * 64 * options.workers
    vectors_read = report.bytes["tmu"] / 64 / kernel.inputs
    assert n / 16 + ahead <= vectors_read <= n / 16 + ahead + 2 * 16
    assert report.bytes["vpm_dma_store"] == stored
    assert report.bytes["vpm_dma_load"] == 0


WORDS = {"dot": 1.1, "asum": 0.8, "nrm2": 0.8, "iamax": 0.6}


@pytest.mark.parametrize("name", WORDS)
def test_instructions_an_element(device, name):
    """Far below the memory's time: twelve QPUs have 1.6 to 8 slots an element for these."""
    _, report = check_reduction(device, name, 16 * 16 * 32)
    assert report.instructions <= WORDS[name] * 16 * 16 * 32


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_instructions_of_a_qpu_that_fills(device, name):
    """They take less than half of the time in which the engine stores, 14 clocks a row."""
    n = 16 * 32 * 64
    report = check_elementwise(device, name, n)
    busiest = max(qpu["instructions"] for qpu in report.per_qpu[1:])
    assert 4 * busiest <= 0.5 * 14 * MODULES[name].KERNEL.outputs * n / 16


def test_segments_cover_everything_once():
    for name in ELEMENTWISE:
        kernel = MODULES[name].KERNEL
        for n in (1, 15, 16, 17, 511, 512, 513, 5000, 100_003):
            for out in (0, 4, 60, 1 << 20):
                for n_qpus in (1, 3, 12):
                    options = MODULES[name].SPEC.defaults.fitted(n_qpus)
                    plan = kernel.segments(options, n, out // 4 % 16)
                    spans = sorted((segment.first, segment.count) for segment in plan)
                    ends = [first + count for first, count in spans]
                    assert [first for first, _ in spans] == [0, *ends[:-1]] and ends[-1] == n
                    for first, count, blocks, units, depth in plan:
                        assert count == blocks * units * depth
                        assert 1 <= units <= options.block and 1 <= depth <= 16
                        assert (out // 4 + first) % 16 == 0 or depth < 16


@pytest.mark.parametrize(
    "bad",
    (dict(rows=3), dict(rows=0), dict(rows=6), dict(workers=0), dict(workers=12, rows=2),
     dict(ahead=0), dict(asked=-1), dict(pace=-1), dict(alone=True)),
)  # fmt: skip
def test_impossible_options(bad):
    with pytest.raises(ValueError, match="no kernel has"):
        axpy.SPEC.options(**bad)


@pytest.mark.parametrize("bad", (dict(ahead=5), dict(ahead=2, asked=2), dict(asked=3)))
def test_more_than_the_tmus_hold(bad):
    with pytest.raises(ValueError, match="2 inputs and 2 outputs has no"):
        rot.SPEC.build(**bad)


@pytest.mark.parametrize("bad", (dict(unroll=1), dict(unroll=18)))
def test_impossible_unroll(bad):
    with pytest.raises(ValueError, match="unroll is even"):
        dot.SPEC.options(**bad)


def test_all_are_registered():
    assert set(MODULES) <= set(spec.names())
