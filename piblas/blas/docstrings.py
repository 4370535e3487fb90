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
    "{whose}."
)
_LIMIT = "; a device that limits the length of a launch may give other last bits"
_GAMMA = "gamma(i) = i u / (1 - i u), u = 2**-23"
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


def _conventions(row: Routine) -> List[str]:
    """Whose conventions the routine follows, and what else there is to say."""
    text = "Arguments, order and results are those of ``scipy.linalg.blas``; "
    if not row.family.scipy:
        text = "SciPy has no such routine.  Arguments, order and what is changed in place are in "
        text += "the manner of ``scipy.linalg.blas``; "
    text += "operands of another type are converted first."
    return textwrap.wrap("  ".join(filter(None, (text, row.family.notes))), 92)


def _error(row: Routine) -> List[str]:
    """The lines about the error on the QPUs, and an empty one."""
    error, exact = row.family.error, row.family.exact
    if not row.kernel:
        return []
    if exact:
        return [exact, ""]
    if row.level == 1:
        sums = not row.modified and not any(a.startswith("overwrite_") for a in row.arguments)
        whose = "SciPy's" if row.family.scipy else "the CPU's"
        text = _ERROR.format(error=error, limit=_LIMIT if sums else "", whose=whose)
        return [*textwrap.wrap(text, 90), ""]
    if row.level == 2:
        return [*textwrap.wrap(_ERROR_2.format(gamma=_GAMMA, bound=error), 90), ""]
    return [
        f"Error on the QPUs, with {_GAMMA}, and a term of about",
        "2**-126 an operation, as they take smaller numbers for zero:",
        f"{error}.",
        "Operands with Inf or NaN, results that overflow and singular triangles go to the CPU.",
        "They give the same bits for the same call, whatever ran before and however many there",
        "are; a device that limits the length of a launch may give other last bits.",
        "",
    ]


def docstring(row: Routine) -> str:
    """What the routine computes, its arguments with shapes and types, what it changes."""
    lines: List[str] = [
        f"{row.name}{signature(row)}",
        "",
        f"{_meaning(row)}; {_PRECISION[row.type]}.",
        "",
        *_conventions(row),
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
    lines += _error(row)
    lines += ["A wrong argument raises :class:`piblas.BlasError`, before anything is written."]
    return "\n".join(lines) + "\n"
