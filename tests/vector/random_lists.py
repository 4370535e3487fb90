"""Random lists of operations that are right, with arguments for them."""

from __future__ import annotations

import numpy as np
from front import FLOATS, INTEGERS, floats, integers
from hypothesis import strategies as st

from piblas.vector.ops import ROWS, Variable

FLOAT = [row.name for row in ROWS if row.form == "variable" and row.takes == "float"]
INTEGER = [row.name for row in ROWS if row.form == "variable" and row.takes in ("int", "bits")]
UNARY = {
    "f": ["EXP", "LOG", "RECIP", "RECIPSQRT", "SQRT", "EXPE", "LOGE", "SIN", "COS", "TANH",
          "SIGMOID", "FABS", "FNEG", "FLOOR", "CEIL"],
    "i": ["NOT", "CLZ", "ABS"],
}  # fmt: skip
TURN = {"f": ["FTOI", "ASINT"], "i": ["ITOF", "ASFLOAT"]}
COMPARE = ["LT", "LE", "GT", "GE", "EQ", "NE"]
TYPES = {"f": ["float32", "float32", "float16"], "i": ["int32", "int32", "int16", "uint8"]}
VARIABLES = {"f": (0, 1), "i": (2, 3)}
"""Variables 0 and 1 hold floats, 2 and 3 integers."""


class Case:
    """A list, the types of its slots, and the arguments but for those to store in."""

    def __init__(self, draw):
        self.draw, self.ops, self.types, self.values = draw, [], [], []
        self.n = draw(st.integers(0, 70))
        self.kind = "f"

    def seed(self):
        return self.draw(st.integers(0, 1 << 20))

    def array(self, kind):
        dtype = self.draw(st.sampled_from(TYPES[kind]))
        made = floats(self.n, self.seed()) if kind == "f" else integers(self.n, self.seed())
        with np.errstate(all="ignore"):
            self.values.append(made.astype(dtype))
        self.types.append((dtype, "array"))

    def number(self, kind):
        if kind == "f":
            some = [float(each) for each in FLOATS[np.isfinite(FLOATS)]] + [0.5, -1.25, 3.0, 1e-3]
            return self.draw(st.sampled_from(some))
        return int(self.draw(st.sampled_from([int(each) for each in INTEGERS])))

    def operand(self, name):
        """An op with an operand in one of its forms."""
        kind, form = self.kind, self.draw(st.integers(0, 3))
        if form == 0:
            self.array(kind)
            self.ops.append("V" + name)
        elif form == 1:
            self.values.append(self.number(kind))
            self.types.append(("float32" if kind == "f" else "int32", "number"))
            self.ops.append("S" + name)
        elif form == 2:
            self.ops.append((name, Variable(self.draw(st.sampled_from(VARIABLES[kind])))))
        else:
            self.ops.append((name, self.number(kind)))

    def turn(self, kind):
        if kind != self.kind:
            self.ops.append("ASINT" if kind == "i" else "ASFLOAT")
            self.kind = kind

    def step(self, depth):
        """One or a few ops; how many."""
        draw, kind, before = self.draw, self.kind, len(self.ops)
        what = draw(st.integers(0, 12))
        if what <= 4:
            self.operand(draw(st.sampled_from(FLOAT if kind == "f" else INTEGER)))
        elif what <= 6:
            self.ops.append(draw(st.sampled_from(UNARY[kind])))
        elif what == 7:
            self.ops.append(draw(st.sampled_from(TURN[kind])))
            self.kind = "i" if kind == "f" else "f"
        elif what == 8:
            self.ops.append(("SAVE", Variable(draw(st.sampled_from(VARIABLES[kind])))))
        elif what == 9:
            variable = draw(st.integers(0, 3))
            self.ops.append(f"OPEN{variable}")
            self.kind = "f" if variable < 2 else "i"
        elif what == 10:
            self.operand(draw(st.sampled_from(COMPARE)))
            self.kind = draw(st.sampled_from("fi"))
            chosen = [Variable(each) for each in VARIABLES[self.kind]]
            self.ops.append(("SELECT", chosen[0], draw(st.sampled_from([chosen[1]]))))
        elif depth < 2:
            self.block(depth, repeat=what == 11)
        return len(self.ops) - before

    def block(self, depth, repeat):
        draw, kind = self.draw, self.kind
        if repeat:
            self.ops.append(("REPEAT", draw(st.integers(0, 4))))
        else:
            form = draw(st.integers(0, 1))
            name = "IF_" + draw(st.sampled_from(COMPARE))
            if form:
                self.operand(name)
            else:
                self.ops.append((name, self.number(kind)))
        for _ in range(draw(st.integers(0, 5))):
            self.step(depth + 1)
        self.turn(kind)
        if not repeat and draw(st.booleans()):
            self.ops.append("ELSE")
            for _ in range(draw(st.integers(0, 4))):
                self.step(depth + 1)
            self.turn(kind)
        self.ops.append("END" if repeat else "END_IF")

    def store(self):
        self.ops.append("STORE")
        self.types.append(None)


@st.composite
def lists(draw, most=40):
    """A :class:`Case` of up to about ``most`` ops."""
    case = Case(draw)
    for kind in "if":
        case.array(kind)
        first, second = VARIABLES[kind]
        case.ops += ["VLOAD", f"SAVE{first}", f"SAVE{second}"]
    left = draw(st.integers(1, most))
    while left > 0:
        left -= max(1, case.step(0))
    case.store()
    if draw(st.booleans()):
        variable = draw(st.integers(0, 3))
        case.ops.append(f"OPEN{variable}")
        case.kind = "f" if variable < 2 else "i"
        case.store()
    if case.n and draw(st.booleans()):
        hows = ["REDUCE_MIN", "REDUCE_MAX", "ARGMIN", "ARGMAX"] + ["SUM"] * (case.kind == "i")
        case.ops.append(draw(st.sampled_from(hows)))
    return case
