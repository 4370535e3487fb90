"""Functions that the QPU has no instruction for, written with those that it has.

The front ends make graphs whose nodes may name functions of :data:`FUNCTIONS` besides the machine's
operations; :func:`expand` replaces them.  ``precise`` functions refine what the special function
unit (SFU) gives: quotients and roots by a Newton step on the residual, which is computed without
cancellation; logarithms and powers by polynomials after a reduction of the range.

The largest errors over the whole range of normal float32 numbers, in units of the last place (ulp)
of the exact result, are in :data:`ERRORS`; a test measures them against float64.  The SFU of the
chip is right to about 13 bits, near 1 the logarithm's absolute and not its relative error is
small; what is said here of results that are not precise holds for the emulator's model of it.

What differs from NumPy, by function, is in :data:`DIFFERS`.  QPUs take numbers below 2**-126
(denormals) for 0 and return 0 for them; -0 as a result of arithmetic is +0; no arithmetic makes a
NaN, and a NaN as an operand of arithmetic is an infinity.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .graph import Graph, Loop
from .interpret import last_uses

__all__ = ["Code", "DIFFERS", "ERRORS", "FUNCTIONS", "bits_of", "expand"]

_FLOAT_RESULTS = frozenset(
    "fadd fsub fmul fmin fmax fminabs fmaxabs itof recip rsqrt exp2 log2".split()
)
_COMPARISONS = frozenset(("lt", "le", "eq", "ne"))
_INF = 0x7F800000
_SHIFTER = 12582912.0  # 1.5 * 2**23: v + this, rounded toward zero, has floor(v) in its low bits


def bits_of(value: float) -> int:
    """The word of a float32: the number rounded to nearest, too large ones to infinity."""
    try:
        return int(struct.unpack("<I", struct.pack("<f", value))[0])
    except OverflowError:
        return _INF | (0x80000000 if value < 0 else 0)


class Code:
    """Adds nodes to a graph: ``code.op(name, ...)``, or ``code.fadd(x, y)``.

    Operands are node numbers; :meth:`f` and :meth:`i` make constants.
    """

    graph: Graph

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def f(self, value: float) -> int:
        """A float32 constant."""
        return self.graph.add("const", "f", data=bits_of(value))

    def i(self, value: int, kind: str = "i") -> int:
        """An integer constant, of its low 32 bits."""
        return self.graph.add("const", kind, data=value & 0xFFFFFFFF)

    def kind(self, node: int) -> str:
        """The kind of a node."""
        return self.graph.nodes[node].kind

    def op(self, name: str, *args: int) -> int:
        """A machine operation or a comparison."""
        if name in _COMPARISONS:
            kind = "m"
        elif name in _FLOAT_RESULTS:
            kind = "f"
        elif name == "ftoi":
            kind = "i"
        elif name == "select":
            kind = self.kind(args[1])
        else:
            kind = self.kind(args[0])
            if kind == "f":
                kind = "u"
        return self.graph.add(name, kind, *args)

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *args: self.op(name, *args)

    def cast(self, node: int, kind: str) -> int:
        """The same bits as another kind."""
        return node if self.kind(node) == kind else self.graph.add("bits", kind, node)

    def select(self, mask: int, a: int, b: int) -> int:
        """a where the mask holds, else b."""
        return self.graph.add("select", self.kind(a), mask, a, b)

    def polynomial(self, x: int, coefficients: Sequence[float]) -> int:
        """c[0] + x (c[1] + x (...)), the lowest coefficient first."""
        made = self.f(coefficients[-1])
        for each in coefficients[-2::-1]:
            made = self.fadd(self.fmul(made, x), self.f(each))
        return made


# --- integers -----------------------------------------------------------------------------------


def _mul(c: Code, a: int, b: int) -> int:
    """The low 32 bits: of the bytes above 24 bits only products with the other's low 24 count."""
    eight = c.i(24)
    high = c.add(c.mul24(c.shr(a, eight), b), c.mul24(a, c.shr(b, eight)))
    return c.add(c.mul24(a, b), c.shl(high, eight))


def _abs(c: Code, a: int) -> int:
    if c.kind(a) == "u":
        return a
    sign = c.asr(a, c.i(31))
    return c.xor(c.add(a, sign), sign)


def _least(c: Code, a: int, b: int) -> int:
    if c.kind(a) == "u":
        return c.select(c.lt(b, a), b, a)
    return c.op("min", a, b)


def _largest(c: Code, a: int, b: int) -> int:
    if c.kind(a) == "u":
        return c.select(c.lt(a, b), b, a)
    return c.op("max", a, b)


def _to_float(c: Code, a: int) -> int:
    if c.kind(a) != "u":
        return c.itof(a)
    high = c.fmul(c.itof(c.cast(c.shr(a, c.i(16, "u")), "i")), c.f(65536.0))
    return c.fadd(high, c.itof(c.cast(c.op("and", a, c.i(0xFFFF, "u")), "i")))


def _to_unsigned(c: Code, a: int) -> int:
    """A float below 2**32 as a uint32; negative ones as their int32 would be."""
    half = c.f(2147483648.0)
    upper = c.add(c.ftoi(c.fsub(a, half)), c.i(0x80000000))
    return c.cast(c.select(c.lt(a, half), c.ftoi(a), upper), "u")


# --- floats: simple ones ------------------------------------------------------------------------


def _fabs(c: Code, x: int) -> int:
    return c.fmaxabs(x, x)


def _fneg(c: Code, x: int) -> int:
    return c.cast(c.xor(c.cast(x, "u"), c.i(0x80000000, "u")), "f")


def _trunc(c: Code, x: int) -> int:
    return c.select(c.lt(_fabs(c, x), c.f(8388608.0)), c.itof(c.ftoi(x)), x)


def _floor(c: Code, x: int) -> int:
    t = _trunc(c, x)
    return c.select(c.lt(x, t), c.fsub(t, c.f(1.0)), t)


def _ceil(c: Code, x: int) -> int:
    t = _trunc(c, x)
    return c.select(c.lt(t, x), c.fadd(t, c.f(1.0)), t)


def _rint(c: Code, x: int) -> int:
    """To the nearest integer, halves to even ones."""
    t = _trunc(c, x)
    rest = _fabs(c, c.fsub(x, t))
    odd = c.eq(c.op("and", c.ftoi(t), c.i(1)), c.i(1))
    half = c.f(0.5)
    away = c.graph.add(
        "mor", "m", c.lt(half, rest), c.graph.add("mand", "m", c.eq(half, rest), odd)
    )
    one = c.select(c.lt(x, c.f(0.0)), c.f(-1.0), c.f(1.0))
    return c.select(away, c.fadd(t, one), t)


def _or_inf(c: Code, x: int, made: int, at_inf: int) -> int:
    """``made`` for finite x, ``at_inf`` for others."""
    return c.select(c.lt(_fabs(c, x), c.cast(c.i(_INF), "f")), made, at_inf)


# --- quotients and roots ------------------------------------------------------------------------


def _large(c: Code, x: int) -> int:
    """2**-64 for numbers whose reciprocals, or what they lack, may be denormal; 1 for others."""
    return c.select(c.lt(c.f(2.0**96), _fabs(c, x)), c.f(2.0**-64), c.f(1.0))


def _recip(c: Code, x: int) -> int:
    """r + r (1 - x r): the difference is exact, so what is left is the rounding of x r."""
    scale = _large(c, x)
    x = c.fmul(x, scale)
    r = c.recip(x)
    made = c.fadd(r, c.fmul(r, c.fsub(c.f(1.0), c.fmul(x, r))))
    return c.fmul(made, scale)


def _rsqrt(c: Code, x: int) -> int:
    x = _fabs(c, x)
    y, half = c.rsqrt(x), c.f(0.5)
    error = c.fsub(half, c.fmul(c.fmul(x, y), c.fmul(half, y)))
    return c.fadd(y, c.fmul(y, error))


def _sqrt(c: Code, x: int) -> int:
    return c.recip(c.rsqrt(x))


def _sqrt_precise(c: Code, x: int) -> int:
    x = _fabs(c, x)
    y, half = c.rsqrt(x), c.f(0.5)
    s = c.fmul(x, y)
    made = c.fadd(s, c.fmul(s, c.fsub(half, c.fmul(s, c.fmul(half, y)))))
    return _or_inf(c, x, made, x)


def _div(c: Code, a: int, b: int) -> int:
    return c.fmul(a, c.recip(b))


def _div_precise(c: Code, a: int, b: int) -> int:
    """As 1 / b, from a times the reciprocal; what is near the ends of the range is corrected nearer
    to 1."""
    scale = _large(c, b)
    b = c.fmul(b, scale)
    r, one = c.recip(b), c.f(1.0)
    error = c.fsub(one, c.fmul(b, r))
    size = _fabs(c, c.fmul(a, r))
    small, large = c.lt(size, c.f(2.0**-90)), c.lt(c.f(2.0**90), size)
    up, down = c.f(2.0**32), c.f(2.0**-32)
    q = c.fmul(c.fmul(a, c.select(small, up, c.select(large, down, one))), r)
    q = c.fadd(q, c.fmul(q, error))
    return c.fmul(q, c.fmul(scale, c.select(small, down, c.select(large, up, one))))


# --- powers and logarithms ----------------------------------------------------------------------

_LOG2_E = 1.4426950408889634
_LN_2 = 0.6931471805599453
_LN_2_HIGH = float.fromhex("0x1.62ep-1")  # 12 bits, so that products with exponents are exact
_LN_2_LOW = _LN_2 - _LN_2_HIGH

# Polynomials that are near minimax: (2**f - 1 - f ln 2) / f**2 on 0 .. 1, and so on.
_EXP2 = tuple(map(float.fromhex, (
    "0x1.ebfc74p-3", "0x1.c69848p-5", "0x1.3c975ep-7", "0x1.4a07fep-10", "0x1.bcd126p-13",
)))  # fmt: skip
_EXP = tuple(map(float.fromhex, (
    "0x1.fffffcp-2", "0x1.555490p-3", "0x1.5558eep-5", "0x1.123a28p-7", "0x1.6a2860p-10",
)))  # fmt: skip
_LOG2 = tuple(map(float.fromhex, (
    "-0x1.715472p-1", "0x1.ec7086p-2", "-0x1.715a3ap-2", "0x1.278226p-2", "-0x1.eacc58p-3",
    "0x1.a27b9ap-3", "-0x1.8649dap-3", "0x1.803a56p-3", "-0x1.ce2c00p-4",
)))  # fmt: skip
_LOG = tuple(map(float.fromhex, (
    "-0x1.fffff8p-2", "0x1.555544p-2", "-0x1.0003fep-2", "0x1.99a960p-3", "-0x1.543206p-3",
    "0x1.2211f8p-3", "-0x1.0e8702p-3", "0x1.0a5394p-3", "-0x1.405a66p-4",
)))  # fmt: skip


def _scaled(c: Code, p: int, shifted: int, x: int, low: float, high: float) -> int:
    """p times 2 to the power of the integer in the low bits of ``shifted``; 0 below ``low``,
    infinity from ``high`` on."""
    power = c.shl(c.cast(shifted, "i"), c.i(23))
    made = c.cast(c.add(c.cast(p, "i"), power), "f")
    made = c.select(c.lt(x, c.f(low)), c.f(0.0), made)
    return c.select(c.lt(x, c.f(high)), made, c.cast(c.i(_INF), "f"))


def _clamped(c: Code, x: int, low: float, high: float) -> int:
    return c.fmin(c.fmax(x, c.f(low)), c.f(high))


def _exp2_precise(c: Code, x: int) -> int:
    v = _clamped(c, x, -160.0, 160.0)
    shifted = c.fadd(v, c.f(_SHIFTER))
    f = c.fsub(v, c.fsub(shifted, c.f(_SHIFTER)))
    rest = c.fmul(c.fmul(f, f), c.polynomial(f, _EXP2))
    rest = c.fadd(rest, c.f(2.0**-24))  # as all that follows rounds down; 1 stays 1
    p = c.fadd(c.f(1.0), c.fadd(c.fmul(f, c.f(_LN_2)), rest))
    return _scaled(c, p, shifted, x, -126.0, 128.0)


def _exp(c: Code, x: int) -> int:
    return c.exp2(c.fmul(x, c.f(_LOG2_E)))


def _exp_precise(c: Code, x: int) -> int:
    v = _clamped(c, x, -110.0, 110.0)
    shifted = c.fadd(c.fadd(c.fmul(v, c.f(_LOG2_E)), c.f(0.5)), c.f(_SHIFTER))
    n = c.fsub(shifted, c.f(_SHIFTER))
    high = c.fsub(v, c.fmul(n, c.f(_LN_2_HIGH)))
    low = c.fmul(n, c.f(_LN_2_LOW))
    r = c.fsub(high, low)
    lost = c.fsub(c.fsub(high, r), low)
    rest = c.fadd(c.fmul(c.fmul(r, r), c.polynomial(r, _EXP)), lost)
    rest = c.fadd(rest, c.f(2.0**-25))  # as all that follows rounds down; 1 stays 1
    p = c.fadd(c.f(1.0), c.fadd(r, rest))
    return _scaled(c, p, shifted, x, -87.33654475, 88.72284)


def _split(c: Code, x: int) -> Tuple[int, int]:
    """(exponent as a float, mantissa - 1), the mantissa between the roots of 1/2 and 2."""
    bits = c.cast(_fabs(c, x), "i")
    exponent = c.asr(c.sub(bits, c.i(0x3F3504F3)), c.i(23))
    mantissa = c.sub(bits, c.shl(exponent, c.i(23)))
    return c.itof(exponent), c.fsub(c.cast(mantissa, "f"), c.f(1.0))


def _of_zero_and_inf(c: Code, x: int, made: int) -> int:
    size = _fabs(c, x)
    inf = c.cast(c.i(_INF), "f")
    made = c.select(c.lt(size, c.f(2.0**-126)), c.cast(c.i(0xFF800000), "f"), made)
    return c.select(c.lt(size, inf), made, inf)


def _log2_precise(c: Code, x: int) -> int:
    e, f = _split(c, x)
    rest = c.fmul(c.fmul(f, f), c.polynomial(f, _LOG2))
    rest = c.fadd(c.fmul(f, c.f(_LOG2_E - 1.0)), rest)
    return _of_zero_and_inf(c, x, c.fadd(e, c.fadd(f, rest)))


def _log(c: Code, x: int) -> int:
    return c.fmul(c.log2(x), c.f(_LN_2))


def _log_precise(c: Code, x: int) -> int:
    e, f = _split(c, x)
    rest = c.fmul(c.fmul(f, f), c.polynomial(f, _LOG))
    rest = c.fadd(rest, c.fmul(e, c.f(_LN_2_LOW)))
    made = c.fadd(c.fmul(e, c.f(_LN_2_HIGH)), c.fadd(f, rest))
    return _of_zero_and_inf(c, x, made)


def _pow(c: Code, x: int, y: int) -> int:
    return c.exp2(c.fmul(y, c.log2(x)))


def _pow_precise(c: Code, x: int, y: int) -> int:
    return _exp2_precise(c, c.fmul(y, _log2_precise(c, x)))


# --- circle and hyperbola -----------------------------------------------------------------------

# pi in three parts of 11 bits and more, so that up to 2**12 times the first two are exact.
_PI = tuple(map(float.fromhex, ("0x1.92p+1", "0x1.fb4p-11", "0x1.4442d2p-23")))
_SIN = tuple(map(float.fromhex, (
    "-0x1.55554cp-3", "0x1.110ed4p-7", "-0x1.9f6ff4p-13", "0x1.5dbd46p-19",
)))  # fmt: skip


def _sine(c: Code, x: int, shift: float, offset: float, odd: int) -> int:
    """The sine of x - (floor(x / pi + shift) + offset) pi, negative where the floor is odd (even if
    ``odd`` is 1)."""
    shifted = c.fadd(c.fadd(c.fmul(x, c.f(0.3183098861837907)), c.f(shift)), c.f(_SHIFTER))
    n = c.fsub(shifted, c.f(_SHIFTER))
    if offset:
        n = c.fadd(n, c.f(offset))
    r = x
    for part in _PI:
        r = c.fsub(r, c.fmul(n, c.f(part)))
    square = c.fmul(r, r)
    made = c.fadd(r, c.fmul(c.fmul(r, square), c.polynomial(square, _SIN)))
    sign = c.shl(c.add(c.cast(shifted, "u"), c.i(odd, "u")), c.i(31, "u"))
    return c.cast(c.xor(c.cast(made, "u"), sign), "f")


def _sin(c: Code, x: int) -> int:
    return _sine(c, x, 0.5, 0.0, 0)


def _cos(c: Code, x: int) -> int:
    return _sine(c, x, 0.0, 0.5, 1)


_TANH = tuple(map(float.fromhex, (
    "-0x1.555548p-2", "0x1.110c72p-3", "-0x1.b90948p-5", "0x1.582fb4p-6", "-0x1.95002ap-8",
)))  # fmt: skip


def _tanh_with(exp: Callable[[Code, int], int], recip: Any) -> Callable[[Code, int], int]:
    def tanh(c: Code, x: int) -> int:
        size = _fabs(c, x)
        square = c.fmul(x, x)
        small = c.fadd(x, c.fmul(c.fmul(x, square), c.polynomial(square, _TANH)))
        one = c.f(1.0)
        twice = c.fmin(c.fadd(size, size), c.f(40.0))
        rest = recip(c, c.fadd(exp(c, twice), one))
        large = c.fsub(one, c.fadd(rest, rest))
        sign = c.op("and", c.cast(x, "u"), c.i(0x80000000, "u"))
        large = c.cast(c.op("or", c.cast(large, "u"), sign), "f")
        return c.select(c.lt(size, c.f(0.5625)), small, large)

    return tanh


def _sigmoid_with(exp: Callable[[Code, int], int], recip: Any) -> Callable[[Code, int], int]:
    def sigmoid(c: Code, x: int) -> int:
        return recip(c, c.fadd(exp(c, _fneg(c, x)), c.f(1.0)))

    return sigmoid


def _sfu_recip(c: Code, x: int) -> int:
    return c.recip(x)


_tanh, _tanh_precise = _tanh_with(_exp, _sfu_recip), _tanh_with(_exp_precise, _recip)
_sigmoid = _sigmoid_with(_exp, _sfu_recip)
_sigmoid_precise = _sigmoid_with(_exp_precise, _recip)


# --- the table ----------------------------------------------------------------------------------

Expansion = Callable[..., int]


class Function(NamedTuple):
    """How a function is written: ``plain``, and ``precise`` if that differs."""

    plain: Optional[Expansion]
    precise: Optional[Expansion] = None


FUNCTIONS: Mapping[str, Function] = {
    "mul": Function(_mul), "abs": Function(_abs), "min": Function(_least),
    "max": Function(_largest), "itof": Function(_to_float), "ftou": Function(_to_unsigned),
    "gt": Function(lambda c, a, b: c.lt(b, a)), "ge": Function(lambda c, a, b: c.le(b, a)),
    "fabs": Function(_fabs), "fneg": Function(_fneg), "trunc": Function(_trunc),
    "floor": Function(_floor), "ceil": Function(_ceil), "rint": Function(_rint),
    "recip": Function(None, _recip), "rsqrt": Function(None, _rsqrt),
    "exp2": Function(None, _exp2_precise), "log2": Function(None, _log2_precise),
    "sqrt": Function(_sqrt, _sqrt_precise), "div": Function(_div, _div_precise),
    "exp": Function(_exp, _exp_precise), "log": Function(_log, _log_precise),
    "pow": Function(_pow, _pow_precise), "sin": Function(_sin), "cos": Function(_cos),
    "tanh": Function(_tanh, _tanh_precise), "sigmoid": Function(_sigmoid, _sigmoid_precise),
}  # fmt: skip
"""By name.  A function without ``plain`` is an operation of the machine unless it is precise."""

ERRORS: Mapping[str, Tuple[float, float]] = {
    "recip": (512, 2), "rsqrt": (512, 2), "exp2": (512, 2), "log2": (512, 2),
    "sqrt": (1536, 2), "div": (1024, 2), "exp": (704, 1.5), "log": (768, 2),
    "sin": (3, 3), "cos": (3, 3), "tanh": (704, 2), "sigmoid": (1664, 4),
}  # fmt: skip
"""By name, (plain, precise): the largest error in ulp, where the result is a normal number.

``div`` without ``precise`` for divisors up to 2**126; ``sin cos`` from -pi to pi, and beyond, up to
2**13, within 2**-22; ``exp2 exp log2 log`` over all their range.
"""

DIFFERS: Mapping[str, str] = {
    "fadd": "rounds toward zero; Inf - Inf is an infinity, NaN counts as an infinity",
    "fsub": "as fadd",
    "fmul": "rounds toward zero; 0 times Inf or NaN is 0; the sign of a product that is 0 is lost",
    "fmin": "NaN is beyond Inf, -NaN beyond -Inf: fmin(NaN, x) = x and fmax(NaN, x) = NaN",
    "fmax": "as fmin",
    "fminabs": "as fmin", "fmaxabs": "as fmin",
    "ftoi": "0 for what no int32 holds, Inf and NaN among it",
    "itof": "rounds toward zero, from 2**24 on",
    "min": "nothing", "max": "nothing", "add": "nothing", "sub": "nothing", "mul": "nothing",
    "mul24": "nothing", "abs": "nothing", "and": "nothing", "or": "nothing", "xor": "nothing",
    "not": "nothing", "shl": "nothing: the distance is taken modulo 32", "shr": "as shl",
    "asr": "as shl", "ror": "as shl", "clz": "nothing",
    "lt": "compares sign and magnitude of the bits: NaN is larger than Inf and equals itself",
    "le": "as lt", "gt": "as lt", "ge": "as lt", "eq": "as lt", "ne": "as lt",
    "recip": "1 / 0 is Inf for either zero, 1 / NaN is 0",
    "rsqrt": "of |x|, so no NaN for negative x; of NaN it is 0",
    "sqrt": "of |x|, so no NaN for negative x; of NaN it is Inf, precise NaN",
    "exp2": "0 below -126; of NaN it is Inf, or 0 for one with a sign",
    "log2": "of |x|, so no NaN for negative x; -Inf below 2**-126; of NaN it is Inf",
    "exp": "0 below -87.34; of NaN as exp2", "log": "as log2",
    "div": "x / 0 is Inf with the sign of x, 0 / 0 is 0, Inf / Inf is 0; unless precise, 0 for "
    "divisors beyond 2**126",
    "sin": "for |x| above 2**13 the error grows, and from 2**22 on it is no sine; Inf and NaN give "
    "something between -2 and 2 or an infinity",
    "cos": "as sin",
    "tanh": "of NaN it is 1, or -1 for one with a sign",
    "sigmoid": "of NaN it is 1, or 0 for one with a sign",
    "fabs": "nothing", "fneg": "nothing",
    "floor": "-0 and what rounds to it gives +0", "ceil": "as floor", "trunc": "as floor",
    "rint": "as floor", "pow": "of |x|; the error is that of y * log2|x| times 2**23 ulp",
    "bits": "nothing", "ftou": "as ftoi", "dot": "as fmul and sums; sums of floats are compensated",
}  # fmt: skip
"""By name of the function: what differs from NumPy, apart from the errors above and from denormals,
which are 0 for whatever computes with floats (not for minima, maxima, comparisons and bits)."""


class _Expander:
    """Copies what results depend on in a graph, with functions written out."""

    def __init__(self, source: Graph, precise: bool, around: Optional["_Expander"] = None) -> None:
        self.source, self.precise = source, precise
        self.graph: Graph = Graph(around=around.graph if around else None)
        self.code = Code(self.graph)
        self.arguments: Dict[int, int] = around.arguments if around else {}

    def nodes(self, results: Sequence[int], outer: Sequence[int] = ()) -> List[int]:
        """The number in the new graph of each node of the old one; -1 of what nobody needs."""
        made: List[int] = []
        graph, code, precise = self.graph, self.code, self.precise
        needed = last_uses(self.source, results)
        for number, node in enumerate(self.source.nodes):
            if needed[number] < 0:
                made.append(-1)
                continue
            args = [made[each] for each in node.args]
            function = FUNCTIONS.get(node.op)
            if function is not None:
                write = function.plain
                if precise and function.precise is not None:
                    write = function.precise
                if write is not None:
                    made.append(write(code, *args))
                    continue
            data = node.data
            if node.op in ("load", "scalar"):
                data = self.arguments.setdefault(data, len(self.arguments))
            elif node.op == "loop":
                inner = _Expander(data.body, precise, self)
                numbers = inner.nodes(data.carried, made)
                data = Loop(data.count, inner.graph, tuple(numbers[each] for each in data.carried))
            elif node.op == "outer":
                data = outer[data]
            made.append(graph.add(node.op, node.kind, *args, data=data))
        return made


def expand(source: Graph, precise: bool = False) -> Tuple[Graph, List[int]]:
    """The graph with every function written in operations of the machine, and without what no
    result depends on; and which of the old graph's arguments its arguments are."""
    expander = _Expander(source, precise)
    numbers = expander.nodes([each.node for each in source.results])
    made, kept = expander.graph, list(expander.arguments)
    made.arguments = tuple(source.arguments[each] for each in kept)
    made.results = [each._replace(node=numbers[each.node]) for each in source.results]
    return made, kept
