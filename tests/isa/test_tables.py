"""The tables of the instruction set against lists written down from the guide (p. 26-38)."""

from __future__ import annotations

import struct

import pytest

from piblas.isa import fields, modes, ops, regs

ADD_OPS = {
    0: "nop", 1: "fadd", 2: "fsub", 3: "fmin", 4: "fmax", 5: "fminabs", 6: "fmaxabs", 7: "ftoi",
    8: "itof", 12: "add", 13: "sub", 14: "shr", 15: "asr", 16: "ror", 17: "shl", 18: "min",
    19: "max", 20: "and", 21: "or", 22: "xor", 23: "not", 24: "clz", 30: "v8adds", 31: "v8subs",
}  # fmt: skip
MUL_OPS = ["nop", "fmul", "mul24", "v8muld", "v8min", "v8max", "v8adds", "v8subs"]
SIGNALS = (
    "bkpt none thrsw thrend sbwait sbdone lthrsw loadcv loadc ldcend ldtmu0 ldtmu1 loadam "
    "small_imm ldi branch"
).split()


@pytest.mark.parametrize("layout", sorted(fields.FORMATS))
def test_a_format_covers_64_bits_exactly_once(layout):
    bits = []
    for field in fields.FORMATS[layout]:
        assert field.hi >= field.lo
        assert field.width == field.hi - field.lo + 1
        assert field.mask == 2**field.width - 1
        bits += range(field.lo, field.hi + 1)
    assert sorted(bits) == list(range(64))


@pytest.mark.parametrize("layout", sorted(fields.FORMATS))
def test_field_names_are_unique_and_get_reads_the_bits(layout):
    rows = fields.FORMATS[layout]
    assert len({field.name for field in rows}) == len(rows)
    word = 0xA5C3F00F12345678
    for field in rows:
        assert field.get(word) == int(f"{word:064b}"[63 - field.hi : 64 - field.lo], 2)


def test_ops_have_the_codes_of_the_guide():
    assert {op.code: op.name for op in ops.ADD_OPS} == ADD_OPS
    assert [op.name for op in sorted(ops.MUL_OPS, key=lambda op: op.code)] == MUL_OPS
    assert [op.code for op in ops.MUL_OPS] == list(range(8))
    assert len(ops.BY_NAME) == len(ops.ADD_OPS) + len(ops.MUL_OPS)
    assert len(ops.ADD_BY_CODE) == len(ops.ADD_OPS)
    assert len(ops.MUL_BY_CODE) == len(ops.MUL_OPS)


def test_ops_that_read_and_write_floats():
    both = {"fadd", "fsub", "fmin", "fmax", "fminabs", "fmaxabs", "fmul"}
    every = ops.ADD_OPS + ops.MUL_OPS
    assert {op.name for op in every if op.float_in} == both | {"ftoi"}
    assert {op.name for op in every if op.float_out} == both | {"itof"}


def test_number_of_sources():
    every = ops.ADD_OPS + ops.MUL_OPS
    assert {op.name for op in every if op.nsrc == 0} == {"nop"}
    assert {op.name for op in every if op.nsrc == 1} == {"ftoi", "itof", "not", "clz"}


def test_signals_have_the_codes_of_the_guide():
    assert [row.name for row in modes.SIGNALS] == SIGNALS
    assert [row.code for row in modes.SIGNALS] == list(range(16))
    assert {row.code for row in modes.SIGNALS if row.loads_r4} == {7, 8, 9, 10, 11, 12}
    assert len(modes.SIGNAL_BY_NAME) == 16


def test_conditions_pair_up_as_inverses():
    assert list(modes.CONDITIONS) == "never always zs zc ns nc cs cc".split()
    for code in range(12):
        plain, inverse = modes.BRANCH_CONDITIONS[code & ~1], modes.BRANCH_CONDITIONS[code | 1]
        assert plain[:-1] == inverse[:-1] and plain[-1] == "s" and inverse[-1] == "c"
    assert list(modes.BRANCH_CONDITIONS[12:]) == [None, None, None, "always"]
    assert modes.BRANCH_CONDITIONS[0] == "all_zs" and modes.BRANCH_CONDITIONS[10] == "any_cs"


def test_pack_and_unpack_modes():
    assert list(modes.UNPACK_A) == "32 16a 16b 8dr 8a 8b 8c 8d".split()
    assert modes.UNPACK_R4 == modes.UNPACK_A
    assert list(modes.PACK_A) == (
        "32 16a 16b 8888 8a 8b 8c 8d 32s 16as 16bs 8888s 8as 8bs 8cs 8ds".split()
    )
    assert [c for c, name in enumerate(modes.PACK_MUL) if name] == [0, 3, 4, 5, 6, 7]


def test_small_immediates_have_the_bits_of_the_guide():
    want = list(range(16)) + [code - 32 for code in range(16, 32)]
    for code in range(48):
        if code < 32:
            bits = want[code] & 0xFFFFFFFF
        else:
            value = 2.0 ** (code - 32 if code < 40 else code - 48)
            bits = struct.unpack("<I", struct.pack("<f", value))[0]
        assert modes.SMALL_IMMS[code].bits == bits
        assert modes.SMALL_IMMS[code].rotate is None
    for code in range(48, 64):
        row = modes.SMALL_IMMS[code]
        assert row.bits == (code - 64) & 0xFFFFFFFF
        assert row.rotate == ("r5" if code == 48 else code - 48)
    assert [row.code for row in modes.SMALL_IMMS] == list(range(64))


@pytest.mark.parametrize(
    "value, code",
    [(0, 0), (15, 15), (-16, 16), (-1, 31), (0xFFFFFFFF, 31), (1.0, 32), (128.0, 39)]
    + [(1 / 256, 40), (0.5, 47), (0.0, 0), (0x3F800000, 32)],
)
def test_small_immediate_of_a_value(value, code):
    assert modes.small_imm_code(value) == code


@pytest.mark.parametrize("value", [16, -17, 3.0, -1.0, -0.0, 256.0, 1 / 512])
def test_values_that_are_no_small_immediate(value):
    assert modes.small_imm_code(value) is None


def test_rotation_codes():
    assert [modes.rotate_code(n) for n in range(1, 16)] == list(range(49, 64))
    assert modes.rotate_code("r5") == 48


@pytest.mark.parametrize("amount", [0, 16, -1, "r4", 1.0])
def test_a_wrong_rotation_is_refused(amount):
    with pytest.raises(ValueError, match=r"rotation .* is neither 1\.\.15 nor 'r5'"):
        modes.rotate_code(amount)


READ = {
    ("A", 32): "unif", ("B", 32): "unif_b", ("A", 35): "vary", ("A", 38): "elem_num",
    ("B", 38): "qpu_num", ("A", 41): "x_coord", ("B", 41): "y_coord", ("A", 42): "ms_flags",
    ("B", 42): "rev_flag", ("A", 48): "vpm", ("A", 49): "vdr_busy", ("B", 49): "vdw_busy",
    ("A", 50): "vdr_wait", ("B", 50): "vdw_wait", ("A", 51): "mutex", ("A", 31): "ra31",
    ("B", 0): "rb0",
}  # fmt: skip
WRITE = {
    ("A", 32): "r0", ("B", 35): "r3", ("A", 36): "tmu_noswap", ("A", 37): "r5quad",
    ("B", 37): "r5rep", ("A", 38): "host_int", ("A", 39): "-", ("A", 40): "unif_addr",
    ("A", 48): "vpm", ("A", 49): "vpm_rd_setup", ("B", 49): "vpm_wr_setup",
    ("A", 50): "vdr_addr", ("B", 50): "vdw_addr", ("A", 51): "mutex", ("A", 52): "recip",
    ("A", 53): "rsqrt", ("A", 54): "exp2", ("A", 55): "log2", ("A", 56): "t0s", ("B", 60): "t1s",
    ("A", 57): "t0t", ("A", 58): "t0r", ("A", 59): "t0b", ("A", 63): "t1b",
}  # fmt: skip


def test_register_names():
    assert {key: regs.READ_NAME[key] for key in READ} == READ
    assert {key: regs.WRITE_NAME[key] for key in WRITE} == WRITE


def test_every_address_has_a_name_and_reads_are_unique():
    keys = {(file, addr) for file in "AB" for addr in range(64)}
    assert set(regs.READ_NAME) == set(regs.WRITE_NAME) == keys
    assert len(regs.READ_ADDR) == 128
    for key, name in regs.READ_NAME.items():
        assert regs.READ_ADDR[name] == key
    for (file, addr), name in regs.WRITE_NAME.items():
        assert regs.WRITE_ADDR[name] in ((file, addr), (None, addr))


def test_muxes():
    assert list(regs.MUX_NAMES) == "r0 r1 r2 r3 r4 r5 a b".split()
    assert (regs.MUX_R4, regs.MUX_R5, regs.MUX_A, regs.MUX_B, regs.NOP_ADDR) == (4, 5, 6, 7, 39)


def _result(name, a, b):
    """Meaning of those ops that the table says commute, result and carry flag (guide, p. 35)."""
    low = 0x7FFFFFFF
    if name in ("fminabs", "fmaxabs"):
        pick = min if name == "fminabs" else max
        return pick(a & low, b & low), int(a & low > b & low)
    if name == "add":
        return a + b & 0xFFFFFFFF, a + b >> 32
    return None


@pytest.mark.parametrize("name", ["fminabs", "fmaxabs", "add"])
def test_ops_marked_as_commuting_give_the_same_flags_too(name):
    a, b = 0x40000000, 0x3F800000
    op = ops.BY_NAME["add", name]
    same = _result(name, a, b) == _result(name, b, a)
    assert op.commutes == same
