"""The faults of the emulator: name, unit and sentence of each, and which are rules of ``strict``.

A rule of ``strict`` can be switched off alone.  The emulator then goes on as it does without
``strict``.  Several faults may be the same rule seen from different sides.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Dict, Iterable, List, Tuple

from ..errors import DeviceError
from .layout import FIRST_FAULT

# Name, unit, reason; the code of a fault is FIRST_FAULT + its index.
FAULTS: Tuple[Tuple[str, str, str], ...] = (
    ("FETCH", "fetch", "the program counter is outside the loaded code"),
    ("FETCH_ALIGN", "fetch", "the program counter is no multiple of 8"),
    ("RESERVED", "decode", "reserved encoding"),
    ("BREAKPOINT", "control", "breakpoint signal, and no debugger is attached"),
    ("LATE_A", "regfile", "reads a file-A register that the previous instruction writes"),
    ("LATE_B", "regfile", "reads a file-B register that the previous instruction writes"),
    ("LATE_ROTATE", "alu", "rotates an accumulator that the previous instruction writes"),
    ("LATE_R5", "alu", "rotates by r5, which the previous instruction writes"),
    ("MIXED_ROTATE", "alu", "rotates one of r0-r3 together with another operand"),
    ("ROTATED_FLAGS", "alu", "takes flags from a rotated result"),
    ("UNPACK_MIXED", "alu", "unpacks one operand for a float and an integer operation"),
    ("UNPACK_IO", "alu", "unpacks what no register of file A holds, which is undetermined"),
    ("UNDEFINED_READ", "regfile", "uses a register address whose value is undefined"),
    ("LOST", "control", "uses an accumulator or flags that a thread switch has lost"),
    ("FLAGS_UNSET", "control", "uses flags that no operation of the program has set"),
    ("CARRY", "alu", "uses flag C of a mul24 or fmul, which is undetermined"),
    ("LOAD_FLAGS", "alu", "takes flags from a load that the add unit never writes"),
    ("OTHER_THREAD", "regfile", "reads a register that the other thread wrote"),
    ("SWITCH_LAST", "control", "a thread switch behind the last one"),
    ("STALE_MUL", "alu", "writes the result of a mul nop"),
    ("SAME_DESTINATION", "alu", "both units write different values to one destination"),
    ("CONDITIONAL_IO", "alu", "conditional write to a peripheral, and the condition is false"),
    ("CROWD", "alu", "more than one access to TMU, SFU, TLB, mutex or semaphores"),
    ("VPM_CROWD", "vpm", "VPM accesses that exclude each other in one instruction"),
    ("BYTE_IO", "alu", "packs a colour byte into a peripheral"),
    ("PACK_TARGET", "alu", "file-A pack, but the result goes elsewhere"),
    ("R4_BUSY", "sfu", "reads r4 before the SFU's result is there"),
    ("SFU_BUSY", "sfu", "writes r4 while the SFU is at work"),
    ("UNIF_EARLY", "uniforms", "reads a uniform less than 3 instructions after unif_addr"),
    ("UNIF", "uniforms", "reads outside the buffers, or beyond the end of the stream"),
    ("UNIF_FILE_B", "uniforms", "writes the uniforms address through file B"),
    ("UNIF_ALIGN", "uniforms", "uniforms address is no multiple of 4"),
    ("TMU", "tmu", "reads outside the buffers"),
    ("TMU_POP", "tmu", "takes a result that was not requested"),
    ("TMU_FULL", "tmu", "requests more results than its queue has room for"),
    ("TMU_SWAP_EARLY", "tmu", "TMU request less than 3 instructions after tmu_noswap"),
    ("TMU_SWAP_BUSY", "tmu", "changes tmu_noswap while requests are outstanding"),
    ("TMU_LEFT", "tmu", "program ends with TMU results not taken"),
    ("TMU_HALF", "tmu", "fills more than its half of the queue, which two threads share"),
    ("TMU_OTHER", "tmu", "takes a result that the other thread requested"),
    ("TEX_TWICE", "tmu", "writes a coordinate twice before S"),
    ("TEX_UNIFORM", "tmu", "reads a uniform beside a TMU write that takes one"),
    ("TEX_SWITCH", "tmu", "a texture lookup is not complete at a thread switch or the end"),
    ("TEX_TYPE", "tmu", "a texture type whose texels are undetermined"),
    ("TEX_CUBE", "tmu", "a cube map or a child image, whose lookup is undetermined"),
    ("TEX_LEVEL", "tmu", "the level of detail decides on the filter, and it is undetermined"),
    ("TEX_FILTER", "tmu", "interpolates between different texels, with undetermined rounding"),
    ("TEX_EDGE", "tmu", "a coordinate so near the edge of a texel that rounding decides"),
    ("TEX_BORDER", "tmu", "needs the border colour, which is undetermined"),
    ("UNINITIALISED", "memory", "reads a word that was never written"),
    ("VPM_NO_SETUP", "vpm", "VPM access without a setup"),
    ("VPM_EXTRA", "vpm", "reads more vectors than were set up"),
    ("VPM_DROPPED", "vpm", "read setup while more than one vector is outstanding"),
    ("SETUP", "vpm", "undefined setup word"),
    ("VPM_RACE", "vpm", "touches rows of a DMA transfer that may still be running"),
    ("VPM_ORDER", "vpm", "transfers rows that another QPU accesses, and nothing orders the two"),
    ("VDR", "vdr", "reads outside the buffers"),
    ("VDR_ALIGN", "vdr", "address is no multiple of the element size"),
    ("VDR_ROWS", "vdr", "writes VPM rows outside 0..63 or columns outside 0..15"),
    ("VDR_SELECT", "vdr", "selects a byte or half-word, whose place is undetermined"),
    ("VDR_COLUMN", "vdr", "bytes or half-words into a column, whose place is undetermined"),
    ("VDR_SETUP", "vdr", "DMA load without a setup, or without a pitch"),
    ("VDW", "vdw", "writes outside the buffers"),
    ("VDW_ALIGN", "vdw", "address is no multiple of the element size"),
    ("VDW_ROWS", "vdw", "reads VPM rows outside 0..63 or columns outside 0..15"),
    ("VDW_DEEP", "vdw", "a column runs out of its 16 rows, and where it goes on is undetermined"),
    ("VDW_BLOCK", "vdw", "stores units in block mode, whose places are undetermined"),
    ("VDW_COLUMN", "vdw", "bytes or half-words out of a column, whose place is undetermined"),
    ("VDW_SETUP", "vdw", "DMA store without a setup, or with another program's stride"),
    ("TLB", "tlb", "a user program has no tile buffer"),
    ("VARYING", "varyings", "a user program has no varyings"),
    ("BRANCH_SLOT", "control", "a branch in the first two delay slots of a branch"),
    ("END_SLOT", "control", "thread end or switch in the delay slots of a jump or switch"),
    ("END_ACCESS", "control", "uniform or VPM access in the last three instructions"),
    ("END_REGISTER", "control", "reads ra14 or rb14 in the last three instructions"),
    ("RACE_LOAD", "memory", "reads memory that a DMA store may still be writing"),
    ("RACE_STORE", "memory", "writes memory that a DMA load may still be reading"),
    ("RACE_READ", "memory", "writes memory that another QPU reads, and nothing orders the two"),
)
_names = [name for name, _, _ in FAULTS]
FAULT = namedtuple("FAULT", _names)(*range(FIRST_FAULT, FIRST_FAULT + len(_names)))  # type: ignore

_ALWAYS = (
    "FETCH FETCH_ALIGN RESERVED BREAKPOINT UNINITIALISED TLB VARYING"
).split()
"""What no program can go on after, and what an option of its own asks for."""

_SHARED = {
    "LATE_A": "late-register",
    "LATE_B": "late-register",
    "RACE_LOAD": "memory-race",
    "RACE_STORE": "memory-race",
    "RACE_READ": "memory-race",
    "VPM_RACE": "vpm-race",
    "VPM_ORDER": "vpm-race",
}
RULE_OF: Dict[str, str] = {
    name: _SHARED.get(name, name.lower().replace("_", "-"))
    for name in _names
    if name not in _ALWAYS
}
"""The rule of each fault that is one of ``strict``."""

RULES: Dict[str, str] = {}
"""Every rule, with a sentence."""
for _name, _unit, _reason in FAULTS:
    if _name in RULE_OF:
        RULES.setdefault(RULE_OF[_name], f"{_unit}: {_reason}")


def rule_words(strict: bool, keep_going: Iterable[str]) -> List[int]:
    """The words from ``G_RULES`` on: one bit for each fault that is on."""
    off = set(keep_going)
    unknown = sorted(off - set(RULES))
    if unknown:
        raise DeviceError(f"keep_going = {unknown[0]!r}: choose from {', '.join(RULES)}")
    words = [0, 0, 0]
    for index, name in enumerate(_names):
        if name not in RULE_OF or (strict and RULE_OF[name] not in off):
            words[index >> 5] |= 1 << (index & 31)
    return words
