"""Rules about the whole program: what is counted or followed along its paths.

Rules that count (TMU requests, vectors of a VPM read, semaphores) report only what holds on every
path, so a correct program is never refused; what they cannot count they let pass.  Each check
returns the words that break its rule, with a detail for the message where there is one.
"""

from __future__ import annotations

import functools
import operator
from typing import Any, Dict, List, Optional, Set, Tuple, Union

from ..isa import modes, ops, regs, setup_words
from ..isa.events import EVENTS, mask, units_at_work
from ..isa.instr import Instr
from .flow import E, Flow
from .program import LINE_WORDS

__all__ = ["broken"]

_Words = Union[List[int], Dict[int, str]]
_Span = Tuple[int, int]
"""The least and the greatest count on any path."""
_Lookups = Tuple[int, int, int]
_MANY = 99


def _widest(one: _Span, two: _Span) -> _Span:
    return min(one[0], two[0]), max(one[1], two[1])


# --- TMU -----------------------------------------------------------------------------------------


def _lookups(flow: Flow) -> Dict[str, List[int]]:
    """Words that break a rule about the queues of the TMUs, by the name of its check."""
    found: Dict[str, List[int]] = {"tmu_depth": [], "tmu_pop": [], "tmu_left": []}
    for number in (0, 1):
        request, pop = E[f"request_tmu{number}"], E[f"pop_tmu{number}"]
        config = mask(f"config_tmu{number}")
        if not any(bits & (request | pop) for bits in flow.events):
            continue

        # The least and the most results on their way, and whether S will look up a texture,
        # which may have one result or two.
        def step(i: int, state: _Lookups) -> _Lookups:
            low, high, texture = state
            if flow.events[i] & pop:
                low, high = max(low - 1, 0), max(high - 1, 0)
            if flow.events[i] & config:
                texture = 1
            if flow.events[i] & request:
                low, high, texture = min(low + 1, 9), min(high + 1 + texture, 9), 0
            return low, high, texture

        def join(one: _Lookups, two: _Lookups) -> _Lookups:
            return (*_widest(one[:2], two[:2]), one[2] | two[2])

        before = flow.solve(request | pop | config, (0, 0, 0), (0, 9, 1), join, step)
        for i, span in before.items():
            bits = flow.events[i]
            if bits & request and step(i, span)[0] > 4:
                found["tmu_depth"].append(i)
            if bits & pop and span[1] == 0:
                found["tmu_pop"].append(i)
        ends = [i for i in flow.ends() if i in before]
        found["tmu_left"] += [i for i in ends if step(i, before[i])[0] > 0]
    return found


def _texture_uniform(flow: Flow) -> List[int]:
    """Words that read a uniform beside an S that has T, R or B before it on every path."""
    found = []
    for number in (0, 1):
        request, config = E[f"request_tmu{number}"], mask(f"config_tmu{number}")
        if not any(bits & config for bits in flow.events):
            continue

        def step(i: int, pending: int) -> int:
            if flow.events[i] & request:
                return 0
            return 1 if flow.events[i] & config else pending

        for i, pending in flow.solve(request | config, 0, 0, min, step).items():
            if pending and flow.events[i] & request and flow.events[i] & E["uniform"]:
                found.append(i)
    return found


def _vectors(flow: Flow) -> Dict[str, List[int]]:
    """Words that break a rule about reads of the VPM, by the name of its check."""
    found: Dict[str, List[int]] = {"vpm_setup": [], "vpm_reads": [], "vpm_left": []}
    wanted = E["read_vpm"] | E["rd_setup"]
    if not any(bits & wanted for bits in flow.events):
        return found

    def step(i: int, span: Optional[_Span]) -> Optional[_Span]:
        bits = flow.events[i]
        if bits & E["read_vpm"] and span is not None:
            span = max(span[0] - 1, 0), max(span[1] - 1, 0)
        if bits & E["vpm_read_setup"]:
            number = setup_words.unpack("vpm_read", flow.instrs[i].imm)["num"]
            span = None if span is None else (span[0] + number, min(span[1], 1) + number)
            if span is not None and span[0] > span[1]:
                span = (number, number)
        elif bits & E["rd_setup"] and not bits & E["vdr_setup"]:
            span = None
        return span

    def join(one: Optional[_Span], two: Optional[_Span]) -> Optional[_Span]:
        return None if one is None or two is None else _widest(one, two)

    before = flow.solve(wanted, (0, 0), None, join, step)
    for i, span in before.items():
        if span is None:
            continue
        if flow.events[i] & E["vpm_read_setup"] and span[0] > 1:
            found["vpm_setup"].append(i)
        if flow.events[i] & E["read_vpm"] and span[1] == 0:
            found["vpm_reads"].append(i)
    after = {i: step(i, before[i]) for i in flow.ends() if i in before}
    found["vpm_left"] = [i for i, span in after.items() if span is not None and span[0] > 0]
    return found


def _branch_register(flow: Flow) -> List[int]:
    """Branches by a register whose elements a load by element, a condition or the element
    number may have made different."""
    if not any(i.sig == modes.SIG_BRANCH and i.reg for i in flow.instrs):
        return []

    def step(i: int, doubt: int) -> int:
        written = flow.events[i] >> EVENTS["write_file"].offset & 0xFFFFFFFF
        instr = flow.instrs[i]
        by_element = instr.sig == modes.SIG_LDI and instr.load_kind in (1, 3)
        conditional = not instr.is_alu or instr.cond_add > 1 or instr.cond_mul > 1
        if instr.sig == modes.SIG_BRANCH:
            conditional = False
        elif instr.sig == modes.SIG_LDI:
            conditional = instr.cond_add > 1 or instr.cond_mul > 1
        differs = instr.is_alu and instr.raddr_a == 38
        if by_element or conditional or differs:
            return doubt | written
        return doubt & ~written

    before = flow.solve(E["write_file"], 0, 0, operator.or_, step)
    return [
        i
        for i, doubt in before.items()
        if flow.instrs[i].sig == modes.SIG_BRANCH
        and flow.instrs[i].reg
        and doubt >> flow.instrs[i].raddr_a & 1
    ]


def _scoreboard_start(flow: Flow) -> List[int]:
    return [i for i in flow.reached[:2] if i < 2 and flow.events[i] & E["scoreboard"]]


def _r4_unread(flow: Flow) -> List[int]:
    defines = E["load_r4"] | E["write_sfu"]
    if not any(bits & defines for bits in flow.events):
        return []
    wanted: Set[int] = set()  # words before which r4 holds something that is still read
    before: Dict[int, List[int]] = {}
    for i in flow.reached:
        for k in flow.next[i]:
            before.setdefault(k, []).append(i)
    work = [i for i in flow.reached if flow.events[i] & E["read_r4"]]
    while work:
        i = work.pop()
        if i in wanted:
            continue
        wanted.add(i)
        work += [k for k in before.get(i, ()) if not flow.events[k] & defines]
    return [
        i
        for i in flow.reached
        if flow.events[i] & defines and not any(k in wanted for k in flow.next[i])
    ]


def _padding(flow: Flow) -> List[int]:
    return [len(flow.instrs) - 1] if len(flow.instrs) % LINE_WORDS else []


def _runs_off(flow: Flow) -> List[int]:
    count = len(flow.instrs)
    found = [i for i in flow.reached if any(not 0 <= k < count for k in flow.follow[i])]
    short = [i for i in flow.reached if flow.events[i] & E["thrend"] and i + 2 >= count]
    return sorted(set(found + short))


# --- tmu_noswap ----------------------------------------------------------------------------------

_TMU = mask("request_tmu0 config_tmu0 request_tmu1 config_tmu1")
_Value = Optional[Tuple[Any, ...]]
"""A constant or a register that was not written since; None: anything."""
_Swap = Tuple[Tuple[_Value, ...], Tuple[_Value, ...]]
"""What tmu_noswap may have been set to: on paths without a lookup so far, and on paths with one."""


def _moved(instr: Instr) -> _Value:
    """What a word writes to tmu_noswap; of constants only counts whether they are zero."""
    place = regs.WRITE_ADDR["tmu_noswap"][1]
    by_add = units_at_work(instr)[0] and instr.waddr_add == place
    if (instr.cond_add if by_add else instr.cond_mul) != modes.COND_ALWAYS:
        return None
    if not instr.is_alu:
        whole = instr.sig == modes.SIG_LDI and instr.load_kind == modes.LOAD_32
        return ("constant", instr.imm != 0) if whole else None
    if by_add:
        one, two = instr.add_a, instr.add_b
        move = instr.op_add == ops.BY_NAME["add", "or"].code
    else:
        one, two = instr.mul_a, instr.mul_b
        rotated = instr.sig == modes.SIG_SMALL_IMM and instr.small_imm >= modes.ROTATE_BY_R5
        move = instr.op_mul == ops.BY_NAME["mul", "v8min"].code and not rotated
    if one != two or not move or instr.unpack or instr.pack:
        return None
    if one == regs.MUX_B and instr.sig == modes.SIG_SMALL_IMM:
        return "constant", instr.small_imm != 0
    if one == regs.MUX_A or one == regs.MUX_B:
        address = instr.raddr_a if one == regs.MUX_A else instr.raddr_b
        bit = address + (32 if one == regs.MUX_B else 0)
        return ("register", 1 << bit + EVENTS["write_file"].offset) if address < 32 else None
    return ("register", 1 << one + EVENTS["write_acc"].offset) if one < 4 else None


def _noswap(flow: Flow) -> Dict[str, List[int]]:
    """Words that write tmu_noswap after a lookup: with another value, and with the same one."""
    found: Dict[str, List[int]] = {"noswap_changed": [], "noswap_again": []}
    if not any(bits & E["noswap"] for bits in flow.events):
        return found
    registers = E["write_file"] | E["write_acc"]

    def overwritten(values: Tuple[_Value, ...], bits: int) -> Tuple[_Value, ...]:
        return tuple(
            None if value and value[0] == "register" and value[1] & bits else value
            for value in values
        )

    def union(one: Tuple[_Value, ...], two: Tuple[_Value, ...]) -> Tuple[_Value, ...]:
        return one + tuple(value for value in two if value not in one)

    def step(i: int, state: _Swap) -> _Swap:
        bits = flow.events[i]
        unused, used = state
        if bits & E["noswap"]:
            value = (_moved(flow.instrs[i]),)
            unused, used = unused and value, used and value
        if bits & _TMU:
            unused, used = (), union(used, unused)
        return overwritten(unused, bits), overwritten(used, bits)

    def join(one: _Swap, two: _Swap) -> _Swap:
        return union(one[0], two[0]), union(one[1], two[1])

    # An entry with unknown state counts as one without a lookup: a correct program must pass.
    before = flow.solve(E["noswap"] | _TMU | registers, ((None,), ()), ((None,), ()), join, step)
    for i, (_, used) in before.items():
        if flow.events[i] & E["noswap"] and used:
            value = _moved(flow.instrs[i])
            found["noswap_again" if value and used == (value,) else "noswap_changed"].append(i)
    return found


# --- mutex and semaphores ------------------------------------------------------------------------


def _mutex_left(flow: Flow) -> List[int]:
    if not any(bits & E["read_mutex"] for bits in flow.events):
        return []

    def step(i: int, taken: int) -> int:
        if flow.events[i] & E["read_mutex"]:
            return 1
        return 0 if flow.events[i] & E["write_mutex"] else taken

    before = flow.solve(E["read_mutex"] | E["write_mutex"], 0, 0, operator.or_, step)
    return [i for i in flow.ends() if i in before and step(i, before[i])]


_Counts = Tuple[_Span, ...]


def _semaphore_left(flow: Flow) -> Dict[int, str]:
    """The last word, if QPUs that run this program cannot bring a semaphore back to its start.

    One path may count up what another counts down (a QPU that waits for the others), so only a
    semaphore that every path leaves on the same side of its start is reported.
    """
    changes = {
        i: (instr.imm & 15, -1 if instr.imm & 16 else 1)
        for i, instr in enumerate(flow.instrs)
        if instr.sig == modes.SIG_LDI and instr.load_kind == modes.LOAD_SEMAPHORE
    }
    used = sorted({number for number, _ in changes.values()})
    ends = flow.ends()
    if not used or not ends:
        return {}

    def step(i: int, counts: _Counts) -> _Counts:
        if i not in changes:
            return counts
        number, change = changes[i]
        place = used.index(number)
        low, high = counts[place]
        low = low + change if low > -_MANY else low
        high = high + change if high < _MANY else high
        return (*counts[:place], (low, high), *counts[place + 1 :])

    def join(one: _Counts, two: _Counts) -> _Counts:
        return one if one == two else tuple(map(_widest, one, two))

    def widen(old: _Counts, new: _Counts) -> _Counts:
        return tuple(
            (b[0] if b[0] == a[0] else -_MANY, b[1] if b[1] == a[1] else _MANY)
            for a, b in zip(old, new)
        )

    unknown: _Counts = ((-_MANY, _MANY),) * len(used)
    start: _Counts = ((0, 0),) * len(used)
    before = flow.solve(E["semaphore"], start, unknown, join, step, widen)
    left = functools.reduce(join, [step(i, before[i]) for i in ends if i in before])
    faults = [
        f"semaphore {number}: {_change(low, high)}"
        for number, (low, high) in zip(used, left)
        if low > 0 or high < 0
    ]
    return {max(ends): f" ({'; '.join(faults)})"} if faults else {}


def _change(low: int, high: int) -> str:
    if low == high:
        return f"{low:+d}"
    return f"{low:+d} or more" if low > 0 else f"{high:+d} or less"


def broken(flow: Flow) -> Dict[str, _Words]:
    """The words that break each of these rules, by the name of its check."""
    return {
        **_lookups(flow),
        "texture_uniform": _texture_uniform(flow),
        **_noswap(flow),
        **_vectors(flow),
        "branch_register": _branch_register(flow),
        "scoreboard_start": _scoreboard_start(flow),
        "r4_unread": _r4_unread(flow),
        "mutex_left": _mutex_left(flow),
        "semaphore_left": _semaphore_left(flow),
        "padding": _padding(flow),
        "runs_off": _runs_off(flow),
    }
