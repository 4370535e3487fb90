"""Random graphs of vector functions: any operations on any kinds, values read again and again."""

from __future__ import annotations

import numpy as np
import reference as ref

from piblas.vector.graph import STORAGE, Argument, Graph, Loop, Reduction, Store

FLOAT = ("fadd", "fsub", "fmin", "fmax", "fminabs", "fmaxabs", "fmul")
INTEGER = (
    "add", "sub", "shr", "asr", "ror", "shl", "min", "max", "and", "or", "xor", "mul24",
    "v8adds", "v8subs", "v8muld", "v8min", "v8max",
)  # fmt: skip
SFU = ("recip", "rsqrt", "exp2", "log2")
COMPARE = ("lt", "le", "eq", "ne")
TYPES = tuple(STORAGE)


class Maker:
    """Adds random nodes to a graph; ``known`` are its nodes by kind."""

    def __init__(self, rng, graph, sfu=True):
        self.rng, self.graph, self.sfu = rng, graph, sfu
        self.known = {"f": [], "i": [], "u": [], "m": []}

    def pick(self, kind):
        known = self.known[kind]
        if not known or self.rng.random() < 0.1 and kind != "m":
            if kind == "m":
                known.append(self.compare())
            else:
                word = ref.random_patterns(1, self.rng.getrandbits(30))[0]
                if self.rng.random() < 0.3:
                    word = self.rng.randrange(-16, 16) & ref.M32
                known.append(self.graph.add("const", kind, data=word))
        recent = known[-8:] if self.rng.random() < 0.6 else known
        return self.rng.choice(recent)

    def compare(self):
        kind = self.rng.choice("fiu")
        op = self.rng.choice(COMPARE)
        return self.graph.add(op, "m", self.pick(kind), self.pick(kind))

    def step(self):
        """One more operation."""
        rng, graph = self.rng, self.graph
        choice = rng.random()
        if choice < 0.4:
            kind = "f"
            node = graph.add(rng.choice(FLOAT), "f", self.pick("f"), self.pick("f"))
        elif choice < 0.6:
            kind = rng.choice("iu")
            node = graph.add(rng.choice(INTEGER), kind, self.pick(kind), self.pick(kind))
        elif choice < 0.66:
            kind = rng.choice("iu")
            node = graph.add(rng.choice(("not", "clz")), kind, self.pick(kind))
        elif choice < 0.72:
            kind, node = "f", graph.add("itof", "f", self.pick("i"))
        elif choice < 0.78 and self.sfu:
            kind, node = "f", graph.add(rng.choice(SFU), "f", self.pick("f"))
        elif choice < 0.82:
            kind = rng.choice("fiu")
            node = graph.add("bits", kind, self.pick(rng.choice("fiu")))
        elif choice < 0.9:
            kind, node = "m", self.compare()
        elif choice < 0.93:
            kind = "m"
            op = rng.choice(("mand", "mor", "mnot"))
            masks = [self.pick("m") for _ in range(1 if op == "mnot" else 2)]
            node = graph.add(op, "m", *masks)
        else:
            kind = rng.choice("fiu")
            node = graph.add("select", kind, self.pick("m"), self.pick(kind), self.pick(kind))
        self.known[kind].append(node)

    def loop(self, steps, depth=1):
        """A loop over a few carried values, whose body has so many operations."""
        rng, graph = self.rng, self.graph
        kinds = [rng.choice("fium") for _ in range(rng.randint(1, 3))]
        begins = [self.pick(kind) for kind in kinds]
        inner = Maker(rng, Graph(graph.arguments, around=graph), self.sfu)
        for number, kind in enumerate(kinds):
            inner.known[kind].append(inner.graph.add("carried", kind, data=number))
        for kind in "fium":
            for node in rng.sample(self.known[kind], min(2, len(self.known[kind]))):
                inner.known[kind].append(inner.graph.add("outer", kind, data=node))
        for number, each in enumerate(graph.arguments):
            if rng.random() < 0.2:
                kind = STORAGE[each.dtype]
                op = "load" if each.array else "scalar"
                inner.known[kind].append(inner.graph.add(op, kind, data=number))
        for _ in range(steps):
            inner.step()
        if depth and rng.random() < 0.3:
            inner.loop(steps, depth - 1)
        carried = tuple(inner.pick(kind) for kind in kinds)
        data = Loop(rng.choice((0, 1, 2, 3, 5)), inner.graph, carried)
        node = graph.add("loop", kinds[0], *begins, data=data)
        for number, kind in enumerate(kinds):
            self.known[kind].append(graph.add("result", kind, node, data=number))


def random_graph(rng, operations, arrays=3, scalars=2, results=2, loops=0.0, reductions=0.0,
                 types=TYPES):  # fmt: skip
    """A graph of about so many operations."""
    arguments = [Argument(f"x{i}", rng.choice(types), True) for i in range(arrays)]
    words = ("float32", "int32", "uint32")
    arguments += [Argument(f"s{i}", rng.choice(words), False) for i in range(scalars)]
    rng.shuffle(arguments)
    graph = Graph(tuple(arguments))
    maker = Maker(rng, graph)
    for number, each in enumerate(arguments):
        kind = STORAGE[each.dtype]
        maker.known[kind].append(
            graph.add("load" if each.array else "scalar", kind, data=number)
        )
    if rng.random() < 0.3:
        maker.known["u"].append(graph.add("index", "u"))
    left = operations
    while left > 0:
        if rng.random() < loops:
            steps = rng.randint(1, 6)
            maker.loop(steps)
            left -= steps
        maker.step()
        left -= 1
    for _ in range(results):
        kind = rng.choice("fiu")
        node = maker.pick(kind)
        if rng.random() < reductions:
            how = rng.choice(("sum", "min", "max", "argmin", "argmax"))
            dtype = {"f": "float32", "i": "int32", "u": "uint32"}[kind]
            if not (how == "sum" and kind == "f"):
                graph.results.append(Reduction(how, node, dtype))
                continue
        dtype = rng.choice([each for each in TYPES if STORAGE[each] == kind])
        graph.results.append(Store(node, dtype))
    return graph


def random_values(rng, graph, n):
    """Arguments for a graph: arrays of ``n`` elements, and numbers."""
    values = []
    for each in graph.arguments:
        count = n if each.array else 1
        words = np.array(ref.random_patterns(max(count, 1), rng.getrandbits(30)), dtype=np.uint32)
        dtype = np.dtype(each.dtype)
        bits = words.astype({4: np.uint32, 2: np.uint16, 1: np.uint8}[dtype.itemsize])
        array = bits.view(dtype)[:count]
        if not each.array and array.dtype.kind == "f" and np.isnan(array[0]):
            array = np.array([np.inf], dtype)  # numbers are floats of Python, whose NaN is one
        values.append(array if each.array else array[0])
    return values
