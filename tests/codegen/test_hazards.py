"""Every hazard row has a program that keeps it and one that breaks it."""

from __future__ import annotations

import pytest

from piblas.codegen import check
from piblas.isa import hazards
from piblas.isa.hazards import ERROR, RULES
from piblas.isa.instr import NOP, decode
from piblas.isa.parse import parse

END = ["nop; thrend", "nop", "nop"]
NOPS = ["nop"] * 3
SETUP_4 = "ldi vpm_rd_setup, -, 0x00401a00"  # read 4 vectors
READ = "mov r0, vpm"
LOAD = "ldi vpm_rd_setup, -, 0x83011000"  # a DMA load
STORE = "ldi -, vpm_wr_setup, 0x80904000"  # a DMA store
PACKED_R1 = ".word 0x10420867159e7040"  # or r1.8a, r0, r1
PACKED_RB1 = ".word 0x104049c1809e7012"  # m_mov rb1.8a, r2

# (rule id, the how-many-th row of that id): (keeps it, breaks it); END and padding are added unless
# the program ends with "." (then it stands as it is).
PROGRAMS = {
    ("H1", 0): (["mov ra1, r0", "nop", "mov r1, ra1"], ["mov ra1, r0", "mov r1, ra1"]),
    ("H2", 0): (
        ["mov recip, r0", "nop", "nop", "mov r1, r4"],
        ["mov recip, r0", "nop", "mov r1, r4"],
    ),
    ("H3", 0): (
        ["mov r1, r0", "nop", "m_mov r2, r1 rot 3"],
        ["mov r1, r0", "m_mov r2, r1 rot 3"],
    ),
    ("H3", 1): (
        ["mov.zs r1, r0", "nop", "m_mov r2, r1 rot 3"],
        ["mov.zs r1, r0", "m_mov r2, r1 rot 3"],
    ),
    ("H4", 0): (
        ["m_mov r5rep, r0", "nop", "m_mov r2, r1 rot r5"],
        ["m_mov r5rep, r0", "m_mov r2, r1 rot r5"],
    ),
    ("H5", 0): (["m_mov r2, r1 rot 3"], ["m_mov r2, ra1 rot 3"]),
    ("H6", 0): (["fmul r2, r1, r1 rot 1"], ["fmul r2, r1, -15 rot 1"]),
    ("H7", 0): (
        ["mov unif_addr, r0", "nop", "nop", "mov r1, unif"],
        ["mov unif_addr, r0", "nop", "mov r1, unif"],
    ),
    ("H8", 0): (
        ["mov tmu_noswap, r0", "nop", "nop", "mov t0s, r0", "ldtmu0", "mov r0, r4"],
        ["mov tmu_noswap, r0", "nop", "mov t0s, r0", "ldtmu0", "mov r0, r4"],
    ),
    ("H8", 1): (
        ["mov tmu_noswap, r0", *NOPS, "mov t0s, r0", "ldtmu0", "mov r0, r4"],
        ["mov t0s, r0", "ldtmu0", "mov r0, r4", "mov tmu_noswap, r0"],
    ),
    ("H8", 2): (
        ["mov tmu_noswap, 1", *NOPS, "mov t0s, r0", "ldtmu0", "mov r0, r4"],
        ["mov tmu_noswap, 1", *NOPS, "mov t0s, r0", "ldtmu0", "mov r0, r4", "mov tmu_noswap, 1"],
    ),
    ("H9", 0): (
        ["mov t0s, r0", "mov t1s, r0", "ldtmu0", "ldtmu1", "mov r0, r4"],
        ["mov t0s, r0; m_mov t1s, r0", "ldtmu0", "ldtmu1", "mov r0, r4"],
    ),
    ("H10", 0): (["mov t0t, r0", "mov r1, unif"], ["mov t0t, r0; m_mov r1, unif"]),
    ("H10", 1): (
        ["mov t0t, r0", "mov r1, unif", "mov t0s, r0", "ldtmu0", "mov r0, r4"],
        ["mov t0t, r0", "mov t0s, unif", "ldtmu0", "mov r0, r4"],
    ),
    ("H11", 0): (["mov.zs r0, r1; m_mov.zc r0, r2"], ["mov r0, r1; m_mov r0, r2"]),
    ("H12", 0): (["mov.zs host_int, r0"], ["mov.zs vpm, r0"]),
    ("H13", 0): (["fmul r0.8ac, r1, r2"], ["fmul vpm.8ac, r1, r2"]),
    ("H14", 0): (["and ra0.32s, r0, r1"], [PACKED_R1]),
    ("H14", 1): (["or ra0.8a, r0, r1; m_mov rb1, r2"], [PACKED_RB1]),
    ("H15", 0): (
        ["mov vpm_rd_setup, r0", "mov vpm_wr_setup, r0"],
        ["mov vpm_rd_setup, r0; m_mov vpm_wr_setup, r0"],
    ),
    ("H15", 1): (
        [SETUP_4, *NOPS, READ, "mov vpm_rd_setup, r0"],
        [SETUP_4, *NOPS, "mov r0, vpm; m_mov vpm_wr_setup, r0"],
    ),
    ("H15", 2): (
        ["mov vpm_wr_setup, r0", "mov vpm, r0"],
        ["mov vpm, r0; m_mov vpm_wr_setup, r0"],
    ),
    ("H15", 3): (
        ["mov t0s, r0", "mov vpm, r0", "ldtmu0", "mov r0, r4"],
        ["mov t0s, r0", "mov vpm, r0; ldtmu0", "mov r0, r4"],
    ),
    ("H16", 0): ([SETUP_4, *NOPS, *[READ] * 4], [SETUP_4, "nop", *[READ] * 4]),
    ("H17", 0): (
        [SETUP_4, *NOPS, *[READ] * 3, SETUP_4, *NOPS, *[READ] * 5],
        [SETUP_4, *NOPS, READ, READ, SETUP_4],
    ),
    ("H18", 0): (
        [SETUP_4, *NOPS, READ, READ, READ, READ],
        [SETUP_4, *NOPS, READ, READ, READ, READ, READ],
    ),
    ("H18", 1): (
        [SETUP_4, *NOPS, READ, READ, READ, READ],
        [SETUP_4, *NOPS, READ, READ, READ],
    ),
    ("H19", 0): (
        ["mov r0, r1; thrend", "nop", "nop", "."],
        ["mov ra0, r1; thrend", "nop", "nop", "."],
    ),
    ("H19", 1): (
        ["mov r1, ra14", "thrend", "nop", "mov r1, ra15", "."],
        ["thrend", "nop", "mov r1, ra14", "."],
    ),
    ("H19", 2): (["mov vpm, r0", *END, "."], ["thrend", "mov vpm, r0", "nop", "."]),
    ("H19", 3): (["thrend", "mov tlb_z, r0", "nop", "."], ["thrend", "nop", "mov tlb_z, r0", "."]),
    ("H20", 0): (
        ["br.all_zs rel +0", *NOPS, "br.all_zs rel +0", *NOPS],
        ["br.all_zs rel +0", "nop", "nop", "br.all_zs rel +0", *NOPS],
    ),
    ("H21", 0): (
        ["br.all_zs rel +0", *NOPS],
        ["br.all_zs rel +32", "nop", "thrend", "nop", "nop", "nop", "nop", "nop"],
    ),
    ("H21", 1): (
        ["br.all_zs rel +0", *NOPS],
        ["thrsw", "br.all_zs rel +0", *NOPS],
    ),
    ("H21", 2): (["thrsw", "nop", "nop"], ["thrsw", "nop", "thrend", "nop", "nop", "."]),
    ("H21", 3): (["thrsw", *NOPS, "lthrsw", *NOPS], ["lthrsw", *NOPS, "thrsw", *NOPS]),
    ("H22", 0): (
        ["mov ra2, unif", "nop", "br.always abs 0x0 + ra2", *NOPS],
        ["mov ra3, unif", "nop", "br.always abs 0x0 + ra3", *NOPS],
    ),
    ("H23", 0): (
        ["mov ra2, unif", "nop", "br.always abs 0x0 + ra2", *NOPS],
        ["add ra2, elem_num, r0", "nop", "br.always abs 0x0 + ra2", *NOPS],
    ),
    ("H24", 0): (["sema_up 3, r0, -"], ["sema_up 3, t0s, -", "ldtmu0", "mov r0, r4"]),
    ("H25", 0): (
        ["mov t0s, r0"] * 4 + ["ldtmu0", "mov r0, r4"] * 4,
        ["mov t0s, r0"] * 5 + ["ldtmu0", "mov r0, r4"] * 5,
    ),
    ("H25", 1): (["mov t1s, r0", "ldtmu1", "mov r0, r4"], ["mov t0s, r0", "ldtmu1", "ldtmu0"]),
    ("H25", 2): (["mov t1s, r0", "ldtmu1", "mov r0, r4"], ["mov t1s, r0"]),
    ("H26", 0): (
        [LOAD, "mov vdr_addr, r0", "mov -, vdr_wait", LOAD, "mov vdr_addr, r0"],
        [LOAD, "mov vdr_addr, r0", LOAD],
    ),
    ("H26", 1): (
        [STORE, "mov vdw_addr, r0", "mov -, vdw_wait", STORE, "mov vdw_addr, r0"],
        [STORE, "mov vdw_addr, r0", "mov vdw_addr, r0"],
    ),
    ("H27", 0): (
        ["mov tlb_z, r0", "nop", "nop", "mov r0, ms_flags"],
        ["mov tlb_z, r0", "nop", "mov r0, ms_flags"],
    ),
    ("H27", 1): (["nop", "nop", "sbwait"], ["nop", "sbwait"]),
    ("H28", 0): (["mov -, mutex"], ["nop !raddr_a=51"]),
    ("H29", 0): (
        ["mov t0s, r0", "ldtmu0", "mov r0, r4"],
        ["mov recip, r0", "nop", "nop", "mov recip, r1", "nop", "nop", "mov r0, r4"],
    ),
    ("H30", 0): (
        ["nop"] * 5 + END + ["."],
        ["nop"] * 6 + END + ["."],
    ),
    ("H30", 1): (END + ["."], ["nop", "nop", "."]),
    ("H31", 0): (
        [STORE, "mov vdw_addr, r0", "mov -, vdw_wait", "mov host_int, 1"],
        [STORE, "mov vdw_addr, r0", "mov host_int, 1", "mov -, vdw_wait"],
    ),
    ("H32", 0): (["mov -, mutex", "nop", "mov mutex, r0"], ["mov -, mutex"]),
    ("H33", 0): (["sema_up 3", "sema_down 3"], ["sema_down 3", "sema_down 3", "sema_up 3"]),
}


def words(lines):
    """The instructions of a program, with an end and padding unless it ends with "."."""
    lines = list(lines)
    if lines[-1] == ".":
        return [parse(line) for line in lines[:-1]]
    instrs = [decode(int(line[6:], 0)) if line[0] == "." else parse(line) for line in lines + END]
    return instrs + [NOP] * (-len(instrs) % 8)


def rows():
    count = {}
    for rule in RULES:
        number = count.get(rule.id, 0)
        count[rule.id] = number + 1
        yield pytest.param((rule.id, number), rule, id=f"{rule.id}-{number}")


def test_every_row_has_programs():
    assert {row.values[0] for row in rows()} == set(PROGRAMS)


def test_rules_are_numbered_without_gaps():
    assert set(hazards.BY_ID) == {f"H{i}" for i in range(1, 34)}


@pytest.mark.parametrize("key, rule", list(rows()))
def test_program_that_keeps_the_rule_passes(key, rule):
    findings = check(words(PROGRAMS[key][0]))
    assert not [str(f) for f in findings if f.message.startswith(rule.text)]
    assert not [str(f) for f in findings if f.level == ERROR]


@pytest.mark.parametrize("key, rule", list(rows()))
def test_program_that_breaks_the_rule_is_found(key, rule):
    findings = check(words(PROGRAMS[key][1]))
    found = [f for f in findings if f.message.startswith(rule.text)]
    assert found and all((f.rule, f.level) == (rule.id, rule.level) for f in found)
    assert found[0].instruction in str(found[0]) and f"{found[0].address:#06x}" in str(found[0])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rows_are_complete(rule):
    assert rule.level in ("error", "warn")
    assert rule.text and rule.source.split(",")[0].split(";")[0] in ("guide", "measured")


def test_distances_of_the_scheduler_are_those_of_the_rows():
    """``forbidden`` speaks of the same pairs as the rows that the checker names."""
    for key, (_, broken) in PROGRAMS.items():
        rule = hazards.BY_ID[key[0]][key[1]]
        form = rule.form
        if not isinstance(form, hazards.Distance) or rule.level != ERROR:
            continue
        events = [hazards.events(instr) for instr in words(broken)]
        hits = [
            (i, d)
            for i, bits in enumerate(events)
            for d in range(1, hazards.MAX_DISTANCE + 1)
            if i + d < len(events) and events[i + d] & hazards.forbidden(bits)[d]
        ]
        inside = [i for i, bits in enumerate(events) if rule in hazards.excluded(bits)]
        assert hits or inside, rule.text
