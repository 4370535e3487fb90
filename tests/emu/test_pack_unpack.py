"""Pack and unpack: every mode, with integer and float producers and consumers (p. 31-32)."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref

from piblas.errors import EmulatorFault
from piblas.isa import modes

VALUES = ref.EDGES + ref.random_patterns(96, 51)
OLD = 0xA5C3965A


def flat(got, name):
    return [f"{value:08x}" for value in got[name].ravel()]


def hexes(values):
    return [f"{value:08x}" for value in values]


# --- unpack of file A (pm = 0) ---------------------------------------------------------------

INT_CONSUMERS = [
    ("mov r2, {}", lambda x: x),
    ("add r2, {}, r1", lambda x: x + 7 & ref.M32),
    ("itof r2, {}", lambda x: ref.add_op("itof", x, 0)[0]),
    ("v8adds r2, {}, r1", lambda x: ref.add_op("v8adds", x, 7)[0]),
    ("not r2, {}", lambda x: x ^ ref.M32),
    ("m_mov r2, {}", lambda x: x),
    ("mul24 r2, {}, r1", lambda x: ref.mul_op("mul24", x, 7)[0]),
    ("v8muld r2, {}, r1", lambda x: ref.mul_op("v8muld", x, 7)[0]),
]
FLOAT_CONSUMERS = [
    ("fmin r2, {0}, {0}", lambda x: x),
    ("fmax r2, {0}, {0}", lambda x: x),
    ("fminabs r2, {0}, {0}", lambda x: x & 0x7FFFFFFF),
    ("fmaxabs r2, {0}, {0}", lambda x: x & 0x7FFFFFFF),
    ("fadd r2, {}, r1", lambda x: ref.fadd(x, 7)),
    ("fsub r2, {}, r1", lambda x: ref.fadd(x, 7 | ref.SIGN)),
    ("ftoi r2, {}", lambda x: ref.ftoi(x)),
    ("fmul r2, {}, r3", lambda x: ref.fmul(x, ref.bits(3.0))),
]


@pytest.mark.parametrize("mode", range(8))
@pytest.mark.parametrize("line, meaning", INT_CONSUMERS, ids=[c[0][:9] for c in INT_CONSUMERS])
def test_unpack_of_file_a_for_integer_ops(lab, mode, line, meaning):
    source = "ra1" + (f".{modes.UNPACK_A[mode]}" if mode else "")
    got = lab.vectors([line.format(source)], {"ra1": VALUES, "r1": 7}, ["r2"])
    assert flat(got, "r2") == hexes(meaning(ref.unpack(mode, x, False)) for x in VALUES)


@pytest.mark.parametrize("mode", range(8))
@pytest.mark.parametrize("line, meaning", FLOAT_CONSUMERS, ids=[c[0][:8] for c in FLOAT_CONSUMERS])
def test_unpack_of_file_a_for_float_ops(lab, mode, line, meaning):
    source = "ra1" + (f".{modes.UNPACK_A[mode]}" if mode else "")
    values = [ref.unpack(mode, x, True) for x in VALUES]
    keep = [i for i, x in enumerate(values) if "ftoi" not in line or ref.ftoi_is_known(x)]
    got = lab.vectors([line.format(source)], {"ra1": VALUES, "r1": 7, "r3": ref.bits(3.0)}, ["r2"])
    got = flat(got, "r2")
    assert [got[i] for i in keep] == hexes(meaning(values[i]) for i in keep)


@pytest.mark.parametrize("mode", [1, 2])
def test_every_half_to_float(lab, mode):
    shift = 16 * (mode - 1)
    values = (np.arange(65536, dtype=np.uint32) << shift) | (0x5AA5 << (16 - shift))
    name = modes.UNPACK_A[mode]
    got = lab.vectors([f"fmin r2, ra1.{name}, ra1.{name}"], {"ra1": values}, ["r2"])
    want = np.array([ref.half_to_float(half) for half in range(65536)], np.uint32)
    assert np.array_equal(got["r2"].ravel(), want)


def test_every_byte_to_float(lab):
    values = np.arange(256, dtype=np.uint32)
    got = lab.vectors(["fmin r2, ra1.8a, ra1.8a"], {"ra1": values}, ["r2"])["r2"].ravel()
    assert got.tolist() == [ref.byte_to_float(byte) for byte in range(256)]
    assert [got[n] for n in (1, 127, 128, 255)] == [0x3B808080, 0x3EFEFEFE, 0x3F008080, 0x3F800000]


def test_unpack_serves_both_units_and_touches_no_other_operand(lab):
    got = lab.vectors(
        ["add r2, ra1.16b, rb1; mul24 r3, ra1.16b, r1"],
        {"ra1": 0x0123FFFF, "rb1": 0x80018001, "r1": 0x00012345},
        ["r2", "r3"],
    )
    assert (got["r2"] == 0x80018124).all()
    assert (got["r3"] == 0x0123 * 0x12345).all()


def test_unpack_of_file_a_leaves_r4_alone(lab):
    got = lab.vectors(["add r2, ra1.8a, r4"], {"ra1": 0xFF02, "r4": 0x10000300}, ["r2"])
    assert (got["r2"] == 0x10000302).all()


@pytest.mark.parametrize("mode, text", [(1, "16a"), (2, "16b"), (5, "8b")])
def test_unpack_of_what_a_peripheral_delivers(lab, loose, mode, text):
    """It probably works, and is a fault where it matters."""
    body, word = [f"mov r0, unif.{text}"], 0x8765F321
    got = loose.vectors(body, {}, ["r0"], uniforms=[word])["r0"]
    assert (got == ref.unpack(mode, word, False) & ref.M32).all()
    with pytest.raises(EmulatorFault, match="unpacks what no register of file A holds"):
        lab.vectors(body, {}, ["r0"], uniforms=[word])
    assert (lab.vectors(["mov r0, unif.16a"], {}, ["r0"], uniforms=[0x1234])["r0"] == 0x1234).all()


# --- unpack of r4 (pm = 1) -------------------------------------------------------------------


@pytest.mark.parametrize("mode", range(8))
@pytest.mark.parametrize("line", ["mov r2, {}", "m_mov r2, {}", "fmin r2, {0}, {0}"])
def test_unpack_of_r4_is_always_to_float(lab, mode, line):
    source = "r4" + (f".{modes.UNPACK_R4[mode]}" if mode else "")
    got = lab.vectors([line.format(source)], {"r4": VALUES}, ["r2"])
    want = [ref.unpack(mode, x, True) for x in VALUES]
    keep = [i for i, x in enumerate(VALUES) if mode not in (1, 2) or _plain_half(x, mode)]
    got = flat(got, "r2")
    assert [got[i] for i in keep] == hexes(want[i] for i in keep)


def _plain_half(value, mode):
    """f16 denormals, Inf and NaN were measured for file A alone."""
    exp = value >> (26 if mode == 2 else 10) & 31
    return exp not in (0, 31) or value >> 16 * (mode - 1) & 0x7FFF == 0


def test_unpack_of_r4_leaves_file_a_alone(lab):
    got = lab.vectors(["add r2, r4.8b, ra1"], {"ra1": 0x12345678, "r4": 0xFF00}, ["r2"])
    assert (got["r2"] == 0x12345678 + 0x3F800000).all()


# --- pack into file A (pm = 0) ---------------------------------------------------------------

INT_OPS = ["add", "sub", "min", "or", "xor", "shl", "v8adds", "clz", "ftoi"]
FLOAT_OPS = ["fadd", "fsub", "fmin", "fmaxabs", "itof"]


def _pack_cases(op, mode):
    a, b = ref.operand_pairs(seed=60, extra=256)
    if op == "ftoi":
        a = [x if ref.ftoi_is_known(x) else 0xC640E400 for x in a]
    want = []
    for x, y in zip(a, b):
        result, carry = ref.add_op(op, x, y)
        is_float = op in FLOAT_OPS
        want.append(ref.pack(mode, result, OLD, is_float, ref.overflows(op, x, y), carry))
    return a, b, want


@pytest.mark.parametrize(
    "op, mode",
    # Mode 8 (32s) is defined for add and sub alone.
    [(op, m) for op in INT_OPS + FLOAT_OPS for m in range(16) if m != 8 or op in ("add", "sub")],
)
def test_pack_of_add_results(lab, op, mode):
    a, b, want = _pack_cases(op, mode)
    name = "ra1" + (f".{modes.PACK_A[mode]}" if mode else "")
    sources = "r0" if op in ("clz", "ftoi", "itof") else "r0, r1"
    got = lab.vectors([f"{op} {name}, {sources}"], {"r0": a, "r1": b, "ra1": OLD}, ["ra1"])
    got = got["ra1"].ravel()
    bad = [i for i in range(len(want)) if got[i] != want[i]]
    assert not bad, f"{len(bad)}: {op} {a[bad[0]]:08x} {b[bad[0]]:08x}: {got[bad[0]]:08x}, not " + (
        f"{want[bad[0]]:08x}"
    )


@pytest.mark.parametrize("mode", [m for m in range(16) if m != 8])
@pytest.mark.parametrize("op", ["fmul", "mul24", "v8min", "v8subs"])
def test_pack_of_mul_results(lab, op, mode):
    a, b = ref.operand_pairs(seed=61, extra=256)
    want = []
    for x, y in zip(a, b):
        result = ref.mul_op(op, x, y)[0]
        want.append(ref.pack(mode, result, OLD, op == "fmul", False, 0))
    name = "ra1" + (f".{modes.PACK_A[mode]}" if mode else "")
    text = "m_" + op if op == "v8subs" else op
    got = lab.vectors([f"{text} {name}, r0, r1"], {"r0": a, "r1": b, "ra1": OLD}, ["ra1"])
    assert flat(got, "ra1") == hexes(want)


@pytest.mark.parametrize("mode", ["16a", "16b", "16as", "16bs"])
def test_float_to_half_of_many_patterns(lab, mode):
    values = VALUES + [
        sign | exp << 23 | mantissa
        for sign in (0, ref.SIGN)
        for exp in (0, 1, 112, 113, 127, 141, 142, 143, 254, 255)
        for mantissa in (0, 1, 0x1000, 0x1FFF, 0x2000, 0x2001, 0x7FE000, 0x7FFFFF)
    ]
    code = modes.PACK_A.index(mode)
    got = lab.vectors([f"fmin ra1.{mode}, r0, r0"], {"r0": values, "ra1": OLD}, ["ra1"])
    assert flat(got, "ra1") == hexes(ref.pack(code, x, OLD, True, False, 0) for x in values)


def test_the_file_a_write_is_packed_and_the_other_is_not(lab):
    inputs = {"r0": 0x12345678, "r1": 1, "ra1": OLD, "rb1": OLD}
    body = ["add ra1.8b, r0, r1; m_mov rb1, r0"]
    got = lab.vectors(body, inputs, ["ra1", "rb1"])
    assert (got["ra1"] == (OLD & ~0xFF00 | 0x7900)).all() and (got["rb1"] == 0x12345678).all()
    body = ["add rb1, r0, r1; m_mov ra1.8b, r0"]
    got = lab.vectors(body, inputs, ["ra1", "rb1"])
    assert (got["ra1"] == (OLD & ~0xFF00 | 0x7800)).all() and (got["rb1"] == 0x12345679).all()


@pytest.mark.parametrize("mode", [m for m in range(16) if m != 8])
def test_a_load_packs_as_an_integer(lab, mode):
    value = 0x43218765
    name = "ra1" + (f".{modes.PACK_A[mode]}" if mode else "")
    got = lab.vectors([f"ldi {name}, -, {value:#x}"], {"ra1": OLD}, ["ra1"])
    assert flat(got, "ra1") == hexes([ref.pack(mode, value, OLD, False, False, 0)] * 16)


INTEGER_OPS = "and or xor shl shr asr ror min max v8adds v8subs m_v8min m_v8muld mul24".split()


@pytest.mark.parametrize("op", INTEGER_OPS)
def test_32s_changes_the_results_of_no_integer_op_but_add_and_sub(lab, op):
    body = [f"{op} ra1.32s, r0, r1", f"{op} r2, r0, r1", "mov r3, ra1"]
    a, b = np.random.default_rng(7).integers(0, 1 << 32, (2, 8, 16), np.uint32)
    got = lab.vectors(body, {"r0": a, "r1": b}, ["r2", "r3"])
    assert np.array_equal(got["r2"], got["r3"]) and got["r2"].any()


def test_elements_whose_condition_fails_are_not_packed(lab):
    mask = [0, 1] * 8
    body = ["mov.sf -, r1", "mov.zs ra1.8a, r0"]
    got = lab.vectors(body, {"r0": 0xFF, "r1": mask, "ra1": OLD}, ["ra1"])["ra1"][0]
    assert got.tolist() == [OLD | 0xFF if not bit else OLD for bit in mask]


def test_pack_and_unpack_of_file_a_in_one_word(lab):
    got = lab.vectors(["add ra1.8d, ra2.8c, r1"], {"ra2": 0x00120000, "r1": 3, "ra1": 0}, ["ra1"])
    assert (got["ra1"] == 0x15000000).all()


def test_packing_does_not_reach_accumulators(loose):
    got = loose.vectors(["add r2, r0, r1 !pack=4"], {"r0": 0x12345678, "r1": 1, "r2": 0}, ["r2"])
    assert (got["r2"] == 0x12345679).all()


# --- pack of the mul result as a colour (pm = 1) ---------------------------------------------

COLOURS = [ref.bits(n / 255) for n in range(256)] + [
    ref.bits(x) for x in (0.5, 1.0, 1.5, -0.5, -1.0, 1e30, -1e30, 1 / 512, 0.9999, 1 / 510, 0.00195)
] + [0x7F800000, 0xFF800000, 0x80000000, 1, 0x807FFFFF]  # fmt: skip


@pytest.mark.parametrize("mode", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("target", ["r2", "ra2", "rb2"])
def test_colour_pack_of_the_mul_result(lab, mode, target):
    values = (COLOURS + COLOURS)[: len(COLOURS) // 16 * 16 + 16]
    name = modes.PACK_MUL[mode]
    got = lab.vectors([f"m_mov {target}.{name}, r0"], {"r0": values, target: OLD}, [target])
    want = []
    for value in values:
        byte, shift = ref.colour(value), 8 * (mode - 4)
        want.append(byte * 0x01010101 if mode == 3 else OLD & ~(255 << shift) | byte << shift)
    assert flat(got, target) == hexes(want)


def test_colour_pack_of_a_product(lab):
    a = [ref.bits(n / 16) for n in range(16)]
    got = lab.vectors(["fmul r2.8ac, r0, r1"], {"r0": a, "r1": ref.bits(0.75), "r2": OLD}, ["r2"])
    want = [OLD & ~255 | ref.colour(ref.fmul(x, ref.bits(0.75))) for x in a]
    assert flat(got, "r2") == hexes(want)


def test_colour_pack_leaves_the_add_result_alone(lab):
    inputs = {"r0": ref.bits(0.5), "r1": 1, "ra2": 0, "rb2": 0}
    got = lab.vectors(["add ra2, r0, r1; m_mov rb2.8888c, r0"], inputs, ["ra2", "rb2"])
    assert (got["ra2"] == ref.bits(0.5) + 1).all() and (got["rb2"] == 0x80808080).all()
