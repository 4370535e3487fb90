"""The add unit: every op over edge operands and random patterns, result and flags (p. 35)."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from harness import patterns

from piblas.isa import ops

NAMES = [op.name for op in ops.ADD_OPS if op.code]
UNARY = ["ftoi", "itof", "not", "clz"]


def expected(name, a, b):
    rows = [ref.add_op(name, x, y) for x, y in zip(a, b)]
    result = np.array([row[0] for row in rows], np.uint32)
    carry = np.array([row[1] for row in rows], np.uint32)
    return result, (result == 0).astype(np.uint32), result >> 31, carry


def check(got, want, where, text):
    bad = np.flatnonzero((got != want) & where)
    assert not len(bad), f"{len(bad)} elements differ; {text(bad[0])}"


@pytest.mark.parametrize("name", NAMES)
def test_results_and_flags(lab, name):
    a, b = ref.operand_pairs(seed=len(name))
    sources = "r0" if name in UNARY else "r0, r1"
    got = lab.vectors([f"{name}.sf r2, {sources}"], {"r0": a, "r1": b}, ["r2"], flags=True)
    known = np.array([name != "ftoi" or ref.ftoi_is_known(x) for x in a])
    wants = expected(name, a, b)
    for key, want in zip(("r2", "z", "n", "c"), wants):
        flat = got[key].ravel()
        check(
            flat,
            want,
            known,
            lambda i: f"{name} {a[i]:08x} {b[i]:08x}: {key} {flat[i]:08x}, not {want[i]:08x}",
        )


@pytest.mark.parametrize("name", NAMES)
def test_operands_from_both_files_and_result_to_a_file(lab, name):
    a, b = ref.random_patterns(64, 5), ref.random_patterns(64, 6)
    sources = "ra1" if name in UNARY else "ra1, rb2"
    got = lab.vectors([f"{name} rb3, {sources}"], {"ra1": a, "rb2": b}, ["rb3"])["rb3"].ravel()
    known = np.array([name != "ftoi" or ref.ftoi_is_known(x) for x in a])
    want = expected(name, a, b)[0]
    assert np.array_equal(got[known], want[known])


@pytest.mark.parametrize("name", UNARY)
def test_unary_ops_take_operand_a(lab, name):
    a, b = ref.random_patterns(64, 7), ref.random_patterns(64, 8)
    a = [x if ref.ftoi_is_known(x) else 0x40490FDB for x in a]
    got = lab.vectors([f"{name} r2, r0 !add_b=1"], {"r0": a, "r1": b}, ["r2"])
    assert np.array_equal(got["r2"].ravel(), expected(name, a, b)[0])


def test_shift_counts_use_five_bits(lab):
    counts = list(range(0, 64)) + [0x80000000, 0xFFFFFFFF, 0x7FFFFFE1, 0x100] * 4
    a = [0x9ABCDEF1] * len(counts)
    for name in ("shr", "asr", "ror", "shl"):
        got = lab.vectors([f"{name}.sf r2, r0, r1"], {"r0": a, "r1": counts}, ["r2"], flags=True)
        result, _, _, carry = expected(name, a, [count % 32 for count in counts])
        assert np.array_equal(got["r2"].ravel(), result)
        assert np.array_equal(got["c"].ravel(), carry)


def test_ftoi_truncates_toward_zero(lab):
    values = np.float32([0.5, -0.5, 0.999, -0.999, 1.5, -1.5, 2.5, -2.5] * 2)
    got = lab.vectors(["ftoi r2, r0"], {"r0": values}, ["r2"])["r2"][0]
    assert got.view(np.int32).tolist() == [0, 0, 0, 0, 1, -1, 2, -2] * 2


def test_ftoi_reaches_both_ends_of_int32(lab):
    values = np.float32([2147483520.0, -(2.0**31), -2147483520.0, 0.0] * 4)
    got = lab.vectors(["ftoi r2, r0"], {"r0": values}, ["r2"])["r2"][0]
    assert got.view(np.int32).tolist() == [2147483520, -(2**31), -2147483520, 0] * 4


def test_clz_of_zero_and_of_each_bit(lab):
    values = [0] + [1 << n for n in range(31)]
    got = lab.vectors(["clz r2, r0"], {"r0": values}, ["r2"])["r2"].ravel()
    assert got.tolist() == [32] + [31 - n for n in range(31)]


def test_itof_rounds_toward_zero(lab):
    values = patterns([0x7FFFFFFF, -0x7FFFFFFF, 0x01000001, 0x01FFFFFF] * 4)
    got = lab.vectors(["itof r2, r0"], {"r0": values}, ["r2"])["r2"][0]
    assert got[:4].tolist() == [0x4EFFFFFF, 0xCEFFFFFF, 0x4B800000, 0x4BFFFFFF]


def test_nop_writes_nothing_whatever_its_condition(both):
    got = both.vectors(["nop.always r2"], {"r0": 1, "r1": 2, "r2": 0x1234}, ["r2"])["r2"]
    assert (got == 0x1234).all()
