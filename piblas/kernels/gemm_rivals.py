"""The sgemms that others published for this chip, as parameter sets of one generator, to run beside
ours.  No routine uses them.

D = alpha * A @ B, row-major, on 12 QPUs that share out D, 2 x 6 as published; A and B are taken as
they lie.
A QPU goes along a row of its tiles of 16 x 64 before it goes down.  The two sets differ in how an
element of A meets one of B:

``PYVIDEOCORE`` (Idein/py-videocore, examples/sgemm.py)
    The 16 rows of A are the elements of a vector, which comes as a gather through TMU0; each of 64
    elements of B is a uniform, and the stream is sent to the next row of B in every step of k::

        A[16 rows, k] --TMU0--> r4      B[k, 64 columns] --uniforms--> x
        fadd d[column'], d[column'], t; fmul t, r4, x

    67 words a step: 64 multiply-adds, a branch, two for address, request and counter.

``QMKL`` (Idein/qmkl, sgemm_RNN), ``QMKL_FIRST`` (the same before pull request 40)
    B comes as four vectors of 16 columns through TMU1, A as a gather through TMU0; a rotation
    spreads one element of A at a time::

        B[k, 16 columns] --TMU1--> r4   A[16 rows, k] --TMU0--> a --rotate--> r5
        fadd d[row'][v'], d[row'][v'], t; fmul t, r4, r5

    ``shared`` vectors use a rotation: 158 words a step with one, 126 with two, 64 of them
    multiply-adds, 29 addresses, requests and loop.

Lengths, order of the operations and places of the requests are those of the published loops, which
were written by hand; so are these.  Addresses that do not fit beside the 64 sums lie in the
elements of one vector.  D goes through the VPM, 16 x 16 at a time, under the mutex, as there.
What is left out: beta.  Store and end of a launch are those of this project's own kernel
(:mod:`.gemm`).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, List

from . import macros, parts
from .gemm import LANES, LINE
from .spec import KernelSpec

if TYPE_CHECKING:
    from ..codegen import Assembler
    from ..codegen.operand import Reg

__all__ = [
    "PYVIDEOCORE", "QMKL", "QMKL_FIRST", "SPEC", "RivalOptions",
]  # fmt: skip

@dataclasses.dataclass(frozen=True)
class RivalOptions:
    """How B gets to the multipliers: as ``uniforms``, or by the TMU where ``shared`` of ``vectors``
    vectors of 16 columns use a rotation of A (``rotate``)."""

    b_path: str = "uniforms"
    vectors: int = 4
    shared: int = 1

    def __post_init__(self) -> None:
        fine = self.b_path in ("uniforms", "rotate") and 1 <= self.vectors <= 4
        if not fine or self.shared not in (1, 2) or self.vectors % self.shared:
            raise ValueError(f"gemm: no rival has {self}")

    @property
    def columns(self) -> int:
        """Columns of a tile; it has 16 rows."""
        return LANES * self.vectors


PYVIDEOCORE = RivalOptions("uniforms")
QMKL = RivalOptions("rotate", shared=2)
QMKL_FIRST = RivalOptions("rotate", shared=1)


# --- program -------------------------------------------------------------------------------------


def _sums(asm: Assembler, count: int) -> List[Reg]:
    """Registers of both files in turn; odd ones in file A, as one of them shares a word with a
    write of r5, which is a port of file B."""
    return [asm.reg(f"d{i}", file=f"r{'ba'[i % 2]}{i // 2}") for i in range(count)]


def _line(asm: Assembler, into: Reg) -> None:
    """A register = the 16 words at the address that is next in the stream."""
    at, lane = asm.reg("line_at"), asm.reg("lane")
    asm.shl(lane, asm.elem_num, 2)
    asm.add(at, lane, asm.unif)
    macros.tmu_load(asm, 0, into, at)


class _Uniforms:
    """B by uniforms.  Sum 16 v + c belongs to column c of vector v; its elements are rows."""

    def __init__(self, asm: Assembler, options: RivalOptions) -> None:
        self.asm, self.options = asm, options
        self.sums = _sums(asm, options.columns)
        # The address of the next row of B in element 0; what is left of k, in the same unit, in
        # the others.
        self.b = asm.reg("b", file="acc")
        self.a, self.t = asm.reg("a", file="acc"), asm.reg("t", file="acc")
        self.back = asm.reg("back", file="acc")

    def _sum(self, column: int) -> None:
        """One of 64; the sum of a product stands beside the next product."""
        asm, last = self.asm, self.sums[column - 1]
        with asm.pair():
            asm.fadd(last, last, self.t)
            asm.fmul(self.t, asm.r4, asm.unif)
            if column + 1 == len(self.sums):
                asm.ldtmu(0)

    def _restart(self) -> None:
        asm = self.asm
        with asm.pair():
            asm.add(self.b, self.b, asm.r5, sf=True)
            asm.mov(asm.unif_addr, self.b, unit="mul")

    def _request(self) -> None:
        asm = self.asm
        with asm.pair():
            asm.add(self.a, self.a, 4)
            asm.mov(asm.t0s, self.a, unit="mul")

    def multiply(self) -> None:
        """All steps of a tile."""
        asm, columns = self.asm, range(len(self.sums))
        _line(asm, self.a)
        _line(asm, self.b)
        asm.mov(asm.r5rep, asm.unif)
        asm.mov(self.back, asm.unif)
        asm.mov(self.t, 0)
        with asm.fixed():
            self._request()
            asm.ldtmu(0)
            self._restart()
            self._request()
            asm.nop()
            for column in columns[:2]:
                self._sum(column)
            asm.label("k")
            for column in columns[2:]:
                self._sum(column)
            self._restart()
            asm.branch("k", cond="all_zc")
            self._request()
            # Behind the last step they see the row of zeros behind B.
            for column in columns[:2]:
                self._sum(column)
            asm.ldtmu(0)
            asm.mov(asm.unif_addr, self.back)
            for _ in range(3):
                asm.nop()

    def into_vpm(self, v: int, alpha: Reg) -> None:
        """The sums of a vector are columns of its block."""
        macros.vpm_write_setup(self.asm, LANES * v, horizontal=False)
        for column in range(LANES):
            self.asm.fmul(self.asm.vpm, self.sums[LANES * v + column], alpha)


# Elements of the vector of addresses; what is added to each of them stands 8 further on.
_B, _A, _LEFT, _PITCH = range(4)
STEPS = 8


class _Rotate:
    """B by the TMU.  Sum 16 v + r belongs to row r of vector v; its elements are columns."""

    def __init__(self, asm: Assembler, options: RivalOptions) -> None:
        self.asm, self.options = asm, options
        self.sums = _sums(asm, options.columns)
        self.state, self.a = asm.reg("state", file="acc"), asm.reg("a", file="acc")
        self.t = asm.reg("t", file="acc")
        # The first of two vectors that share rotations; addresses between the steps.
        self.spare = asm.reg("spare", file="acc")

    def _fma(self, v: int, row: int, factor: object, last: int) -> int:
        """The product of a row and a vector beside the sum of the product before."""
        asm, d = self.asm, self.sums[last]
        with asm.pair():
            asm.fadd(d, d, self.t)
            asm.fmul(self.t, factor, asm.r5)
        return LANES * v + row

    def _products(self) -> None:
        asm, shared = self.asm, self.options.shared
        last = None
        for v in range(0, self.options.vectors, shared):
            with asm.pair():
                if last is not None:
                    asm.fadd(self.sums[last], self.sums[last], self.t)
                asm.mov(asm.r5rep, self.a, unit="mul")
                asm.ldtmu(1)
            with asm.pair():
                asm.fmul(self.t, asm.r4, asm.r5)
                if shared == 2:
                    asm.mov(self.spare, asm.r4, unit="add")
                    asm.ldtmu(1)
            last = LANES * v
            if shared == 2:
                last = self._fma(v + 1, 0, asm.r4, last)
            for turn in range(1, LANES):
                asm.rotate(asm.r5rep, self.a, turn)
                row = LANES - turn
                for i in range(shared):
                    factor = self.spare if i + 1 < shared else asm.r4
                    last = self._fma(v + i, row, factor, last)
        assert last is not None
        asm.fadd(self.sums[last], self.sums[last], self.t)

    def _spread(self, element: int) -> None:
        """r5 = an element of the state in all elements."""
        macros.broadcast(self.asm, None, self.state, element)

    def _a_addresses(self) -> None:
        """spare = the addresses of 16 rows of A; 4 words."""
        asm = self.asm
        self._spread(_PITCH)
        asm.mul24(self.spare, asm.elem_num, asm.r5)
        self._spread(_A)
        asm.add(self.spare, self.spare, asm.r5)

    def _between(self) -> None:
        """What a step does for the next ones, 25 words: lines of B, A's vector, A's request."""
        asm, spare = self.asm, self.spare
        with asm.pair():
            asm.shl(spare, asm.elem_num, 2)
            asm.mov(asm.r5rep, self.state, unit="mul")
        asm.ldi(self.t, LINE)
        asm.add(spare, spare, asm.r5)
        for v in range(self.options.vectors):
            if v:
                asm.add(spare, spare, self.t)
            asm.mov(asm.t1s, spare)
        asm.ldtmu(0)
        asm.mov(self.a, asm.r4)
        asm.sub(asm.null, asm.elem_num, STEPS, sf=True)
        asm.rotate(self.t, self.state, STEPS)
        asm.add(self.state, self.state, self.t, cond="ns")
        asm.nop()  # for the rotation
        self._a_addresses()
        for _ in range(2):
            asm.nop()
        asm.mov(asm.t0s, spare)
        self._spread(_LEFT)
        asm.mov(asm.null, asm.r5, sf=True)

    def multiply(self) -> None:
        """All steps of a tile."""
        asm = self.asm
        _line(asm, self.state)
        with asm.fixed():
            asm.nop()  # for the rotation
            self._a_addresses()
            asm.mov(asm.t0s, self.spare)
            self._between()
            asm.label("k")
            self._products()
            self._between()
            asm.branch("k", cond="any_zc")
            for _ in range(3):
                asm.nop()
            asm.ldtmu(0)
            for _ in range(self.options.vectors):
                asm.ldtmu(1)

    def into_vpm(self, v: int, alpha: Reg) -> None:
        """The sums of a vector are rows of its block."""
        macros.vpm_write_setup(self.asm, LANES * v)
        for row in range(LANES):
            self.asm.fmul(self.asm.vpm, self.sums[LANES * v + row], alpha)


def generate(asm: Assembler, options: RivalOptions) -> None:
    """Write the kernel; :class:`Streams` makes the streams that it reads."""
    tile = (_Uniforms if options.b_path == "uniforms" else _Rotate)(asm, options)
    asm.mov(asm.tmu_noswap, 1)
    asm.label("tile")
    for register_ in tile.sums:
        asm.mov(register_, 0)
    tile.multiply()
    alpha, pitch = asm.reg("alpha", file="acc"), asm.reg("pitch", file="acc")
    asm.mov(alpha, asm.unif)
    asm.mov(pitch, asm.unif)
    with macros.holding_mutex(asm):
        for v in range(options.vectors):
            tile.into_vpm(v, alpha)
            more = v + 1 < options.vectors
            parts.start_store(asm, f"store{v}", pitch, "stored" if more else None)
        asm.label("stored")
        asm.read(asm.vdw_wait)
    another = asm.reg("another")
    asm.mov(another, asm.unif, sf=True)
    asm.branch("tile", cond="all_zc")
    parts.finish(asm)


SPEC: KernelSpec = KernelSpec(
    name="gemm_rivals",
    routines=(),
    generate=generate,
    defaults=PYVIDEOCORE,
    summary="D = alpha A B by the published strategies of others, for comparison",
)
