"""Python functions as vector functions: NumPy's results, its types, errors that name the line."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from front import same

import piblas
from piblas.errors import VectorError
from piblas.vector import fuse
from piblas.vector.numpy_ops import ufuncs
from piblas.vector.tracing import KINDS

N = 300
rng = np.random.default_rng(21)


def sample(dtype, seed=0):
    made = np.random.default_rng(seed)
    if dtype == "bool":
        return made.random(N) < 0.5
    if dtype.startswith("float"):
        return np.round(made.standard_normal(N) * 8, 2).astype(dtype)
    info = np.iinfo(dtype)
    low, high = max(info.min, -(1 << 31)), int(info.max) + 1
    some = made.integers(low, high, N).astype(dtype)
    few = made.integers(0, 5, N).astype(dtype)
    return np.where(made.random(N) < 0.3, few, some)


def inplace(x, y):
    made = x * 2
    made += y
    made *= made
    return made


def several(x, y):
    low = np.minimum(x, y)
    return low, low + low, (x > y), x.max()


# Exactly NumPy's: whole numbers, comparisons, and floats whose results are exact.
EXACT = [
    (lambda x, y: x + y, "uint8 uint8"), (lambda x, y: x * y - 3, "uint8 uint8"),
    (lambda x, y: x + y, "int16 uint8"), (lambda x, y: x * y, "int16 int16"),
    (lambda x, y: x - y, "int32 int16"), (lambda x, y: x * y, "int32 int32"),
    (lambda x, y: x * y + 7, "uint32 uint32"), (lambda x, y: x + y, "uint32 uint8"),
    (lambda x, y: (x << 3) | (y >> 2), "uint8 uint8"),
    (lambda x, y: (x << 3) ^ (y >> 2), "int16 int16"),
    (lambda x, y: (x << 3) & (y >> 2), "int32 int32"),
    (lambda x, y: ~x >> (y & 31), "uint32 uint32"),
    (lambda x, y: x << (y & 15), "uint8 uint8"), (lambda x, y: x >> (y & 63), "int32 int32"),
    (lambda x, y: x << (y & 63), "int32 int32"), (lambda x, y: x >> (y & 15), "uint8 uint8"),
    (lambda x: -x, "uint8"), (lambda x: -x, "int16"), (lambda x: abs(x), "int16"),
    (lambda x: np.abs(x), "int32"), (lambda x: x**3 + x**2 + x**1 + x**0, "int32"),
    (lambda x: np.sign(x), "int16"),
    (lambda x: np.sign(x), "uint32"),
    (lambda x: np.sign(x), "float32"),
    (lambda x, y: np.minimum(x, y), "uint32 uint32"),
    (lambda x, y: np.maximum(x, y), "uint32 uint32"),
    (lambda x, y: np.minimum(x, y), "int16 uint8"), (lambda x, y: np.fmax(x, y), "float32 float32"),
    (lambda x, y: x < y, "uint32 uint32"), (lambda x, y: x >= y, "int32 int32"),
    (lambda x, y: (x == y) | (x != 3), "uint8 int16"), (lambda x, y: x <= y, "float32 float32"),
    (lambda x, y: (x > y) & ~(x > 2), "float32 float32"),
    (lambda x, y: (x > 0) ^ (y > 0), "float32 int16"),
    (lambda x, y: x & y, "bool bool"),
    (lambda x, y: x ^ ~y, "bool bool"),
    (lambda x, y: x == y, "bool bool"),
    (lambda x, y: x + y, "bool bool"),
    (lambda x, y: x + y, "bool uint8"),
    (lambda x, y: x * y, "bool float32"),
    (lambda x, y: x < y, "bool bool"), (lambda x, y: x != y, "bool bool"),
    (lambda x, y: np.where(x > y, x, y), "float32 float32"),
    (lambda x, y: np.where(x > 3, x, y), "uint8 int16"),
    (lambda x: np.where(x > 3, x, 0), "uint8"), (lambda x, y: np.where(x, y, -1.5), "bool float32"),
    (lambda x, y: np.where(x, y, x), "bool bool"), (lambda x: np.where(x, x, 2), "int16"),
    (lambda x: np.clip(x, 10, 100), "uint8"), (lambda x: x.clip(-3, 3), "float32"),
    (lambda x: np.clip(x, None, 5), "int16"), (lambda x: x.astype(np.float32), "int16"),
    (lambda x: x.astype(np.int32), "float32"), (lambda x: x.astype(np.uint8), "int32"),
    (lambda x: x.astype(np.int16), "uint8"), (lambda x: x.astype(np.int16), "int32"),
    (lambda x: x.astype("u4"), "int32"), (lambda x: x.astype(bool), "float32"),
    (lambda x: x.astype(np.int32) + 1, "bool"), (lambda x: x.astype(np.float32), "bool"),
    (lambda x: abs(x).astype(np.uint32), "float32"),
    (lambda x: x.copy(), "float32"),
    (lambda x: x, "int16"),
    (lambda x: x, "bool"),
    (lambda x: x, "float16"),
    (lambda x: -x, "float32"),
    (lambda x: +x, "float32"),
    (lambda x: np.floor(x) + np.ceil(x) * np.trunc(x), "float32"),
    (lambda x: np.rint(x / 2), "float32"),
    (lambda x: np.round(x), "float32"), (lambda x: np.isnan(x) | np.isinf(x), "float32"),
    (lambda x: np.isfinite(x), "float32"), (lambda x: np.signbit(x), "float32"),
    (lambda x, y: np.copysign(x, y), "float32 float32"), (lambda x: np.logical_not(x), "int16"),
    (lambda x, y: np.logical_and(x, y), "uint8 float32"),
    (lambda x, y: np.logical_xor(x, y), "uint8 uint8"),
    (lambda x, y: np.logical_or(x, y), "bool int32"),
    (lambda x: np.zeros_like(x) + np.ones_like(x), "float32"),
    (lambda x: x.max(), "float32"), (lambda x: np.min(x), "uint8"), (lambda x: x.argmax(), "int16"),
    (lambda x: np.argmin(x), "float32"),
    (lambda x: (x > 1).sum(), "float32"),
    (lambda x: np.any(x > 1e6), "float32"),
    (lambda x: (x > -1e6).all(), "float32"), (lambda x: x.sum(dtype=np.int32), "int32"),
    (lambda x: np.sum(x, dtype=np.uint32), "uint32"),
    (several, "float32 float32"),
    (lambda x: [x, x + 1], "int32"),
    (lambda x: (x.max(), -x.min(), x.size), "float32"), (lambda x: x * np.float32(0.5), "float32"),
    (lambda x: x * np.int16(3), "uint8"), (lambda x: x + True, "int32"), (lambda x: x > 0, "bool"),
]  # fmt: skip
# Within so many units of float32's last place of the largest operand or result.
ROUNDED = [
    (lambda x, y: 2.5 * x + y, "float32 float32", 4), (inplace, "float32 float32", 8),
    (lambda x, y: x / y, "float32 float32", 1100),
    (lambda x: 1 / (1 + np.exp(-x)), "float32", 2500),
    (lambda x: np.sqrt(abs(x)), "float32", 1600),
    (lambda x: np.sqrt(np.maximum(x, 0)), "int16", 1600),
    (lambda x: np.exp2(x) + np.exp(x), "float32", 1500),
    (lambda x: np.log(x * x + 1), "float32", 1500),
    (lambda x: np.log2(x * x + 1) - np.log10(x * x + 1), "float32", 2500),
    (lambda x: np.tanh(x), "float32", 800),
    (lambda x: np.sin(x) * np.cos(x), "float32", 16), (lambda x: np.tan(x / 20), "float32", 1200),
    (lambda x, y: np.hypot(x, y), "float32 float32", 1600),
    (lambda x: np.reciprocal(x * x + 1), "float32", 600),
    (lambda x: np.square(x) + x**3 - (x * x + 1) ** -2, "float32", 1600),
    (lambda x: (x * x + 0.5) ** 0.5, "float32", 1600),
    (lambda x: (abs(x) + 0.1) ** 1.7, "float32", 20000), (lambda x, y: x * y, "float32 float16", 4),
    (lambda x, y: (x + y) * 2, "float16 float16", 1 << 14), (lambda x: x * 0.1, "float16", 1 << 14),
    (lambda x, y: x + y, "int16 float32", 4),
    (lambda x: x.sum(), "float32", 2000),
    (lambda x: np.mean(x), "float32", 2000),
    (lambda x, y: np.dot(x, y), "float32 float32", 2000),
    (lambda x, y: x @ y, "float32 float32", 2000),
    (lambda x, y: np.sqrt(((x - y) ** 2).sum()), "float32 float32", 2000),
    (lambda x: np.fabs(x) / 3, "float32", 1100),
    (lambda x, y: np.add.reduce(x) + y.sum(), "float32 float32", 4000),
]  # fmt: skip


def results(returned):
    return list(returned) if isinstance(returned, (tuple, list)) else [returned]


def arguments(types):
    return [sample(each, seed) for seed, each in enumerate(types.split())]


def name_of(case):
    source = inspect.getsource(case[0]) if case[0].__name__ != "<lambda>" else case[0].__name__
    return f"{source.split('(')[0]} {case[1]}"


@pytest.mark.parametrize("number", range(len(EXACT)))
def test_exactly_numpys(number, on_chip):
    function, types = EXACT[number]
    given = arguments(types)
    before = [each.copy() for each in given]
    with np.errstate(all="ignore"):
        wanted = function(*given)
    found = fuse(function)(*given)
    assert type(found) is type(wanted) or not isinstance(wanted, (tuple, list))
    for each, exact in zip(results(found), results(wanted)):
        if isinstance(exact, np.ndarray):
            assert each.dtype == exact.dtype
            # NumPy gives -0 where the QPUs give 0.
            assert np.array_equal(each, exact) and each.shape == exact.shape
        else:
            assert each == exact and np.asarray(each).dtype == np.asarray(exact).dtype
    assert all(same(each, old) for each, old in zip(given, before))
    assert "emulator" in piblas.stats()


@pytest.mark.parametrize("number", range(len(ROUNDED)))
def test_near_numpys(number, on_chip):
    function, types, ulps = ROUNDED[number]
    given = arguments(types)
    with np.errstate(all="ignore"):
        wanted = np.asarray(function(*given))
        wide = np.asarray(function(*[each.astype(float) for each in given]))
    found = np.asarray(fuse(function)(*given))
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    size = np.maximum(np.abs(wide), max(np.abs(each.astype(float)).max() for each in given))
    fair = np.isfinite(wide) & (np.abs(wide) < 1e30)
    assert fair.sum() >= fair.size * 0.9
    assert (np.abs(found.astype(float) - wide)[fair] <= ulps * 2.0**-23 * size[fair]).all()


@pytest.mark.parametrize("number", range(len(EXACT) + len(ROUNDED)))
def test_on_the_cpu_it_is_the_function(number, fresh):
    function, types = [*EXACT, *ROUNDED][number][:2]
    given = arguments(types)
    with piblas.use("cpu"), np.errstate(all="ignore"):
        wanted, found = function(*given), fuse(function)(*given)
        for each, exact in zip(results(found), results(wanted)):
            assert same(each, exact) and not any(each is other for other in given)


def test_numbers(on_chip):
    """Weak ones of Python and float64, strong ones of float32, and what is computed from them."""
    x = sample("float32")
    mix = fuse(lambda a, x: (1 - a) * x + a**2)
    for a in (0.25, 3, np.float64(0.25), np.int64(3), np.array(0.25)):
        wanted = (1 - float(a)) * x.astype(float) + float(a) ** 2
        found = mix(a, x)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-5)
    assert mix(np.float32(0.25), x).dtype == np.float32
    i = sample("uint8")
    add = fuse(lambda n, i: i + n)
    assert same(add(7, i), i + 7) and same(add(np.uint8(250), i), i + np.uint8(250))
    with pytest.raises(VectorError, match="300 does not fit uint8"):
        add(300, i)
    with pytest.raises(VectorError, match="float64 in NumPy, which QPUs lack"):
        add(0.5, i)
    j = sample("int32")
    assert same(fuse(lambda i, n: i * n)(j, -5), j * np.int32(-5))
    assert fuse(lambda x, n: (x * n).sum() / n)(np.ones(8, "f"), 4) == 8


def test_traced_once_for_each_types(on_chip):
    calls = []

    @fuse
    def double(x):
        """Twice."""
        calls.append(type(x))
        return x * 2

    for n in (5, 6, 7):
        double(np.ones(n, np.float32))
    assert len(calls) == 1
    double(np.ones(5, np.int32))
    assert len(calls) == 2
    assert double.__name__ == "double" and double.__doc__ == "Twice."
    assert double.__wrapped__(3) == 6 and "double" in repr(double)


def test_precise(on_chip):
    x, y = sample("float32", 1), sample("float32", 2) + np.float32(20)
    exact = x.astype(float) / y
    error = [np.abs(fuse(lambda a, b: a / b, precise=p)(x, y) - exact).max() for p in (False, True)]
    assert error[1] < error[0] / 50

    @fuse(precise=True)
    def root(x):
        return np.sqrt(x)

    x = np.abs(y)
    np.testing.assert_allclose(root(x), np.sqrt(x.astype(float)), rtol=2.5e-7)


def test_out(on_chip):
    x = sample("float32")
    out = np.empty(N, np.float16)
    assert fuse(lambda x: x + 1)(x, out=out) is out
    np.testing.assert_allclose(out, x + 1, rtol=2e-3)
    two = np.empty(N, "f"), np.empty(N, bool)
    found = fuse(lambda x: (x + 1, x > 0, x.max()))(x, out=two)
    assert found[0] is two[0] and found[1] is two[1] and found[2] == x.max()
    assert same(two[1], x > 0)
    shape = (3, 4, 5)
    cube = sample("int32")[:60].reshape(shape)
    assert same(fuse(lambda x: x + x)(cube), cube + cube)
    for wrong, message in ((np.empty(N, np.int32), "the result is float32, and out int32"),
                           (np.empty(N), "out float64"), ([1], "wants arrays to store in"),
                           (np.empty(N - 1, "f"), "has the shape")):  # fmt: skip
        with pytest.raises(VectorError, match=message):
            fuse(lambda x: x + 1)(x, out=wrong)


TABLE = np.arange(N, dtype=np.float32)
X = sample("float32")
I = sample("int32")  # noqa: E741
WRONG = [
    (lambda x: x if x > 0 else -x, (X,), r"np.where\(condition, a, b\) instead of if"),
    (lambda x: (x > 0) and (x < 1), (X,), "& | ~ instead of and, or, not"),
    (lambda x, a: x * 2 if a > 1 else x, (X, 2.0), "the value of an argument is not known"),
    (lambda x: x * float(x), (X,), "instead of math's"),
    (lambda x, a: x * int(a), (X, 2.5), "instead of math's"),
    (lambda x: x[0] * x, (X,), "no index, shape or order"),
    (lambda x: x * x.shape[0], (X,), "no index, shape or order"),
    (lambda x: [e for e in x], (X,), "no index, shape or order"),
    (lambda x: np.sort(x), (X,), "np.sort does not compute element by element"),
    (lambda x: np.arctan(x), (X,), "np.arctan is not known on the QPUs; known are absolute"),
    (lambda x: x + TABLE, (X,), "an array that is no argument of the function"),
    (lambda x: np.where(x > 0, x, TABLE), (X,), "an array that is no argument"),
    (lambda x: x / 2, (I,), "np.divide of int32, int is float64 in NumPy"),
    (lambda x: np.sqrt(x), (I,), "float64 in NumPy, which QPUs lack"),
    (lambda x, y: x + y, (I, X), r"convert with .astype\(np.float32\)"),
    (lambda x: x.astype(float), (X,), "there is no float64 on the QPUs: use float32"),
    (lambda x: x - x.mean(), (X,), "pass it to a second function"),
    (lambda x: x.sum(), (I,), r"write .sum\(dtype=np.int32\), which wraps"),
    (lambda x: x.sum(axis=0), (X,), "axis= is not known here"),
    (lambda x: np.add.accumulate(x), (X,), "np.add.accumulate works on whole arrays"),
    (lambda x: np.add(x, 1, where=x > 0), (X,), "where= leaves elements undefined"),
    (lambda x: x.__iadd__(1), (X,), "this would change an argument"),
    (lambda x: x**x, (I,), "wants a whole exponent"),
    (lambda x: x & 1, (X,), "np.bitwise_and"),
    (lambda x: x - x, (X > 0,), "np.subtract"),
    (lambda x: "text", (X,), "returns 'text'"),
    (lambda x: 3.0, (X,), "returns nothing that is computed from arrays"),
    (lambda x: None, (X,), "returns None"),
    (lambda x: x.imag, (X,), "AttributeError"),
    (lambda x: x + undefined, (X,), None),  # noqa: F821
    (
        lambda x: x + 1, (X.astype(float),),
        r"argument x is an array of float64: .* pass .astype\(np.float32\)",
    ),
    (lambda x: x + 1, (I.astype(np.int64),), r"array of int64: .* pass .astype\(np.int32\)"),
    (lambda x: x + 1, ("text",), "argument x is 'text': wants an array or a number"),
    (lambda x, y: x + y, (X, X[1:]), "arguments differ in shape: argument x has"),
    (lambda x: x + 1, (X, X), "TypeError"),
    (lambda x, y: x + y, (X,), "TypeError"),
    (lambda x: x + 1, (np.ma.array(X),), "masked array"),
    (lambda x: x + 1, (np.complex64(1j) * X,), "complex64"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_errors_name_the_line(number, fresh):
    """The line of the function, and what to write instead; the same on every target."""
    function, given, message = WRONG[number]
    with piblas.use("cpu"):
        if message is None:
            with pytest.raises(NameError):
                fuse(function)(*given)
            return
        with pytest.raises(VectorError, match=message) as caught:
            fuse(function)(*given)
    line = f"{__file__}:{function.__code__.co_firstlineno}"
    if caught.value.where is not None:
        assert caught.value.where == line and str(caught.value).startswith(line)
    else:
        assert any(part in message for part in ("argument", "returns", "masked", "array of",
                                                "complex", "TypeError"))  # fmt: skip


def test_not_a_function():
    with pytest.raises(VectorError, match="wants a function, not 3"):
        fuse(3)


def test_every_known_ufunc_is_numpys_and_tried():
    tried = " ".join(inspect.getsource(case[0]) for case in (*EXACT, *ROUNDED))
    for name in ufuncs():
        assert isinstance(getattr(np, name), np.ufunc)
    for name in ("hypot", "copysign", "rint", "tan", "log10"):
        assert name in tried
    assert set(KINDS) == {"bool", "uint8", "int16", "int32", "uint32", "float16", "float32"}
