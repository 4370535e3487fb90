"""Operands, results and flags that were captured on the chip, row by row."""

from __future__ import annotations

import pytest
import reference as ref

MUL = ("fmul", "mul24", "v8muld")
UNARY = ("clz", "itof", "ftoi")

# op, a, b, result, flags in the order N Z C (None: not captured)
ROWS = [
    ("add", 0x80000000, 0x80000000, 0x00000000, "-ZC"),
    ("add", 0x80000000, 0xFFFFFFFF, 0x7FFFFFFF, "--C"),
    ("add", 0x7FFFFFFF, 0x00000001, 0x80000000, "N--"),
    ("add", 0xFFFFFFFF, 0x00000001, 0x00000000, "-ZC"),
    ("sub", 0x80000000, 0x00000001, 0x7FFFFFFF, "---"),
    ("sub", 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, "N-C"),
    ("sub", 0x00000001, 0xFFFFFFFF, 0x00000002, "--C"),
    ("shr", 0x80000000, 0x7FFFFFFF, 0x00000001, "---"),
    ("shr", 0xFFFFFFFF, 0x00000080, 0xFFFFFFFF, "N--"),
    ("shr", 0xFFFFFFFF, 0x00000001, 0x7FFFFFFF, "--C"),
    ("asr", 0x7FFFFFFF, 0x00000001, 0x3FFFFFFF, "--C"),
    ("shl", 0x80000000, 0x00000001, 0x00000000, "-ZC"),
    ("shl", 0xFFFFFFFF, 0x00000001, 0xFFFFFFFE, "N-C"),
    ("ror", 0x00007FFF, 0x00007FFF, 0x0000FFFE, "---"),
    ("min", 0x00000001, 0xFFFFFFFF, 0xFFFFFFFF, "N-C"),
    ("max", 0x00000001, 0xFFFFFFFF, 0x00000001, "--C"),
    ("clz", 0x00000000, 0, 0x00000020, "---"),
    ("itof", 0x7FFFFFFF, 0, 0x4EFFFFFF, "--C"),
    ("itof", 0x80000000, 0, 0xCF000000, "N--"),
    ("ftoi", 0x70000000, 0, 0x00000000, "-Z-"),
    ("ftoi", 0xBF800000, 0, 0xFFFFFFFF, "N--"),
    ("fadd", 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800000, "N--"),
    ("fadd", 0x3F800000, 0x7FFFFFFF, 0x7F800000, "--C"),
    ("fadd", 0x3F800000, 0xF0000000, 0xEFFFFFFF, "N--"),
    ("fadd", 0x80000000, 0x80000000, 0x00000000, "-Z-"),
    ("fsub", 0x70000000, 0x3F800000, 0x6FFFFFFF, "--C"),
    ("fsub", 0x7FFFFFFF, 0x7FFFFFFF, 0xFF800000, "N--"),
    ("fmin", 0x7FFFFFFF, 0x3F800000, 0x3F800000, "--C"),
    ("fmin", 0x80000000, 0x00000000, 0x80000000, "N--"),
    ("fmax", 0x7FFFFFFF, 0x3F800000, 0x7FFFFFFF, "--C"),
    ("fmax", 0x00000000, 0x80000000, 0x80000000, "N--"),
    ("fminabs", 0xFFFFFFFF, 0xBF800000, 0x3F800000, "--C"),
    ("fmaxabs", 0xFFFFFFFF, 0xBF800000, 0x7FFFFFFF, "--C"),
    ("fmul", 0x70000000, 0x70000000, 0x7F800000, None),
    ("fmul", 0x3F800000, 0xFFFFFFFF, 0xFF800000, None),
    ("fmul", 0x80000000, 0x7FFFFFFF, 0x00000000, None),
    ("mul24", 0xFFFFFFFF, 0xFFFFFFFF, 0xFE000001, None),
    ("v8muld", 0x80000000, 0x80000000, 0x40000000, None),
    ("v8adds", 0x7FFFFFFF, 0x7FFFFFFF, 0xFEFFFFFF, "N--"),
    ("v8subs", 0x7FFFFFFF, 0x80000000, 0x00FFFFFF, "---"),
]

# op, pack mode, a, b, bits of the result that the capture shows, mask of those bits
PACKED = [
    ("add", "32s", 0x7FFFFFFF, 0x00000001, 0x7FFFFFFF, 0xFFFFFFFF),
    ("sub", "32s", 0x7FFFFFFF, 0x80000000, 0x80000000, 0xFFFFFFFF),
    ("sub", "32s", 0x80000000, 0x00000001, 0x7FFFFFFF, 0xFFFFFFFF),
    ("add", "16as", 0x7FFFFFFF, 0x00000001, 0x0000, 0xFFFF),
    ("add", "16as", 0x7FFFFFFF, 0x7FFFFFFF, 0x7FFF, 0xFFFF),
    ("add", "16a", 0x80000000, 0xFFFFFFFF, 0x8000, 0xFFFF),
    ("add", "8as", 0x7FFFFFFF, 0x00000001, 0x00, 0xFF),
    ("add", "8a", 0x7FFFFFFF, 0x00000001, 0xFF, 0xFF),
]


@pytest.mark.parametrize("op, a, b, result, flags", ROWS)
def test_captured_row(lab, op, a, b, result, flags):
    sources = "r0" if op in UNARY else "r0, r1"
    names = "znc" if flags else ""
    got = lab.vectors([f"{op}.sf r2, {sources}"], {"r0": a, "r1": b}, ["r2"], flags=names)
    assert [f"{value:08x}" for value in got["r2"][0]] == [f"{result:08x}"] * 16
    if flags is not None:
        want = [int(flags[1] == "Z"), int(flags[0] == "N"), int(flags[2] == "C")]
        assert [got[key][0, 0] for key in "znc"] == want


@pytest.mark.parametrize("op, a, b, result, flags", ROWS)
def test_the_model_of_the_tests_gives_the_captured_row(op, a, b, result, flags):
    got, carry = ref.mul_op(op, a, b) if op in MUL else ref.add_op(op, a, b)
    assert got == result
    if flags is not None:
        zero, negative, carry = ref.flags(got, carry)
        text = ("N" if negative else "-") + ("Z" if zero else "-") + ("C" if carry else "-")
        assert text == flags


@pytest.mark.parametrize("op, mode, a, b, result, mask", PACKED)
def test_captured_pack(lab, op, mode, a, b, result, mask):
    old = 0xA5A5A5A5
    got = lab.vectors([f"{op} ra1.{mode}, r0, r1"], {"r0": a, "r1": b, "ra1": old}, ["ra1"])
    want = old & ~mask & 0xFFFFFFFF | result
    assert [f"{value:08x}" for value in got["ra1"][0]] == [f"{want:08x}"] * 16
