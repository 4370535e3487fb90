"""The mul unit: every op over edge operands and random patterns, result and flags (p. 36)."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref

from piblas.isa import ops

NAMES = [op.name for op in ops.MUL_OPS if op.code]
SHARED = ("v8adds", "v8subs")


def text(name):
    return "m_" + name if name in SHARED else name


def expected(name, a, b):
    rows = [ref.mul_op(name, x, y) for x, y in zip(a, b)]
    return np.array([row[0] for row in rows], np.uint32), [row[1] for row in rows]


@pytest.mark.parametrize("name", NAMES)
def test_results_and_flags(lab, name):
    a, b = ref.operand_pairs(seed=len(name) + 40)
    want, carry = expected(name, a, b)
    flags = "zn" if carry[0] is None else "znc"  # C of fmul and mul24 is not known
    got = lab.vectors([f"{text(name)}.sf r2, r0, r1"], {"r0": a, "r1": b}, ["r2"], flags=flags)
    flat = got["r2"].ravel()
    bad = np.flatnonzero(flat != want)
    assert not len(bad), (
        f"{len(bad)} differ: {a[bad[0]]:08x} {b[bad[0]]:08x}: {flat[bad[0]]:08x}, "
        f"not {want[bad[0]]:08x}"
    )
    assert np.array_equal(got["z"].ravel(), want == 0)
    assert np.array_equal(got["n"].ravel(), want >> 31)
    if "c" in flags:
        assert np.array_equal(got["c"].ravel(), carry)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", ["ra3", "rb3"])
def test_operands_from_both_files_and_result_to_a_file(lab, name, target):
    a, b = ref.random_patterns(64, 15), ref.random_patterns(64, 16)
    got = lab.vectors([f"{text(name)} {target}, ra1, rb2"], {"ra1": a, "rb2": b}, [target])
    assert np.array_equal(got[target].ravel(), expected(name, a, b)[0])


@pytest.mark.parametrize("name", ["v8muld", "v8min", "v8max", "v8adds", "v8subs"])
def test_every_pair_of_bytes(lab, name):
    pairs = np.arange(65536, dtype=np.uint32)
    a = (pairs >> 8).astype(np.uint8).view(np.uint32)
    b = pairs.astype(np.uint8).view(np.uint32)
    got = lab.vectors([f"{text(name)} r2, r0, r1"], {"r0": a, "r1": b}, ["r2"])["r2"].ravel()
    x, y = a.view(np.uint8).astype(int), b.view(np.uint8).astype(int)
    want = {
        "v8muld": (x * y + 127) // 255,
        "v8min": np.minimum(x, y),
        "v8max": np.maximum(x, y),
        "v8adds": np.minimum(x + y, 255),
        "v8subs": np.maximum(x - y, 0),
    }[name]
    assert np.array_equal(got.view(np.uint8), want)


@pytest.mark.parametrize("name", SHARED)
def test_v8_ops_of_the_add_unit_agree(lab, name):
    a, b = ref.random_patterns(512, 21), ref.random_patterns(512, 22)
    got = lab.vectors([f"{name} r2, r0, r1; m_{name} r3, r0, r1"], {"r0": a, "r1": b}, ["r2", "r3"])
    assert np.array_equal(got["r2"], got["r3"])
    assert np.array_equal(got["r2"].ravel(), expected(name, a, b)[0])


def test_mul24_does_not_extend_the_sign(lab):
    got = lab.vectors(["mul24 r2, r0, r1"], {"r0": 16, "r1": -1}, ["r2"])["r2"]
    assert (got == 0x0FFFFFF0).all()


def test_both_units_read_the_values_from_before_the_word(lab):
    a, b = ref.random_patterns(64, 31), ref.random_patterns(64, 32)
    got = lab.vectors(["add r0, r0, r1; mul24 r1, r0, r1"], {"r0": a, "r1": b}, ["r0", "r1"])
    assert np.array_equal(got["r0"].ravel(), [x + y & ref.M32 for x, y in zip(a, b)])
    assert np.array_equal(got["r1"].ravel(), expected("mul24", a, b)[0])


@pytest.mark.parametrize("add", ["fadd", "sub", "xor", "shl"])
@pytest.mark.parametrize("mul", NAMES)
def test_dual_issue_gives_both_results(lab, add, mul):
    a, b = ref.random_patterns(32, 33), ref.random_patterns(32, 34)
    c, d = ref.random_patterns(32, 35), ref.random_patterns(32, 36)
    got = lab.vectors(
        [f"{add} ra2, r0, r1; {text(mul)} rb2, r2, r3"],
        {"r0": a, "r1": b, "r2": c, "r3": d},
        ["ra2", "rb2"],
    )
    assert np.array_equal(got["ra2"].ravel(), [ref.add_op(add, x, y)[0] for x, y in zip(a, b)])
    assert np.array_equal(got["rb2"].ravel(), expected(mul, c, d)[0])


def test_a_move_keeps_every_bit(lab):
    a = ref.EDGES + ref.random_patterns(96, 37)
    got = lab.vectors(["mov r1, r0; m_mov r2, r0"], {"r0": a}, ["r1", "r2"])
    assert got["r1"].ravel().tolist() == got["r2"].ravel().tolist() == a
