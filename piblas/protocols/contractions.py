"""``np.tensordot`` and ``np.einsum`` by products of matrices.

A contraction of several operands is done by pairs, in the order that ``np.einsum_path`` finds.  A
pair that sums over labels is a product, or a stack of products over the labels that both operands
and the result have; other pairs, and what concerns one operand only (diagonals, sums over a label
that no other operand has), are NumPy's.
"""

from __future__ import annotations

import math
import operator
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..host.device_array import DeviceArray
from .products import product, ready, reshaped

__all__ = ["einsum", "tensordot"]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _axes(axes: Any, a: np.ndarray, b: np.ndarray) -> Optional[Tuple[List[int], List[int]]]:
    """The axes of both operands that are summed over, as tensordot is told them; None where that is
    wrong."""
    try:
        pair = tuple(axes)
    except TypeError:
        try:
            count = operator.index(axes)
        except TypeError:
            return None
        pair = (range(-count, 0), range(count)) if count > 0 else ((), ())
    if len(pair) != 2:
        return None
    found = []
    for each, operand in zip(pair, (a, b)):
        try:
            each = [operator.index(each)] if not np.iterable(each) else list(map(int, each))
        except (TypeError, ValueError):
            return None
        if not all(-operand.ndim <= axis < operand.ndim for axis in each):
            return None
        each = [axis % operand.ndim for axis in each]
        if len(set(each)) < len(each):
            return None
        found.append(each)
    first, second = found
    if [a.shape[axis] for axis in first] != [b.shape[axis] for axis in second]:
        return None
    return first, second


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    if not ready(a, b):
        return None
    found = _axes(axes, a, b)
    if found is None:
        return None
    first, second = found
    if not first:
        return None  # there is nothing to sum
    rows = [axis for axis in range(a.ndim) if axis not in first]
    columns = [axis for axis in range(b.ndim) if axis not in second]
    k = math.prod(a.shape[axis] for axis in first)
    left = reshaped(a.transpose(rows + first), [-1, k])
    right = reshaped(b.transpose(second + columns), [k, -1])
    shape = [a.shape[axis] for axis in rows] + [b.shape[axis] for axis in columns]
    return product(left, right).reshape(shape)


# --- einsum --------------------------------------------------------------------------------------


def _parsed(given: Sequence[Any]) -> Optional[Tuple[List[str], str, List[Any]]]:
    """(labels of each operand, labels of the result, operands), each axis with one letter; None for
    what is wrong."""
    if isinstance(given[0], str):
        text, operands = given[0].replace(" ", ""), list(given[1:])
    else:
        translated = _letters(given)
        if translated is None:
            return None
        text, operands = translated
    if not all(type(each) is np.ndarray or isinstance(each, DeviceArray) for each in operands):
        return None
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        return None
    spare = [letter for letter in _LETTERS if letter not in text]
    # The axes of an ellipsis get letters from its end, as they are aligned there.
    most = 0
    for term, operand in zip(terms, operands):
        if "..." in term:
            most = max(most, operand.ndim - len(term) + 3)
    if most > len(spare):
        return None
    dots = "".join(spare[:most])
    labels = []
    for term, operand in zip(terms, operands):
        if "..." in term:
            count = operand.ndim - len(term) + 3
            if count < 0:
                return None
            term = term.replace("...", dots[most - count :])
        labels.append(term)
        if len(term) != operand.ndim:
            return None
    together = "".join(labels)
    if arrow:
        if "..." not in result and any("..." in term for term in terms):
            return None
        result = result.replace("...", dots)
    else:
        result = dots + "".join(sorted(
            letter for letter in set(together) - set(dots) if together.count(letter) == 1
        ))  # fmt: skip
    valid = set(together) <= set(_LETTERS) and set(result) <= set(together)
    if not valid or len(set(result)) < len(result):
        return None
    return labels, result, operands


def _letters(given: Sequence[Any]) -> Optional[Tuple[str, List[Any]]]:
    """The form with lists of numbers, as (text, operands)."""
    operands = list(given[: len(given) // 2 * 2 : 2])
    lists = [*given[1::2], *(given[-1:] if len(given) % 2 else ())]
    numbers = sorted({each for some in lists for each in some if each is not Ellipsis})
    if len(numbers) > len(_LETTERS):
        return None
    name = {number: _LETTERS[i] for i, number in enumerate(numbers)}
    name[Ellipsis] = "..."
    terms = ["".join(name[each] for each in some) for some in lists]
    text = ",".join(terms[: len(operands)])
    return (f"{text}->{terms[-1]}" if len(given) % 2 else text), operands


def _sizes(labels: Sequence[str], operands: Sequence[Any]) -> Optional[Dict[str, int]]:
    """The length of each label; one of 1 broadcasts.  None where lengths do not fit."""
    found: Dict[str, int] = {}
    for term, operand in zip(labels, operands):
        for letter, length in zip(term, operand.shape):
            known = found.get(letter, 1)
            if 1 not in (known, length) and known != length:
                return None
            found[letter] = max(known, length)
    return found


def _alone(operand: Any, term: str, wanted: str) -> Tuple[Any, str]:
    """An operand without labels that nobody else wants, and with each label once."""
    kept = "".join(sorted(set(term) & set(wanted), key=term.index))
    if kept == term:
        return operand, term
    return np.einsum(f"{term}->{kept}", operand.view(np.ndarray)), kept


def _pair(
    a: Any, of_a: str, b: Any, of_b: str, wanted: str, result: str
) -> Tuple[Any, str]:
    """The contraction of two operands, with the labels ``wanted`` by others or the result, in the
    order of the ``result`` if a product can have that."""
    a, of_a = _alone(a, of_a, of_b + wanted)
    b, of_b = _alone(b, of_b, of_a + wanted)
    summed = "".join(letter for letter in of_a if letter in of_b and letter not in wanted)
    stack = "".join(letter for letter in of_a if letter in of_b and letter in wanted)
    rows = "".join(letter for letter in of_a if letter not in of_b)
    columns = "".join(letter for letter in of_b if letter not in of_a)
    if stack + columns + rows == result:
        a, of_a, rows, b, of_b, columns = b, of_b, columns, a, of_a, rows
    made = stack + rows + columns
    if not summed:
        plain = a.view(np.ndarray), b.view(np.ndarray)
        return np.einsum(f"{of_a},{of_b}->{made}", *plain), made
    sizes = dict(zip(of_a + of_b, a.shape + b.shape))
    shape = [sizes[letter] for letter in stack]
    k = math.prod(sizes[letter] for letter in summed)
    left = a.transpose([of_a.index(letter) for letter in stack + rows + summed])
    right = b.transpose([of_b.index(letter) for letter in stack + summed + columns])
    found = product(reshaped(left, [*shape, -1, k]), reshaped(right, [*shape, k, -1]))
    return found.reshape([sizes[letter] for letter in made]), made


def einsum(*operands: Any, out: Any = None, optimize: Any = False, **kwargs: Any) -> Any:
    if len(operands) < 2 or kwargs:
        return None  # dtype, order and casting are NumPy's
    try:
        parsed = _parsed(operands)
    except TypeError:
        return None
    if parsed is None:
        return None
    labels, result, given = parsed
    sizes = _sizes(labels, given)
    if sizes is None or len(given) < 2 or not ready(*given):
        return None
    if out is not None and not (
        (type(out) is np.ndarray or isinstance(out, DeviceArray))
        and out.shape == tuple([sizes[letter] for letter in result])
        and out.dtype == np.float32
        and out.flags.writeable
    ):
        return None
    if not _sums(labels, result):
        return None
    text = f"{','.join(labels)}->{result}"
    plain = [each.view(np.ndarray) for each in given]
    how = optimize if isinstance(optimize, (str, list, tuple)) else "greedy"
    path = np.einsum_path(text, *plain, optimize=how)[0][1:]
    terms = []
    for each, term in zip(given, labels):
        # A label of length 1 that broadcasts is left out.
        long = [n for n, letter in enumerate(term) if each.shape[n] == sizes[letter]]
        cut = tuple([slice(None) if n in long else 0 for n in range(len(term))])
        terms.append((each[cut + (...,)], "".join(term[n] for n in long)))
    for step in path:
        chosen = [terms.pop(at) for at in sorted(step, reverse=True)]
        while len(chosen) > 1:
            first, second = chosen.pop(), chosen.pop()
            wanted = result + "".join(term for _, term in chosen + terms)
            chosen.append(_pair(*first, *second, wanted, result))
        terms += chosen
    made, term = _alone(*terms[0], result)
    found = made.transpose([term.index(letter) for letter in result])
    if out is not None:
        out[...] = found
        return out
    return found[()] if found.ndim == 0 else found


def _sums(labels: Sequence[str], result: str) -> bool:
    """Whether some label of two operands is summed over: otherwise there is no product."""
    together = "".join(labels)
    return any(
        letter not in result and sum(letter in term for term in labels) > 1
        for letter in set(together)
    )
