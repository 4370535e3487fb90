"""Signatures and docstrings of the routines, made from their rows."""

from __future__ import annotations

import inspect
import textwrap
from typing import Dict, List

from ..routines import Routine

__all__ = ["docstring", "signature"]

TYPES = {"s": "float32", "d": "float64", "c": "complex64", "z": "complex128"}
_PRECISION = {
    "s": "single precision",
    "d": "double precision",
    "c": "complex single precision",
    "z": "complex double precision",
}
_IN_PLACE = "Changed in place if it is a contiguous {type} array of one axis, else in a copy."
_ALLOWED = "changed in place if {flag} is set and it is a {order} {type} array"
_KERNEL = (
    "Runs on the QPUs where dispatch says so; for its error there and for special values see\n"
    "``piblas.kernels.{kernel}``."
)

_ERROR = (
    "Error on the QPUs, with u = 2**-23 (their arithmetic truncates): about {error}.  They give "
    "the same bits for the same call, whatever ran before and however many there are{limit}.  "
    "Numbers below 2**-126 count as 0; where there is Inf, NaN or an overflow, the result is "
    "SciPy's."
)
_SUMS = ("dot", "asum", "nrm2")
_LIMIT = "; a device that limits the length of a launch may give other last bits"
_EXACT = {
    "copy": "The QPUs keep every bit, those of NaNs and denormals too.",
    "swap": "The QPUs keep every bit, those of NaNs and denormals too.",
    "iamax": "The QPUs' result is exact; where there is a NaN, the result is SciPy's.",
}
_ERRORS: Dict[str, str] = {
    "scal": "u |a x|, element by element",
    "axpy": "2 u |a x| + u |y|, element by element",
    "rot": "2 u (|h11 x| + |h12 y|) for each element of x, and so for y",
    "dot": "3.5 u sum |x| |y|, however long the vectors are, as the sum is compensated",
    "asum": "2.5 u of the result, however long the vector is, as the sum is compensated",
    "nrm2": "2.3 u of the result, however long the vector is; no square overflows or underflows",
}
"""Errors of the level-1 kernels, to first order; the kernels' modules have them in full."""

_GAMMA = "gamma(i) = i u / (1 - i u), u = 2**-23"
_BOUNDS: Dict[str, str] = {
    "ssymm": "gamma(order of a + 3) (|alpha| |a| |b| + |beta| |c|)",
    "ssyrk": "gamma(k + 3) (|alpha| |op(a)| |op(a)|^T + |beta| |c|)",
    "ssyr2k": "gamma(2 k + 3) (|alpha| (|op(a)| |op(b)|^T + |op(b)| |op(a)|^T) + |beta| |c|)",
    "strmm": "gamma(order of a + 3) |alpha| |op(a)| |b|",
    "strsm": "|op(a) x - alpha b| <= (gamma(n + 4) + gamma(134) |D| |inverse(D)|) (|op(a)| |x| +\n"
    "|alpha b|), n the order of a, D the blocks of op(a) on its diagonal, of up to 128 rows.\n"
    "For each column max |op(a) x - alpha b| <= 50 n u (||op(a)|| max |x| + max |alpha b|), where\n"
    "the norm is the largest sum of magnitudes of a row.  (If side is 1, read op(a)^T, x^T, b^T.)\n"
    "Blocks whose inverse is too large to ensure that are corrected once by their residual, or\n"
    "solved by substitution on the CPU in double precision: for these, see\n"
    "piblas.kernels.triangle.residual_bound instead of the first bound",
}
"""Bounds of the error on the QPUs, element by element, beside what denormals taken for 0 add."""

_PRODUCT = "gamma(23) |alpha| |op(a)| |x|, gamma(9) where op transposes, and u / 2 of the result"
_SYMMETRIC = "gamma(23) |alpha| |a| |x| and u / 2 of the result"
_TRIANGLE = "gamma(23) |op(a)| |x|, gamma(9) where op transposes, and u / 2 of the result"
_SOLUTION = (
    "|op(a) x' - x| <= gamma(23.5) |op(a)| |x'|, gamma(9.5) where op transposes, whatever the "
    "condition of a (up to 128 unknowns are the CPU's to solve, in double precision)"
)
_RANK_1 = "2.5 u |alpha| |x y^T| + u |a|"
_RANK_2 = "3.5 u |alpha| (|x y^T| + |y x^T|) + 2 u |a|"
_LEVEL_2: Dict[str, str] = {
    **dict.fromkeys(("sgemv", "sgbmv"), _PRODUCT),
    **dict.fromkeys(("ssymv", "ssbmv", "sspmv"), _SYMMETRIC),
    **dict.fromkeys(("strmv", "stbmv", "stpmv"), _TRIANGLE),
    **dict.fromkeys(("strsv", "stbsv", "stpsv"), _SOLUTION),
    "sger": _RANK_1,
    **dict.fromkeys(("ssyr", "sspr"), _RANK_1.replace("y^T", "x^T")),
    **dict.fromkeys(("ssyr2", "sspr2"), _RANK_2),
}
"""Bounds of level 2, element by element; the kernels' modules say where a matrix is so large that
23 becomes more."""

_ERROR_2 = (
    "Error on the QPUs, with {gamma}: {bound}, and about 2**-126 a term, as they take smaller "
    "numbers for zero.  They give the same bits for the same call, whatever ran before and however "
    "many there are.  Where there is Inf, NaN or an overflow, the result is SciPy's."
)

# Arguments whose meaning does not depend on the routine.
_SCALARS: Dict[str, str] = {
    "n": "int: the number of elements or the order",
    "m": "int: rows",
    "k": "int: diagonals beside the main one",
    "kl": "int: diagonals below the main one",
    "ku": "int: diagonals above the main one",
    "alpha": "number",
    "beta": "number: 0 does not read {updated}",
    "offx": "int: where x begins in its array",
    "offy": "int: where y begins in its array",
    "incx": "int, not 0: step from element to element; negative: from the far end backwards",
    "incy": "int, not 0: as incx",
    "trans": "0, 1 or 2: op(a) is a, its transpose, its conjugate transpose",
    "trans_a": "0, 1 or 2: op(a) is a, its transpose, its conjugate transpose",
    "trans_b": "0, 1 or 2: the same for b",
    "lower": "0 or 1: the upper or the lower triangle is read and written, the other is not",
    "diag": "0 or 1: 1 takes the diagonal of a for ones without reading it",
    "side": "0 or 1: a stands left or right",
    "d1": "number",
    "d2": "number",
    "x1": "number",
    "y1": "number",
}


def signature(row: Routine) -> inspect.Signature:
    """Optional arguments have SciPy's defaults; None stands for one that is computed."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    unset = inspect.Parameter.empty
    defaults = (unset,) * row.required + row.defaults
    return inspect.Signature(
        [inspect.Parameter(name, kind, default=d) for name, d in zip(row.arguments, defaults)]
    )


def _shape(row: Routine, name: str) -> str:
    for each in row.family.shapes.split():
        argument, _, shape = each.partition(":")
        if argument == name:
            shape, _, band = shape.partition(",band")
            kind = "matrix" if shape.startswith("(") else "vector of length"
            where = ", the band by diagonals" if band or ",band" in each else ""
            return f" {kind} {shape.replace(',', ', ')}{where}"
    return " vector" if name in ("x", "y") else " matrix"


def _is_scalar(row: Routine, name: str) -> bool:
    if name in _SCALARS:
        return True
    if row.level == 1:
        return name in ("a", "b", "c", "s")
    return False


def _argument(row: Routine, name: str) -> str:
    kind = TYPES[row.type]
    if name.startswith("overwrite_"):
        return f"0 or 1: allows {name[10:]} to be changed in place"
    if name in _SCALARS:
        if name == "incx" and row.level == 1 and "y" not in row.arguments:
            return "int, at least 1: step from element to element"
        updated = "c" if row.level == 3 else "y"
        text = _SCALARS[name].format(updated=updated)
        if name == "n" and row.arguments.index("n") >= row.required:
            text += "; without it, the most that fit"
        return text
    if _is_scalar(row, name):
        return "number"
    text = kind + _shape(row, name)
    if name in row.modified:
        return f"{text}. " + _IN_PLACE.format(type=kind)
    if f"overwrite_{name}" in row.arguments and row.family.returns[0] in name + "xyz":
        order = "Fortran-ordered" if "matrix" in text else "contiguous"
        text += "; " + _ALLOWED.format(flag=f"overwrite_{name}", type=kind, order=order)
    return text


def _meaning(row: Routine) -> str:
    text = row.family.meaning
    if row.type in "sd":
        text = text.replace("|re x| + |im x|", "|x|")
    return text if " = " in text else text[0].upper() + text[1:]


def _result(row: Routine) -> str:
    if row.modified:
        return f" : the changed {' and '.join(row.modified)}"
    if row.level == 1 and "x,y" not in row.family.returns:
        return " : int" if row.family.returns == "k" else ""
    return " : Fortran-ordered" if row.level == 3 else ""


def docstring(row: Routine) -> str:
    """What the routine computes, its arguments with shapes and types, what it changes."""
    lines: List[str] = [
        f"{row.name}{signature(row)}",
        "",
        f"{_meaning(row)}; {_PRECISION[row.type]}.",
        "",
        "Arguments, order and results are those of ``scipy.linalg.blas``; operands of another type",
        "are converted first.",
        "",
        "Parameters",
        "----------",
    ]
    defaults = dict(zip(row.arguments[row.required :], row.defaults))
    for name in row.arguments:
        lines.append(f"{name} : {_argument(row, name)}")
        if defaults.get(name) is not None:
            lines[-1] += f" (default {defaults[name]})"
    lines += ["", "Returns", "-------", row.family.returns.replace(",", ", ") + _result(row), ""]
    lines += [_KERNEL.format(kernel=row.kernel) if row.kernel else "Runs on the CPU.", ""]
    if row.kernel in _ERRORS:
        limit = _LIMIT if row.kernel in _SUMS else ""
        text = _ERROR.format(error=_ERRORS[row.kernel], limit=limit)
        lines += [*textwrap.wrap(text, 90), ""]
    elif row.kernel in _EXACT:
        lines += [_EXACT[row.kernel], ""]
    elif row.name in _LEVEL_2:
        text = _ERROR_2.format(gamma=_GAMMA, bound=_LEVEL_2[row.name])
        lines += [*textwrap.wrap(text, 90), ""]
    elif row.name in _BOUNDS:
        lines += [
            f"Error on the QPUs, with {_GAMMA}, and a term of about",
            "2**-126 an operation, as they take smaller numbers for zero:",
            f"{_BOUNDS[row.name]}.",
            "Operands with Inf or NaN, results that overflow and singular triangles go to the CPU.",
            "They give the same bits for the same call, whatever ran before and however many there",
            "are; a device that limits the length of a launch may give other last bits.",
            "",
        ]
    lines += ["A wrong argument raises :class:`piblas.BlasError`, before anything is written."]
    return "\n".join(lines) + "\n"
