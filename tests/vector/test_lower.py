"""Lowered graphs compute what the plain model does, bit for bit, and write nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest
import reference as ref
from lowering import (
    arguments,
    bits,
    check_stores,
    copy,
    launch,
    of_graph,
    same_bits,
    saxpy,
)
from plain_graph import evaluate
from random_graphs import TYPES, random_graph, random_values

from piblas.driver import Emulator
from piblas.errors import AssemblerError
from piblas.vector import long, lower, own, pipeline
from piblas.vector.body import SIZES, stores
from piblas.vector.graph import STORAGE, Graph, Loop, Reduction, Store
from piblas.vector.long import Long
from piblas.vector.own import Own
from piblas.vector.pipeline import Pipeline

LENGTHS = [*range(1, 50), 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 383, 384, 385]


@pytest.fixture(scope="module")
def device():
    """Strict, with caches apart from memory, which is full of noise."""
    with Emulator(memory=16 << 20, seed=17, incoherent=True, timing="off") as dev:
        yield dev


def kernels(graph, pieces=False):
    """Every kind of kernel for a graph, by name."""
    body = of_graph(graph)
    found = {
        "own4": Own(graph, body, own.Options(4)),
        "own2": Own(graph, body, own.Options(2, constants=2)),
        "own1": Own(graph, body, own.Options(1, hoist=False, constants=0)),
        "spilled": Own(graph, body, own.Options(1, hoist=False, constants=0, room=2)),
        "compact": Own(graph, body, own.Options(1, hoist=False, constants=0, compact=True)),
        "long": Long(graph, body, own.Options(2)),
        "long, spilled": Long(graph, body, own.Options(1, room=2)),
    }
    if len(stores(graph)) == len(graph.results) <= 2:
        small = min(SIZES[each.dtype] for each in graph.results)
        found["stream"] = Pipeline(graph, body, pipeline.Options(ahead=4, asked=0, unroll=2))
        if small > 1:
            found["wide"] = Pipeline(
                graph, body, pipeline.Options(workers=11, rows=2, ahead=2, asked=0, pace=0)
            )
        found["alone"] = Pipeline(
            graph, body, pipeline.Options(workers=1, alone=True, ahead=1, asked=0)
        )
    return found


NAMES = (
    "own4", "own2", "own1", "spilled", "compact", "long", "long, spilled", "stream", "wide",
    "alone",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_random_functions(device, monkeypatch, name, seed):
    monkeypatch.setattr(long, "PIECE", 28)
    rng = random.Random(f"{name} {seed}")
    graph = random_graph(rng, 25, loops=0.1, results=rng.randint(1, 2))
    kernel = kernels(graph).get(name)
    if kernel is None:
        assert name == "wide"  # of bytes: its blocks are no whole rows
        return
    for n in (1, rng.randint(2, 40), rng.randint(41, 700)):
        values = random_values(rng, graph, n)
        shifts = [rng.randrange(64) for _ in range(8)]
        results, _ = launch(device, kernel, values, n, rng.choice((1, 2, 5, 12)), shifts)
        check_stores(graph, results, values, n)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(400))
def test_more_random_functions(device, monkeypatch, seed):
    monkeypatch.setattr(long, "PIECE", 40)
    rng = random.Random(seed)
    graph = random_graph(
        rng, 40, arrays=rng.randint(0, 9), scalars=rng.randint(0, 9), loops=0.05,
        results=rng.randint(1, 4),
    )  # fmt: skip
    chosen = lower.Function(graph, 12).program(rng.choice((100, 1000, 100000)))
    found = {**kernels(graph), "chosen": chosen._way(int(chosen._assemble()[-1]) & 0xFFFF)}
    for name, kernel in found.items():
        n = rng.randint(1, 500)
        values = random_values(rng, graph, n)
        shifts = [rng.randrange(64) for _ in range(16)]
        try:
            results, _ = launch(device, kernel, values, n, rng.choice((1, 2, 5, 12)), shifts)
        except AssemblerError as error:  # the next way is tried, and the one chosen fits
            assert "out of registers" in str(error) and name != "chosen"
            continue
        check_stores(graph, results, values, n)


def _numbered(dtype):
    """Two results of an array and the element numbers: x + number and the number."""
    graph = Graph(arguments(dtype))
    kind = STORAGE[dtype]
    number = graph.add("index", "u")
    value = graph.add("bits", "u", graph.add("load", kind, data=0)) if kind != "u" else None
    value = graph.add("load", "u", data=0) if value is None else value
    made = graph.add("add", "u", value, number)
    graph.results = [Store(made, "uint32"), Store(number, "int16")]
    graph.results[1] = Store(graph.add("bits", "i", number), "int16")
    return graph


@pytest.mark.parametrize("name", ("own4", "own2", "own1", "stream", "wide", "alone"))
def test_every_length(device, name):
    graph = _numbered("int32")
    kernel = kernels(graph)[name]
    for n in (*LENGTHS, 1000, 1537):
        x = np.arange(n, dtype=np.int32) * 77 - 5
        (made, number), _ = launch(device, kernel, [x], n, 12, (n % 16, n % 7, n % 33))
        np.testing.assert_array_equal(made, (x + np.arange(n, dtype=np.int32)).view(np.uint32))
        np.testing.assert_array_equal(number, np.arange(n).astype(np.int16))


@pytest.mark.slow
@pytest.mark.parametrize("name", ("own4", "own1", "stream", "wide"))
def test_every_length_to_1000(device, name):
    kernel = kernels(_numbered("int32"))[name]
    for n in range(1, 1001):
        x = np.arange(n, dtype=np.int32) * 77 - 5
        (made, _), _ = launch(device, kernel, [x], n, 12, (n % 16, n % 7, n % 33))
        np.testing.assert_array_equal(made, (x + np.arange(n, dtype=np.int32)).view(np.uint32))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ("own4", "own1", "stream", "wide"))
def test_every_type_at_every_offset(device, dtype, name):
    kernel = kernels(copy(dtype)).get(name)
    if kernel is None:
        assert (dtype, name) == ("uint8", "wide")
        return
    rng = random.Random(dtype + name)
    for n in (1, 7, 16, 33, 64, 100, 191, 530):
        values = random_values(rng, kernel.graph, n)
        for _ in range(4):
            shifts = rng.randrange(64), rng.randrange(64)
            results, _ = launch(device, kernel, values, n, 12, shifts)
            check_stores(kernel.graph, results, values, n)


@pytest.mark.parametrize("kind", "fiu")
def test_comparisons_of_all_special_values(device, kind):
    dtype = {"f": "float32", "i": "int32", "u": "uint32"}[kind]
    first, second = ref.operand_pairs(3, 256)
    values = [np.array(words, np.uint32).view(dtype) for words in (first, second)]
    n = len(first)
    for op in ("lt", "le", "eq", "ne"):
        graph = Graph(arguments(dtype, dtype))
        a, b = (graph.add("load", kind, data=i) for i in range(2))
        mask = graph.add(op, "m", a, b)
        again = graph.add("mnot", "m", graph.add(op, "m", b, a))
        one, two = (graph.add("const", "u", data=value) for value in (7, 123456789))
        graph.results = [
            Store(graph.add("select", "u", mask, one, two), "uint32"),
            Store(graph.add("select", kind, again, a, b), dtype),
        ]
        for name in ("own2", "stream"):
            results, _ = launch(device, kernels(graph)[name], values, n)
            check_stores(graph, results, values, n)


def test_results_replace_an_operand(device):
    for graph in (saxpy(), copy("uint8"), copy("int16")):
        for name, kernel in kernels(graph).items():
            for n in (1, 100, 1000, 2500):
                values = random_values(random.Random(n), graph, n)
                number = 1 if len(graph.arguments) > 1 else 0
                shifts = (4, 4)  # whole words: others are copied
                results, _ = launch(device, kernel, values, n, shifts=shifts, in_place=number)
                check_stores(graph, results, values, n)
                assert results, name


def test_the_same_bits_on_any_number_of_qpus(device):
    values = [np.random.default_rng(4).normal(size=5000).astype(np.float32)]
    kernel = kernels(_sums())["own2"]
    made = [launch(device, kernel, values, 5000, n_qpus)[0] for n_qpus in (1, 2, 5, 12)]
    for n in (1, 100, 1000, 5000, 10**6):  # and the vectors of a group are as many
        assert len({lower.Function(_sums(), n_qpus).kind(n) for n_qpus in range(1, 13)}) == 1
    for other in made[1:]:
        assert [np.asarray(each).tobytes() for each in other] == [
            np.asarray(each).tobytes() for each in made[0]
        ]


def _sums():
    graph = Graph(arguments("float32"))
    x = graph.add("load", "f", data=0)
    square = graph.add("fmul", "f", x, x)
    graph.results = [Reduction("sum", square, "float32"), Store(square, "float32"),
                     Reduction("argmax", x, "float32")]  # fmt: skip
    return graph


@pytest.mark.parametrize("n", (1, 15, 17, 100, 5000, 40000))
def test_sum_of_floats(device, n):
    from piblas.kernels.reduce import sum_bound

    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    for name in ("own4", "own2", "own1", "long"):
        (total, _, first), _ = launch(device, kernels(_sums())[name], [x], n)
        exact = float(np.sum(np.square(x, dtype=np.float64)))
        bound = sum_bound(n, exact) + 2.0**-23 * exact + 2.0**-24 * abs(exact)
        assert abs(float(total) - exact) <= bound
        assert first == int(np.argmax(x))


@pytest.mark.parametrize("how", ("sum", "min", "max", "argmin", "argmax"))
@pytest.mark.parametrize("kind", "fiu")
def test_reductions(device, how, kind):
    if (how, kind) == ("sum", "f"):
        return  # has a test of its own
    dtype = {"f": "float32", "i": "int32", "u": "uint32"}[kind]
    key = {"f": ref.key, "i": ref.signed, "u": int}[kind]
    graph = Graph(arguments(dtype))
    graph.results = [Reduction(how, graph.add("load", kind, data=0), dtype)]
    rng = random.Random(how + kind)
    same = [0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0]
    for name in ("own4", "own1", "spilled"):
        kernel = kernels(graph)[name]
        for n in (1, 9, 16, 40, 200, 3000):
            for words in (
                ref.random_patterns(n, rng.getrandbits(20)),
                [rng.choice(same)] * n,
                [rng.choice(same) for _ in range(n)],
            ):
                values = [np.array(words, np.uint32).view(dtype)]
                (got,), _ = launch(device, kernel, values, n, rng.choice((1, 4, 12)))
                keys = [key(word) for word in words]
                best = min(keys) if how.endswith("min") else max(keys)
                if how == "sum":
                    assert int(got.view(np.uint32)) == sum(words) & ref.M32
                elif how.startswith("arg"):
                    assert got == keys.index(best)
                else:
                    assert key(int(got.view(np.uint32))) == best


def test_loops_turn_as_often_as_they_say(device):
    graph = Graph(arguments("int32", "int32"))
    x, y = (graph.add("load", "i", data=i) for i in range(2))
    inner = Graph(graph.arguments, around=graph)
    a, b = (inner.add("carried", "i", data=i) for i in range(2))
    total = inner.add("add", "i", a, b)  # (a, b) -> (b, a + b): values change places
    for count in (0, 1, 2, 40):
        node = graph.add("loop", "i", x, y, data=Loop(count, inner, (b, total)))
        graph.results = [
            Store(graph.add("result", "i", node, data=i), "int32") for i in range(2)
        ]
        values = [np.arange(50, dtype=np.int32), np.arange(50, dtype=np.int32)[::-1] * 3]
        for name in ("own2", "own1", "stream"):
            results, _ = launch(device, kernels(graph)[name], values, 50)
            check_stores(graph, results, values, 50)


def test_too_many_values():
    graph = Graph(arguments("float32"))
    x = graph.add("load", "f", data=0)
    made = [graph.add("fadd", "f", x, graph.add("const", "f", data=bits(i))) for i in range(300)]
    total = made[-1]
    for each in made:
        total = graph.add("fmul", "f", total, each)
    graph.results = [Store(total, "float32")]
    with pytest.raises(lower.TooManyValues, match="too many values"):
        lower.Function(graph, 12).program(1000)._assemble()


@pytest.mark.parametrize("turns", (1, 11))
def test_values_beyond_the_registers(device, turns):
    """Eighty values at a time: more than the registers hold; in a short program and a long one."""
    graph = Graph(arguments("float32"))
    x = graph.add("load", "f", data=0)
    made = [graph.add("fmul", "f", x, graph.add("const", "f", data=bits(i))) for i in range(1, 81)]
    total = made[-1]
    for turn in range(turns):
        for each in made:
            total = graph.add(("fadd", "fsub")[turn % 2], "f", total, each)
    graph.results = [Store(total, "float32")]
    program = lower.Function(graph, 12).program(1000)
    kernel = program._way(int(program._assemble()[-1]) & 0xFFFF)
    assert kernel.spills
    for n in (5, 100):
        values = random_values(random.Random(n), graph, n)
        results, _ = launch(device, kernel, values, n)
        check_stores(graph, results, values, n)


def _wide(arrays, numbers, results, dtype):
    """A graph that has all arrays and numbers in use before it stores so many results."""
    kind = STORAGE[dtype]
    words = {"f": "float32", "i": "int32", "u": "uint32"}[kind]
    graph = Graph(arguments(*[dtype] * arrays, scalars=[words] * numbers))
    loads = [graph.add("load", kind, data=i) for i in range(arrays)]
    numbered = [graph.add("scalar", kind, data=arrays + i) for i in range(numbers)]
    op = "fsub" if kind == "f" else "sub"
    made = loads[:]
    for i, number in enumerate(numbered):
        made[i % len(made)] = graph.add(op, kind, number, made[i % len(made)])
    total = made[0]
    for each in made[1:]:
        total = graph.add(op, kind, total, each)
    made.append(total)
    for i in range(results):
        graph.results.append(Store(graph.add(op, kind, total, made[i % len(made)]), dtype))
    return graph


@pytest.mark.parametrize(
    "size",
    ((40, 0, 1, "float32"), (20, 20, 4, "float32"), (1, 40, 2, "int32"), (8, 8, 16, "float32"),
     (30, 5, 3, "uint8"), (12, 12, 8, "float16")),
    ids=str,
)  # fmt: skip
def test_many_operands(device, size):
    graph = _wide(*size)
    program = lower.Function(graph, 12).program(1000)
    kernel = program._way(int(program._assemble()[-1]) & 0xFFFF)
    rng = random.Random(str(size))
    for n in (5, 300):
        values = random_values(rng, graph, n)
        shifts = [rng.randrange(64) for _ in range(60)]
        results, _ = launch(device, kernel, values, n, shifts=shifts)
        check_stores(graph, results, values, n)


def test_evaluation_of_the_model():
    """The plain model itself, on numbers known by hand."""
    x = np.array([1, 2, 3], np.float32)
    (made,) = evaluate(saxpy(), [x, x, np.float32(2)], 3)
    assert same_bits(made, 3 * x)
