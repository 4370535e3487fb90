"""Lists of operations: control flow, variables, PiMD's ways, and what is refused."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from front import integers, same

import piblas
from piblas import vector
from piblas.errors import PiblasError, VectorError
from piblas.vector import (
    ELSE,
    END,
    END_IF,
    FADD,
    FMUL,
    IF_LT,
    OP_SFMUL,
    OP_STORE,
    OP_VFADD,
    OP_VLOAD,
    REPEAT,
    SAVE0,
    STORE,
    VAR_0,
    VLOAD,
    Function,
    Variable,
)

N = 200
X = np.linspace(-4, 4, N).astype(np.float32)
Y = np.cos(X).astype(np.float32)


def near(found, wanted):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=3e-6, atol=1e-6)


def test_pimd_lists(on_chip):
    """Its example, with the array to store in among the arguments, and variables of the call."""
    saxpy = Function([OP_VLOAD, OP_SFMUL, OP_VFADD, OP_STORE])
    result = np.empty_like(X)
    assert saxpy(X, 2.5, Y, result) is result
    near(result, 2.5 * X + Y)
    near(saxpy(X, 2.5, Y), 2.5 * X + Y)
    blur = ["VLOAD", "SFMUL", "SAVE"] + 2 * ["VLOAD", "SFMUL", "FADD", "SAVE"] + ["STORE"]
    var = vector.VAR_2
    args = (X[:-2], 0.25, var, X[1:-1], 0.5, var, var, X[2:], 0.25, var, var)
    out = np.empty(N - 2, np.float32)
    assert Function(blur)(*args, out) is out
    near(out, 0.25 * X[:-2] + 0.5 * X[1:-1] + 0.25 * X[2:])
    near(Function(blur)(*args), out)
    with pytest.raises(VectorError, match=r"op 5 FADD: VAR_3 was not set by a SAVE before"):
        Function(blur)(*[vector.VAR_3 if i == 5 else each
                         for i, each in enumerate(args)])  # fmt: skip


def test_repeat(on_chip):
    """Values and variables go from one repetition to the next; loops within loops."""
    ops = [
        VLOAD, SAVE0, REPEAT(3), FMUL(VAR_0), "SAVE1", FADD(1.0), ("REPEAT", 2), ("FADD", 0.5),
        "SAVE2", END, END, STORE, "OPEN1", STORE, "OPEN2", STORE, "OPEN0", STORE,
    ]  # fmt: skip
    value, one, two = X.copy(), None, None
    for _ in range(3):
        value = value * X
        one = value
        value = value + 1
        for _ in range(2):
            value = value + np.float32(0.5)
            two = value
    found = Function(ops)(X)
    for each, wanted in zip(found, (value, one, two, X)):
        near(each, wanted)
    near(Function([VLOAD, REPEAT(0), FADD(1.0), SAVE0, END, STORE])(X), X)


def test_repeat_may_make_the_first_value(on_chip):
    found = Function([REPEAT(4), VLOAD, ("FADD", 1.0), "SAVE3", END, STORE, "OPEN3", STORE])(X)
    near(found[0], X + 1)
    near(found[1], X + 1)


def test_if_within_repeat_and_repeat_within_if(on_chip):
    ops = [
        VLOAD, REPEAT(5), IF_LT(1.0), FADD(0.75), ELSE, FMUL(0.5), END_IF, END, STORE,
        IF_LT(0.7), REPEAT(2), FADD(1.0), SAVE0, END, ELSE, SAVE0, END_IF, STORE, "OPEN0", STORE,
    ]  # fmt: skip
    value = X.copy()
    for _ in range(5):
        value = np.where(value < 1, value + np.float32(0.75), value * np.float32(0.5))
    last = np.where(value < np.float32(0.7), value + 2, value)
    found = Function(ops)(X)
    for each, wanted in zip(found, (value, last, last)):
        near(each, wanted)


def test_many_variables(on_chip):
    ops = [VLOAD]
    for i in range(24):
        ops += [FADD(1.0), ("SAVE", Variable(i))]
    for i in range(24):
        ops += [FMUL(0.5), ("FADD", Variable(i))]
    value, kept = X.copy(), []
    for _ in range(24):
        value = value + np.float32(1)
        kept.append(value)
    for each in kept:
        value = value * np.float32(0.5) + each
    near(Function([*ops, STORE])(X), value)


def test_a_number_in_an_arrays_place(on_chip):
    near(Function([VLOAD, "VFMUL", STORE])(X, 3), 3 * X)
    near(Function([VLOAD, "VFMUL", STORE])(2.0, X), 2 * X)
    near(Function([VLOAD, "VFMUL", STORE])(np.float32(2), X), 2 * X)
    single = Function([VLOAD, "VFMUL", STORE])(2.0, 4)
    assert single == 8 and np.shape(single) == ()


def test_numbers_of_all_types(on_chip):
    x = integers(N, 1)
    add = Function([VLOAD, "SADD", STORE])
    with np.errstate(over="ignore"):
        for number in (7, -7, np.int16(-300), np.uint8(200), True, np.int64(9), 0x80000001,
                       np.uint32(0xFFFFFFFF)):  # fmt: skip
            wanted = (x.view(np.uint32) + np.uint32(int(number) & 0xFFFFFFFF)).view(np.int32)
            assert same(add(x, number), wanted)
    scale = Function([VLOAD, "SFMUL", STORE])
    for number in (2, 0.5, np.float64(1.5), np.float16(0.25), 1e300, np.int32(3)):
        with np.errstate(over="ignore"):
            assert same(scale(np.ones(5, "f"), number), np.full(5, np.float32(number)))
    for number in (5, 1 << 31, -1):
        assert Function(["SLOAD", "VADD", STORE])(number, np.zeros(3, "i"))[0] in (
            number, number - (1 << 32)
        )  # fmt: skip


def test_threads_share_a_function(on_chip):
    double, wrong = Function([VLOAD, FMUL(2.0), STORE]), []

    def work(seed):
        for n in range(seed, seed + 5):
            x = np.full(40 + n, n, np.float32)
            if not (double(x) == 2 * n).all():
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(7 * i,)) for i in range(4)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    assert not wrong


# --- what is refused ----------------------------------------------------------------------------

WRONG = [
    ([], "nothing is stored"),
    ([VLOAD], "nothing is stored: no STORE and no reduction"),
    ([STORE], "op 0 STORE: there is no value yet"),
    ([VLOAD, "FOO", STORE], "op 1 FOO: there is no such op"),
    (["vload", STORE], "op 0 vload: there is no such op; near it: VLOAD"),
    ([VLOAD, 7, STORE], "op 1 7: there is no such op"),
    ([VLOAD, None, STORE], "op 1 None"),
    ([VLOAD, (), STORE], r"op 1 \(\)"),
    ([VLOAD, "OPEN1", STORE], "op 1 OPEN1: VAR_1 was not set by a SAVE before"),
    ([VLOAD, FADD(VAR_0), STORE], r"op 1 \(FADD, VAR_0\): VAR_0 was not set"),
    ([VLOAD, IF_LT(0.0), STORE], r"op 2 STORE: .* op 1 \(IF_LT, 0.0\)"),
    ([VLOAD, STORE, IF_LT(0.0)], r"op 2 \(IF_LT, 0.0\): no END_IF closes it"),
    ([VLOAD, STORE, IF_LT(0.0), ELSE, ELSE, END_IF], "op 4 ELSE: op 3 is the ELSE of that IF"),
    ([VLOAD, ELSE, STORE], "op 1 ELSE: no IF is open"),
    ([VLOAD, END_IF, STORE], "op 1 END_IF: no IF is open"),
    ([VLOAD, END, STORE], "op 1 END: no REPEAT is open"),
    ([VLOAD, REPEAT(2), END_IF], r"op 2 END_IF: what is open is op 1 \(REPEAT, 2\), no IF"),
    ([VLOAD, IF_LT(1.0), END], r"op 2 END: what is open is op 1 \(IF_LT, 1.0\), no REPEAT"),
    ([VLOAD, STORE, REPEAT(2)], r"op 2 \(REPEAT, 2\): no END closes it"),
    ([VLOAD, "REPEAT", END, STORE], "op 1 REPEAT: wants how often"),
    ([VLOAD, REPEAT(-1), END, STORE], r"op 1 \(REPEAT, -1\): wants how often"),
    ([VLOAD, REPEAT(2.5), END, STORE], "wants how often: an integer"),
    ([VLOAD, REPEAT(2), "SUM", END], r"op 2 SUM: results are taken after the end"),
    ([VLOAD, ("VFADD", 3), STORE], r"op 1 \(VFADD, 3\): takes no operand in the list"),
    ([VLOAD, ("FADD", 1, 2), STORE], "wants one operand"),
    ([VLOAD, ("FADD", "x"), STORE], "'x' is no variable and no number"),
    ([VLOAD, ("SAVE", 3), STORE], "wants a variable, such as VAR_0"),
    ([VLOAD, "LT", ("SELECT", 1.0), STORE], "wants two operands"),
    ([VLOAD, ("SELECT", 1.0, 2.0), STORE], None),
    ([VLOAD, "FTOI", FADD(1.0), STORE], "the value is int32, not float32: ITOF converts it"),
    ([VLOAD, "ITOF", "SADD", STORE], "the value is float32, not an integer: FTOI converts it"),
    ([VLOAD, "FTOI", ("ADD", 1.5), STORE], "1.5 is no integer"),
    ([VLOAD, "FTOI", ("ADD", 1 << 32), STORE], "does not fit 32 bits"),
    ([VLOAD, "FTOI", ("LT", 5), ("ADD", 5), STORE], "the value is a comparison's result"),
    ([VLOAD, "ITOF", ("AND", 5), IF_LT(5), END_IF, STORE], "say ASFLOAT or ASINT before"),
    ([VLOAD, "ITOF", IF_LT(1.0), "FTOI", END_IF, STORE], "the value where the IF does not hold"),
    ([VLOAD, "ITOF", REPEAT(2), "FTOI", "ITOF", "FTOI", END, STORE], "at END is int32"),
    ([VLOAD, ("LT", 1), REPEAT(2), "NOT", END, STORE], "a comparison's result, which REPEAT"),
    ([VLOAD, "ITOF", IF_LT(1.0), SAVE0, END_IF, "OPEN0", STORE],
     r"VAR_0 is set only in some elements, by op 2 \(IF_LT, 1.0\)"),
    ([VLOAD, REPEAT(0), SAVE0, END, "OPEN0", STORE], "VAR_0 was not set"),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=lambda case: str(case[0]))
def test_wrong_lists(case):
    """Refused when the function is made, with op and position."""
    ops, message = case
    if message is None:
        Function(ops)  # what the first array is decides
        return
    with pytest.raises(VectorError, match=message) as caught:
        Function(ops)
    assert isinstance(caught.value, PiblasError) and caught.value.function == "Function"
    if "nothing is stored" not in message:
        assert isinstance(caught.value.position, int)


@pytest.mark.parametrize("ops", ["VLOAD", 5, None])
def test_no_list(ops):
    with pytest.raises(VectorError, match="wants a list of ops"):
        Function(ops)


def calls_that_are_wrong():
    saxpy = Function([VLOAD, OP_SFMUL, OP_VFADD, STORE])
    add = Function([VLOAD, "VADD", STORE])
    twice = Function([VLOAD, STORE, STORE])
    whole = integers(N, 1)
    frozen = np.empty(N, np.float32)
    frozen.flags.writeable = False
    big, out = np.zeros(2 * N, np.float32), np.empty(N, np.float32)
    return [
        (
            saxpy, (X, 2.0), {},
            "wants 3 arguments, or 4 with those to store in, not 2: array of op 0",
        ),
        (saxpy, (X, 2.0, Y, out, 5), {}, "not 5"),
        (saxpy, (), {}, "not 0"),
        (saxpy, (X, 2.0, Y.astype(float)), {}, r"op 2 VFADD: argument 2 is an array of float64"),
        (
            saxpy, (X, 2.0, whole), {},
            "op 2 VFADD: argument 2 is int32, and the op works on a float",
        ),
        (saxpy, (whole, 2.0, X), {}, "op 1 SFMUL: the value is int32, not float32"),
        (add, (whole, X), {}, "op 1 VADD: argument 1 is float32, and the op works on an integer"),
        (add, (X, whole), {}, "op 1 VADD: the value is float32"),
        (saxpy, (X, Y, Y), {}, "op 1 SFMUL: wants a number, not an array"),
        (saxpy, (X, "2", Y), {}, "op 1 SFMUL: wants an array or a number, not '2'"),
        (saxpy, (X, VAR_0, Y), {}, "op 1 SFMUL: wants scalar, not VAR_0"),
        (saxpy, (X, 1j, Y), {}, "op 1 SFMUL"),
        (saxpy, (X, None, Y), {}, "op 1 SFMUL"),
        (Function([VLOAD, "SADD", STORE]), (whole, 1.5), {}, "op 1 SADD: argument 1 is a float"),
        (saxpy, (X, 2.0, Y[:-1]), {}, r"differ in shape: argument 0 of op 0 VLOAD has \(200,\)"),
        (saxpy, (X, 2.0, Y.reshape(2, -1)), {}, "differ in shape"),
        (saxpy, (np.ma.array(X), 2.0, Y), {}, "masked array"),
        (saxpy, (X, 2.0, Y), {"out": np.empty(N - 1, "f")}, r"result 0 has the shape \(199,\)"),
        (saxpy, (X, 2.0, Y), {"out": frozen}, "result 0 is read-only"),
        (
            saxpy, (X, 2.0, Y), {"out": np.empty(N, "i")},
            "op 3 STORE: the value is float32, and the",
        ),
        (saxpy, (X, 2.0, Y), {"out": np.empty(N)}, "op 3 STORE"),
        (saxpy, (X, 2.0, Y), {"out": [1.0] * N}, "out is 200 arrays, and 1 are stored"),
        (saxpy, (X, 2.0, Y), {"out": 3}, "op 3 STORE: wants an array to store in, not 3"),
        (saxpy, (X, 2.0, Y, out), {"out": out}, "in out, too"),
        (saxpy, (big[:N], 2.0, Y), {"out": big[1 : N + 1]}, "result 0 overlaps argument 0"),
        (saxpy, (X, 2.0, big[1 : N + 1]), {"out": big[:N]}, "overlaps argument 2 of op 2 VFADD"),
        (twice, (X,), {"out": (out, out)}, "two of the arrays for results overlap"),
        (twice, (X,), {"out": out}, "out is 1 arrays, and 2 are stored"),
        (Function([VLOAD, "ARGMAX"]), (X[:0],), {}, "the extreme of no elements"),
        (Function([VLOAD, "FADD", STORE]), (X, 3.0), {}, "op 1 FADD: wants a variable"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(len(calls_that_are_wrong())))
@pytest.mark.parametrize("where", ["cpu", "chip"])
def test_wrong_calls(number, where, chip, fresh):
    """Refused before any array is touched, on both processors."""
    function, args, kwargs, message = calls_that_are_wrong()[number]
    arrays = [each for each in (*args, kwargs.get("out")) if isinstance(each, np.ndarray)]
    before = [each.copy() for each in arrays]
    with piblas.use(chip if where == "chip" else "cpu"):
        for _ in range(2):
            with pytest.raises(VectorError, match=message):
                function(*args, **kwargs)
    assert all(same(each, old) for each, old in zip(arrays, before))


def test_errors_can_be_pickled():
    import pickle

    with pytest.raises(VectorError) as caught:
        Function([VLOAD, "FOO"])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and copy.position == 1 and copy.op == "FOO"


def test_the_name_and_the_text():
    named = Function([VLOAD, *[FADD(1.0)] * 20, STORE], name="long")
    assert repr(named).startswith("long([VLOAD, (FADD, 1.0)") and "..." in repr(named)
    with pytest.raises(VectorError, match="^long: wants 1 arguments"):
        named()
