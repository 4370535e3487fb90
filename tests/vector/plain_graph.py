"""A graph of a vector function in plain Python, element by element, on the model of tests/emu."""

from __future__ import annotations

import functools

import numpy as np
import reference as ref

from piblas.emu import sfu
from piblas.isa import ops
from piblas.vector.graph import STORAGE, Graph, Store

M32 = 0xFFFFFFFF
SFU = {"recip": sfu.RECIP, "rsqrt": sfu.RSQRT, "exp2": sfu.EXP2, "log2": sfu.LOG2}
NARROW = {"int16": np.uint16, "uint8": np.uint8}


def widened(dtype, values):
    """The words that loads of an array make, as a list of ints."""
    if dtype == "float16":
        return [ref.half_to_float(int(half)) for half in values.view(np.uint16)]
    if STORAGE[dtype] == "i":
        return [int(value) & M32 for value in values]
    return [int(value) for value in (values.view(np.uint32) if dtype == "float32" else values)]


def narrowed(dtype, words):
    """What a store makes of words."""
    words = np.array(words, dtype=np.uint32)
    if dtype == "float16":
        halves = [ref.float_to_half(int(word)) for word in words]
        return np.array(halves, dtype=np.uint16).view(np.float16)
    if dtype in NARROW:
        return words.astype(NARROW[dtype]).view(dtype)
    return words.view(dtype)


@functools.lru_cache(maxsize=None)
def _is_add(name):
    return any(row.name == name for row in ops.ADD_OPS)


def _compare(op, kind, a, b):
    order = {"f": ref.key, "i": ref.signed, "u": int}[kind]
    a, b = order(a), order(b)
    return {"lt": a < b, "le": a <= b, "eq": a == b, "ne": a != b}[op]


class Element:
    """The values of one element."""

    def __init__(self, graph, words, number, outer=None, carried=()):
        self.graph, self.words, self.number = graph, words, number
        self.outer, self.carried, self.values = outer, carried, []
        for node in graph.nodes:
            self.values.append(self._value(node))

    def _value(self, node):
        args = [self.values[each] for each in node.args]
        if node.op in ("load", "scalar"):
            column = self.words[node.data]
            return column[self.number] if node.op == "load" else column
        if node.op == "const":
            return node.data
        if node.op == "index":
            return self.number
        if node.op == "carried":
            return self.carried[node.data]
        if node.op == "outer":
            return self.outer[node.data]
        if node.op == "bits":
            return args[0]
        if node.op == "result":
            return args[0][node.data]
        if node.op == "loop":
            for _ in range(node.data.count):
                inner = Element(node.data.body, self.words, self.number, self.values, args)
                args = [inner.values[each] for each in node.data.carried]
            return args
        if node.op in ("lt", "le", "eq", "ne"):
            return _compare(node.op, self.graph.kind(node.args[0]), *args)
        if node.op in ("mand", "mor"):
            return all(args) if node.op == "mand" else any(args)
        if node.op == "mnot":
            return not args[0]
        if node.op == "select":
            return args[1] if args[0] else args[2]
        if node.op in SFU:
            return int(sfu.evaluate(SFU[node.op], np.int64(args[0])))
        a, b = args if len(args) == 2 else (args[0], args[0])
        return (ref.add_op if _is_add(node.op) else ref.mul_op)(node.op, a, b)[0]


def evaluate(graph: Graph, arguments, n):
    """What a function's results are: arrays for stores, for reductions the list of the words."""
    words = [
        widened(each.dtype, value) if each.array else widened(each.dtype, np.array([value]))[0]
        for each, value in zip(graph.arguments, arguments)
    ]
    columns = [[] for _ in graph.results]
    for number in range(n):
        values = Element(graph, words, number).values
        for column, result in zip(columns, graph.results):
            column.append(values[result.node])
    return [
        narrowed(result.dtype, column) if isinstance(result, Store) else column
        for result, column in zip(graph.results, columns)
    ]
