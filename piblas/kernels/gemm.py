"""sgemm: D = alpha * P @ Q + beta * D, row-major, on up to 12 QPUs.

The micro-kernel keeps a tile of D in the register files: ``rows`` rows of ``vectors`` vectors of 16
columns.  A step in k adds the outer product of one line of P and ``vectors`` lines of Q::

    packed P (k-major panels of 16 rows)     --TMU0--> p      one element a row, rotated into r5
    packed Q (k-major panels of 16*vectors)  --TMU0/1-> q[v]  16 columns each
    fmul t, r5, q[v]; fadd d[row][v], d[row][v], t
    d --> VPM (rows v * rows + row) --VDW--> D, exactly the elements inside the matrix
    D --VDR--> VPM --> d, only if beta != 0

Every TMU request is one aligned line of 64 bytes, asked for one step ahead, alternately of TMU0
and TMU1.  The last step of a tile asks for one line more than the panel has: that is the next
panel's first, or the spare step at the end of the packed buffer (see :func:`packed_words`).

QPU i of n computes tiles i, i + n, ... of the grid, counted along a panel of Q first, so that the
QPUs of a slice mostly share their panel of Q.  They start each tile together: in step, a line of Q
comes from memory once for all and from L2 once a slice; out of step, after the stores, which come
one after the other, every QPU would fetch it anew.  The VPM and its DMA belong to the holder of
the mutex while a tile is stored.

Rounding: the QPU truncates.  :func:`error_bound` gives the bound that follows.
"""

from __future__ import annotations

import dataclasses
from typing import List, Tuple

import numpy as np

from ..codegen import Assembler, macros
from . import parts, reference
from .spec import KernelSpec, register

__all__ = ["GemmOptions", "SPEC", "Packed", "pack", "packed_words", "uniforms", "error_bound"]

LANES = 16
LINE = 64
"""Bytes of a cache line, and of a 16-element vector."""


@dataclasses.dataclass(frozen=True)
class GemmOptions:
    """``rows`` x 16 * ``vectors`` is the tile; ``unroll`` steps of k make an iteration;
    ``beta`` says whether D is read.
    """

    rows: int = 12
    vectors: int = 4
    unroll: int = 1
    beta: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.rows <= 16 or not 1 <= self.vectors <= 4 or self.unroll < 1:
            raise ValueError(f"gemm: no kernel has {self}")
        if self.rows * self.vectors > 48:
            raise ValueError(f"gemm: {self.rows} x {self.vectors} accumulators leave no registers")

    @property
    def columns(self) -> int:
        """Columns of a tile."""
        return LANES * self.vectors


# --- the program -------------------------------------------------------------------------------


class _Tile:
    """The registers of one QPU's tile and the streams that feed it."""

    IN_ACCUMULATORS = 2
    """Vectors of Q in r0..r3, beside P's and a product; the others are in file A."""

    def __init__(self, asm: Assembler, options: GemmOptions) -> None:
        self.asm, self.options = asm, options
        self.d = [
            [asm.reg(f"d{row}_{v}", file=self._file(row, v)) for v in range(options.vectors)]
            for row in range(options.rows)
        ]
        self.p_addr, self.q_addr = asm.reg("p_addr"), asm.reg("q_addr")
        # Byte offsets 64, 128, ... of the lines of one step of Q; the last is the whole step.
        self.offset = [asm.reg(f"offset{LINE * (v + 1)}") for v in range(options.vectors)]

    def _file(self, row: int, v: int) -> str:
        """The register file of an accumulator.

        The sum d[row][v] shares its word with the next product or, after the last vector, with the
        next row's rotation.  A rotation's small immediate takes the read port of file B; a product
        with q[2] or q[3], which live in file A, takes that of file A.
        """
        if v + 1 == self.options.vectors:
            return "A"
        if v + 1 >= self.IN_ACCUMULATORS:
            return "B"
        return "AB"[row % 2]

    def tmu(self, v: int) -> int:
        """P and Q vector 1, 3 go through TMU0, the others through TMU1."""
        return 1 if v % 2 == 0 else 0

    def constants(self) -> None:
        for v, register_ in enumerate(self.offset):
            self.asm.ldi(register_, LINE * (v + 1))

    def start(self) -> None:
        """Read the panels' addresses, ask for the first step, clear the accumulators."""
        asm = self.asm
        lane = asm.reg("lane")
        asm.shl(lane, asm.elem_num, 2)
        asm.add(self.p_addr, asm.unif, lane)
        asm.add(self.q_addr, asm.unif, lane)
        self.request()
        for row in self.d:
            for register_ in row:
                asm.mov(register_, 0)

    def request(self) -> None:
        """Ask for one line of P and one step of Q, and move on."""
        asm = self.asm
        ports = (asm.t0s, asm.t1s)
        asm.mov(ports[0], self.p_addr)
        asm.add(self.p_addr, self.p_addr, self.offset[0])
        asm.mov(ports[self.tmu(0)], self.q_addr)
        for v in range(1, self.options.vectors):
            asm.add(ports[self.tmu(v)], self.q_addr, self.offset[v - 1])
        asm.add(self.q_addr, self.q_addr, self.offset[-1])

    def step(self) -> None:
        """Take one line of P and one step of Q, ask for the next, add the outer product."""
        asm = self.asm
        p = asm.reg("p", file="acc")
        asm.ldtmu(0, p)
        q = [
            asm.reg(f"q{v}", file="acc" if v < self.IN_ACCUMULATORS else "A")
            for v in range(self.options.vectors)
        ]
        for v, register_ in enumerate(q):
            asm.ldtmu(self.tmu(v), register_)
        self.request()
        for row, accumulators in enumerate(self.d):
            macros.broadcast(asm, None, p, row)
            for v, accumulator in enumerate(accumulators):
                product = asm.reg("t", file="acc")
                asm.fmul(product, asm.r5, q[v])
                asm.fadd(accumulator, accumulator, product)

    def drop(self) -> None:
        """Take the lines that the last step asked for and nobody uses."""
        self.asm.ldtmu(0)
        for v in range(self.options.vectors):
            self.asm.ldtmu(self.tmu(v))

    def store(self) -> None:
        """alpha * d (+ beta * D) into the VPM and from there to memory, under the mutex."""
        asm, options = self.asm, self.options
        alpha = asm.reg("alpha")
        asm.mov(alpha, asm.unif)
        if options.beta:
            beta = asm.reg("beta")
            asm.mov(beta, asm.unif)
        order = [
            self.d[row][v] for v in range(options.vectors) for row in range(options.rows)
        ]
        with macros.holding_mutex(asm):
            if options.beta:
                parts.blocks_load(asm, "load")
            macros.vpm_write_setup(asm)
            for index, accumulator in enumerate(order):
                if not options.beta:
                    asm.fmul(asm.vpm, accumulator, alpha)
                    continue
                if index % 16 == 0:
                    macros.vpm_read_setup(asm, min(16, len(order) - index), index)
                old, new = asm.reg("old"), asm.reg("new")
                asm.fmul(old, asm.vpm, beta)
                asm.fmul(new, accumulator, alpha)
                asm.fadd(asm.vpm, old, new)
            parts.blocks_store(asm, "store")


def generate(asm: Assembler, options: GemmOptions) -> None:
    """Write the kernel; :func:`uniforms` makes the streams that it reads."""
    tile = _Tile(asm, options)
    iterations, tiles, left = asm.reg("iterations"), asm.reg("tiles"), asm.reg("left")
    asm.mov(asm.tmu_noswap, 1)
    asm.mov(iterations, asm.unif)
    asm.mov(tiles, asm.unif)
    tile.constants()
    with macros.counted_loop(asm, "tile", tiles):
        parts.meet(asm)
        tile.start()
        asm.mov(left, iterations)
        with macros.counted_loop(asm, "k", left):
            for _ in range(options.unroll):
                tile.step()
        tile.drop()
        tile.store()
    parts.finish(asm)


SPEC = register(
    KernelSpec(
        name="gemm",
        routines=("sgemm",),
        generate=generate,
        defaults=GemmOptions(),
        summary="D = alpha P Q + beta D, row-major; packed P and Q through the TMUs",
    )
)


# --- its data ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Packed:
    """How an operand of ``k`` x ``length`` is laid out: ``panels`` panels of ``steps`` lines of
    ``width`` words, of which the first ``used`` hold the operand's columns."""

    length: int
    steps: int
    used: int
    width: int

    @property
    def panels(self) -> int:
        return -(-self.length // self.used)

    @property
    def panel_bytes(self) -> int:
        return 4 * self.width * self.steps

    @property
    def words(self) -> int:
        """Size of the buffer: the panels and one spare step for the request past the end."""
        return self.width * (self.steps * self.panels + 1)


def packed_words(options: GemmOptions, m: int, n: int, k: int) -> Tuple[Packed, Packed]:
    """The layouts of P (m x k) and Q (k x n); k is padded with zeros to whole iterations."""
    steps = -(-k // options.unroll) * options.unroll
    return (
        Packed(m, steps, options.rows, LANES),
        Packed(n, steps, options.columns, options.columns),
    )


def pack(layout: Packed, operand: np.ndarray, out: np.ndarray) -> None:
    """Write ``operand`` (k x length float32, any strides) into ``out`` (``layout.words`` float32).

    Padding is zeros, so that it adds nothing to the product.
    """
    k, length = operand.shape
    panels = out[: layout.panels * layout.steps * layout.width]
    panels = panels.reshape(layout.panels, layout.steps, layout.width)
    out[panels.size :] = 0
    panels[:, k:, :] = 0
    panels[:, :, layout.used :] = 0
    whole = length // layout.used
    for panel in range(whole):
        columns = operand[:, panel * layout.used : (panel + 1) * layout.used]
        panels[panel, :k, : layout.used] = columns
    if whole < layout.panels:
        rest = length - whole * layout.used
        panels[whole, :k, :rest] = operand[:, whole * layout.used :]
        panels[whole, :k, rest:] = 0


def uniforms(
    options: GemmOptions,
    m: int,
    n: int,
    k: int,
    alpha: float,
    beta: float,
    p_addr: int,
    q_addr: int,
    d_addr: int,
    ldd: int,
    n_qpus: int,
) -> List[np.ndarray]:
    """The uniform streams of a launch, one a QPU that has work (at most ``n_qpus``).

    D is m x n, row-major, ``ldd`` >= n words from row to row, at bus address ``d_addr``; P and Q
    are packed (:func:`pack`) at 64-byte aligned addresses.
    """
    p, q = packed_words(options, m, n, k)
    tiles = [(i, j) for j in range(q.panels) for i in range(p.panels)]
    n_qpus = min(n_qpus, len(tiles))
    streams = []
    for index in range(n_qpus):
        own = tiles[index::n_qpus]
        words = [p.steps // options.unroll, len(own)]
        for turn, (i, j) in enumerate(own):
            words += parts.meet_words(index, min(n_qpus, len(tiles) - turn * n_qpus))
            words += [p_addr + i * p.panel_bytes, q_addr + j * q.panel_bytes]
            words.append(parts.float_word(alpha))
            if options.beta:
                words.append(parts.float_word(beta))
            rows = min(options.rows, m - i * options.rows)
            width = min(options.columns, n - j * options.columns)
            columns = [min(LANES, width - at) for at in range(0, width, LANES)]
            corner = d_addr + 4 * (i * options.rows * ldd + j * options.columns)
            block = (rows, columns, options.rows, corner, 4 * ldd)
            if options.beta:
                words += parts.block_words(False, *block)
            words += parts.block_words(True, *block)
        words += parts.finish_words(index, n_qpus)
        streams.append(np.array(words, dtype=np.uint64).astype(np.uint32))
    return streams


# --- its error ---------------------------------------------------------------------------------

UNIT_ROUNDOFF = 2.0**-23
"""Relative error of one truncating operation of the QPU."""

SMALLEST_NORMAL = 2.0**-126
"""Smaller operands count as 0, smaller results become 0."""


def error_bound(
    alpha: float, a: np.ndarray, b: np.ndarray, beta: float, c: np.ndarray
) -> np.ndarray:
    """Bound of |computed - exact| for each element of alpha * a @ b + beta * c on the QPU.

    Every term passes through at most k + 3 truncations (its product, k sums, the products with
    alpha or beta and the last sum), each with a relative error below u = 2**-23, hence
    gamma(k + 3) * (|alpha| |a| |b| + |beta| |c|) with gamma(i) = i u / (1 - i u).  Denormal
    operands count as 0 and denormal results become 0; that adds at most 2**-126 per operation,
    times the factors applied later, times the other factor of a product whose operand was flushed.
    """
    k = a.shape[1]
    relative = (k + 3) * UNIT_ROUNDOFF / (1 - (k + 3) * UNIT_ROUNDOFF)
    bound = relative * reference.sgemm_magnitude(alpha, a, b, beta, c)
    big_a = np.abs(a, dtype=np.float64).sum(axis=1)[:, None] if alpha else 0.0
    big_b = np.abs(b, dtype=np.float64).sum(axis=0)[None, :] if alpha else 0.0
    # Flushed operands: each denormal of a costs |b|, each of b costs |a|; flushed products, sums:
    # two an element of k; flushed alpha or beta and the products with them.
    flushes = abs(alpha) * (big_a + big_b + 2 * k) + (abs(beta) + 3.0)
    if abs(alpha) < SMALLEST_NORMAL:
        flushes = flushes + big_a * np.max(np.abs(b), initial=0.0)
    if beta and abs(beta) < SMALLEST_NORMAL:
        flushes = flushes + np.abs(c)
    return bound + SMALLEST_NORMAL * flushes
