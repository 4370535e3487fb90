"""Level 2 on a device: products with a matrix and solves; :mod:`.updates` has the updates.

A matrix whose columns are contiguous in device memory is used where it lies; any other is copied
once, from the caller's array into scratch memory, with its columns on lines of 64 bytes where they
are long.  Vectors are copied once, into scratch memory or the uniform streams.  The caller's arrays
are written when all launches have succeeded, or not at all.
"""

from __future__ import annotations

import weakref
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import Buffer, Device, RunReport
from ..kernels import panel_plan, spec, storage, trsv
from ..kernels.storage import Storage
from ..kernels.stream import LANES, OVERFLOW
from . import arrays, limits
from .numbers import LARGEST, finite
from .outcome import SORT_OUT, WATCHED, CpuNeeded, Outcome
from .plan import PLANS, Launch, LaunchPlan, forgotten
from .runner import Runner, Scratch

__all__ = ["Held", "Multiply", "Product", "Target", "Triangle", "Vector", "apart", "held"]

LONG = 64
"""Columns of so many words begin on lines of 64 bytes in device memory."""

_FLOAT32 = np.dtype(np.float32)
_maximum = np.maximum.reduce

def _fine(x: np.ndarray) -> bool:
    """Whether a vector holds neither Inf nor NaN."""
    return bool(_maximum(np.abs(x)) < np.inf)


# --- operands ----------------------------------------------------------------------------------


class Vector(NamedTuple):
    """The elements of a vector in BLAS order: a slice of the argument, from its end if
    ``reverse``."""

    cut: slice
    reverse: bool

    def of(self, array: np.ndarray) -> np.ndarray:
        """The elements as a view."""
        view = array[self.cut]
        return view[::-1] if self.reverse else view

    def floats(self, array: Any) -> np.ndarray:
        """The elements as float32."""
        view = (array if type(array) is np.ndarray else np.asarray(array))[self.cut]
        view = view[::-1] if self.reverse else view
        return view if view.dtype == _FLOAT32 else view.astype(_FLOAT32)


class Target(NamedTuple):
    """Where a result goes: into the caller's array (``own``), or a copy of it in Fortran order;
    where nothing is given, into zeros of a ``shape``."""

    own: bool
    shape: Optional[Tuple[int, ...]] = None

    def array(self, value: Any) -> np.ndarray:
        """The array with its old contents."""
        if self.own:
            return value
        if self.shape is not None:
            return np.zeros(self.shape, dtype=_FLOAT32, order="F")
        return np.array(value, dtype=_FLOAT32, order="F")


class Held(NamedTuple):
    """A matrix argument of one shape, and how its elements lie in device memory.

    The ``source`` of an argument is a table with an axis of rows and one of columns (the transpose
    of the argument where ``transposed``), or the words of a packed matrix, for which ``rows`` is 0.
    In device memory the columns are ``ld`` words apart, and all takes ``words``.  ``resident``: it
    is used where it lies.
    """

    storage: Storage
    transposed: bool
    cut: slice
    rows: int
    ld: int
    words: int
    resident: bool

    def source(self, value: Any) -> np.ndarray:
        """The table, or the words."""
        array = value if type(value) is np.ndarray else np.asarray(value)
        return (array.T if self.transposed else array)[self.cut]

    def place(self, source: np.ndarray, room: Optional[Scratch]) -> Tuple[int, Buffer]:
        """Bus address and buffer of the matrix, which is copied to ``room`` where it has one."""
        if room is None:
            memory, offset = arrays.located(source)
            if not 0 <= offset <= memory.nbytes - 4 * self.words:
                raise CpuNeeded(SORT_OUT)  # a view that NumPy made out of nothing
            memory.buffer.clean()
            return memory.bus_address + offset, memory.buffer
        self.image(room)[...] = source
        room.buffer.clean()
        return room.bus_address, room.buffer

    def image(self, room: Scratch) -> np.ndarray:
        """The source's place in scratch memory."""
        words = room.floats[: self.words]
        return words.reshape(-1, self.ld).T[: self.rows] if self.rows else words

    def at(self, i: np.ndarray, j: np.ndarray) -> Tuple[np.ndarray, ...]:
        """Where in the source the elements at rows ``i`` and columns ``j`` are."""
        words = self.storage.column(j) + i
        return (words % self.ld, words // self.ld) if self.rows else (words,)

    def block(self, source: np.ndarray, first: int, last: int) -> np.ndarray:
        """Rows and columns ``first`` to ``last`` in double precision, zeros where nothing is
        stored."""
        i, j = np.mgrid[first:last, first:last]
        there = (self.storage.low <= i - j) & (i - j <= self.storage.high)
        made = np.zeros(i.shape)
        made[there] = source[self.at(i[there], j[there])].astype(_FLOAT32)
        return made


def held(
    array: np.ndarray,
    device: Optional[Device],
    made: Callable[[int], Storage],
    transposed: bool = False,
    cut: slice = slice(None),
) -> Held:
    """How a matrix argument is held: ``made(ld)`` says how its elements lie in columns that are
    ``ld`` words apart."""
    source = (array.view(np.ndarray).T if transposed else array.view(np.ndarray))[cut]
    there = arrays.place(source, device) is not None
    if source.ndim == 1:
        return Held(made(0), transposed, cut, 0, 0, source.size, there and source.strides == (4,))
    (rows, columns), (down, along) = source.shape, source.strides
    if there and (rows == 1 or down == 4) and (columns == 1 or along % 4 == 0 < along):
        ld = along // 4 if columns > 1 else rows
        if ld >= rows:
            words = ld * (columns - 1) + rows
            return Held(made(ld), transposed, cut, rows, ld, words, True)
    # A band's columns stay as they are, one after the other.
    ld = -(-rows // 16) * 16 if rows >= LONG and cut == slice(None) else rows
    return Held(made(ld), transposed, cut, rows, ld, ld * columns, False)


def full(m: int, n: int) -> Callable[[int], Storage]:
    """A general matrix, for :func:`held`."""
    return lambda ld: storage.full(m, n, ld)


def triangle(n: int, lower: bool) -> Callable[[int], Storage]:
    """A triangle of a square matrix."""
    return lambda ld: storage.triangle(n, lower, ld)


def band(m: int, n: int, kl: int, ku: int) -> Callable[[int], Storage]:
    """A band of an m x n matrix, whose diagonals are the rows of its table."""
    return lambda ld: storage.band(m, n, kl, ku, ld, ku)


def packed(n: int, lower: bool) -> Callable[[int], Storage]:
    """A packed triangle."""
    return lambda ld: storage.packed(n, lower)


# --- products with a matrix --------------------------------------------------------------------


class _Panel(NamedTuple):
    """What a plan of a product depends on: the kernel, the elements that take part (``kept``, in
    these rows and columns), and "n" for A x, "t" for A^T x, "s" for both."""

    kernel: str
    kept: Storage
    use: str
    rows: Optional[Tuple[int, int]]
    columns: Optional[Tuple[int, int]]
    n_qpus: int
    clock_hz: float
    longest: Optional[float]


def _panel_launches(shape: _Panel) -> LaunchPlan:
    tiles = panel_plan.plan(shape.kept, shape.use, shape.rows, shape.columns)
    options = tiles.options
    costs = tiles.clocks() / (shape.clock_hz * shape.n_qpus)
    cut = limits.runs(costs, shape.longest, shape.n_qpus) if len(tiles.tiles) else []
    kernel = spec.get(shape.kernel)
    launches = [Launch(kernel, options, tiles.streams(shape.n_qpus, part)) for part in cut]
    names, scratch = ["a"], {}
    if options.transposed:
        names.append("x")
        scratch["x"] = 4 * (shape.kept.m + options.height)
    names.append("out")
    scratch["partial"] = 4 * tiles.words
    watched = [LANES * min(shape.n_qpus, panel_plan.QPUS, len(part)) for part in cut]
    data = _Evaluation(
        tiles, watched, tiles.words, shape.kept.m, options.height,
        options.plain, options.transposed, shape.kept.m if options.plain else shape.kept.n,
    )  # fmt: skip
    return LaunchPlan(launches, names, (), scratch, data, tiles.kept_bytes)


class _Evaluation(NamedTuple):
    """What a product needs to know of its tiles: words that each launch watches, words that come
    back, rows of A and of a tile, whether A x and A^T x are computed, elements of the result."""

    tiles: panel_plan.Plan
    watched: List[int]
    words: int
    m: int
    height: int
    plain: bool
    transposed: bool
    length: int


class Multiply:
    """Products with a matrix argument of one shape."""

    def __init__(self, kernel: str, matrix: Held, device: Device) -> None:
        self.kernel, self.matrix = kernel, matrix
        self.device = limits.of(device)
        self.plan: Callable[[], Optional[LaunchPlan]] = forgotten
        self.shape: Any = None
        # Scratch memory for the matrix is the same for all products with it.
        self.room = LaunchPlan([], [], (), {"matrix": 4 * matrix.words})

    def placed(self, runner: Runner, source: np.ndarray) -> Any:
        """The bus address of the matrix on the device; where it is streamed, the matrix itself."""
        if runner.cut and not self.matrix.resident:
            return source
        room = None if self.matrix.resident else runner.scratch(self.room)[0]
        return self.matrix.place(source, room)[0]

    def __call__(
        self,
        runner: Runner,
        address: Any,
        use: str,
        x: np.ndarray,
        kept: Storage,
        reports: List[RunReport],
        rows: Optional[Tuple[int, int]] = None,
        columns: Optional[Tuple[int, int]] = None,
    ) -> np.ndarray:
        """A x, A^T x or their sum (``use``: "n", "t", "s") in double precision, for the elements of
        ``kept`` in these rows and columns; 0 for rows of the result that none belongs to.

        ``x`` is contiguous float32, ``address`` from :meth:`placed`; ``reports`` grow by those of
        the launches.  CpuNeeded where the kernels met Inf, NaN or what may be an overflow.
        """
        if runner.cut:
            from . import streaming  # here, as few matrices are that large

            return streaming.multiplied(
                self, runner, address, use, x, kept, reports, rows, columns
            )
        plan = self.plan()
        shape = use, kept, rows, columns
        if plan is None or shape != self.shape:
            key = _Panel(self.kernel, kept, use, rows, columns, *self.device)
            plan = PLANS.made(key, _panel_launches, key)
            self.plan, self.shape = weakref.ref(plan), shape
        made = plan.data
        if not plan.launches:
            return np.zeros(made.length)
        rooms = runner.scratch(plan)
        out = rooms[-1]
        if made.transposed:
            room = rooms[0]
            room.floats[: made.m] = x
            room.floats[made.m : made.m + made.height] = 0
            room.buffer.clean()
            addresses: Tuple[int, ...] = (address, room.bus_address, out.bus_address)
        else:
            addresses = (address, out.bus_address)

        def watched(launch: int) -> None:
            out.buffer.invalidate()
            if _maximum(out.words[: made.watched[launch]]) >= OVERFLOW:
                raise CpuNeeded(WATCHED, reports)

        runner.run(plan, addresses, (), {"x": x} if made.plain else None, reports, watched)
        # Of uncached memory every word is read once.
        found = out.floats[: made.words].copy()[made.tiles.used]
        if not _maximum(np.abs(found)) < LARGEST:  # which NaN is not, either
            raise CpuNeeded(WATCHED, reports)
        return np.bincount(made.tiles.element, found, made.length)


class Product:
    """y = alpha op(A) x + beta y.  Values: alpha, A, x, beta, y."""

    def __init__(
        self,
        matrix: Held,
        use: str,
        x: Vector,
        y: Vector,
        target: Target,
        length: int,
        device: Device,
    ) -> None:
        self.matrix, self.use, self.x, self.y = matrix, use, x, y
        self.target, self.length = target, length
        self.kept, self.diagonal = matrix.storage, None
        if use == "s":
            along = np.arange(matrix.storage.n)
            self.diagonal, self.kept = matrix.at(along, along), self.kept.without_diagonal()
        self.multiply = Multiply("symv" if use == "s" else "gemv", matrix, device)

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        alpha, a, x, beta, y = values
        if not finite(alpha, beta):
            raise CpuNeeded(WATCHED)
        # As float32 has them, as on the CPU.
        alpha, beta = np.float32(alpha), np.float32(beta)
        reports: List[RunReport] = []
        total: Any = 0.0
        if self.target.own:
            apart(y, a, x)
        if alpha != 0:
            total = alpha * self._product(runner, self.matrix.source(a), x, reports)
        array = self.target.array(y)
        elements = self.y.of(array.view(np.ndarray))
        if beta != 0:
            total = total + beta * elements.astype(np.float64)
        _round(total, elements)
        return array, reports

    def _product(
        self, runner: Runner, source: np.ndarray, x: Any, reports: List[RunReport]
    ) -> np.ndarray:
        factors = self.x.floats(x)
        if not _fine(factors):
            raise CpuNeeded(WATCHED)
        if self.diagonal is None:
            address = self.multiply.placed(runner, source)
            return self.multiply(runner, address, self.use, factors, self.kept, reports)
        diagonal = source[self.diagonal].astype(_FLOAT32)
        if not _fine(diagonal):
            raise CpuNeeded(WATCHED)
        address = self.multiply.placed(runner, source)
        total = self.multiply(runner, address, self.use, factors, self.kept, reports)
        total += diagonal * factors.astype(np.float64)
        return total


def apart(result: np.ndarray, *others: Any) -> None:
    """Leave the call to SciPy if a result that is written in place overlaps an operand."""
    # Of class ndarray, for which NumPy takes no way around.
    own = result.view(np.ndarray)
    for other in others:
        if np.may_share_memory(own, np.asarray(other)):
            raise CpuNeeded(SORT_OUT)


def _round(values: Any, out: np.ndarray) -> None:
    """The values (float64) in float32, where one may be too large."""
    if _maximum(np.abs(values), axis=None) < LARGEST:
        out[...] = values
    else:
        with np.errstate(over="ignore"):
            out[...] = values


# --- triangles ---------------------------------------------------------------------------------


class Triangle:
    """x = op(A) x, or with ``solve`` the x' of op(A) x' = x.  Values: A, x."""

    def __init__(
        self,
        matrix: Held,
        transposed: bool,
        unit: bool,
        solve: bool,
        x: Vector,
        target: Target,
        device: Device,
    ) -> None:
        self.matrix, self.x, self.target = matrix, x, target
        self.transposed, self.unit, self.solve = transposed, unit, solve
        self.use = "t" if transposed else "n"
        self.kept = matrix.storage.without_diagonal() if unit else matrix.storage
        self.lower = matrix.storage.low == 0
        self.multiply = Multiply("trsv" if solve else "trmv", matrix, device)

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        a, x = values
        if self.target.own:
            apart(x, a)
        factors = self.x.floats(x)
        if not _fine(factors):
            raise CpuNeeded(WATCHED)
        reports: List[RunReport] = []
        source = self.matrix.source(a)
        if self.solve:
            total = self._solved(runner, source, factors, reports)
        else:
            address = self.multiply.placed(runner, source)
            total = self.multiply(runner, address, self.use, factors, self.kept, reports)
            if self.unit:
                total += factors
        array = self.target.array(x)
        _round(total, self.x.of(array.view(np.ndarray)))
        return array, reports

    def _solved(
        self, runner: Runner, source: np.ndarray, x: np.ndarray, reports: List[RunReport]
    ) -> np.ndarray:
        """Block by block (:mod:`piblas.kernels.trsv`): a launch takes what is solved from the rest,
        the CPU solves the block on the diagonal in double precision."""
        from scipy.linalg.blas import dtrsv  # here, because its import takes seconds on a Zero

        n, address = x.size, 0
        blocks = trsv.blocks(n, forward=self.lower != self.transposed)
        if len(blocks) > 1:
            address = self.multiply.placed(runner, source)
        solved, rest = np.zeros(n, dtype=_FLOAT32), x.astype(np.float64)
        for own, before in blocks:
            part = slice(*own)
            if before[0] < before[1]:
                rows, columns = (before, own) if self.transposed else (own, before)
                rest[part] -= self.multiply(
                    runner, address, self.use, solved, self.kept, reports, rows, columns
                )[part]
            block = self.matrix._replace(storage=self.kept).block(source, *own)
            with np.errstate(all="ignore"):
                solved[part] = dtrsv(
                    block, rest[part], lower=self.lower, trans=self.transposed, diag=self.unit
                )
            if not (np.isfinite(block).all() and np.isfinite(solved[part]).all()):
                raise CpuNeeded(WATCHED, reports)
        return solved
