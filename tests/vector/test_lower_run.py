"""Calls of lowered functions: operands anywhere, plans, failures, what a repeated call costs."""

from __future__ import annotations

import os
import random
import sys
import threading

import numpy as np
import pytest
from lowering import arguments, copy, same_bits, saxpy
from plain_graph import evaluate
from random_graphs import random_graph, random_values

import piblas
from piblas import config
from piblas.driver import Emulator
from piblas.errors import DeviceError
from piblas.host.runner import Runner, runner_of
from piblas.kernels import store as kept
from piblas.vector import lower, run
from piblas.vector.body import stores
from piblas.vector.graph import STORAGE, Graph, Reduction, Store
from piblas.vector.lower import Function
from piblas.vector.run import Job, is_resident


@pytest.fixture(scope="module")
def device():
    with Emulator(memory=32 << 20, seed=9, incoherent=True, timing="off") as dev:
        yield dev


@pytest.fixture
def call(device):
    """``call(function, values, outs)``: the results, operands being used where they lie."""

    def run(function, values, outs, n):
        with piblas.use(device):
            runner = runner_of(device)
            arrays = [v for v, a in zip(values, function.graph.arguments) if a.array]
            resident = [is_resident(each, device) for each in (*arrays, *outs)]
            job = Job(function, n, resident)
            with runner.call():
                return job(runner, [*values, *outs])[0]

    return run


def placed(device, values, where, shift):
    """Values as a plain array, one with gaps, a read-only one, or one in device memory."""
    n = len(values)
    if where == "plain":
        return values.copy()
    if where == "gaps":
        wide = np.zeros(3 * n, values.dtype)
        wide[::3] = values
        return wide[::3]
    if where == "read-only":
        made = values.copy()
        made.setflags(write=False)
        return made
    with piblas.use(device):
        made = piblas.empty(n + shift + 3, values.dtype)
        made[...] = 0
    made[shift : shift + n] = values
    return made[shift : shift + n]


@pytest.mark.parametrize("seed", range(12))
def test_operands_anywhere(device, call, seed):
    rng = random.Random(seed)
    graph = random_graph(rng, 12, results=rng.randint(1, 3))
    function = Function(graph, 12)
    for n in (rng.randint(1, 30), rng.randint(31, 900)):
        values = random_values(rng, graph, n)
        given = [
            placed(device, value, rng.choice(("plain", "gaps", "read-only", "device")),
                   rng.randrange(9)) if each.array else value
            for value, each in zip(values, graph.arguments)
        ]  # fmt: skip
        outs = [
            placed(device, np.zeros(n, each.dtype), rng.choice(("plain", "gaps", "device")),
                   rng.randrange(9))
            for _, each in stores(graph)
        ]  # fmt: skip
        results = call(function, given, outs, n)
        for want, got, out in zip(evaluate(graph, values, n), results, outs):
            assert got is out
            assert same_bits(want, np.ascontiguousarray(got).view(np.ndarray))


@pytest.mark.parametrize("dtype", ("uint8", "int16", "float16", "float32"))
def test_in_place_at_any_offset(device, call, dtype):
    graph = copy(dtype)
    graph.results[0] = Store(_changed(graph), dtype)
    function = Function(graph, 12)
    for shift in range(4):
        values = random_values(random.Random(shift), graph, 1000)
        x = placed(device, values[0], "device", shift)
        (made,) = call(function, [x], [x], 1000)
        (want,) = evaluate(graph, values, 1000)
        assert made is x and same_bits(want, np.asarray(x))


def _changed(graph):
    kind = STORAGE[graph.arguments[0].dtype]
    x = graph.add("load", kind, data=0)
    if kind == "f":
        return graph.add("fadd", "f", x, x)
    return graph.add("add", kind, x, graph.add("const", kind, data=3))


def test_results_and_numbers_in_their_order(device, call):
    graph = Graph(arguments("float32", "int32"))
    x, k = graph.add("load", "f", data=0), graph.add("load", "i", data=1)
    graph.results = [
        Reduction("sum", k, "int32"), Store(graph.add("fadd", "f", x, x), "float32"),
        Reduction("max", x, "float32"), Reduction("argmin", k, "int32"),
    ]  # fmt: skip
    rng = np.random.default_rng(1)
    x, k = rng.normal(size=777).astype(np.float32), rng.integers(-99, 99, 777, dtype=np.int32)
    out = np.zeros(777, np.float32)
    total, doubled, most, least = call(Function(graph, 12), [x, k], [out], 777)
    assert total == k.sum() and most == x.max() and least == k.argmin()
    np.testing.assert_array_equal(doubled, x + x)


def test_shapes_of_several_dimensions(device, call):
    x, y = np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.ones((2, 3, 4), np.float32)
    out = np.zeros((4, 3, 2), np.float32).T
    (made,) = call(Function(saxpy(), 12), [x, y, np.float32(2)], [out], 24)
    np.testing.assert_array_equal(made, 2 * x + y)


def test_a_launch_that_fails_leaves_results_as_they_were(device, call, monkeypatch):
    def broken(self, *args, **kwargs):
        raise DeviceError("no")

    out = np.full(100, 7, np.float32)
    monkeypatch.setattr(Runner, "run", broken)
    with pytest.raises(DeviceError):
        call(Function(saxpy(), 12), [out, out, np.float32(1)], [out], 100)
    assert (out == 7).all()


def test_work_is_cut_into_launches(device, monkeypatch):
    monkeypatch.setattr(type(device), "longest_launch", 1e-4)
    graph = Graph(arguments("int32"))
    x = graph.add("load", "i", data=0)
    number = graph.add("bits", "i", graph.add("index", "u"))
    graph.results = [Store(graph.add("sub", "i", x, number), "int32"),
                     Reduction("sum", x, "int32"), Reduction("argmax", x, "int32")]  # fmt: skip
    n = 50000
    x = np.random.default_rng(1).integers(-(2**31), 2**31, n).astype(np.int32)
    out = np.zeros(n, np.int32)
    with piblas.use(device):
        runner = runner_of(device)
        with runner.call():
            results, reports = Job(Function(graph, 12), n, [False] * 2)(runner, [x, out])
    assert len(reports) > 1
    np.testing.assert_array_equal(out, x - np.arange(n, dtype=np.int32))
    assert results[1:] == [x.sum(dtype=np.int32), x.argmax()]


def test_long_functions_are_cut_finely():
    """A launch through the firmware is cut off after a second."""
    graph = Graph(arguments("float32"))
    x = value = graph.add("load", "f", data=0)
    for i in range(3000):
        value = graph.add(("fadd", "fmul")[i % 2], "f", value, x)
    graph.results = [Store(value, "float32")]
    program = Function(graph, 12).program(10**6)
    longest = 10 * program.longest_seconds(768)
    cuts = run._slices(10**5, program.longest_seconds(10**5), longest)
    assert all(0 < each.stop - each.start < 16384 for each in cuts)
    assert [each.start for each in cuts[1:]] == [each.stop for each in cuts[:-1]]
    assert cuts[0].start == 0 and cuts[-1].stop == 10**5


@pytest.mark.parametrize("n_qpus", (1, 2, 3, 12))
def test_devices_of_any_size(n_qpus):
    with Emulator(memory=4 << 20, n_qpus=n_qpus, seed=n_qpus, timing="off") as small:
        for dtype in ("float32", "uint8"):
            graph = copy(dtype)
            graph.results[0] = Store(_changed(graph), dtype)
            for n in (3, 1000):
                values = random_values(random.Random(n), graph, n)
                out = np.zeros(n, dtype)
                with piblas.use(small):
                    runner = runner_of(small)
                    with runner.call():
                        Job(Function(graph, n_qpus), n, [False, False])(runner, [*values, out])
                assert same_bits(evaluate(graph, values, n)[0], out)


def test_numbers_of_all_types_and_new_values(device, call):
    graph = Graph(arguments("int32", scalars=("int32", "uint32", "float32", "int16", "uint8")))
    x = graph.add("load", "i", data=0)
    made = graph.add("add", "i", x, graph.add("scalar", "i", data=1))
    made = graph.add("xor", "i", made, graph.add("bits", "i", graph.add("scalar", "u", data=2)))
    made = graph.add("xor", "i", made, graph.add("bits", "i", graph.add("scalar", "f", data=3)))
    made = graph.add("add", "i", made, graph.add("scalar", "i", data=4))
    made = graph.add("sub", "i", made, graph.add("bits", "i", graph.add("scalar", "u", data=5)))
    graph.results = [Store(made, "int32")]
    function = Function(graph, 12)
    x = np.arange(40, dtype=np.int32)
    out = np.zeros(40, np.int32)
    for numbers in ((-5, 0xFFFFFFFF, -2.5, -300, 255), (7, 3, 1e-3, 300, 0)):
        call(function, [x, *numbers], [out], 40)
        types = (np.int32, np.uint32, np.float32, np.int16, np.uint8)
        typed = [kind(number) for kind, number in zip(types, numbers)]
        assert same_bits(evaluate(graph, [x, *typed], 40)[0], out)


def test_programs_are_kept(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("PIBLAS_CACHE", str(tmp_path))
    config.forget()
    first = Function(saxpy(), 12).program(1000)
    words = first.words()
    assert os.listdir(tmp_path)

    def no(self):
        raise AssertionError("assembled again")

    monkeypatch.setattr(lower.Lowered, "_assemble", no)
    again = Function(saxpy(), 12).program(1000)
    assert np.array_equal(again.words(), words)
    assert again.kernel.options == first.kernel.options
    assert kept.directory() == str(tmp_path)


def test_other_names_are_the_same_function():
    one, two = saxpy(), saxpy()
    two.arguments = tuple(each._replace(name=f"other {each.name}") for each in two.arguments)
    assert lower.key_of(one) == lower.key_of(two)
    two.results[0] = Store(two.results[0].node, "float16")
    assert lower.key_of(one) != lower.key_of(two)


def test_threads_share_a_function(device):
    function = Function(saxpy(), 12)
    wrong = []

    def work(number):
        with piblas.use(device):
            runner = runner_of(device)
            job = Job(function, 200, [False] * 3)
            x = np.full(200, number, np.float32)
            out = np.zeros(200, np.float32)
            for turn in range(5):
                with runner.call():
                    job(runner, [x, x, np.float32(turn), out])
                if not (out == number * turn + number).all():
                    wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_repeated_call_takes_few_function_calls(device):
    """Of Python and built-in ones, without those of the device."""
    with piblas.use(device):
        runner = runner_of(device)
        x = piblas.zeros(1000)
        job = Job(Function(saxpy(), 12), 1000, [True] * 3)
        values = [x, x, np.float32(2), piblas.zeros(1000)]
        for _ in range(2):
            with runner.call():
                job(runner, values)
        count, inside = 0, 0

        def watch(frame, event, argument):
            nonlocal count, inside
            if event == "call":
                inside += inside > 0 or "driver" in frame.f_code.co_filename
                count += not inside
            elif event == "return":
                inside -= inside > 0
            elif event == "c_call":
                count += not inside

        with runner.call():
            sys.setprofile(watch)
            try:
                job(runner, values)
            finally:
                sys.setprofile(None)
    assert count <= 35, count
