"""The rules that a QPU program must keep, one row a rule (ids H1 to H33).

A rule speaks of the events of a word (:mod:`piblas.isa.events`) and is one of

- ``Distance``: a later event must not follow a first event nearer than ``distance`` words (in the
  order of execution); the scheduler and the checker both take their distances from these rows;
- ``Together``: events that exclude each other inside one word;
- ``Word``: a predicate on one instruction;
- ``State``: an event that must not happen between two others, however far away;
- ``Structure``: a rule about the whole program, checked by name
  (:mod:`piblas.codegen.structures`).

Pages are those of the VideoCore IV 3D Architecture Reference Guide; "measured" marks facts that
were found on boards.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Callable, Dict, List, Tuple, Union

from . import fields, modes, regs
from .events import EVENTS, event_names, events, mask, units_at_work
from .instr import Instr

__all__ = [
    "Rule",
    "RULES",
    "BY_ID",
    "ERROR",
    "WARN",
    "MAX_DISTANCE",
    "EVENTS",
    "event_names",
    "events",
    "mask",
    "forbidden",
    "excluded",
]

ERROR, WARN = "error", "warn"
MAX_DISTANCE = 3
"""No rule looks further than this many words ahead."""


@dataclass(frozen=True)
class Distance:
    """``later`` must not stand ``nearest`` .. ``distance - 1`` words after ``first``.

    ``matched``: the two are groups of one register each, and only equal registers collide.
    ``kept``: the scheduler keeps the distance although the rule is a warning.
    """

    first: str
    later: str
    distance: int
    nearest: int = 1
    matched: bool = False
    kept: bool = False


@dataclass(frozen=True)
class Together:
    """Inside one word: at most one event of ``one_of``; or, with ``other``, not both sets."""

    one_of: str
    other: str = ""


@dataclass(frozen=True)
class Word:
    """``test`` says whether an instruction breaks the rule."""

    test: Callable[[Instr], bool]


@dataclass(frozen=True)
class State:
    """``fault`` must not happen once ``set`` has happened without a ``clear`` since."""

    set: str
    fault: str
    clear: str = ""


@dataclass(frozen=True)
class Structure:
    """A rule about the whole program, by the name of its check."""

    check: str


@dataclass(frozen=True)
class Rule:
    """A row: id, level ("error" or "warn"), the rule in a sentence, its source, its form."""

    id: str
    level: str
    text: str
    source: str
    form: Union[Distance, Together, Word, State, Structure]


def _rotated(i: Instr) -> bool:
    return i.sig == modes.SIG_SMALL_IMM and i.small_imm >= modes.ROTATE_BY_R5


def _multiplies(i: Instr) -> bool:
    return i.op_mul != 0 and i.cond_mul != modes.COND_NEVER


def _partial_rotation(i: Instr) -> bool:
    return _rotated(i) and _multiplies(i) and (i.mul_a > 3 or i.mul_b > 3)


_IO_EXEMPT = (regs.NOP_ADDR, 38)  # nothing, and the host interrupt


def _is_io(addr: int) -> bool:
    return addr >= 36 and addr not in _IO_EXEMPT


def _same_destination(i: Instr) -> bool:
    if i.sig == modes.SIG_BRANCH or i.waddr_add != i.waddr_mul or i.waddr_add < 32:
        return False
    if not all(units_at_work(i)):
        return False
    register = i.waddr_add < 36 or i.waddr_add == 37
    if register and modes.COND_NEVER in (i.cond_add, i.cond_mul):
        return False
    if i.waddr_add == regs.NOP_ADDR or regs.WRITE_NAME["A", i.waddr_add] != (
        regs.WRITE_NAME["B", i.waddr_add]
    ):
        # r5, the setups and the DMA addresses differ by file; of r5 both forms are one register.
        return i.waddr_add == 37
    if i.is_alu:
        copies = (i.op_add, i.op_mul) == (21, 4) and i.add_a == i.add_b == i.mul_a == i.mul_b
        if copies and i.waddr_add < 36 and not _rotated(i):
            return False  # both units deliver the same value
    elif i.waddr_add < 36:
        return False
    inverse = i.cond_add > 1 and i.cond_add ^ 1 == i.cond_mul
    return not (i.waddr_add < 36 and inverse)


def _conditional_io(i: Instr) -> bool:
    if i.sig == modes.SIG_BRANCH:
        return False
    adds, muls = units_at_work(i)
    add = adds and i.cond_add != modes.COND_ALWAYS and i.waddr_add != 37 and _is_io(i.waddr_add)
    mul = muls and i.cond_mul != modes.COND_ALWAYS and i.waddr_mul != 37 and _is_io(i.waddr_mul)
    return add or mul


def _colour_pack_to_io(i: Instr) -> bool:
    if i.sig == modes.SIG_BRANCH or not i.pm or not 4 <= i.pack <= 7:
        return False
    return units_at_work(i)[1] and _is_io(i.waddr_mul)


def _writes(i: Instr) -> Tuple[bool, bool]:
    """Whether the add and the mul unit change anything by their results."""
    adds, muls = units_at_work(i)
    return (
        adds and i.waddr_add != regs.NOP_ADDR and i.cond_add != modes.COND_NEVER,
        muls and i.waddr_mul != regs.NOP_ADDR and i.cond_mul != modes.COND_NEVER,
    )


def _misplaced_pack(i: Instr) -> bool:
    """The unit that writes file A writes elsewhere."""
    if i.sig == modes.SIG_BRANCH or i.pm or not i.pack:
        return False
    return _writes(i)[i.ws] and (i.waddr_mul if i.ws else i.waddr_add) >= 32


def _idle_pack(i: Instr) -> bool:
    """The unit that writes file A writes nothing, the other something."""
    if i.sig == modes.SIG_BRANCH or i.pm or not i.pack:
        return False
    writes = _writes(i)
    return writes[1 - i.ws] and not writes[i.ws]


def _semaphore_target(i: Instr) -> bool:
    if i.format != fields.SEMAPHORE:
        return False
    return any(43 <= addr <= 47 or addr >= 52 for addr in (i.waddr_add, i.waddr_mul))


def _unused_read(i: Instr) -> bool:
    if not i.is_alu:
        return False
    muxes: Tuple[int, ...] = (i.add_a, i.add_b) if i.op_add else ()
    muxes += (i.mul_a, i.mul_b) if i.op_mul else ()
    a_idle = i.raddr_a >= 32 and i.raddr_a != regs.NOP_ADDR and regs.MUX_A not in muxes
    b_idle = i.raddr_b >= 32 and i.raddr_b != regs.NOP_ADDR and regs.MUX_B not in muxes
    return a_idle or b_idle


def _mixed_immediate(i: Instr) -> bool:
    """A rotated op that takes the immediate field as an operand as well."""
    return _rotated(i) and regs.MUX_B in (i.mul_a, i.mul_b) and _multiplies(i)


_TMU = "request_tmu0 config_tmu0 request_tmu1 config_tmu1"
_DMA = "vdr_start vdw_start vdr_wait vdw_wait vdr_busy vdw_busy"
_VPM = "read_vpm write_vpm rd_setup wr_setup " + _DMA
_ENDS = "thrend thrsw lthrsw"

RULES: Tuple[Rule, ...] = (
    Rule(
        "H1", ERROR, "a register of file A or B is read in the word after its write",
        "guide, p. 37",
        Distance("write_file", "read_file", 2, matched=True),
    ),
    Rule(
        "H2", ERROR, "r4 is used or reloaded before the result of a special function arrived",
        "guide, p. 37", Distance("write_sfu", "read_r4 load_r4 write_sfu", 3),
    ),
    Rule(
        "H3", ERROR, "a rotation takes an accumulator that the word before wrote", "guide, p. 37",
        Distance("write_acc_all", "rotate_acc", 2, matched=True),
    ),
    Rule(
        "H3", WARN, "a rotation takes an accumulator that the word before wrote conditionally",
        "guide, p. 37", Distance("write_acc_some", "rotate_acc", 2, matched=True, kept=True),
    ),
    Rule(
        "H4", ERROR, "a rotation by r5 follows a write of r5", "guide, p. 37",
        Distance("write_r5", "rotate_by_r5", 2),
    ),
    Rule(
        "H5", WARN, "an operand outside r0..r3 is rotated inside each quad only", "measured",
        Word(_partial_rotation),
    ),
    Rule(
        "H6", ERROR, "a rotation amount stands in the immediate field that an operand reads",
        "guide, p. 30", Word(_mixed_immediate),
    ),
    Rule(
        "H7", ERROR, "a uniform is read within 2 words after the uniforms address was set",
        "guide, p. 22", Distance("write_unif_addr", "uniform config_tmu0 config_tmu1", 3),
    ),
    Rule(
        "H8", ERROR, "a TMU is written within 2 words after tmu_noswap", "guide, p. 37",
        Distance("noswap", _TMU, 3),
    ),
    Rule(
        "H8", ERROR, "tmu_noswap is written after a TMU was used", "guide, p. 37",
        Structure("noswap_changed"),
    ),
    Rule(
        "H8", WARN, "tmu_noswap is written again, with its value, after a TMU was used",
        "guide, p. 37", Structure("noswap_again"),
    ),
    Rule(
        "H9", ERROR, "more than one access to TMU, TLB, SFU, mutex or semaphore in a word",
        "guide, p. 37",
        Together(
            _TMU + " pop_tmu0 pop_tmu1 tlb_read tlb_write write_sfu"
            " read_mutex write_mutex semaphore"
        ),
    ),
    Rule(
        "H10", ERROR, "a TMU write that takes a uniform stands beside a uniform read",
        "guide, p. 23", Together("config_tmu0 config_tmu1", "uniform"),
    ),
    Rule(
        "H10", ERROR, "the S of a texture lookup takes a uniform beside a read of one",
        "guide, p. 23", Structure("texture_uniform"),
    ),
    Rule(
        "H11", ERROR, "both units write the same destination", "guide, p. 19",
        Word(_same_destination),
    ),
    Rule(
        "H12", ERROR, "a write to a peripheral is conditional", "measured", Word(_conditional_io)
    ),
    Rule(
        "H13", ERROR, "a byte of a colour is packed into a peripheral", "measured",
        Word(_colour_pack_to_io),
    ),
    Rule(
        "H14", ERROR, "a pack mode needs a file-A register as destination", "guide, p. 18",
        Word(_misplaced_pack),
    ),
    Rule(
        "H14", WARN, "a pack mode does nothing: the unit that writes file A writes no register",
        "guide, p. 18", Word(_idle_pack),
    ),
    Rule(
        "H15", ERROR, "both VPM setups are written in one word", "measured",
        Together("rd_setup", "wr_setup"),
    ),
    Rule(
        "H15", ERROR, "a VPM read stands beside a write of a VPM setup", "measured",
        Together("read_vpm", "rd_setup wr_setup"),
    ),
    Rule(
        "H15", ERROR, "a VPM write stands beside a write of vpm_wr_setup", "measured",
        Together("write_vpm", "wr_setup"),
    ),
    Rule(
        "H15", ERROR, "a TMU pop stands beside a VPM access", "measured",
        Together("pop_tmu0 pop_tmu1", "read_vpm write_vpm"),
    ),
    Rule(
        "H16", WARN, "the VPM is read within 3 words after its read setup (it stalls)",
        "guide, p. 56; measured", Distance("vpm_read_setup", "read_vpm", 4),
    ),
    Rule(
        "H17", ERROR, "a VPM read setup is dropped: more than one vector is still outstanding",
        "measured", Structure("vpm_setup"),
    ),
    Rule(
        "H18", ERROR, "the VPM is read more often than its read setup asked for",
        "guide, p. 56; measured", Structure("vpm_reads"),
    ),
    Rule(
        "H18", ERROR, "the program ends with vectors of a VPM read that were not read",
        "guide, p. 56; measured", Structure("vpm_left"),
    ),
    Rule(
        "H19", ERROR, "the thread-end word writes a register of file A or B", "guide, p. 21",
        Together("thrend", "write_file"),
    ),
    Rule(
        "H19", ERROR, "ra14 or rb14 is touched in the last three words", "guide, p. 21",
        Distance("thrend", "read_14 write_14", 3, nearest=0),
    ),
    Rule(
        "H19", ERROR, "a uniform, a varying or the VPM is used in the last three words",
        "guide, p. 21", Distance("thrend", "uniform varying " + _VPM, 3, nearest=0),
    ),
    Rule(
        "H19", ERROR, "the last word writes tlb_z", "guide, p. 37",
        Distance("thrend", "write_tlb_z", 3, nearest=2),
    ),
    Rule(
        "H20", ERROR, "a branch stands in the delay slots of another", "measured",
        Distance("branch", "branch", 4),
    ),
    Rule(
        "H21", ERROR, "a thread switch or end stands in the delay slots of a branch",
        "guide, p. 21", Distance("branch", _ENDS, 4),
    ),
    Rule(
        "H21", ERROR, "a branch stands in the delay slots of a thread switch or end",
        "guide, p. 21", Distance(_ENDS, "branch", 3),
    ),
    Rule(
        "H21", ERROR, "a thread switch or end stands in the delay slots of another",
        "guide, p. 20", Distance(_ENDS, _ENDS, 3),
    ),
    Rule(
        "H21", ERROR, "a thread switch follows the last thread switch", "guide, p. 20",
        State("lthrsw", "thrsw lthrsw"),
    ),
    Rule(
        "H22", WARN, "a branch by a register with an odd number sets the flags", "measured",
        Word(lambda i: i.sig == modes.SIG_BRANCH and bool(i.reg) and bool(i.raddr_a & 1)),
    ),
    Rule(
        "H23", WARN, "the register of a branch may differ from element to element", "measured",
        Structure("branch_register"),
    ),
    Rule(
        "H24", ERROR, "a semaphore instruction writes TLB, TMU or SFU", "guide, p. 33",
        Word(_semaphore_target),
    ),
    Rule(
        "H25", ERROR, "more than 4 TMU requests wait in the queue of one TMU", "measured",
        Structure("tmu_depth"),
    ),
    Rule(
        "H25", ERROR, "a TMU result is popped that was never requested", "guide, p. 39",
        Structure("tmu_pop"),
    ),
    Rule(
        "H25", ERROR, "the program ends with TMU results that were not popped", "guide, p. 39",
        Structure("tmu_left"),
    ),
    Rule(
        "H26", WARN, "a DMA load is set up or started while another may run", "guide, p. 56",
        State("vdr_start", "vdr_start vdr_setup", "vdr_wait vdr_busy"),
    ),
    Rule(
        "H26", WARN, "a DMA store is set up or started while another may run", "guide, p. 56",
        State("vdw_start", "vdw_start vdw_setup", "vdw_wait vdw_busy"),
    ),
    Rule(
        "H27", ERROR, "the multisample flags are read within 2 words after a write of tlb_z",
        "guide, p. 37", Distance("write_tlb_z", "read_ms_flags", 3),
    ),
    Rule(
        "H27", ERROR, "a scoreboard signal stands in the first two words", "guide, p. 25",
        Structure("scoreboard_start"),
    ),
    Rule(
        "H28", WARN, "a peripheral is read that no operand selects", "guide, p. 37",
        Word(_unused_read),
    ),
    Rule(
        "H29", WARN, "a value of r4 is overwritten or dropped before anything reads it",
        "guide, p. 19", Structure("r4_unread"),
    ),
    Rule(
        "H30", WARN, "the code is not padded to whole cache lines of 64 bytes", "measured",
        Structure("padding"),
    ),
    Rule(
        "H30", ERROR, "the program runs past its last word", "guide, p. 21", Structure("runs_off")
    ),
    Rule(
        "H31", WARN, "the program ends or interrupts the host while a DMA store may run",
        "guide, p. 56", State("vdw_start", "thrend host_int", "vdw_wait vdw_busy"),
    ),
    Rule(
        "H32", WARN, "the program may end with the mutex taken", "guide, p. 37",
        Structure("mutex_left"),
    ),
    Rule(
        "H33", WARN, "on every path a semaphore is left above or below its start", "guide, p. 33",
        Structure("semaphore_left"),
    ),
)

BY_ID: Dict[str, Tuple[Rule, ...]] = {}
for _rule in RULES:
    BY_ID[_rule.id] = BY_ID.get(_rule.id, ()) + (_rule,)


def collides(form: Distance, first: int, later: int) -> bool:
    """Whether events ``first`` and ``later`` are a pair that a distance rule keeps apart."""
    if not form.matched:
        return bool(first & mask(form.first) and later & mask(form.later))
    one, two = EVENTS[form.first], EVENTS[form.later]
    return bool((first & one.mask) >> one.offset & (later & two.mask) >> two.offset)


def _distances(form: Distance) -> Tuple[int, ...]:
    return tuple(d for d in range(form.nearest, form.distance) if d)


_FORMS = [
    rule.form
    for rule in RULES
    if isinstance(rule.form, Distance) and (rule.level == ERROR or rule.form.kept)
]
_PLAIN = tuple(
    (mask(form.first), mask(form.later), _distances(form)) for form in _FORMS if not form.matched
)
_MATCHED = tuple(
    (mask(form.first), EVENTS[form.first].offset, EVENTS[form.later].offset, _distances(form))
    for form in _FORMS
    if form.matched
)
_PLAIN_FIRST = _MATCHED_FIRST = 0
for _plain in _PLAIN:
    _PLAIN_FIRST |= _plain[0]
for _matched in _MATCHED:
    _MATCHED_FIRST |= _matched[0]


@functools.lru_cache(maxsize=4096)
def forbidden(bits: int) -> Tuple[int, ...]:
    """The events that must not stand 0, 1, 2, 3 words after a word with events ``bits``."""
    plain = _forbidden(bits & _PLAIN_FIRST)
    if not bits & _MATCHED_FIRST:
        return plain
    result = list(plain)
    for first, shift, unshift, distances in _MATCHED:
        for distance in distances:
            result[distance] |= (bits & first) >> shift << unshift
    return tuple(result)


@functools.lru_cache(maxsize=256)
def _forbidden(bits: int) -> Tuple[int, ...]:
    """The same by the rules whose events need not match; few sets of them are in use."""
    result = [0] * (MAX_DISTANCE + 1)
    for first, later, distances in _PLAIN:
        if bits & first:
            for distance in distances:
                result[distance] |= later
    return tuple(result)


_TOGETHER = tuple(
    (rule, mask(rule.form.one_of), mask(rule.form.other))
    for rule in RULES
    if isinstance(rule.form, Together)
) + tuple(
    (rule, mask(rule.form.first), mask(rule.form.later))
    for rule in RULES
    if isinstance(rule.form, Distance) and rule.form.nearest == 0
)
_ANY_TOGETHER = 0
for _row in _TOGETHER:
    _ANY_TOGETHER |= _row[1]


def excluded(bits: int) -> List[Rule]:
    """The rules that a word with events ``bits`` breaks inside itself."""
    if not bits & _ANY_TOGETHER:
        return []
    broken = []
    for rule, one, other in _TOGETHER:
        hit = bits & one
        if hit and (bits & other if other else hit & (hit - 1)):
            broken.append(rule)
    return broken
