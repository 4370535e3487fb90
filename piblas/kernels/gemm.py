"""sgemm: D = alpha * P @ Q + beta * D, row-major, on up to 12 QPUs.

The micro-kernel keeps a tile of D in the register files: ``rows`` rows of ``vectors`` vectors of 16
columns.  A step in k adds the outer product of ``rows`` scalars of P and ``vectors`` lines of Q::

    packed P (k-major panels of ``rows`` words)     --uniforms--> s[row]   the same in 16 elements
    packed Q (k-major panels of 16*vectors words)   --TMU0/1----> r4       16 columns
    fadd d[row'][v'], d[row'][v'], t; fmul t, s[row], r4
    d --> VPM (rows v * rows + row) --VDW--> D, exactly the elements inside the matrix
    D --VDR--> VPM --> d, only if beta != 0

How a step is laid out is the matter of :mod:`.gemm_plan`; the operands' layout, of
:mod:`.gemm_layout`; the streams that drive the program, of :mod:`.gemm_schedule`.

Q may as well lie in place, row by row, if each line of a panel is a line of memory: a run of steps
has its own distance from one step's lines to the next's (:mod:`.gemm_sources`).

Every TMU request is one aligned line of 64 bytes, asked for one step ahead (three, if steps are
short), alternately of TMU0 and TMU1.  P needs no requests: the address of the uniform stream is
set to its panel for the length of a run and then set back.  The last iteration of a run, which asks
for what would be the next steps, asks for the lines of the last step again.

The VPM and its DMA belong to the holder of the mutex while a tile is stored.  QPUs finish their
tiles one after the other, so that each finds the mutex free; yet all of them are at the same step
of k, so that a line of Q comes from memory once for all and from L2 once a slice.  Every few tiles
they wait for each other, or what the stores and the memory delay them would add up
(:mod:`.gemm_schedule`).

The stream of a QPU is a word that delays its start (turns of a loop, at least 1), then records, one
after the other.  The first word of each is its kind (``KINDS``)::

    run, edge  64 * iterations; address of the record after this one; address of the first line in
               Q; bytes from one step's lines to the next's; address of the first scalar in P
    store      alpha; beta, only if options.beta; bytes from row to row of D; only if options.beta,
               the words of parts.load_words; those of parts.store_words
    barrier    the words of parts.barrier_words
    keep, fold, gather
               address of memory of the QPU's own, of a tile of full width
    plain      as store, without beta and what is loaded
    last       address of memory of the QPU's own; then as plain, without its kind
    end        limit, the float32 from which on a sum is reported; address of 16 words for the
               report, left alone if no sum reaches the limit; the words of parts.finish_words

``edge`` is a run of a narrow tile; there is none without ``options.edge``.  A tile is its runs,
then its store.

With ``options.blocks`` the steps of a tile may be cut into *blocks*: additions truncate, so a sum
of few terms has less of an error, and the sum of such sums as well.  The runs of the first block
are followed by ``keep``, which moves its sums to memory, those of the next by ``fold``, which adds
theirs to what is there, those of the last by ``last``, which stores the sum of both, or, if D is
read, by ``gather``, which adds what is there to theirs, and ``store``.  A tile of one block that
does not read D ends with ``plain``.

With ``options.fold`` there is a second level of sums in the registers: every few iterations the
sums ``d`` are added to others, which are what is stored, and begin again at 0.

The report holds the largest magnitude of the sums of products, before alpha, that the QPU has had
in each element, Inf if a product or sum was Inf.

Rounding: the QPU truncates.  :func:`.gemm_error.error_bound` gives the bound that follows.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..isa import setup_words as sw
from . import macros, parts
from .gemm_plan import FILE_SIZE, Advance, KStep, files_of
from .parts import LANES, LINE
from .spec import KernelSpec, register

if TYPE_CHECKING:
    from ..codegen import Assembler
    from ..codegen.operand import Reg

__all__ = ["LANES", "LINE", "GemmOptions", "SPEC"]

KINDS = {
    "run": 0, "edge": 1, "store": 2, "barrier": 3, "keep": 4, "fold": 5, "gather": 6, "plain": 7,
    "last": 8, "end": 9,
}  # fmt: skip
"""First word of what the stream tells the program to do; what comes often is found soon."""
BLOCKS = ("keep", "fold", "gather", "plain", "last")
"""Those of programs with ``options.blocks``."""


@dataclasses.dataclass(frozen=True)
class GemmOptions:
    """A member of the family.

    ``rows`` x 16 * ``vectors`` is the tile; tiles on the right may be ``edge`` vectors wide, if
    that is not 0; ``unroll`` steps of k make an iteration; the scalars of the last ``single``
    rows, but not of the first row, have one register each; lines of Q up to ``reach`` lines from
    the pointer are requested without moving it; ``beta`` says whether D is read.  With
    ``blocks``, which goes with ``beta`` only, the steps of a tile may be cut.  If ``fold`` is not
    0, sums are added to a second level of sums every ``fold`` iterations, a power of 2.
    """

    rows: int = 8
    vectors: int = 6
    edge: int = 0
    unroll: int = 4
    single: int = 5
    reach: int = 3
    beta: bool = True
    blocks: bool = False
    fold: int = 0

    def __post_init__(self) -> None:
        fine = 2 <= self.rows <= 16 and 1 <= self.vectors <= 8 and 0 <= self.edge < self.vectors
        fine = fine and self.unroll >= 2 and self.unroll % 2 == 0
        fine = fine and 0 <= self.single and 1 <= self.reach <= 7
        fine = fine and self.fold in (0, 1, 2, 4, 8, 16) and self.blocks <= self.beta
        if not fine or self.rows * self.vectors > 64:
            raise ValueError(f"gemm: no kernel has {self}")

    @property
    def columns(self) -> int:
        """Columns of a tile."""
        return LANES * self.vectors

    def step(self, vectors: int) -> KStep:
        """The plan of the k loop for a tile of that many vectors."""
        single = min(self.single, self.rows - 1)
        levels = 2 if self.fold else 1
        files = files_of(self.rows, self.vectors, single, levels)
        return KStep(self.rows, vectors, self.unroll, single, files, self.reach, levels)


class _Tile:
    """The registers of one QPU's tile and the streams that feed it."""

    PRODUCTS = 2
    """Products on their way to a sum, in accumulators."""

    def __init__(self, asm: Assembler, options: GemmOptions) -> None:
        self.asm, self.options = asm, options
        plan = options.step(options.vectors)
        # All of these live through the k loop and fill the files, so their places are settled here.
        free = {"A": iter(range(FILE_SIZE)), "B": iter(range(FILE_SIZE))}

        def place(name: str, file: str) -> Reg:
            number = next(free[file], None)
            if number is None:
                raise ValueError(f"gemm: no kernel has {options}: no register is left for {name}")
            return asm.reg(name, file=f"r{file.lower()}{number}")

        rows = range(options.rows)
        self.d = [
            [place(f"d{row}_{v}", plan.file_of_sum(row)) for v in range(options.vectors)]
            for row in rows
        ]
        self.sums = self.d
        """What is stored: the second level of sums, if there is one."""
        if options.fold:
            # Each is in the other file than what is added to it: a word reads one register of each.
            self.sums = [
                [place(f"e{row}_{v}", plan.file_of_second(row)) for v in range(options.vectors)]
                for row in rows
            ]
        self.s = [[place(f"s{row}", plan.files[row]) for row in rows]]
        twins = [place(f"s{row}'", plan.files[row]) for row in rows[: plan.double]]
        self.s.append(twins + self.s[0][plan.double :])
        self.q_addr = asm.reg("q_addr", file="acc")
        names = ["left", "back", "last", *(f"offset{LINE * n}" for n in range(2, plan.reach + 1))]
        files = plan.spare_files(len(names))
        self.left, self.back, self.last, *offsets = (
            place(name, file) for name, file in zip(names, files)
        )
        # 64 is in r5, which nothing else needs here and which takes no register's read port.
        self.offset = [asm.r5, *offsets]
        self.t = asm.regs("t", self.PRODUCTS, file="acc")
        self.watch = asm.reg("watch", file="acc")

    def constants(self) -> None:
        for v, register_ in enumerate(self.offset):
            self.asm.ldi(self.asm.r5rep if v == 0 else register_, LINE * (v + 1))

    def begin(self, plan: KStep) -> None:
        """Read the head of a run, send the stream to P's panel.

        ``left`` counts the iterations in units of 64; ``back`` is where the stream goes on after
        the run.
        """
        asm = self.asm
        asm.mov(self.left, asm.unif)
        asm.mov(self.back, asm.unif)
        lane = asm.reg("lane")
        asm.shl(lane, asm.elem_num, 2)
        asm.add(self.q_addr, asm.unif, lane)
        if plan.first:
            asm.add(self.q_addr, self.q_addr, self.offset[plan.first - 1])
        asm.mov(self.last, asm.unif)
        for _ in range(plan.moved):
            asm.sub(self.last, self.last, asm.r5)
        asm.mov(asm.unif_addr, asm.unif)

    def clear(self) -> None:
        both = self.d if self.sums is self.d else [*self.d, *self.sums]
        for register_ in (self.watch, *(d for row in both for d in row)):
            self.asm.mov(register_, 0)

    def advance(self, plan: KStep, step: int, one: Advance, first: bool = False) -> None:
        """Request a line of a step, or move the pointer; ``first`` is before the loop."""
        asm = self.asm
        if one.v is None:
            by = self.last if one.lines is None else self.offset[one.lines - 1]
            cond = "zc" if plan.in_last_only(step, one) and not first else "always"
            asm.add(self.q_addr, self.q_addr, by, cond=cond)
            return
        port = (asm.t0s, asm.t1s)[plan.tmu(step, one.v)]
        if not one.lines:
            asm.mov(port, self.q_addr, unit="add")
        elif one.lines > 0:
            asm.add(port, self.q_addr, self.offset[one.lines - 1])
        else:
            asm.sub(port, self.q_addr, self.offset[-one.lines - 1])

    def run(self, label: str, vectors: int) -> None:
        """Some steps of a tile of ``vectors`` vectors; what they add stays in the registers.

        In the last iteration the pointer does not move beyond the last step, so nothing outside the
        run's lines is requested.
        """
        asm, plan = self.asm, self.options.step(vectors)
        products, loads, requests = plan.products, plan.loads(), plan.requests()
        total, count_at = len(products), plan.count_at()
        self.begin(plan)
        t = self.t
        for step in range(plan.ahead):
            for one in plan.advance:
                self.advance(plan, step, one, first=True)
        for row in plan.first_loads():
            asm.mov(self.s[0][row], asm.unif)
        asm.ldtmu(plan.tmu(0, 0))
        asm.fmul(t[0], self.s[0][products[0][2]], asm.r4)
        asm.label(label)
        for index, (_, v, row) in enumerate(products):
            at = (index + 1) % total
            step, next_v, next_row = products[at]
            if index == count_at:
                asm.sub(self.left, self.left, asm.r5, sf=True)
            if at % plan.rows == 0:
                asm.ldtmu(plan.tmu(step, next_v))
            asm.fmul(t[at % len(t)], self.s[step % 2][next_row], asm.r4)
            for request in requests.get(at, ()):
                self.advance(plan, *request)
            if at in loads:
                load = loads[at]
                scalar = self.s[load.step % 2][load.row]
                asm.mov(scalar, asm.unif, unit=load.unit, line=load.line)
            asm.fadd(self.d[row][v], self.d[row][v], t[index % len(t)])
        if self.options.fold:
            # ``left`` has a multiple of so many iterations still to do, 0 among them.
            bits = LINE.bit_length() - 1 + self.options.fold.bit_length() - 1
            asm.shl(asm.null, self.left, -bits, sf=True)  # by 32 - bits
            asm.branch(label, cond="all_zc")
            for d, total in zip(self.d, self.sums):
                for v in range(vectors):
                    asm.fadd(total[v], total[v], d[v])
                    asm.v8subs(d[v], d[v], d[v], unit="mul")
            asm.mov(asm.null, self.left, sf=True)
        asm.branch(label, cond="all_zc")
        # The last iteration requested lines that nobody uses, and took the first.
        for line in range(1, plan.ahead * vectors):
            asm.ldtmu(plan.tmu(*divmod(line, vectors)))
        asm.mov(asm.unif_addr, self.back)

    def store(self, label: str, beta: bool, gathered: bool = False) -> None:
        """alpha * sums (+ beta * D) into the VPM and from there to memory, under the mutex; then
        sums = 0.  ``gathered``: what is in memory of the QPU's own is added to the sums.

        While a vector's rows are stored, the next one's go into the VPM.
        """
        asm, options = self.asm, self.options
        # The files' read ports belong to the sums.
        alpha, pitch = asm.reg("alpha", file="acc"), asm.reg("pitch")
        if gathered:
            kept = _Kept(asm, options)
        asm.mov(alpha, asm.unif)
        if beta:
            factor = asm.reg("beta", file="acc")
            asm.mov(factor, asm.unif)
        asm.mov(pitch, asm.unif)
        # Fixed before the mutex, as QPUs wait for each other after it.
        with asm.fixed():
            for row in self.sums if not gathered else ():
                for d in row:
                    asm.fmaxabs(self.watch, self.watch, d)
        with macros.holding_mutex(asm):
            if beta:
                parts.blocks_load(asm, f"{label}_load")
            if gathered:
                kept.begin()
            macros.vpm_write_setup(asm)
            for v in range(options.vectors):
                if gathered:
                    kept.wait(v)
                if beta or gathered:
                    macros.vpm_read_setup(asm, options.rows, v * options.rows)
                for row in range(options.rows):
                    d = self.sums[row][v]
                    if beta:
                        old, new = asm.reg("old"), asm.reg("new")
                        asm.fmul(old, asm.vpm, factor)
                        asm.fmul(new, d, alpha)
                        asm.fadd(asm.vpm, old, new)
                    elif gathered:
                        total = asm.reg("total", file="acc")
                        asm.fadd(total, asm.vpm, d)
                        asm.fmaxabs(self.watch, self.watch, total)
                        asm.fmul(asm.vpm, total, alpha)
                    else:
                        asm.fmul(asm.vpm, d, alpha)
                    asm.sub(d, d, d)  # 0 for the next tile, in a word that reads d anyway
                more = v + 1 < options.vectors
                parts.start_store(asm, f"{label}_{v}", pitch, f"{label}_done" if more else None)
            asm.label(f"{label}_done")
            if gathered:
                asm.read(asm.vdr_wait)
            asm.read(asm.vdw_wait)

    def exchange(self, kind: str) -> None:
        """``keep``, ``fold`` or ``gather``: sums into the VPM and from there to memory of the QPU's
        own; what is there is added before, or added to the sums.

        While a vector is computed, the next one is loaded and the one before is stored.
        """
        asm, options = self.asm, self.options
        rows = options.rows
        kept, stores = _Kept(asm, options), kind != "gather"
        if stores:
            target = asm.reg("target")
            asm.mov(target, kept.source)
        with macros.holding_mutex(asm):
            if kind != "keep":
                kept.begin()
            if stores:
                macros.vpm_write_setup(asm)
                asm.ldi(asm.vpm_wr_setup, sw.vdw_stride(0))
            for v in range(options.vectors):
                if kind != "keep":
                    kept.wait(v)
                    macros.vpm_read_setup(asm, rows, v * rows)
                for row in range(rows):
                    d = self.sums[row][v]
                    if kind == "gather":
                        asm.fadd(d, d, asm.vpm)
                        continue
                    if kind == "fold":
                        asm.fadd(asm.vpm, asm.vpm, d)
                    else:
                        asm.mov(asm.vpm, d, unit="add")
                    asm.v8subs(d, d, d, unit="mul")
                if stores:
                    asm.read(asm.vdw_wait)
                    asm.ldi(asm.vpm_wr_setup, sw.vdw_store(rows, LANES, v * rows))
                    asm.mov(asm.vdw_addr, target)
                    asm.add(target, target, kept.vector)
            if stores:
                asm.read(asm.vdw_wait)

    def report(self, done: str) -> None:
        """Store the largest magnitude of a sum in each element, if one reaches the limit, else go
        on at ``done``."""
        asm = self.asm
        limit, address = asm.reg("limit"), asm.reg("report")
        asm.mov(limit, asm.unif)
        asm.mov(address, asm.unif)
        asm.sub(asm.null, self.watch, limit, sf=True)  # patterns of numbers >= 0 order as integers
        asm.branch(done, cond="all_ns")
        with macros.holding_mutex(asm):
            macros.vpm_write_setup(asm)
            asm.mov(asm.vpm, self.watch)
            macros.dma_store(asm, address, 1, LANES)


class _Kept:
    """Loads what a QPU keeps in memory of its own, whose address comes from the stream: vector by
    vector, the rows of a vector one after the other."""

    def __init__(self, asm: Assembler, options: GemmOptions) -> None:
        self.asm, self.options = asm, options
        self.source, self.vector = asm.reg("source"), asm.reg("vector")
        asm.mov(self.source, asm.unif)
        asm.ldi(self.vector, LINE * options.rows)

    def begin(self) -> None:
        """Ask for the first vector."""
        self.asm.ldi(self.asm.vpm_rd_setup, sw.vdr_pitch(LINE))
        self._start(0)

    def wait(self, v: int) -> None:
        """Until vector v is in the VPM; then ask for the next."""
        self.asm.read(self.asm.vdr_wait)
        if v + 1 < self.options.vectors:
            self._start(v + 1)

    def _start(self, v: int) -> None:
        asm, rows = self.asm, self.options.rows
        asm.ldi(asm.vpm_rd_setup, sw.vdr_load(rows, LANES, v * rows))
        asm.mov(asm.vdr_addr, self.source)
        asm.add(self.source, self.source, self.vector)


def generate(asm: Assembler, options: GemmOptions) -> None:
    """Write the kernel; :func:`.gemm_streams.streams` makes the streams that it reads."""
    tile = _Tile(asm, options)
    asm.mov(asm.tmu_noswap, 1)
    tile.constants()
    wait = asm.reg("wait")
    asm.mov(wait, asm.unif)
    with macros.counted_loop(asm, "stagger", wait):
        pass
    tile.clear()
    asm.label("next")
    kind = asm.reg("kind", file="acc")
    asm.mov(kind, asm.unif, sf=True)
    for name in list(KINDS)[:-1]:
        if name in BLOCKS and not options.blocks:
            continue  # the last but the end
        if options.edge or name != "edge":
            asm.branch(name, cond="all_zs")
        asm.sub(kind, kind, 1, sf=True)
    tile.report("finish")
    asm.label("finish")
    parts.finish(asm)
    asm.label("run")
    tile.run("k", options.vectors)
    asm.branch("next")
    if options.edge:
        asm.label("edge")
        tile.run("k_edge", options.edge)
        asm.branch("next")
    asm.label("store")
    tile.store("store", options.beta)
    asm.branch("next")
    if options.blocks:
        for name in ("keep", "fold", "gather"):
            asm.label(name)
            tile.exchange(name)
            asm.branch("next")
        for name in ("plain", "last"):
            asm.label(name)
            tile.store(name, False, gathered=name == "last")
            asm.branch("next")
    asm.label("barrier")
    parts.barrier(asm, "next")


SPEC = register(
    KernelSpec(
        name="gemm",
        routines=("sgemm", "ssymm", "ssyrk", "ssyr2k", "strmm", "strsm"),
        generate=generate,
        defaults=GemmOptions(),
        summary="D = alpha P Q + beta D, row-major; packed P as uniforms, packed Q by the TMUs",
    )
)
