"""The page about program texts that ``piblas asm --syntax`` prints.

The grammar is written down here and nowhere else; every list of names is made from the tables that
the assembler itself reads.
"""

from __future__ import annotations

import textwrap
from typing import Iterable, Tuple

from . import modes, ops
from .instr import Instr
from .parse import DESTINATIONS, OPERATIONS, SIGNALS, SOURCES

__all__ = ["EXAMPLES", "page"]

_GRAMMAR = """\
A program text is a sequence of lines; '#' starts a comment.

  line       = { label ":" } [ word | directive ]
  directive  = ".word" value { "," value }          64-bit words, instructions or not
             | ".set" NAME "," ( value | register )   a name for the lines below it
  word       = ( part { ";" part } | load | semaphore | branch ) { "!" field "=" value }
  part       = operation | signal                 one for the add unit, one for the mul unit,
                                                  and one signal, in any order
  operation  = op [".sf"] ["." cond] dst ["." pack] { "," src ["." unpack] } ["rot" (value | "r5")]
  load       = "ldi" [".sf"] dst "," dst "," value
             | ("ldi_signed" | "ldi_unsigned") [".sf"] dst "," dst "," "[" 16 values "]"
  semaphore  = ("sema_up" | "sema_down") [".sf"] value [ "," dst "," dst ]
  branch     = "br." cond ("rel" | "abs") ( label | value ) ["+" "ra" n] ["," dst "," dst]

The two destinations of a load, semaphore or branch are those of the add and the mul unit, '-' for
none; in loads and semaphores each may have a pack mode and a condition of its own.  A load of a
number with a point or exponent loads its float32 pattern.  A branch counts from the fourth word
after it, in bytes; to a label it is relative.  '!field=value' overrides a field of the word; the
disassembler writes it where a field has a value that changes nothing about the meaning.

Values are decimal, 0x, 0b or 0o numbers, floats, and expressions of them with
( ) - + ~ * / % << >> & ^ | as in C.  A constant operand is one of the small immediates below; any
other constant takes a load of its own.
"""

_RULES = """\
A modifier means the operand or operation that it is written on, or the line is refused:

- A word has one unpack mode.  It applies to all reads of file A, or to all of r4: write it on each.
- File A's pack modes are for ra0 .. ra31, and the colour modes (..c) for the mul unit's result
  anywhere.  A word has one pack mode, and either file A's modes or those of r4 and of colours.
- Flags come from the add unit's operation, from the mul unit's only where the add unit has none.
- 'rot' rotates the mul unit's result; so the word has no signal, no read of file B and no constant
  but the one that the rotation's code stands for.  It turns all 16 elements where both operands are
  r0 .. r3; of r4 and of file A it turns each quad of 4 elements by itself.
- A constant leaves no room for a signal or a read of file B.
- A word reads one address of each register file and writes one of each; accumulators, and
  destinations that both files have, are free of this.  A name that ends in _b reads through file B.
- 'mov', 'v8adds' and 'v8subs' go to the unit that has room for them and their modifiers, the add
  unit by preference; m_mov, m_v8adds and m_v8subs are the mul unit's, as are all names with m_.
"""

EXAMPLES: Tuple[str, ...] = (
    "fadd r0, r1, ra2",
    "fadd.zs r0, r0, r1; fmul ra3, r2, rb4; ldtmu0",
    "sub.sf r0, r0, 1",
    "mov r0, r1 rot 4",
    "fmul r0, ra1.8a, r1",
    "mov r2.8888c, r0",
    "ldi ra0, -, 0x80904000",
    "ldi.sf r0.ns, -, 1.5",
    "ldi_signed r0, -, [0 1 -2 -1 0 1 -2 -1 0 1 -2 -1 0 1 -2 -1]",
    "sema_down 3",
    "br.any_zc rel -64",
    "br.always abs 0 + ra2, ra3, -",
)
"""Lines that the page shows."""


def _names(title: str, names: Iterable[str]) -> str:
    text = f"{title:<14}" + ", ".join(dict.fromkeys(names))
    return textwrap.fill(
        text, 100, subsequent_indent=" " * 14, break_on_hyphens=False, break_long_words=False
    )


def page() -> str:
    """The whole page."""
    adds = [row.name for row in ops.ADD_OPS if row.code]
    muls = [name for name, units in OPERATIONS.items() if set(units) == {ops.MUL}]
    integers = [row.text for row in modes.SMALL_IMMS[:32]]
    floats = [row.text for row in modes.SMALL_IMMS[32:48]]
    lists = [
        _names("add unit", ["nop", "mov", *adds]),
        _names("mul unit", muls),
        _names("signals", SIGNALS),
        _names("conditions", modes.CONDITIONS),
        _names("of a branch", filter(None, modes.BRANCH_CONDITIONS)),
        _names("sources", SOURCES),
        _names("constants", [*integers, *floats]),
        _names("destinations", DESTINATIONS),
        _names("unpack modes", (name for code, name in enumerate(modes.UNPACK_A) if code)),
        _names("pack modes", (name for code, name in enumerate(modes.PACK_A) if code)),
        _names("of colours", (name for code, name in enumerate(modes.PACK_MUL) if code and name)),
        _names("fields", Instr.__dataclass_fields__),
    ]
    examples = "\n".join(f"  {line}" for line in EXAMPLES)
    return "\n".join([_GRAMMAR, _RULES, "Examples:\n", examples, "", *lists, ""])
