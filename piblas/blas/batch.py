"""Beyond BLAS: many products in one launch, and copies of matrices, named as vendors name them."""

from __future__ import annotations

import functools
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from .. import record
from ..dispatch import choose, devices
from ..dispatch.devices import State
from ..driver.device import RunReport
from ..errors import BlasError
from ..host import arrays
from ..host.outcome import NO_PRODUCT, NOT_FINITE, CpuNeeded
from ..host.runner import Runner, runner_of
from ..routines import ROUTINES, Routine
from . import arguments, call, scipy_blas
from .binding import Bound

__all__ = [
    "Each", "bind", "product_batch_strided", "row", "sgemm_batch", "sgemm_batch_strided",
    "somatcopy",
]  # fmt: skip

IN_DEVICE_MEMORY = "the operand lies in device memory"


class Each:
    """A product of a batch, checked: alpha * a @ b + beta * out, into ``out``."""

    def __init__(
        self, alpha: float, a: np.ndarray, b: np.ndarray, beta: float, out: np.ndarray
    ) -> None:
        self.alpha, self.a, self.b, self.beta, self.out = alpha, a, b, beta, out

    @property
    def sizes(self) -> Tuple[int, int, int]:
        return (*self.out.shape, self.a.shape[1])

    @property
    def no_product(self) -> bool:
        return self.alpha == 0 or 0 in self.sizes

    def on_cpu(self) -> None:
        if self.no_product:
            scipy_blas.scale(self.out, self.beta)
        else:
            scipy_blas.sgemm(self.alpha, self.a, self.b, self.beta, self.out)

    def finite(self) -> bool:
        used: List[Any] = [self.alpha, self.beta, self.a, self.b]
        if self.beta:
            used.append(self.out)
        return all(bool(np.isfinite(x).all()) for x in used)


def sgemm_batch(
    alpha: Any,
    a: Sequence[Any],
    b: Sequence[Any],
    beta: Any = 0.0,
    c: Optional[Sequence[Any]] = None,
    trans_a: Any = 0,
    trans_b: Any = 0,
    overwrite_c: Any = 0,
) -> List[np.ndarray]:
    """[alpha * op(a[i]) @ op(b[i]) + beta * c[i] for each i] in single precision, in one launch.

    ``a``, ``b`` and ``c`` are sequences of equal length of matrices of any shapes that
    :func:`piblas.sgemm` takes.  ``alpha``, ``beta``, ``trans_a`` and ``trans_b`` are one value for
    all products or a sequence of one for each.  Each result is what ``sgemm`` returns, Fortran-
    ordered float32, ``c[i]`` itself where ``overwrite_c`` allows it; its error bound and its rules
    for special values are ``sgemm``'s.  The last bits may differ from those of single calls, as
    another member of the kernel family may serve a batch.

    A wrong argument raises :class:`piblas.BlasError` that names it with its place, as in ``b[3]``;
    whatever is raised, every ``c[i]`` is unchanged.  Where two products overwrite the same memory
    the result is undefined.
    """
    name = "sgemm_batch"
    matrices_a, matrices_b = _sequence(name, "a", a), _sequence(name, "b", b)
    count = len(matrices_a)
    if len(matrices_b) != count:
        raise BlasError(name, "b", len(matrices_b), f"a holds {count} matrices, so b has to")
    old = count * [None] if c is None else _sequence(name, "c", c)
    if len(old) != count:
        raise BlasError(name, "c", len(old), f"a holds {count} matrices, so c has to")
    alphas, betas = _spread(name, "alpha", alpha, count), _spread(name, "beta", beta, count)
    codes_a = _spread(name, "trans_a", trans_a, count)
    codes_b = _spread(name, "trans_b", trans_b, count)
    overwrite = arguments.flag(name, "overwrite_c", overwrite_c)
    results, products = [], []
    for i in range(count):
        at = f"[{i}]"
        turned_a = arguments.trans(name, "trans_a", codes_a[i])
        turned_b = arguments.trans(name, "trans_b", codes_b[i])
        left = _operand(name, f"a{at}", matrices_a[i], turned_a)
        right = _operand(name, f"b{at}", matrices_b[i], turned_b)
        if left.shape[1] != right.shape[0]:
            raise _unfit(name, f"b{at}", left, right)
        factor, scale = (
            arguments.scalar(name, which, values[i])
            for which, values in (("alpha", alphas), ("beta", betas))
        )
        shape = left.shape[0], right.shape[1]
        result, out = arguments.result(name, f"c{at}", old[i], shape, scale != 0, overwrite)
        results.append(result)
        products.append(Each(factor, left, right, scale, out))
    _compute(name, products)
    return results


def sgemm_batch_strided(
    alpha: Any,
    a: Any,
    b: Any,
    beta: Any = 0.0,
    c: Any = None,
    trans_a: Any = 0,
    trans_b: Any = 0,
    overwrite_c: Any = 0,
) -> np.ndarray:
    """alpha * op(a[i]) @ op(b[i]) + beta * c[i] for each i in single precision, in one launch.

    ``a``, ``b`` and ``c`` have three axes, the first of which counts the products; strides may be
    any, 0 too, so that a matrix may serve several products.  An ``a`` or ``b`` of two axes, or of
    length 1 along the first, serves all of them.  op transposes the last two axes.

    The result is float32 of shape (count, m, n), each of its matrices Fortran-ordered.  It is ``c``
    itself if ``overwrite_c`` is set and ``c`` is float32, writeable and laid out so (``c[i]``
    Fortran-ordered, one behind the other).  Errors and bounds as for :func:`sgemm_batch`.
    """
    return _strided("fast", alpha, a, b, beta, c, trans_a, trans_b, overwrite_c)


def product_batch_strided(
    alpha: Any,
    a: Any,
    b: Any,
    beta: Any = 0.0,
    c: Any = None,
    trans_a: Any = 0,
    trans_b: Any = 0,
    overwrite_c: Any = 0,
) -> np.ndarray:
    """:func:`sgemm_batch_strided` for operators and for functions of NumPy: its accuracy is
    "default" where nobody asks for another."""
    return _strided("default", alpha, a, b, beta, c, trans_a, trans_b, overwrite_c)


def _strided(
    accuracy: str, alpha: Any, a: Any, b: Any, beta: Any, c: Any, trans_a: Any, trans_b: Any,
    overwrite_c: Any,
) -> np.ndarray:  # fmt: skip
    name = "sgemm_batch_strided"
    turned_a = arguments.trans(name, "trans_a", trans_a)
    turned_b = arguments.trans(name, "trans_b", trans_b)
    factor = arguments.scalar(name, "alpha", alpha)
    left, right = _stack(name, "a", a), _stack(name, "b", b)
    left = left.transpose(0, 2, 1) if turned_a else left
    right = right.transpose(0, 2, 1) if turned_b else right
    if left.shape[2] != right.shape[1]:
        raise _unfit(name, "b", left[0:1].reshape(left.shape[1:]), right)
    if left.shape[0] != right.shape[0] and 1 not in (left.shape[0], right.shape[0]):
        raise BlasError(name, "b", right.shape, f"a holds {left.shape[0]} matrices, so b has to")
    count = left.shape[0] if right.shape[0] == 1 else right.shape[0]
    scale = arguments.scalar(name, "beta", 0.0 if beta is None else beta)
    overwrite = arguments.flag(name, "overwrite_c", overwrite_c)
    m, n = left.shape[1], right.shape[2]
    result, out = _result_stack(name, c, (count, m, n), scale != 0, overwrite)
    left = np.broadcast_to(left, (count, m, left.shape[2]))
    right = np.broadcast_to(right, (count, right.shape[1], n))
    products = [Each(factor, x, y, scale, z) for x, y, z in zip(left, right, out)]
    _compute(name, products, accuracy)
    return result


def somatcopy(alpha: Any, a: Any, trans: Any = 0) -> np.ndarray:
    """alpha * op(a) as a new Fortran-ordered float32 matrix; op transposes where ``trans`` is 1, 2.

    ``a`` may have any type, order and strides.  The QPUs do it where ``a`` lies in device memory
    (``piblas.array``) without gaps, and the result is there, too.  Any other ``a`` is the CPU's: a
    copy costs the memory's time wherever it runs, and a QPU would need one more to be handed ``a``.

    alpha = 1 copies every bit of a float32 ``a``, alpha = 0 gives zeros without reading it.
    Otherwise the CPU rounds each element as IEEE 754 has it; the QPUs' error is 2**-23 of it, and
    2**-126 as they take smaller numbers for zero; where there is Inf, NaN or an overflow, it is the
    CPU's result.  A wrong argument raises :class:`piblas.BlasError`.
    """
    turned = arguments.trans("somatcopy", "trans", trans)
    factor = arguments.scalar("somatcopy", "alpha", alpha)
    matrix = arguments.matrix("somatcopy", "a", a)
    source = matrix.T if turned else matrix
    if factor == 0 or arrays.home(source) is None:
        record.count("somatcopy", "cpu", choose.NO_KERNEL)
        return _copy_on_cpu(factor, source)
    of_copy = row("somatcopy", "alpha", "a")
    found: np.ndarray = call.run(
        devices.now(), of_copy, (factor, source), {}, _bind_copy, _copy_on_cpu
    )
    return found


def _copy_on_cpu(factor: float, source: np.ndarray) -> np.ndarray:
    out = np.empty(source.shape, np.float32, order="F")
    if factor == 0:
        out[...] = 0
    elif factor == 1:
        out[...] = source
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            np.multiply(source, np.float32(factor), out=out)
    return out


def _bind_copy(bound: Bound, state: State) -> call.Job:
    source = bound["a"]
    if state.device is None or arrays.place(source, state.device) is None:
        return call.Job(choose.NO_KERNEL)
    from ..host import copies

    if not copies.has_kernel(source):
        return call.Job(choose.NO_KERNEL)
    compute = copies.Copy(source, runner_of(state.device), choose.NO_KERNEL)
    return call.Job(IN_DEVICE_MEMORY, state.target.backend, compute, bound.take("alpha", "a"))


# --- arguments -----------------------------------------------------------------------------------


def _sequence(name: str, argument: str, value: Any) -> List[Any]:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        raise BlasError(name, argument, f"<{type(value).__name__}>", "wants a sequence of matrices")
    return list(value)


def _spread(name: str, argument: str, value: Any, count: int) -> List[Any]:
    """One value for each product."""
    if not isinstance(value, (list, tuple, np.ndarray)) or np.ndim(value) == 0:
        return count * [value if argument != "beta" or value is not None else 0.0]
    if len(value) != count:
        raise BlasError(name, argument, len(value), f"wants one value, or one for each of {count}")
    return list(value)


def _operand(name: str, argument: str, value: Any, turned: bool) -> np.ndarray:
    matrix = arguments.matrix(name, argument, value)
    return matrix.T if turned else matrix


def _unfit(name: str, argument: str, left: np.ndarray, right: np.ndarray) -> BlasError:
    m, k = left.shape
    return BlasError(
        name, argument, right.shape, f"op(a) is {m} x {k}, so op(b) has to have {k} rows"
    )


def _stack(name: str, argument: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        kind = f"<{type(value).__name__}>"
        raise BlasError(name, argument, kind, f"wants numbers ({error})") from error
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        raise BlasError(name, argument, array.shape, "wants three axes, or two")
    return array


def _result_stack(
    name: str, c: Any, shape: Tuple[int, int, int], read: bool, overwrite: bool
) -> Tuple[np.ndarray, np.ndarray]:
    count, m, n = shape
    old = None if c is None else _stack(name, "c", c)
    if old is not None and (old.shape != shape or np.ndim(c) != 3):
        raise BlasError(name, "c", np.shape(c), f"the result is {count} x {m} x {n}")
    if overwrite and arguments.writable(c) and c.transpose(0, 2, 1).flags.c_contiguous:
        return c, c.view(np.ndarray)
    new = np.empty((count, n, m), np.float32).transpose(0, 2, 1)
    if read:
        new[...] = 0 if old is None else old
    return new, new


# --- the work ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def row(name: str, *arguments: str) -> Routine:
    """What :func:`.call.run` wants to know of a routine whose arguments, all required, are checked
    already."""
    return ROUTINES["sgemm"]._replace(
        name=name, arguments=arguments, required=len(arguments), defaults=(), modified=()
    )


def _compute(name: str, products: List[Each], accuracy: str = "fast") -> None:
    """Every product into its ``out``: the QPUs take those that they can, in one launch, with this
    accuracy where nobody asks for another."""
    made = functools.partial(_bind, accuracy)
    call.run(devices.now(), row(name, "products"), (products,), {}, made, _on_cpu)


def _on_cpu(products: List[Each]) -> None:
    # An operand may be the memory of another product's result.
    outs = [x.out for x in products]
    for each in products:
        for field in ("a", "b"):
            operand = getattr(each, field)
            if any(out is not each.out and np.may_share_memory(operand, out) for out in outs):
                setattr(each, field, operand.copy())
    for each in products:
        each.on_cpu()


def bind(bound: Bound, state: State) -> call.Job:
    """The job of a batch."""
    return _bind("fast", bound, state)


def _bind(otherwise: str, bound: Bound, state: State) -> call.Job:
    accuracy = state.accuracy or otherwise
    products: List[Each] = bound["products"]
    wanted = [x for x in products if not x.no_product]
    if not wanted:
        return call.Job(NO_PRODUCT)
    # Priced as one product that has as many columns as all together.
    m, _, k = (max(x.sizes[axis] for x in wanted) for axis in range(3))
    flops = sum(x.sizes[0] * x.sizes[1] * x.sizes[2] for x in wanted)
    choice = state.choice("sgemm", {"m": m, "n": -(-flops // (m * k)), "k": k})
    if choice.backend == "cpu":
        return call.Job(choice.reason)

    def compute(runner: Runner, values: Sequence[Any]) -> Tuple[None, Sequence[RunReport]]:
        from ..host import batch

        if not all(x.finite() for x in wanted):
            raise CpuNeeded(NOT_FINITE)
        # The kernel's results are row-major and these are Fortran-ordered: so the transposes.
        given = [
            batch.Each(x.alpha, x.b.T, x.a.T, x.beta, x.out.T if x.beta else None)
            for x in wanted
        ]
        reports: List[RunReport] = []
        for each, result in zip(wanted, batch.products(runner, given, reports, accuracy)):
            each.out.T[...] = result
        for each in products:
            if each.no_product:
                each.on_cpu()
        return None, reports

    return call.Job(choice.reason, choice.backend, compute, bound.take("products"))
