"""The assembler: an explicit object whose methods a kernel generator calls, one per instruction.

Every add and mul operation of :mod:`piblas.isa.ops` is a method, the destination first::

    asm = Assembler("scale")
    x = asm.reg("x")
    asm.mov(x, asm.unif)
    asm.fmul(x, x, 2.0, cond="zs", sf=True)

The names of registers and peripherals (``asm.r0``, ``asm.unif``, ``asm.t0s``, ...) are attributes.
``finish`` lowers, allocates registers, schedules, links and checks.  Operations whose names are
words of Python are also spelled ``and_``, ``or_`` and ``not_``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Sequence, Tuple, Union

from ..errors import DecodeError
from ..isa import modes, ops
from ..isa.disasm import to_text
from ..isa.instr import Instr, encode
from ..isa.parse import parse
from .check import check_program
from .code import ALU, END, RAW, SIGNAL, Bundle, Code, Label, Line, Operation, debug_print, fail
from .emit import MOVE, Number, Recorder, Source
from .link import link
from .lower import lower
from .operand import MASK_A, MASK_A_EVEN, NAMED, Loc, Operand, Port, Reg, allowed_mask
from .program import Program
from .regalloc import allocate
from .schedule import schedule

__all__ = ["Assembler"]


class Assembler(Recorder):
    """Collects the instructions of one program; see the module's text."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Operations, registers and peripherals are added from the tables below."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._regions = 0
        self._labels: set = set()
        self._finished = False

    # --- registers -----------------------------------------------------------------------------

    def reg(self, name: str, file: str = "any", undefined: bool = False) -> Reg:
        """A new virtual register of 16 elements.

        ``file`` is where it may live: "A", "B", "AB", "acc" (r0..r3), "any", or one register such
        as "ra5".  ``undefined`` allows reads before the first write.
        """
        where = self._where()
        try:
            return Reg(name, allowed_mask(file), undefined, where)
        except ValueError as error:
            fail(f"register {name}: {error}", where)

    def regs(self, name: str, count: int, file: str = "any", undefined: bool = False) -> List[Reg]:
        """``count`` registers ``name0``, ``name1``, ..."""
        return [self.reg(f"{name}{i}", file, undefined) for i in range(count)]

    # --- operations ----------------------------------------------------------------------------

    def mov(
        self,
        dst: Operand,
        src: Source,
        cond: str = "always",
        sf: bool = False,
        rotate: Union[int, str, Operand, None] = None,
        unit: Optional[str] = None,
        line: bool = False,
    ) -> None:
        """Copy, on either unit unless ``unit`` names one; a constant may become a load.

        ``line`` promises that the word, of ``asm.unif``, is the first of a line of the stream.  A
        loop with such reads keeps the generator's order, and leaves these lines time to arrive.
        """
        if line and src is not NAMED["unif"]:
            fail(f"{src!r} is no word of a line of uniforms", self._where())
        if isinstance(src, (int, float)) or not isinstance(src, Operand):
            const = self._const(src)
            if const.code is None and not rotate and unit is None:
                self._load(dst, const.bits, modes.LOAD_32, cond, sf, "ldi")
                return
            src = const
        self._alu("mov", MOVE, dst, (src,), cond, sf, rotate, unit, line)

    def rotate(
        self,
        dst: Operand,
        src: Source,
        n: Union[int, str, Operand],
        cond: str = "always",
        sf: bool = False,
    ) -> None:
        """Copy with element e going to element e + n (mod 16); ``n`` is 0..15 or ``asm.r5``."""
        self._alu("mov", MOVE, dst, (src,), cond, sf, n, "mul")

    def read(self, port: Port) -> None:
        """Read a peripheral for its side effect alone."""
        self._alu("mov", MOVE, NAMED["null"], (port,), "always", False, None, None)

    def nop(self) -> None:
        """A word that does nothing (kept only in hand-placed code)."""
        self._emit(Operation(ALU, "nop", self._where()))

    def ldi(self, dst: Operand, value: Number, cond: str = "always", sf: bool = False) -> None:
        """Load a 32-bit constant: an integer, or a float as float32."""
        self._load(dst, self._const(value).bits, modes.LOAD_32, cond, sf, "ldi")

    def ldi_signed(
        self, dst: Operand, values: Sequence[int], cond: str = "always", sf: bool = False
    ) -> None:
        """Load one of -2, -1, 0, 1 into each element."""
        imm = self._per_element(values, (0, 1, -2, -1))
        self._load(dst, imm, modes.LOAD_SIGNED, cond, sf, "ldi_signed")

    def ldi_unsigned(
        self, dst: Operand, values: Sequence[int], cond: str = "always", sf: bool = False
    ) -> None:
        """Load one of 0, 1, 2, 3 into each element."""
        imm = self._per_element(values, (0, 1, 2, 3))
        self._load(dst, imm, modes.LOAD_UNSIGNED, cond, sf, "ldi_unsigned")

    def sema_up(self, number: int) -> None:
        """Increment a semaphore; waits while it stands at 15."""
        self._semaphore(number, 0)

    def sema_down(self, number: int) -> None:
        """Decrement a semaphore; waits while it stands at 0."""
        self._semaphore(number, 16)

    def signal(self, name: str) -> None:
        """A signal; the scheduler merges it into a word."""
        row = modes.SIGNAL_BY_NAME.get(name)
        if row is None or name in ("none", "small_imm", "ldi", "branch"):
            fail(f"{name!r} is no signal of its own", self._where())
        if name in ("thrend", "ldcend") and not self._fixed:
            fail(f"the signal {name} needs hand-placed code; use end()", self._where())
        self._emit(Operation(SIGNAL, name, self._where(), signal=row.code))

    def ldtmu(self, unit: int, dst: Optional[Operand] = None) -> None:
        """Pop the oldest result of TMU 0 or 1 into r4, and copy it to ``dst`` if given."""
        if unit not in (0, 1):
            fail(f"there is no TMU {unit}", self._where())
        self.signal(f"ldtmu{unit}")
        if dst is not None:
            self.mov(dst, NAMED["r4"])

    # --- control flow --------------------------------------------------------------------------

    def label(self, name: str) -> None:
        """A place that branches go to."""
        if self._pair is not None:
            fail(f"label {name!r} inside a pair", self._where())
        if name in self._labels:
            fail(f"label {name!r} is there already", self._where())
        self._labels.add(name)
        self._items.append(Label(name, self._where()))

    def branch(self, label: str, cond: str = "always", link: Optional[Operand] = None) -> None:
        """Branch to a label; the scheduler fills the delay slots.

        ``cond`` is tested over all 16 elements ("all_zs", "any_nc", ...).  ``link`` receives the
        address behind the delay slots when the branch is taken.
        """
        self._branch(label, cond, link, (), True, 0, (label,))

    def branch_reg(
        self,
        reg: Operand,
        cond: str = "always",
        rel: bool = False,
        offset: int = 0,
        link: Optional[Operand] = None,
        targets: Optional[Sequence[str]] = None,
    ) -> None:
        """Branch to the address in a file-A register plus ``offset``.

        ``rel`` adds the address behind the delay slots.  ``targets`` are the labels that it may
        go to; without them any label and any place behind a linking branch is assumed.
        """
        labels = None if targets is None else tuple(targets)
        if isinstance(reg, Reg):
            if not reg.allowed & MASK_A:
                fail(f"a branch needs {reg.name} in file A", self._where())
            # An odd register number would set the flags (measured), hence even ones only.
            reg.allowed &= MASK_A_EVEN if reg.allowed & MASK_A_EVEN else MASK_A
        elif not isinstance(reg, Loc) or reg.file != "A":
            fail(f"a branch cannot take {reg!r}: it needs a register of file A", self._where())
        self._branch("", cond, link, (reg,), rel, offset, labels)

    def end(self, interrupt: bool = False) -> None:
        """End the program, after raising the host interrupt if asked."""
        if interrupt:
            self.mov(NAMED["host_int"], 1)
        if not self._fixed:
            self._emit(Operation(END, "end", self._where(), signal=3))
            return
        self._emit(Operation(SIGNAL, "thrend", self._where(), signal=3))
        self.nop()
        self.nop()

    # --- placement -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def pair(self) -> Iterator[None]:
        """The operations inside (an add, a mul, a signal) share one word."""
        if self._pair is not None:
            fail("a pair inside a pair", self._where())
        self._pair = []
        try:
            yield
            if self._pair:
                self._append(Bundle(self._pair, self._fixed))
        finally:
            self._pair = None

    @contextlib.contextmanager
    def fixed(self) -> Iterator[None]:
        """Hand-placed code: one word a call or pair, in this order, delay slots written out."""
        if self._fixed:
            fail("hand-placed code inside hand-placed code", self._where())
        self._regions += 1
        self._fixed = self._regions
        try:
            yield
        finally:
            self._fixed = 0

    def word(self, instr: Union[Instr, str]) -> None:
        """One hand-placed instruction word, as ``Instr`` or as a line of text."""
        where = self._where()
        try:
            row = parse(instr) if isinstance(instr, str) else instr
            encode(row)
        except DecodeError as error:
            fail(str(error), where)
        if row.sig in (3, 9, modes.SIG_BRANCH) and not self._fixed:
            fail("a branch or end as a word needs hand-placed code", where, to_text(row))
        self._emit(
            Operation(RAW, to_text(row), where, instr=row, signal=row.sig, cond_br=row.cond_br)
        )

    def comment(self, text: str) -> None:
        """A line above the next instruction in the listing."""
        self._comments.append(text)

    # --- assembly ------------------------------------------------------------------------------

    def finish(self, schedule: bool = True) -> Program:
        """The program.  ``schedule=False`` keeps one operation a word, in the order written.

        Raises :class:`~piblas.errors.AssemblerError` for what cannot be done, with the place of
        the call; warnings of the checker are kept in ``Program.findings``.
        """
        if self._finished:
            fail(f"{self.name} is finished already", self._where())
        self._finished = True
        code = Code.of(self.name, self._items)
        code = lower(code)
        code, placed = allocate(code)
        debug_print("regalloc", code.__str__)
        return check_program(link(self.name, _schedule(code, schedule), placed))


def _schedule(code: Code, reorder: bool) -> List[Line]:
    return schedule(code, reorder)


def _operation(name: str, rows: Tuple[ops.Op, ...]) -> Any:
    def method(
        self: Assembler,
        dst: Operand,
        *srcs: Source,
        cond: str = "always",
        sf: bool = False,
        rotate: Union[int, str, Operand, None] = None,
        unit: Optional[str] = None,
    ) -> None:
        self._alu(name, rows, dst, srcs, cond, sf, rotate, unit)

    method.__name__ = name
    method.__doc__ = f"``{name}`` on the {' or '.join(row.unit for row in rows)} unit."
    return method


def _install() -> None:
    for name, operand in NAMED.items():
        setattr(Assembler, name, operand)
    names = dict.fromkeys(row.name for row in ops.ADD_OPS + ops.MUL_OPS if row.code)
    for name in names:
        rows = tuple(row for row in ops.ADD_OPS + ops.MUL_OPS if row.name == name)
        method = _operation(name, rows)
        setattr(Assembler, name, method)
        if name in ("and", "or", "not"):
            setattr(Assembler, name + "_", method)


_install()
