"""Level 3: matrix-matrix routines, with the signatures and semantics of ``scipy.linalg.blas``."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np

from .. import record
from ..dispatch import devices
from ..dispatch.devices import State
from ..errors import BlasError, OutOfDeviceMemory
from ..host import arrays
from ..host.outcome import NO_PRODUCT, NOT_FINITE, OVERFLOW
from ..routines import ROUTINES
from . import arguments, call, scipy_blas
from .binding import Bound, need
from .call import Job, job_of
from .functions import Function, function

__all__ = ["NO_PRODUCT", "NOT_FINITE", "OVERFLOW", "Sgemm", "bind", "product"]

_ROW = ROUTINES["sgemm"]
_FLOAT32 = np.dtype(np.float32)
_ARRAYS = (np.ndarray, arrays.DeviceArray)
_NUMBERS = (float, int, np.float32, np.float64)
_FLAGS = (int, bool)
_NOTHING: Any = {}
_scipy: Any = None  # SciPy's sgemm, once it was needed


class Sgemm(Function):
    """alpha * op(a) @ op(b) + beta * c in single precision.

    Parameters are those of ``scipy.linalg.blas.sgemm``: op(x) is x, or its transpose where
    ``trans_a`` or ``trans_b`` is 1 or 2; operands are converted to float32; vectors count as
    columns.  The result is a Fortran-ordered float32 array.  It is ``c`` itself if ``overwrite_c``
    is set and ``c`` is float32, Fortran-ordered and writeable; in any other case ``c`` keeps its
    contents.  With ``beta`` = 0 ``c`` is not read, with ``alpha`` = 0 neither ``a`` nor ``b``;
    without ``c`` it counts as zero.

    Operands that are in device memory already (``piblas.array``) are not copied, and without ``c``
    the result is there, too.

    Error on the QPUs, element by element, with u = 2**-23 (their arithmetic truncates):
    ``gamma(k + 3) * (|alpha| |a| |b| + |beta| |c|)``, gamma(i) = i u / (1 - i u), and, because
    QPUs take numbers below 2**-126 for zero, a term of about that size for each operation; see
    ``piblas.kernels.gemm_error.error_bound``.  Operands with Inf or NaN, and results that overflow,
    are computed on the CPU, so that they are what IEEE 754 makes of them.

    The QPUs give the same bits for the same call, whatever ran before and however many QPUs the
    device has.

    A wrong argument raises :class:`piblas.BlasError`; whatever is raised, ``c`` is unchanged.
    """

    __module__ = "piblas"

    def __call__(
        self,
        alpha: Any,
        a: Any,
        b: Any,
        beta: Any = 0.0,
        c: Any = None,
        trans_a: Any = 0,
        trans_b: Any = 0,
        overwrite_c: Any = 0,
    ) -> Any:
        if (
            type(a) in _ARRAYS
            and type(b) in _ARRAYS
            and a.dtype == b.dtype == _FLOAT32
            and a.ndim == b.ndim == 2
            and (c is None or type(c) in _ARRAYS and c.dtype == _FLOAT32 and c.ndim == 2)
            and type(alpha) in _NUMBERS
            and type(beta) in _NUMBERS
            and type(trans_a) in _FLAGS
            and type(trans_b) in _FLAGS
            and type(overwrite_c) in _FLAGS
        ):
            counter = self._counter[0]
            if counter is not None and c is None:
                made = _plain_product(alpha, a, b, trans_a, trans_b)
                if made is not None:
                    next(counter)
                    return made
            given = alpha, a, b, beta, c, trans_a, trans_b, overwrite_c
            if alpha == 0 or not (a.size and b.size):
                made = self._on_cpu(*given)
                record.count("sgemm", "cpu", NO_PRODUCT)
                return made
            state = self._offered() if self._lenient else devices.now()
            return call.run(state, _ROW, given, _NOTHING, bind, self._on_cpu)
        given = alpha, a, b, beta, c, trans_a, trans_b, overwrite_c
        try:
            result, plain = _coerced(*given)
        except BlasError as error:
            return self._as_scipy_says(error, given)
        state = self._offered() if self._lenient else devices.now()
        made = call.run(state, _ROW, plain, _NOTHING, bind, self._on_cpu)
        return made if result is None else result

    __call__.__qualname__ = "sgemm"  # as it stands in Python's own messages

    def _on_cpu(self, *given: Any) -> Any:
        """The CPU computes a call, or refuses it."""
        try:
            return _on_cpu(*given)
        except BlasError as error:
            return self._as_scipy_says(error, given)

    def _as_scipy_says(self, error: BlasError, given: Tuple[Any, ...]) -> Any:
        """Raise the error with what SciPy says to the same arguments, if it refuses them, too."""
        asked = list(given)
        if type(asked[7]) in _FLAGS and not self._lenient:
            asked[7] = 0  # nothing is to be written
        theirs = self._scipy if self._lenient else scipy_blas.functions()["sgemm"]
        try:
            made = theirs(*asked)
        except Exception as refusal:
            from . import scipy_errors  # here, as most calls are fine

            if not scipy_errors.blas_error(refusal):
                raise
            raise error.with_words(str(refusal)) from refusal
        if self._lenient:
            return made
        raise error


def product(
    alpha: Any,
    a: Any,
    b: Any,
    beta: Any = 0.0,
    c: Any = None,
    trans_a: Any = 0,
    trans_b: Any = 0,
    overwrite_c: Any = 0,
) -> np.ndarray:
    """:func:`sgemm` for operators and for functions of NumPy: its accuracy is "default" where
    nobody asks for another."""
    given = alpha, a, b, beta, c, trans_a, trans_b, overwrite_c
    state = devices.now()
    if state.accuracy or state.device is None:
        return function("sgemm")(*given)
    result = None
    if not (
        type(a) in _ARRAYS
        and type(b) in _ARRAYS
        and a.dtype == b.dtype == _FLOAT32
        and a.ndim == b.ndim == 2
        and (c is None or type(c) in _ARRAYS and c.dtype == _FLOAT32 and c.ndim == 2)
        and alpha == 1
        and a.size
        and b.size
    ):
        result, given = _coerced(*given)
    made = call.run(state, _ROW, given, _NOTHING, _bind_product, _on_cpu, variant="product")
    return made if result is None else result


def _plain_product(alpha: Any, a: Any, b: Any, trans_a: int, trans_b: int) -> Any:
    """alpha * op(a) @ op(b) by SciPy, for float32 matrices in ordinary memory; None where that is
    not all there is to do.  A matrix in C order is the transpose of one in Fortran order, which
    SciPy need not copy."""
    global _scipy
    if not (
        type(a) is np.ndarray is type(b)
        and trans_a in (0, 1, 2)
        and trans_b in (0, 1, 2)
        and a.shape[0 if trans_a else 1] == b.shape[1 if trans_b else 0]
        and a.size
        and b.size
        and -1e38 < alpha < 1e38
        and alpha != 0
    ):
        return None
    if not a.flags.f_contiguous and a.flags.c_contiguous:
        a, trans_a = a.T, not trans_a
    if not b.flags.f_contiguous and b.flags.c_contiguous:
        b, trans_b = b.T, not trans_b
    if _scipy is None:
        _scipy = scipy_blas.functions()["sgemm"]
    return _scipy(alpha, a, b, 0.0, None, trans_a, trans_b)


def _coerced(
    alpha: Any, a: Any, b: Any, beta: Any, c: Any, trans_a: Any, trans_b: Any, overwrite_c: Any
) -> Tuple[Any, Tuple[Any, ...]]:
    """(the result's memory, where there is a ``c``, and arguments for the same call that are plain
    arrays and numbers); BlasError for wrong ones."""
    name = "sgemm"
    transposed_a = arguments.trans(name, "trans_a", trans_a)
    transposed_b = arguments.trans(name, "trans_b", trans_b)
    alpha = arguments.scalar(name, "alpha", alpha)
    a = arguments.matrix(name, "a", a)
    b = arguments.matrix(name, "b", b)
    if transposed_a:
        a = a.T
    if transposed_b:
        b = b.T
    (m, k), n = a.shape, b.shape[1]
    if b.shape[0] != k:
        raise BlasError(
            name, "b", b.shape, f"op(a) is {m} x {k}, so op(b) has to have {k} rows"
        )
    beta = arguments.scalar(name, "beta", 0.0 if beta is None else beta)
    overwrite = arguments.flag(name, "overwrite_c", overwrite_c)
    result = None
    if c is not None:
        result, c = arguments.result(name, "c", c, (m, n), beta != 0, overwrite)
    return result, (alpha, _base(a), _base(b), beta, c, 0, 0, 1)


def _base(array: np.ndarray) -> np.ndarray:
    return array if type(array) in _ARRAYS else array.view(np.ndarray)


def _on_cpu(*given: Any) -> np.ndarray:
    """The CPU computes a call, or refuses it."""
    room = given[4]
    if room is None:
        made = _plain_product(*given[:3], *given[5:7])
        if made is not None:
            return made
    result, (alpha, a, b, beta, out, *_) = _coerced(*given)
    if room is None:
        result = out = _room(a, b)
    if 0 in a.shape or 0 in b.shape or alpha == 0:
        scipy_blas.scale(out, beta)
    else:
        scipy_blas.sgemm(alpha, a, b, beta, out)
    return result


def _room(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Zeros for a result, in device memory if both operands are there and calls go there."""
    m, n = a.shape[0], b.shape[1]
    home = arrays.home(a)
    if home is not None and m and n and arrays.home(b) is home is devices.current()[1]:
        try:
            return arrays.zeros((m, n), order="F", device=home)
        except OutOfDeviceMemory:
            pass
    return np.zeros((m, n), dtype=_FLOAT32, order="F")


def bind(bound: Bound, state: State) -> Job:
    """The job of a call of sgemm whose operands are matrices of type float32."""
    return _job(bound, state, state.accuracy or "fast")


def _bind_product(bound: Bound, state: State) -> Job:
    """The same for :func:`product`."""
    return _job(bound, state, state.accuracy or "default")


def _job(bound: Bound, state: State, accuracy: str) -> Job:
    # Here, because building kernels is nothing that a CPU-only process needs.
    from ..host import gemm

    a, b, c = bound["a"], bound["b"], bound["c"]
    arguments.real(bound["alpha"]), arguments.real(bound["beta"])
    transposed = bound.flag("trans_a", 2) != 0, bound.flag("trans_b", 2) != 0
    m, k = a.shape[::-1] if transposed[0] else a.shape
    rows, n = b.shape[::-1] if transposed[1] else b.shape
    need(k == rows and (c is None or c.shape == (m, n)))
    own = c is not None and arguments.own(c, bound.truth("overwrite_c")) is not None
    device = state.device
    there = device is not None and _seen(a, device) and _seen(b, device)
    resident = there and (_seen(c, device) if own else c is None) and 1 not in (m, n)
    return job_of(
        bound, state, {"m": m, "n": n, "k": k}, resident, ("alpha", "a", "b", "beta", "c"),
        lambda: gemm.Product(
            a, b, transposed, c is not None, own, (there, resident), device, accuracy
        ),
    )  # fmt: skip


def _seen(matrix: np.ndarray, device: Any) -> bool:
    """Whether the QPUs see a matrix, in whole words."""
    return arrays.place(matrix, device) is not None and not any(
        stride % 4 for stride in matrix.strides
    )
