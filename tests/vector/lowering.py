"""Runs lowered graphs on a device, with guard bytes around every array."""

from __future__ import annotations

import weakref

import numpy as np
from plain_graph import evaluate

from piblas.vector.body import SIZES, of_graph, stores
from piblas.vector.graph import Argument, Graph, Store

GUARD = 0xA5
PAD = 96
"""Guard bytes on each side, and room for a shift."""

_PROGRAMS = weakref.WeakKeyDictionary()


def bits(value):
    """The word of a float32."""
    return int(np.float32(value).view(np.uint32))


class Guarded:
    """An array in device memory, ``shift`` elements after a line of 64 bytes, among guard bytes."""

    def __init__(self, dev, values, shift=0):
        self.before = PAD + 64 - PAD % 64 + shift * values.itemsize
        self.nbytes = values.nbytes
        self.buffer = dev.alloc(self.before + values.nbytes + PAD)
        self.raw = self.buffer.array(np.uint8)
        self.raw[:] = GUARD
        self.dtype = values.dtype
        self.raw[self.before : self.before + self.nbytes] = values.view(np.uint8)
        self.buffer.clean()

    @property
    def address(self):
        return self.buffer.bus_address + self.before

    def check(self):
        """The values as they are now; the bytes around have not changed."""
        self.buffer.invalidate()
        inside = np.s_[self.before : self.before + self.nbytes]
        assert np.all(np.delete(self.raw, inside) == GUARD), "a byte outside the array was written"
        return self.raw[inside].copy().view(self.dtype)


def launch(dev, kernel, values, n, n_qpus=12, shifts=(), in_place=None):
    """(results, report) of one launch of a kernel; ``values`` are those of all arguments.

    ``in_place`` is the argument that the first result replaces.
    """
    graph = kernel.graph
    loaded = _PROGRAMS.setdefault(dev, weakref.WeakKeyDictionary())
    if kernel not in loaded:
        loaded[kernel] = dev.load(kernel.assemble("test").words)
    shifts = iter([*shifts, *[0] * 100])
    held, addresses = [], {}
    for number, (argument, value) in enumerate(zip(graph.arguments, values)):
        if argument.array:
            array = Guarded(dev, np.ascontiguousarray(value), next(shifts))
            held.append(array)
            addresses[f"in{number}"] = array.address
            if number == in_place:
                replaced = array
    outs = {}
    for place, each in stores(graph):
        outs[place] = Guarded(dev, np.zeros(n, each.dtype), next(shifts))
        if in_place is not None and place == 0:
            outs[place].buffer.free()
            outs[place] = replaced
        addresses[f"out{place}"] = outs[place].address
    first = stores(graph)[0][0] if outs else None
    alignment = addresses[f"out{first}"] % 64 if outs else 0
    streams = kernel.streams(n, n_qpus, 0, alignment)
    if kernel.stored:
        parts = kernel.parts(n, n_qpus)
        partial = Guarded(dev, np.zeros(16 * kernel.stored * parts, np.uint32))
        held.append(partial)
        addresses["partial"] = partial.address
    numbers = [values[number] for number in kernel.scalars]
    words = b"".join(np.asarray(number).tobytes() for number in numbers)
    filled = streams.filled(addresses, {"scalars": np.frombuffer(words, np.float32)})
    report = dev.execute(loaded[kernel], filled)
    joined = iter(kernel.results(partial.check()) if kernel.stored else ())
    results = [
        outs[place].check() if place in outs else next(joined)
        for place in range(len(graph.results))
    ]
    for array in {id(each): each for each in (*held, *outs.values())}.values():
        array.check() if array not in outs.values() else None
        array.buffer.free()
    return results, report


def same_bits(one, two):
    """Whether two arrays have the same bytes."""
    return one.dtype == two.dtype and one.tobytes() == two.tobytes()


def check_stores(graph, results, values, n):
    """The arrays among results are those of the plain model."""
    for place, (want, got) in enumerate(zip(evaluate(graph, values, n), results)):
        if isinstance(graph.results[place], Store):
            wrong = np.nonzero(want.view(np.uint8) != got.view(np.uint8))[0] // got.itemsize
            assert same_bits(want, got), (place, wrong[:8], want[wrong[:3]], got[wrong[:3]])


# --- graphs --------------------------------------------------------------------------------------


def arguments(*dtypes, scalars=()):
    return tuple(
        [Argument(f"x{i}", dtype, True) for i, dtype in enumerate(dtypes)]
        + [Argument(f"s{i}", dtype, False) for i, dtype in enumerate(scalars)]
    )


def saxpy():
    """a * x + y."""
    graph = Graph(arguments("float32", "float32", scalars=("float32",)))
    x, y = graph.add("load", "f", data=0), graph.add("load", "f", data=1)
    product = graph.add("fmul", "f", x, graph.add("scalar", "f", data=2))
    graph.results.append(Store(graph.add("fadd", "f", product, y), "float32"))
    return graph


def copy(dtype="float32", to=None):
    from piblas.vector.graph import STORAGE

    graph = Graph(arguments(dtype))
    graph.results.append(Store(graph.add("load", STORAGE[dtype], data=0), to or dtype))
    return graph


def chain(length, arrays=1):
    """``length`` operations, each on the result of the one before."""
    graph = Graph(arguments(*["float32"] * arrays))
    loads = [graph.add("load", "f", data=i) for i in range(arrays)]
    value = loads[-1]
    for i in range(length):
        other = graph.add("const", "f", data=bits(1.1 + i % 5))
        if arrays > 1 and i % 3 == 0:
            other = loads[i // 3 % arrays]
        value = graph.add(("fadd", "fmul", "fsub", "fmul")[i % 4], "f", value, other)
    graph.results.append(Store(value, "float32"))
    return graph


__all__ = [
    "GUARD", "Guarded", "SIZES", "arguments", "bits", "chain", "check_stores", "copy", "launch",
    "of_graph", "same_bits", "saxpy",
]  # fmt: skip
