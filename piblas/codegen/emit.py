"""Turn the calls of a generator into operations: what :class:`piblas.codegen.Assembler` rests on.

Every operation carries file and line of the call that made it: the innermost frame outside this
package.  Operands are checked here, where the error can still name the call.
"""

from __future__ import annotations

import os
import sys
from typing import Any, List, Optional, Sequence, Tuple, Union

from ..isa import modes, ops
from .code import ALU, BRANCH, LOAD, SIGNAL, Bundle, Label, Operation, fail
from .operand import R5, Const, Loc, Modified, Operand, Port, Reg, Where, bits_of

__all__ = ["Recorder", "Source", "Number", "MOVE"]

Number = Union[int, float]
Source = Union[Operand, Number]

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_CONDS = {name: code for code, name in enumerate(modes.CONDITIONS)}
_BRANCH_CONDS = {name: code for code, name in enumerate(modes.BRANCH_CONDITIONS) if name}
_UNITS = {"add": ops.ADD, "mul": ops.MUL, "or": ops.ADD, "v8min": ops.MUL}
MOVE = (ops.BY_NAME[ops.ADD, "or"], ops.BY_NAME[ops.MUL, "v8min"])
"""The two ways to copy a register bit for bit."""


class Recorder:
    """The list of what a generator asked for, and how calls get into it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._items: List[Union[Bundle, Label]] = []
        self._pair: Optional[List[Operation]] = None
        self._fixed = 0
        self._comments: List[str] = []

    @property
    def count(self) -> int:
        """Bundles and labels so far."""
        return len(self._items)

    def _where(self) -> Where:
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if not name.startswith(_HERE) and not name.endswith("contextlib.py"):
                return name, frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return None

    def _emit(self, op: Operation) -> None:
        if self._pair is not None:
            if op.kind not in (ALU, SIGNAL):
                fail("this needs a word of its own", op.where, op, "H6")
            self._pair.append(op)
        else:
            self._append(Bundle((op,), self._fixed))

    def _append(self, bundle: Bundle) -> None:
        if self._comments:
            bundle.comments = tuple(self._comments)
            self._comments = []
        self._items.append(bundle)

    def _const(self, value: Any) -> Const:
        try:
            return Const(bits_of(value), repr(value))
        except (TypeError, ValueError) as error:
            fail(f"{value!r} is neither an operand nor a number: {error}", self._where())

    def _cond(self, cond: str) -> int:
        if cond not in _CONDS:
            fail(f"{cond!r} is none of the conditions {', '.join(_CONDS)}", self._where())
        return _CONDS[cond]

    def _destination(self, dst: Operand) -> Tuple[Operand, Optional[Tuple[int, int]]]:
        if isinstance(dst, Reg):
            return dst, None
        pack = None
        if isinstance(dst, Modified):
            if dst.unpacking:
                fail(f"{dst!r}: a destination is packed, not unpacked", self._where())
            pack = dst.packing if dst.packing and dst.packing[1] else None
            dst = dst.base
        if isinstance(dst, Loc) and dst.index >= 68:
            hint = "a signal or special function" if dst.addr == 4 else "r5rep or r5quad"
            fail(f"{dst!r} is written through {hint}", self._where())
        if not isinstance(dst, (Reg, Loc)) and not (isinstance(dst, Port) and dst.write):
            fail(f"{dst!r} is no destination", self._where())
        return dst, pack

    def _source(self, src: Source) -> Tuple[Operand, int]:
        if isinstance(src, (Reg, Loc)):
            return src, 0
        if not isinstance(src, Operand):
            return self._const(src), 0
        unpack = 0
        if isinstance(src, Modified):
            if src.packing:
                fail(f"{src!r}: a source is unpacked, not packed", self._where())
            unpack, src = src.unpacking, src.base
        if isinstance(src, Port) and not src.read:
            fail(f"{src!r} cannot be read", self._where())
        return src, unpack

    def _alu(
        self,
        name: str,
        choices: Tuple[ops.Op, ...],
        dst: Operand,
        srcs: Tuple[Source, ...],
        cond: str,
        sf: bool,
        rotate: Union[int, str, Operand, None],
        unit: Optional[str],
        line: bool = False,
    ) -> None:
        where = self._where()
        if unit is not None:
            choices = tuple(row for row in choices if row.unit == _UNITS.get(unit))
            if not choices:
                fail(f"{name} has no unit {unit!r}", where)
        wanted = 1 if name == "mov" else choices[0].nsrc
        if len(srcs) != wanted:
            fail(f"{name} takes {wanted} operands, not {len(srcs)}", where)
        code = 0
        if rotate is not None and rotate != 0:
            amount: Any = "r5" if rotate is R5 else rotate
            try:
                code = modes.rotate_code(amount)
            except ValueError as error:
                fail(str(error), where)
            choices = tuple(row for row in choices if row.unit == ops.MUL)
            if not choices:
                fail(f"{name}: only the mul unit rotates", where)
        target, pack = self._destination(dst)
        operands, unpacks = zip(*[self._source(src) for src in srcs])
        self._emit(
            Operation(
                ALU,
                name,
                where,
                choices=choices,
                dst=target,
                pack=pack,
                srcs=operands,
                unpacks=unpacks,
                cond=self._cond(cond),
                sf=sf,
                rotate=code,
                line=line,
            )
        )

    def _load(self, dst: Operand, imm: int, kind: int, cond: str, sf: bool, name: str) -> None:
        target, pack = self._destination(dst)
        self._emit(
            Operation(
                LOAD,
                name,
                self._where(),
                dst=target,
                pack=pack,
                cond=self._cond(cond),
                sf=sf,
                load_kind=kind,
                imm=imm,
            )
        )

    def _semaphore(self, number: int, down: int) -> None:
        if not 0 <= number <= 15:
            fail(f"there is no semaphore {number}", self._where())
        self._emit(
            Operation(
                LOAD,
                "sema_down" if down else "sema_up",
                self._where(),
                imm=number | down,
                load_kind=modes.LOAD_SEMAPHORE,
            )
        )

    def _per_element(self, values: Sequence[int], codes: Tuple[int, ...]) -> int:
        if len(values) != 16 or any(value not in codes for value in values):
            fail(f"a load by element takes 16 values of {sorted(codes)}", self._where())
        imm = 0
        for element, value in enumerate(values):
            code = codes.index(value)
            imm |= (code & 1) << element | (code >> 1) << (16 + element)
        return imm

    def _branch(
        self,
        name: str,
        cond: str,
        link: Optional[Operand],
        srcs: Tuple[Operand, ...],
        rel: bool,
        offset: int,
        targets: Optional[Tuple[str, ...]],
    ) -> None:
        where = self._where()
        if cond not in _BRANCH_CONDS:
            fail(f"{cond!r} is none of the conditions {', '.join(_BRANCH_CONDS)}", where)
        if link is not None and not isinstance(link, (Reg, Loc)):
            fail(f"{link!r} cannot hold a return address", where)
        target = None if link is None else self._destination(link)[0]
        self._emit(
            Operation(
                BRANCH,
                "branch",
                where,
                dst=target,
                srcs=srcs,
                cond_br=_BRANCH_CONDS[cond],
                rel=rel,
                imm=offset & 0xFFFFFFFF,
                targets=targets,
                signal=modes.SIG_BRANCH,
            )
        )
