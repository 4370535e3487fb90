"""Live intervals and register allocation."""

from __future__ import annotations

from plain_qpu import MUL, Machine, lanes

from piblas.codegen import Assembler
from piblas.isa.disasm import to_text


def run(asm, uniforms=(), schedule=True):
    program = asm.finish(schedule=schedule)
    out = Machine(program.words, list(uniforms)).run()
    return program, [values for unit, values in out if unit == "write 48"]


def test_constraints_are_kept():
    asm = Assembler("test")
    kinds = {"A": "ra", "B": "rb", "acc": "r", "ra7": "ra7", "rb9": "rb9", "r2": "r2"}
    regs = {file: asm.reg(file, file=file) for file in kinds}
    for i, reg in enumerate(regs.values()):
        asm.mov(reg, i)
    for reg in regs.values():
        asm.mov(asm.vpm, reg)
    asm.end()
    program, out = run(asm)
    for file, start in kinds.items():
        assert program.registers[file].startswith(start)
    assert program.registers["ra7"] == "ra7" and program.registers["r2"] == "r2"
    assert [values[0] for values in out] == list(range(6))


def test_every_register_of_the_qpu_can_be_in_use():
    asm = Assembler("test")
    held = asm.regs("x", 64, file="AB")
    for reg in held:
        asm.mov(reg, asm.unif)
    accumulators = asm.regs("y", 4)
    for reg in accumulators:
        asm.mov(reg, asm.unif)
    for reg in held + accumulators:
        asm.mov(asm.vpm, reg)
    asm.end()
    program, out = run(asm, range(68))
    assert [values[0] for values in out] == list(range(68))
    assert len(set(program.registers.values())) == 68


def test_values_of_one_name_get_places_of_their_own():
    asm = Assembler("test")
    x, total = asm.reg("x"), asm.reg("total", file="A")
    asm.mov(total, 0)
    for i in range(8):
        asm.add(x, asm.unif, i)
        asm.add(total, total, x)
    asm.mov(asm.vpm, total)
    asm.end()
    program, out = run(asm, range(8))
    assert out == [[56] * 16]
    assert len(program.registers["x"].split()) > 1


def test_dead_value_frees_its_place_for_the_result():
    asm = Assembler("test")
    x, y = asm.reg("x", file="ra0"), asm.reg("y", file="ra0")
    asm.mov(x, asm.unif)
    asm.add(y, x, 1)
    asm.mov(asm.vpm, y)
    asm.end()
    assert run(asm, [4])[1] == [[5] * 16]


def test_value_lives_around_a_loop():
    """``kept`` is written before the loop and read at its top only; nothing may take its place."""
    asm = Assembler("test")
    count, kept, total = asm.reg("count"), asm.reg("kept"), asm.reg("total")
    asm.mov(count, 3)
    asm.mov(kept, asm.unif)
    asm.mov(total, 0)
    asm.label("loop")
    asm.add(total, total, kept)
    for i in range(70):  # more values, one after the other, than there are registers
        x = asm.reg(f"x{i}")
        asm.add(x, total, i)
        asm.mov(asm.vpm, x)
    asm.sub(count, count, 1, sf=True)
    asm.branch("loop", cond="any_zc")
    asm.mov(asm.vpm, total)
    asm.end()
    _, out = run(asm, [100])
    assert len(out) == 211 and out[-1] == [300] * 16 and out[139][0] == 269


def test_conditional_write_keeps_the_other_elements():
    asm = Assembler("test")
    x = asm.reg("x")
    asm.add(x, asm.elem_num, 100)
    asm.and_(asm.null, asm.elem_num, 1, sf=True)
    others = asm.regs("y", 66)
    for y in others:
        asm.mov(y, asm.unif)
    asm.mov(x, 7, cond="zs")
    asm.mov(asm.vpm, x)
    for y in others:
        asm.mov(asm.vpm, y)
    asm.end()
    _, out = run(asm, range(66))
    assert out[0] == [7 if e % 2 == 0 else 100 + e for e in range(16)]
    assert [values[0] for values in out[1:]] == list(range(66))


def test_inverse_conditions_make_one_whole_value():
    """Both halves of ``x`` are written anew in every round, so nothing of it lives around the
    loop and 66 other values find room there."""
    asm = Assembler("test")
    x, count = asm.reg("x"), asm.reg("count")
    asm.mov(count, 2)
    asm.label("loop")
    asm.and_(asm.null, asm.elem_num, 1, sf=True)
    asm.mov(x, 1, cond="zs")
    asm.mov(x, 2, cond="zc")
    asm.mov(asm.vpm, x)
    others = asm.regs("y", 67)
    for y in others:
        asm.mov(y, asm.unif)
    for y in others:
        asm.mov(asm.vpm, y)
    asm.sub(count, count, 1, sf=True)
    asm.branch("loop", cond="any_zc")
    asm.end()
    _, out = run(asm, list(range(134)))
    assert out[0] == out[68] == [1, 2] * 8


def test_packed_halves_make_one_value():
    asm = Assembler("test")
    x = asm.reg("x")
    asm.add(x.pack("16a"), asm.elem_num, 1)
    asm.add(x.pack("16b"), asm.elem_num, 2)
    asm.add(asm.vpm, x.unpack("16a"), x.unpack("16b"))
    asm.end()
    program, out = run(asm)
    assert program.registers["x"].startswith("ra")
    assert out == [[2 * e + 3 for e in range(16)]]


def test_undefined_register_may_be_read():
    asm = Assembler("test")
    start = asm.reg("start", file="ra15", undefined=True)
    asm.add(asm.vpm, start, 0)
    asm.end()
    assert "ra15" in to_text(asm.finish().instrs[0])


def test_rotated_values_find_room_even_if_they_are_many():
    asm = Assembler("test")
    values = asm.regs("x", 12)
    for reg in values:
        asm.add(reg, asm.unif, asm.elem_num)
    for reg in values:
        asm.rotate(asm.vpm, reg, 3)
    for reg in values:
        asm.mov(asm.vpm, reg)
    asm.end()
    _, out = run(asm, range(12))
    assert [row[3] for row in out] == list(range(12)) + list(range(3, 15))


def test_operands_are_put_into_different_files():
    """Sixteen sums of long-lived pairs need no copies."""
    asm = Assembler("test")
    left, right = asm.regs("l", 16), asm.regs("r", 16)
    for reg in left + right:
        asm.mov(reg, asm.unif)
    for one, two in zip(left, right):
        asm.add(asm.vpm, one, two)
    for reg in left + right:
        asm.mov(asm.vpm, reg)
    asm.end()
    program, out = run(asm, range(32), schedule=False)
    assert [row[0] for row in out[:16]] == [2 * i + 16 for i in range(16)]
    copies = [i for i in program.instrs if "mov r" in to_text(i) and "unif" not in to_text(i)]
    assert not copies


def test_clash_that_cannot_be_avoided_is_copied():
    """Of three values that are added pairwise, two must share a file if no accumulator is free."""
    asm = Assembler("test")
    values = asm.regs("x", 3, file="AB")
    for reg in values:
        asm.mov(reg, asm.unif)
    for i in range(3):
        asm.add(asm.vpm, values[i], values[(i + 1) % 3])
    for reg in values:
        asm.mov(asm.vpm, reg)
    asm.end()
    _, out = run(asm, [1, 10, 100])
    assert [row[0] for row in out[:3]] == [11, 110, 101]


def test_both_uniforms_of_a_word_are_one():
    asm = Assembler("test")
    asm.add(asm.vpm, asm.unif, asm.unif)
    asm.add(asm.vpm, asm.unif, 1)
    asm.end()
    assert [row[0] for row in run(asm, [5, 7])[1]] == [10, 8]


def test_special_function_results_wait():
    asm = Assembler("test")
    asm.mov(asm.recip, asm.unif)
    asm.mov(asm.vpm, asm.r4)
    asm.mov(asm.exp2, asm.unif)
    asm.mov(asm.vpm, asm.r4)
    asm.end()
    assert [row[0] for row in run(asm, [3, 4])[1]] == [3 * 40503 + 52, 4 * 40503 + 54]


def test_products_of_a_pair():
    asm = Assembler("test")
    x, y = asm.reg("x"), asm.reg("y")
    asm.mov(x, asm.unif)
    asm.mov(y, asm.unif)
    with asm.pair():
        asm.add(x, x, y)
        asm.mul24(y, x, y)
    asm.mov(asm.vpm, x)
    asm.mov(asm.vpm, y)
    asm.end()
    assert [row[0] for row in run(asm, [6, 7])[1]] == [13, int(MUL[2](lanes(6), lanes(7))[0])]


def test_register_branch_with_known_targets_frees_the_rest():
    """A branch that can only go to ``done`` keeps nothing of the other labels alive."""
    asm = Assembler("test")
    back, x = asm.reg("back"), asm.reg("x")
    asm.mov(x, asm.unif)
    asm.branch("sub", link=back)
    asm.label("done")
    asm.mov(asm.vpm, x)
    asm.end()
    asm.label("sub")
    asm.add(x, x, 1)
    asm.branch_reg(back, targets=["done"])
    assert run(asm, [8])[1] == [[9] * 16]


def test_pair_may_write_a_register_that_is_never_live():
    asm = Assembler("test")
    x, y, z = asm.reg("x"), asm.reg("y", file="B"), asm.reg("z")
    asm.mov(x, 7)
    with asm.pair():
        asm.add(y, x, x)
        asm.mul24(z, x, x, cond="never")
    asm.mov(asm.vpm, y)
    asm.end()
    _, out = run(asm)
    assert out == [lanes(14).tolist()]
