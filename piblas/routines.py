"""One row per family of routines: names, level, arguments, what is written, flops, words moved.

Arguments stand as ``required [optional=default]``, in SciPy's order; an optional one without a
default is computed from the others (``n``) or is a fresh zero array (``y``, ``c``).  ``modified``
names the arguments that the routine changes in place without being asked; an argument
``overwrite_x`` allows it to change ``x``.  The signatures are those that ``scipy.linalg._fblas``
prints in its docstrings (SciPy 1.17); the installed SciPy decides which of the names exist.

``words`` counts what goes in and comes out: what the CPU copies when no operand lives in GPU
memory.  Flops are real operations; a complex multiply-add counts as four real ones.

The last columns are about the routine of single precision: ``kernel`` names its generator in
``piblas.kernels`` (without one it runs on the CPU), ``error`` bounds its error on the QPUs, or
``exact`` says that there is none.  ``notes`` are sentences for its docstring; ``scipy``
is False for a routine that SciPy lacks, whose computation on the CPU is in
``piblas.blas.extensions``.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple

from .errors import BlasError

__all__ = ["EXTENSIONS", "HELPERS", "KERNELS", "ROUTINES", "Routine", "sizes"]

_BYTES = {"s": 4, "d": 8, "c": 8, "z": 16}


class Family:
    """Routines that differ in their type only.  ``names``: a stem, or one full name for each type.

    A plain class: every process makes the table, and a NamedTuple takes 4 times as many calls.
    """

    def __init__(
        self,
        names: str,
        types: str,
        level: int,
        arguments: str,
        returns: str,
        sizes: str,
        flops: Callable[..., int],
        words: Callable[..., int],
        meaning: str,
        modified: str = "",
        shapes: str = "",
        kernel: str = "",
        error: str = "",
        exact: str = "",
        notes: str = "",
        scipy: bool = True,
    ) -> None:
        self.names, self.types, self.level, self.arguments = names, types, level, arguments
        self.returns, self.sizes, self.flops, self.words = returns, sizes, flops, words
        self.meaning, self.modified, self.shapes, self.kernel = meaning, modified, shapes, kernel
        self.error, self.exact, self.notes, self.scipy = error, exact, notes, scipy


class Routine(NamedTuple):
    """A routine.  ``type``: "s", "d", "c" or "z", the kind of its arrays."""

    name: str
    type: str
    family: Family
    level: int
    arguments: Tuple[str, ...]
    required: int
    defaults: Tuple[Any, ...]
    modified: Tuple[str, ...]
    sizes: Tuple[str, ...]
    kernel: Optional[str]

    def flops(self, **sizes: int) -> int:
        return self.family.flops(**sizes) * (4 if self.type in "cz" else 1)

    def staged(self, **sizes: int) -> int:
        """Bytes that are copied if no operand lives in GPU memory."""
        return self.family.words(**sizes) * _BYTES[self.type]


#: What ``scipy.linalg.blas`` has besides the routines.
HELPERS = ("find_best_blas_type", "get_blas_funcs")

#: What SciPy lacks, named as in other libraries: a routine of a row, and batches.
EXTENSIONS = ("saxpby", "sgemm_batch", "sgemm_batch_strided", "somatcopy")

_XY = "x y [n offx=0 incx=1 offy=0 incy=1]"
_X = "x [n offx=0 incx=1]"
_MV = "alpha a x [beta=0.0 y offx=0 incx=1 offy=0 incy=1 %s=0 overwrite_y=0]"
_BMV = "alpha %s x [incx=1 offx=0 beta=0.0 y incy=1 offy=0 %s=0 overwrite_y=0]"
_GER = "alpha x y [incx=1 incy=1 a overwrite_x=1 overwrite_y=1 overwrite_a=0]"
_SYR = "alpha x [lower=0 incx=1 offx=0 n a overwrite_a=0]"
_SYR2 = "alpha x y [lower=0 incx=1 offx=0 incy=1 offy=0 n a overwrite_a=0]"
_SPR = "n alpha x ap [incx=1 offx=0 lower=0 overwrite_ap=0]"
_SPR2 = "n alpha x y ap [incx=1 offx=0 incy=1 offy=0 lower=0 overwrite_ap=0]"
_TR = "[incx=1 offx=0 lower=0 trans=0 diag=0 overwrite_x=0]"
_SYMM = "alpha a b [beta=0.0 c side=0 lower=0 overwrite_c=0]"
_SYRK = "alpha a [beta=0.0 c trans=0 lower=0 overwrite_c=0]"
_SYR2K = "alpha a b [beta=0.0 c trans=0 lower=0 overwrite_c=0]"
_TRMM = "alpha a b [side=0 lower=0 trans_a=0 diag=0 overwrite_b=0]"

# Errors on the QPUs, with u = 2**-23 and gamma(i) = i u / (1 - i u).
_EVERY_BIT = "The QPUs keep every bit, those of NaNs and denormals too."
_ROTATED = "2 u (|h11 x| + |h12 y|) for each element of x, and so for y"
_NORM = "2.3 u of the result, however long the vector is; no square overflows or underflows"
_PRODUCT = "gamma(23) |alpha| |op(a)| |x|, gamma(9) where op transposes, and u / 2 of the result"
_SYMMETRIC = "gamma(23) |alpha| |a| |x| and u / 2 of the result"
_TRIANGLE = "gamma(23) |op(a)| |x|, gamma(9) where op transposes, and u / 2 of the result"
_SOLUTION = (
    "|op(a) x' - x| <= gamma(23.5) |op(a)| |x'|, gamma(9.5) where op transposes, whatever the "
    "condition of a (up to 128 unknowns are the CPU's to solve, in double precision)"
)
_RANK_1 = "2.5 u |alpha| |x y^T| + u |a|"
_SQUARE_1 = "2.5 u |alpha| |x x^T| + u |a|"
_RANK_2 = "3.5 u |alpha| (|x y^T| + |y x^T|) + 2 u |a|"
_SOLVED = (
    "|op(a) x - alpha b| <= (gamma(n + 4) + gamma(134) |D| |inverse(D)|) (|op(a)| |x| +\n"
    "|alpha b|), n the order of a, D the blocks of op(a) on its diagonal, of up to 128 rows.\n"
    "For each column max |op(a) x - alpha b| <= 50 n u (||op(a)|| max |x| + max |alpha b|), where\n"
    "the norm is the largest sum of magnitudes of a row.  (If side is 1, read op(a)^T, x^T, b^T.)\n"
    "Blocks whose inverse is too large to ensure that are corrected once by their residual, or\n"
    "solved by substitution on the CPU in double precision: for these, see\n"
    "piblas.kernels.triangle.residual_bound instead of the first bound"
)

_PACKED = "ap:n(n+1)/2 x:n"
_SQUARE = "a:(n,n) x:n y:n"
_BAND = "a:(k+1,n),band x:n y:n"


def _square(n: int) -> int:
    return 2 * n * n


def _square_words(n: int) -> int:
    return n * n + 3 * n


def _packed_words(n: int) -> int:
    return n * (n + 1) // 2 + 3 * n


def _update_words(n: int) -> int:
    return 2 * n * n + 2 * n


def _packed_update_words(n: int) -> int:
    return n * (n + 1) + 2 * n


def _band(n: int, k: int) -> int:
    return 2 * n * (2 * k + 1)


def _band_words(n: int, k: int) -> int:
    return n * (k + 1) + 3 * n


def _side_flops(m: int, n: int) -> int:
    """Products with a square matrix of order m, counted for side = 0."""
    return 2 * m * m * n


def _side_words(m: int, n: int) -> int:
    return m * m + 3 * m * n


FAMILIES: Tuple[Family, ...] = (
    # Level 1.
    Family("axpy", "sdcz", 1, "x y [n a=1.0 offx=0 incx=1 offy=0 incy=1]", "z", "n",
           lambda n: 2 * n, lambda n: 3 * n, "y = a x + y", modified="y",
           kernel="axpy", error="2 u |a x| + u |y|, element by element"),
    Family("axpby", "s", 1, "x y [n a=1.0 b=1.0 offx=0 incx=1 offy=0 incy=1]", "y", "n",
           lambda n: 3 * n, lambda n: 3 * n, "y = a x + b y", modified="y",
           kernel="axpby", error="2 u (|a x| + |b y|), element by element",
           notes="a = 0 does not read x, b = 0 does not read y.  x and y may overlap: the result "
           "is that of a copy of x.  The CPU rounds both products and their sum to float32.",
           scipy=False),
    Family("copy", "sdcz", 1, _XY, "y", "n",
           lambda n: 0, lambda n: 2 * n, "y = x", modified="y",
           kernel="copy", exact=_EVERY_BIT),
    Family("swap", "sdcz", 1, _XY, "x,y", "n",
           lambda n: 0, lambda n: 4 * n, "exchange x and y", modified="x y",
           kernel="swap", exact=_EVERY_BIT),
    Family("scal", "sdcz", 1, "a x [n offx=0 incx=1]", "x", "n",
           lambda n: n, lambda n: 2 * n, "x = a x", modified="x",
           kernel="scal", error="u |a x|, element by element"),
    Family("csscal zdscal", "cz", 1, "a x [n offx=0 incx=1 overwrite_x=0]", "x", "n",
           lambda n: n, lambda n: 2 * n, "x = a x with real a"),
    Family("dot", "sd", 1, _XY, "xy", "n",
           lambda n: 2 * n, lambda n: 2 * n, "the sum of x y",
           kernel="dot",
           error="3.5 u sum |x| |y|, however long the vectors are, as the sum is compensated"),
    Family("dotu", "cz", 1, _XY, "xy", "n",
           lambda n: 2 * n, lambda n: 2 * n, "the sum of x y"),
    Family("dotc", "cz", 1, _XY, "xy", "n",
           lambda n: 2 * n, lambda n: 2 * n, "the sum of conj(x) y"),
    Family("sasum dasum scasum dzasum", "sdcz", 1, _X, "s", "n",
           lambda n: n, lambda n: n, "the sum of |re x| + |im x|",
           kernel="asum",
           error="2.5 u of the result, however long the vector is, as the sum is compensated"),
    Family("snrm2 dnrm2 scnrm2 dznrm2", "sdcz", 1, _X, "n2", "n",
           lambda n: 2 * n, lambda n: n, "the Euclidean length of x",
           kernel="nrm2", error=_NORM),
    Family("isamax idamax icamax izamax", "sdcz", 1, _X, "k", "n",
           lambda n: n, lambda n: n, "the first index, from 0, of the largest |re x| + |im x|",
           kernel="iamax",
           exact="The QPUs' result is exact; where there is a NaN, the result is SciPy's."),
    Family("srot drot csrot zdrot", "sdcz", 1,
           "x y c s [n offx=0 incx=1 offy=0 incy=1 overwrite_x=0 overwrite_y=0]", "x,y", "n",
           lambda n: 6 * n, lambda n: 4 * n, "x, y = c x + s y, c y - s x",
           kernel="rot", error=_ROTATED),
    Family("rotg", "sdcz", 1, "a b", "c,s", "",
           lambda: 7, lambda: 4, "the Givens rotation that makes b zero"),
    Family("rotm", "sd", 1,
           "x y param [n offx=0 incx=1 offy=0 incy=1 overwrite_x=0 overwrite_y=0]", "x,y", "n",
           lambda n: 6 * n, lambda n: 4 * n, "x, y = H (x, y), the modified rotation in param",
           shapes="param:5",
           kernel="rot", error=_ROTATED),
    Family("rotmg", "sd", 1, "d1 d2 x1 y1", "param", "",
           lambda: 12, lambda: 9, "the modified Givens rotation that makes y1 zero"),
    # Level 2: products.
    Family("gemv", "sdcz", 2, _MV % "trans", "y", "m n",
           lambda m, n: 2 * m * n, lambda m, n: m * n + n + 2 * m,
           "y = alpha op(a) x + beta y", shapes="a:(m,n)",
           kernel="gemv", error=_PRODUCT),
    Family("gbmv", "sdcz", 2, "m n kl ku " + _BMV % ("a", "trans"), "yout", "m n kl ku",
           lambda m, n, kl, ku: 2 * n * min(m, kl + ku + 1),
           lambda m, n, kl, ku: n * (kl + ku + 1) + n + 2 * m,
           "y = alpha op(a) x + beta y, a a band", shapes="a:(kl+ku+1,n),band",
           kernel="gemv", error=_PRODUCT),
    Family("symv", "sdcz", 2, _MV % "lower", "y", "n", _square, _square_words,
           "y = alpha a x + beta y, a symmetric", shapes=_SQUARE,
           kernel="symv", error=_SYMMETRIC),
    Family("hemv", "cz", 2, _MV % "lower", "y", "n", _square, _square_words,
           "y = alpha a x + beta y, a Hermitian", shapes=_SQUARE),
    Family("sbmv", "sd", 2, "k " + _BMV % ("a", "lower"), "yout", "n k", _band, _band_words,
           "y = alpha a x + beta y, a a symmetric band", shapes=_BAND,
           kernel="symv", error=_SYMMETRIC),
    Family("hbmv", "cz", 2, "k " + _BMV % ("a", "lower"), "yout", "n k", _band, _band_words,
           "y = alpha a x + beta y, a a Hermitian band", shapes=_BAND),
    Family("spmv", "sdcz", 2, "n " + _BMV % ("ap", "lower"), "yout", "n", _square, _packed_words,
           "y = alpha a x + beta y, a symmetric and packed", shapes=_PACKED,
           kernel="symv", error=_SYMMETRIC),
    Family("hpmv", "cz", 2, "n " + _BMV % ("ap", "lower"), "yout", "n", _square, _packed_words,
           "y = alpha a x + beta y, a Hermitian and packed", shapes=_PACKED),
    # Level 2: updates.
    Family("ger", "sd", 2, _GER, "a", "m n",
           lambda m, n: 2 * m * n, lambda m, n: 2 * m * n + m + n,
           "a = alpha x y^T + a", shapes="a:(m,n) x:m y:n",
           kernel="ger", error=_RANK_1),
    Family("geru", "cz", 2, _GER, "a", "m n",
           lambda m, n: 2 * m * n, lambda m, n: 2 * m * n + m + n,
           "a = alpha x y^T + a", shapes="a:(m,n) x:m y:n"),
    Family("gerc", "cz", 2, _GER, "a", "m n",
           lambda m, n: 2 * m * n, lambda m, n: 2 * m * n + m + n,
           "a = alpha x y^H + a", shapes="a:(m,n) x:m y:n"),
    Family("syr", "sdcz", 2, _SYR, "a", "n", lambda n: n * n, _update_words,
           "a = alpha x x^T + a, one triangle", shapes=_SQUARE,
           kernel="syr", error=_SQUARE_1),
    Family("her", "cz", 2, _SYR, "a", "n", lambda n: n * n, _update_words,
           "a = alpha x x^H + a, one triangle", shapes=_SQUARE),
    Family("syr2", "sd", 2, _SYR2, "a", "n", _square, _update_words,
           "a = alpha (x y^T + y x^T) + a, one triangle", shapes=_SQUARE,
           kernel="syr", error=_RANK_2),
    Family("her2", "cz", 2, _SYR2, "a", "n", _square, _update_words,
           "a = alpha x y^H + conj(alpha) y x^H + a, one triangle", shapes=_SQUARE),
    Family("spr", "sdcz", 2, _SPR, "apu", "n", lambda n: n * n, _packed_update_words,
           "a = alpha x x^T + a, a packed", shapes=_PACKED,
           kernel="syr", error=_SQUARE_1),
    Family("hpr", "cz", 2, _SPR, "apu", "n", lambda n: n * n, _packed_update_words,
           "a = alpha x x^H + a, a packed", shapes=_PACKED),
    Family("spr2", "sd", 2, _SPR2, "apu", "n", _square, _packed_update_words,
           "a = alpha (x y^T + y x^T) + a, a packed", shapes=_PACKED,
           kernel="syr", error=_RANK_2),
    Family("hpr2", "cz", 2, _SPR2, "apu", "n", _square, _packed_update_words,
           "a = alpha x y^H + conj(alpha) y x^H + a, a packed", shapes=_PACKED),
    # Level 2: triangles.
    Family("trmv", "sdcz", 2, "a x [offx=0 incx=1 lower=0 trans=0 diag=0 overwrite_x=0]", "x", "n",
           lambda n: n * n, _square_words, "x = op(a) x, a triangular", shapes=_SQUARE,
           kernel="trmv", error=_TRIANGLE),
    Family("trsv", "sdcz", 2, "a x " + _TR, "xout", "n",
           lambda n: n * n, _square_words, "solve op(a) x' = x, a triangular", shapes=_SQUARE,
           kernel="trsv", error=_SOLUTION),
    Family("tbmv", "sdcz", 2, "k a x " + _TR, "xout", "n k",
           lambda n, k: 2 * n * (k + 1), _band_words,
           "x = op(a) x, a a triangular band", shapes=_BAND,
           kernel="trmv", error=_TRIANGLE),
    Family("tbsv", "sdcz", 2, "k a x " + _TR, "xout", "n k",
           lambda n, k: 2 * n * (k + 1), _band_words,
           "solve op(a) x' = x, a a triangular band", shapes=_BAND,
           kernel="trsv", error=_SOLUTION),
    Family("tpmv", "sdcz", 2, "n ap x " + _TR, "xout", "n",
           lambda n: n * n, _packed_words, "x = op(a) x, a triangular, packed", shapes=_PACKED,
           kernel="trmv", error=_TRIANGLE),
    Family("tpsv", "sdcz", 2, "n ap x " + _TR, "xout", "n",
           lambda n: n * n, _packed_words,
           "solve op(a) x' = x, a triangular, packed", shapes=_PACKED,
           kernel="trsv", error=_SOLUTION),
    # Level 3.
    Family("gemm", "sdcz", 3, "alpha a b [beta=0.0 c trans_a=0 trans_b=0 overwrite_c=0]", "c",
           "m n k", lambda m, n, k: 2 * m * n * k, lambda m, n, k: m * k + k * n + 2 * m * n,
           "c = alpha op(a) op(b) + beta c", shapes="c:(m,n)",
           kernel="gemm", error="gamma(k + 3) (|alpha| |op(a)| |op(b)| + |beta| |c|)"),
    Family("symm", "sdcz", 3, _SYMM, "c", "m n", _side_flops, _side_words,
           "c = alpha a b + beta c, or b a if side, a symmetric", shapes="c:(m,n) b:(m,n)",
           kernel="gemm", error="gamma(order of a + 3) (|alpha| |a| |b| + |beta| |c|)"),
    Family("hemm", "cz", 3, _SYMM, "c", "m n", _side_flops, _side_words,
           "c = alpha a b + beta c, or b a if side, a Hermitian", shapes="c:(m,n) b:(m,n)"),
    Family("syrk", "sdcz", 3, _SYRK, "c", "n k",
           lambda n, k: n * (n + 1) * k, lambda n, k: n * k + 2 * n * n,
           "c = alpha op(a) op(a)^T + beta c, one triangle", shapes="c:(n,n)",
           kernel="gemm", error="gamma(k + 3) (|alpha| |op(a)| |op(a)|^T + |beta| |c|)"),
    Family("herk", "cz", 3, _SYRK, "c", "n k",
           lambda n, k: n * (n + 1) * k, lambda n, k: n * k + 2 * n * n,
           "c = alpha op(a) op(a)^H + beta c, one triangle", shapes="c:(n,n)"),
    Family("syr2k", "sdcz", 3, _SYR2K, "c", "n k",
           lambda n, k: 2 * n * (n + 1) * k, lambda n, k: 2 * n * k + 2 * n * n,
           "c = alpha (op(a) op(b)^T + op(b) op(a)^T) + beta c, one triangle", shapes="c:(n,n)",
           kernel="gemm",
           error="gamma(2 k + 3) (|alpha| (|op(a)| |op(b)|^T + |op(b)| |op(a)|^T) + |beta| |c|)"),
    Family("her2k", "cz", 3, _SYR2K, "c", "n k",
           lambda n, k: 2 * n * (n + 1) * k, lambda n, k: 2 * n * k + 2 * n * n,
           "c = alpha op(a) op(b)^H + conj(alpha) op(b) op(a)^H + beta c, one triangle",
           shapes="c:(n,n)"),
    Family("trmm", "sdcz", 3, _TRMM, "b", "m n",
           lambda m, n: m * m * n, lambda m, n: m * m + 2 * m * n,
           "b = alpha op(a) b, or b op(a) if side, a triangular", shapes="b:(m,n)",
           kernel="gemm", error="gamma(order of a + 3) |alpha| |op(a)| |b|"),
    Family("trsm", "sdcz", 3, _TRMM, "x", "m n",
           lambda m, n: m * m * n, lambda m, n: m * m + 2 * m * n,
           "solve op(a) x = alpha b, or x op(a) = alpha b if side, a triangular", shapes="b:(m,n)",
           kernel="gemm", error=_SOLVED),
)  # fmt: skip


def _default(text: str) -> Any:
    if not text:
        return None
    return float(text) if "." in text else int(text)


def _row(family: Family, name: str, letter: str) -> Routine:
    required, _, optional = family.arguments.partition("[")
    wanted = required.split()
    pairs = [each.partition("=") for each in optional.rstrip("]").split()]
    return Routine(
        name,
        letter,
        family,
        family.level,
        tuple(wanted + [pair[0] for pair in pairs]),
        len(wanted),
        tuple(_default(pair[2]) for pair in pairs),
        tuple(family.modified.split()),
        tuple(family.sizes.split()),
        KERNELS.get(name),
    )


class _Rows(Mapping[str, Routine]):
    """The routines by name, in the order of the families.  A row is made when it is first wanted:
    most processes call a few routines, and importing this module is part of their start."""

    def __init__(self) -> None:
        self.kernels: Dict[str, str] = {}
        self._families: Dict[str, Tuple[Family, str]] = {}
        self._made: Dict[str, Routine] = {}
        for family in FAMILIES:
            if " " in family.names:
                names = family.names.split()
            else:
                names = [letter + family.names for letter in family.types]
            if family.kernel:
                self.kernels[names[0]] = family.kernel
            for name, letter in zip(names, family.types):
                self._families[name] = family, letter

    def __getitem__(self, name: str) -> Routine:
        row = self._made.get(name)
        if row is None:
            family, letter = self._families[name]
            row = self._made.setdefault(name, _row(family, name, letter))
        return row

    def __contains__(self, name: object) -> bool:
        return name in self._families

    def __iter__(self) -> Iterator[str]:
        return iter(self._families)

    def __len__(self) -> int:
        return len(self._families)


_rows = _Rows()
ROUTINES: Mapping[str, Routine] = _rows
KERNELS: Mapping[str, str] = _rows.kernels
"""The routines that a QPU kernel serves, and the kernel's name in ``piblas.kernels``."""


def sizes(routine: str, given: Mapping[str, int]) -> Routine:
    """The row of ``routine``, once ``given`` holds each of its sizes and nothing else."""
    row = ROUTINES.get(routine)
    if row is None:
        import difflib  # only here: it takes a millisecond to import

        near = difflib.get_close_matches(str(routine), ROUTINES)
        hint = f", as are {', '.join(near)}" if near else ""
        raise BlasError("why", "routine", routine, f"not among the routines of BLAS{hint}")
    for name in row.sizes:
        if name not in given:
            raise BlasError(routine, name, None, f"a call has the sizes {', '.join(row.sizes)}")
    for name, value in given.items():
        if name not in row.sizes:
            raise BlasError(routine, name, value, f"a call has the sizes {', '.join(row.sizes)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BlasError(routine, name, value, "a size is an integer of at least 0")
    return row
