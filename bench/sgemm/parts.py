"""The parts of ``python -m bench sgemm``.  Each runs, prints its table and returns what it found:
figures for the picture and for ``--json``, and a verdict for each bar."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from piblas.dispatch import boards
from piblas.isa.timing import READINGS, SETS, timing_set
from piblas.kernels.gemm_rival_streams import Problem
from piblas.kernels.gemm_rivals import PYVIDEOCORE, QMKL, QMKL_FIRST
from piblas.routines import ROUTINES

from . import runs
from .runs import PEAK, Run, Shape

__all__ = ["PARTS", "Found", "Scale", "Verdict", "QUICK", "WHOLE"]


class Verdict(NamedTuple):
    """A bar, what was found, and whether that meets it."""

    bar: str
    found: str
    met: bool


class Found(NamedTuple):
    """What a part found: rows of plain values."""

    rows: List[Dict[str, Any]]
    verdicts: List[Verdict]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of a run of the command; ``square`` and ``wide`` are those of the bars."""

    square: Shape
    wide: Shape
    trans: Tuple[Shape, ...]
    sampled: int
    largest: int
    sets: Tuple[str, ...]
    readings: Tuple[str, ...]


WHOLE = Scale(
    square=(1024, 1024, 1024),
    wide=(96, 3072, 363),
    trans=(
        (256, 256, 256), (257, 259, 263), (511, 385, 1000), (1021, 257, 769), (640, 999, 333),
        (1023, 1021, 1019),
    ),
    sampled=200,
    largest=300,
    sets=SETS,
    readings=tuple(READINGS),
)  # fmt: skip
QUICK = Scale(
    square=(96, 96, 96),
    wide=(48, 200, 40),
    trans=((65, 67, 33),),
    sampled=6,
    largest=60,
    sets=("calibrated",),
    readings=("memory",),
)
"""Small sizes, to see that the command works: their bars mean nothing."""

TABLE: Dict[Shape, Tuple[float, float]] = {WHOLE.square: (18.5, 20.0), WHOLE.wide: (16.5, 18.0)}
"""GFLOPS under ``calibrated``: bar and goal."""
PESSIMISTIC = 15.0
"""GFLOPS of the square product under ``pessimistic``."""
TRANS_BAR = 0.85
SHAPE_BAR = 1.15
AGAINST = {"pyvideocore": 2.2, "qmkl": 1.5}


def _text(shape: Shape) -> str:
    m, n, k = shape
    return f"{m} x {k} x {n}"


def _lost(run: Run, count: int = 6) -> str:
    """The largest losses; the first is what is issued beside useful multiply-adds."""
    ranked = sorted(run.lost.items(), key=lambda item: -item[1])
    return ", ".join(f"{why} {share:.1%}" for why, share in ranked[:count] if share >= 5e-4)


def _row(run: Run, **more: Any) -> Dict[str, Any]:
    figures = dict(rate=run.rate, packed_rate=run.packed_rate, lost=run.lost)
    return {**dataclasses.asdict(run), **figures, **more}


# --- rates and what is lost ----------------------------------------------------------------------


def _ordinary(run: Run) -> List[str]:
    """Operands in ordinary memory: the CPU's share, derived from published copy rates."""
    m, n, k = run.shape
    moved = ROUTINES["sgemm"].staged(m=m, n=n, k=k)
    kernel = run.clocks / run.clock_hz
    lines = []
    for name in ("pi1", "pi2"):
        board = boards.BOARDS[name]
        copied = moved / (board.copy * 2**20)
        seconds = kernel + copied + board.launch
        rate = run.flops / seconds / 1e9
        lines.append(
            f"      ordinary operands, {name}: {1e3 * copied:.1f} ms of copying (derived, "
            f"{board.copy:g} MiB/s) beside {1e3 * kernel:.1f} ms: {rate:.2f} GFLOPS, an estimate"
        )
    return lines


def rates(scale: Scale) -> Found:
    """Kernel alone and with packing, under every timing set and reading, and what is lost."""
    rows, verdicts = [], []
    for shape in (scale.square, scale.wide):
        bar, goal = TABLE.get(shape, (0.0, 0.0))
        asked = f", bar {bar}, goal {goal}" if bar else ""
        print(f"  {_text(shape)}, peak {PEAK:g} GFLOPS{asked}")
        for reading in scale.readings:
            for name in scale.sets:
                run = runs.product(shape, timing_set(name, reading))
                rows.append(_row(run, set=name, reading=reading))
                print(
                    f"    {run.timing:22} kernel {run.rate:6.2f} GFLOPS {run.rate / PEAK:6.1%}   "
                    f"packed by QPUs {run.packed_rate:6.2f} {run.packed_rate / PEAK:6.1%}   "
                    f"lost: {_lost(run)}",
                    flush=True,
                )
                if reading != "memory":
                    continue
                if name == "calibrated":
                    print("\n".join(_ordinary(run)))
                    found = f"{run.rate:.2f} GFLOPS ({run.packed_rate:.2f} with packing)"
                    verdicts.append(
                        Verdict(
                            f"{_text(shape)} >= {bar} GFLOPS (goal {goal})", found,
                            run.rate >= bar,
                        )
                    )  # fmt: skip
                elif name == "pessimistic" and shape == scale.square:
                    least = PESSIMISTIC if shape in TABLE else 0.0
                    verdicts.append(
                        Verdict(
                            f"{_text(shape)} >= {least} GFLOPS under pessimistic",
                            f"{run.rate:.2f} GFLOPS",
                            run.rate >= least,
                        )
                    )
    return Found(rows, verdicts)


# --- transposes ----------------------------------------------------------------------------------


def aligned_cube(shape: Shape) -> Shape:
    """The cube of about the same volume whose sides are multiples of 16."""
    side = max(16, 16 * round(float(np.prod(shape, dtype=float)) ** (1 / 3) / 16))
    return side, side, side


def trans(scale: Scale) -> Found:
    """All pairs of transposes, packing included, as shares of the aligned NN cube's rate."""
    rows = []
    timing = timing_set("calibrated")
    cubes: Dict[Shape, Run] = {}
    for shape in scale.trans:
        cube = aligned_cube(shape)
        if cube not in cubes:
            cubes[cube] = runs.product(cube, timing)
        base, shares = cubes[cube], []
        for pair in ("nn", "nt", "tn", "tt"):
            run = runs.product(shape, timing, pair)
            share = run.packed_rate / base.packed_rate
            rows.append(_row(run, pair=pair, share=share, share_kernel=run.rate / base.rate))
            shares.append(f"{pair} {run.packed_rate:5.2f} {share:6.1%}")
        kernel = rows[-1]["share_kernel"]
        print(
            f"  {_text(shape):20} against {cube[0]:4}^3 nn {base.packed_rate:5.2f} GFLOPS:  "
            f"{'   '.join(shares)}   kernel alone {kernel:6.1%}",
            flush=True,
        )
    verdicts = []
    for key, how in (("share", "packing included"), ("share_kernel", "kernel alone")):
        worst = min(rows, key=lambda row: row[key])
        found = f"least {worst[key]:.1%}, {worst['pair']} {_text(worst['shape'])}"
        bar = f"transposes and odd sizes >= {TRANS_BAR:.0%} of the aligned NN figure, {how}"
        verdicts.append(Verdict(bar, found, worst[key] >= TRANS_BAR))
    return Found(rows, verdicts)


# --- rivals --------------------------------------------------------------------------------------

NAMES = {"pyvideocore": PYVIDEOCORE, "qmkl": QMKL, "qmkl, first": QMKL_FIRST}
MEASURED = (
    ("pyvideocore", 250e6, 8.32, "py-videocore, Pi 1 or 2"),
    ("qmkl", 400e6, 15.77, "qmkl pull request 40, Pi 3"),
    ("qmkl, first", 400e6, 14.01, "the same before it"),
)
"""What boards did on the wide product, at the clock that they had or must have had (timing.md,
C1, C6, C5)."""
TOLERANCE = 0.15


def _pad(words: int, apart: int) -> int:
    """A distance of rows that puts their lines ``apart`` places apart in the direct-mapped caches
    of 64 lines."""
    lines = -(-words // 16)
    return 16 * (lines + (apart - lines) % 64)


def _problems(shape: Shape) -> Dict[str, Problem]:
    """At their best, 16 rows of A fill a cache and QPUs of a slice, which then share these rows,
    may be 4 lines behind each other; of 1, 4, 2 x 6 and 3 x 4 this is the fastest (tried)."""
    m, n, k = shape
    return {
        "as published": Problem(m, n, k),
        "at its best": Problem(m, n, k, lda=_pad(k, 4), ldb=_pad(n, 1), split=(3, 4)),
    }


def rivals(scale: Scale) -> Found:
    """The published strategies beside ours, and beside what boards did with them."""
    rows: List[Dict[str, Any]] = []
    verdicts = []
    print(f"  consistent with boards? {_text(scale.wide)}, calibrated, within {TOLERANCE:.0%}")
    for name, clock, published, source in MEASURED:
        problem = Problem(*scale.wide)
        run = runs.rival(name, NAMES[name], problem, timing_set("calibrated"), clock)
        off = run.rate / published - 1
        rows.append(_row(run, published=published))
        print(
            f"    {name:12} {clock / 1e6:g} MHz {run.rate:6.2f} GFLOPS, published {published} "
            f"({source}): {off:+.1%}",
            flush=True,
        )
        if scale is WHOLE:
            bar_ = f"{name} as on a board, +- {TOLERANCE:.0%}"
            verdicts.append(Verdict(bar_, f"{off:+.1%}", abs(off) <= TOLERANCE))
    for shape in (scale.square, scale.wide):
        for name in scale.sets:
            timing = timing_set(name)
            ours = runs.product(shape, timing)
            print(f"  {_text(shape)}, {name}: ours {ours.rate:.2f} GFLOPS")
            rows.append(_row(ours, variant="", set=name))
            for which, bar in AGAINST.items():
                best = 0.0
                for variant, problem in _problems(shape).items():
                    if variant == "as published" and name != "calibrated":
                        continue
                    run = runs.rival(which, NAMES[which], problem, timing)
                    best = max(best, run.rate)
                    rows.append(_row(run, variant=variant, set=name))
                    print(
                        f"    {which:12} {variant:13} {run.rate:6.2f} GFLOPS, ours is "
                        f"{ours.rate / run.rate:.2f} times that; lost: {_lost(run, 4)}",
                        flush=True,
                    )
                if name == "calibrated" and shape == scale.square:
                    verdicts.append(
                        Verdict(
                            f"{_text(shape)}: >= {bar} times {which}, the better of both",
                            f"{ours.rate / best:.2f}",
                            ours.rate >= bar * best,
                        )
                    )
    return Found(rows, verdicts)


# --- resident operands ---------------------------------------------------------------------------

RESIDENT: Dict[Shape, Tuple[float, float]] = {
    (96, 3072, 363): (15.5, 17.0),
    (1024, 1024, 1024): (18.5, 19.0),
    (256, 256, 256): (14.0, 15.0),
}
"""GFLOPS of row-major resident operands, all launches counted: bar and goal."""
AGAINST_QMKL = 1.3
"""Times the rate of the QMKL strategy, on the wide product."""


def resident(scale: Scale) -> Found:
    """Row-major operands in device memory, all launches counted, beside the QMKL strategy."""
    rows: List[Dict[str, Any]] = []
    verdicts = []
    timing = timing_set("calibrated")
    shapes_ = list(RESIDENT) if scale is WHOLE else [scale.square, scale.wide]
    for shape in shapes_:
        bar, goal = RESIDENT.get(shape, (0.0, 0.0))
        run = runs.product(shape, timing, in_place=True)
        rows.append(_row(run, variant="resident"))
        print(
            f"  {_text(shape)}: {run.packed_rate:.2f} GFLOPS, of which packing takes "
            f"{run.packing / (run.packing + run.clocks):.1%}; the second launch {run.rate:.2f}; "
            f"lost: {_lost(run)}",
            flush=True,
        )
        verdicts.append(
            Verdict(
                f"{_text(shape)}, resident, all launches >= {bar} GFLOPS (goal {goal})",
                f"{run.packed_rate:.2f}", run.packed_rate >= bar,
            )
        )  # fmt: skip
        for variant, problem in _problems(shape).items():
            other = runs.rival("qmkl", QMKL, problem, timing)
            rows.append(_row(other, variant=variant))
            ratio = run.packed_rate / other.rate
            print(f"    qmkl {variant:13} {other.rate:6.2f} GFLOPS, ours is {ratio:.2f} times that")
            if shape == WHOLE.wide:
                verdicts.append(
                    Verdict(
                        f"{_text(shape)}, resident, >= {AGAINST_QMKL} times qmkl {variant}",
                        f"{ratio:.2f}", ratio >= AGAINST_QMKL,
                    )
                )  # fmt: skip
    return Found(rows, verdicts)


# --- shapes --------------------------------------------------------------------------------------


def sample(count: int, largest: int, seed: int = 5) -> List[Shape]:
    """Shapes with sides of 1 to ``largest``: three in four even, the others with small sides too,
    and a vector now and then."""
    rng = np.random.default_rng(seed)
    found: List[Shape] = []
    while len(found) < count:
        m, n, k = (int(size) for size in rng.integers(1, largest + 1, 3))
        if len(found) % 4 == 3:
            m, n, k = (int(np.exp(rng.uniform(0, np.log(largest + 1)))) for _ in range(3))
        found.append((m, n, k))
    return found


def rounded(shape: Shape) -> Shape:
    """The next larger aligned shape: each side up to a multiple of 16."""
    m, n, k = (-(-size // 16) * 16 for size in shape)
    return m, n, k


def shapes(scale: Scale) -> Found:
    """Clocks of a call's launches against those of the next larger aligned shape."""
    timing = timing_set("calibrated")
    rows = []
    known: Dict[Shape, int] = {}
    for shape in sample(scale.sampled, scale.largest):
        for each in (shape, rounded(shape)):
            if each not in known:
                known[each] = runs.call(each, timing).clocks
        clocks, aligned = known[shape], known[rounded(shape)]
        rows.append(dict(shape=shape, clocks=clocks, aligned=aligned, ratio=clocks / aligned))
    rows.sort(key=lambda row: -row["ratio"])
    ratios = [row["ratio"] for row in rows]
    over = sum(ratio > SHAPE_BAR for ratio in ratios)
    print(f"  {len(rows)} shapes of 1..{scale.largest}, calibrated; aligned: sides of 16, 32, ...")
    most = np.quantile(ratios, 0.95)
    print(f"  median {np.median(ratios):.3f}, 95 % below {most:.3f}; the worst:")
    for row in rows[:8]:
        aligned = _text(rounded(row["shape"]))
        print(
            f"    {_text(row['shape']):16} {row['clocks']:8} clk, {aligned:16} {row['aligned']:8} "
            f"clk: {row['ratio']:.3f}"
        )
    bar = f"no shape slower than {SHAPE_BAR} times the next larger aligned one"
    return Found(rows, [Verdict(bar, f"most {ratios[0]:.3f}, {over} over", over == 0)])


PARTS: Dict[str, Callable[[Scale], Found]] = {
    "rates": rates,
    "trans": trans,
    "rivals": rivals,
    "resident": resident,
    "shapes": shapes,
}
