"""Simulated cycles of vector functions, against a kernel written by hand and the chip's limits."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from lowering import arguments, bits, chain, check_stores, copy, launch, of_graph, saxpy
from random_graphs import random_graph

from piblas.driver import Emulator
from piblas.isa.timing import memory_rate, timing_set
from piblas.kernels import axpy
from piblas.vector import cost
from piblas.vector.graph import Graph, Loop, Reduction, Store
from piblas.vector.long import Long
from piblas.vector.lower import Function

CLOCK = 250e6
LANES = 16


@pytest.fixture(scope="module")
def device():
    with Emulator(memory=64 << 20, seed=2, timing="calibrated") as dev:
        yield dev


def run(device, graph, n):
    """(kernel, report, results, values) of the kernel that would be chosen for ``n`` elements."""
    program = Function(graph, 12).program(n)
    kernel = program.kernel
    rng = np.random.default_rng(1)
    values = [
        (rng.normal(size=n if each.array else 1) * 3).astype(each.dtype)
        for each in graph.arguments
    ]
    values = [value if each.array else value[0] for value, each in zip(values, graph.arguments)]
    results, report = launch(device, kernel, values, n)
    return kernel, report, results, values


def memory_limit(graph, n):
    """Cycles of the memory and of the engine that stores rows of 64 bytes, 32 a transfer."""
    timing = timing_set("calibrated")
    work = cost.work_of(graph)
    vectors = n / LANES
    memory = (work.read + work.written) * CLOCK / memory_rate(timing)
    engine = sum(timing.dma_store_row * size / 4 + timing.dma_store_start / 32
                 for size in work.sizes)  # fmt: skip
    return vectors * max(memory, engine)


def test_fused_saxpy_is_as_fast_as_the_kernel_written_by_hand(device):
    n = 1 << 17
    _, report, _, _ = run(device, saxpy(), n)
    program = device.load(axpy.SPEC.build().words)
    x, y = device.alloc(4 * n), device.alloc(4 * n)
    watch = device.alloc(4096)
    for buffer in (x, y, watch):
        buffer.array(np.float32)[:] = 1
        buffer.clean()
    addresses = {"x": x.bus_address, "y": y.bus_address, "out0": y.bus_address}
    addresses["watch"] = watch.bus_address
    streams = axpy.KERNEL.streams(axpy.SPEC.defaults, n, 0)
    words = streams.filled(addresses, {"constants": np.array([2], np.float32)})
    by_hand = device.execute(program, words)
    for buffer in (x, y, watch, program):
        buffer.free()
    assert report.cycles <= 1.05 * by_hand.cycles


def test_a_chain_of_twenty_operations_takes_the_time_of_memory(device):
    n = 1 << 17
    for arrays in (1, 2):
        graph = chain(20, arrays)
        _, report, _, _ = run(device, graph, n)
        issue = 4 * cost.work_of(graph).slots * n / LANES / 12
        assert report.cycles <= 1.15 * max(memory_limit(graph, n), issue)


@pytest.mark.parametrize("dtype", ("float32", "int32"))
def test_load_and_store_take_the_time_of_memory(device, dtype):
    n = 1 << 18
    graph = copy(dtype)
    _, report, _, _ = run(device, graph, n)
    assert memory_limit(graph, n) >= 0.85 * report.cycles


def listed(count, seed=1):
    """Random float operations on four variables, without a loop."""
    rng = random.Random(seed)
    graph = Graph(arguments("float32", "float32", scalars=("float32",)))
    values = [graph.add("load", "f", data=i) for i in range(2)]
    values += [graph.add("const", "f", data=bits(1.5)), graph.add("scalar", "f", data=2)]
    for _ in range(count):
        op = rng.choice(("fadd", "fmul", "fsub", "fmax", "fmin"))
        made = graph.add(op, "f", rng.choice(values), rng.choice(values))
        values[rng.randrange(4)] = made
    total = values[0]
    for value in values[1:]:
        total = graph.add("fmax", "f", total, value)
    graph.results = [Store(total, "float32")]
    return graph


def test_a_long_list_issues_at_nine_tenths_of_the_limit(device):
    kernel, report, results, values = run(device, listed(16000), 1024)
    assert isinstance(kernel, Long)
    assert report.issue_cycles >= 0.9 * report.cycles
    few = [value[:20] if np.ndim(value) else value for value in values]
    check_stores(kernel.graph, [results[0][:20]], few, 20)


def test_a_repeated_list_issues_at_nine_tenths_of_the_limit(device):
    graph = Graph(arguments("float32"))
    x = graph.add("load", "f", data=0)
    inner = Graph(graph.arguments, around=graph)
    value, start = inner.add("carried", "f", data=0), inner.add("outer", "f", data=x)
    for i in range(40):
        value = inner.add(("fadd", "fmul", "fsub", "fmul")[i % 4], "f", value, start)
    node = graph.add("loop", "f", x, data=Loop(200, inner, (value,)))
    graph.results = [Store(graph.add("result", "f", node, data=0), "float32")]
    _, report, _, _ = run(device, graph, 1024)
    assert report.issue_cycles >= 0.9 * report.cycles


def test_time_to_build_grows_in_proportion(device):
    times = []
    for count in (6000, 24000):
        graph = listed(count)
        program = Function(graph, 12).program(1024)
        begin = time.process_time()
        words = program._assemble()
        times.append((time.process_time() - begin) / words.size)
    assert times[1] <= 1.6 * times[0]


@pytest.mark.slow
def test_a_hundred_thousand_operations(device):
    graph = listed(160000)
    assert len(of_graph(graph).steps) >= 90000
    begin = time.process_time()
    program = Function(graph, 12).program(1024)
    program._assemble()
    assert time.process_time() - begin <= 20
    kernel, report, results, values = run(device, graph, 1024)
    assert report.issue_cycles >= 0.9 * report.cycles
    few = [value[:3] if np.ndim(value) else value for value in values]
    check_stores(kernel.graph, [results[0][:3]], few, 3)


def reduced():
    graph = Graph(arguments("float32", "float32"))
    x, y = (graph.add("load", "f", data=i) for i in range(2))
    graph.results = [Reduction("sum", graph.add("fmul", "f", x, y), "float32")]
    return graph


CASES = {
    "saxpy": saxpy, "copy": copy, "bytes": lambda: copy("uint8"), "halves": lambda: copy("float16"),
    "chain of 20": lambda: chain(20), "chain of 60": lambda: chain(60, 2),
    "chain of 100": lambda: chain(100), "chain of 200": lambda: chain(200, 2),
    "list of 3000": lambda: listed(3000), "dot": reduced,
    "random": lambda: random_graph(random.Random(1), 30, results=1, types=("float32", "int32")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", (1000, 20000, 131072))
def test_estimates_hold_against_simulated_cycles(device, name, n):
    if name == "list of 3000" and n > 20000:
        n = 40000
    graph = CASES[name]()
    _, report, _, _ = run(device, graph, n)
    estimate = Function(graph, 12).cycles(n)
    print(name, n, Function(graph, 12).kind(n), report.cycles, f"{estimate / report.cycles:.2f}")
    assert 0.6 <= estimate / report.cycles <= 1.4
