"""Constant expressions in program texts: numbers, operators and parentheses.

Operators are those of C, with its precedence: unary ``- + ~``, then ``* / %``, ``+ -``,
``<< >>``, ``&``, ``^``, ``|``.  Integers are exact at any size; ``/`` and ``%`` of two integers
truncate toward zero.  A float anywhere makes ``+ - * /`` floating point.
"""

from __future__ import annotations

import re
from typing import List, Union

from ..errors import DecodeError

__all__ = ["NUMBER", "evaluate", "integer"]

Number = Union[int, float]

NUMBER = (
    r"0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+"
    r"|(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\d+|inf\b|nan\b"
)
"""What a number looks like: integers in C's and Python's bases, floats with a point or exponent."""

_TOKEN = re.compile(rf"\s*(?:({NUMBER})|(<<|>>|[-+~*/%&^|()]))")
_LEVELS = (("|",), ("^",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))
_DEEPEST = 50
_MOST_BITS = 64
_MOST_DIGITS = 100


class _Expression:
    """A recursive-descent reader of one expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.depth = 0
        self.tokens: List[str] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None or (match.group(1) and text[match.end() : match.end() + 1].isalnum()):
                word = re.match(r"\s*(\w+|.)", text[at:])
                raise self.fail(f"{word.group(1) if word else text!r} is no number")
            self.tokens.append(match.group(1) or match.group(2))
            at = match.end()

    def fail(self, why: str) -> DecodeError:
        """What is wrong, with the expression unless the reason names it."""
        whole = repr(self.text.strip())
        return DecodeError(why if why.startswith(whole) else f"{whole}: {why}")

    def value(self) -> Number:
        result = self.level(0)
        if self.tokens:
            raise self.fail(f"{self.tokens[0]!r} is one too many")
        return result

    def level(self, index: int) -> Number:
        if index == len(_LEVELS):
            return self.unary()
        left = self.level(index + 1)
        while self.tokens and self.tokens[0] in _LEVELS[index]:
            sign = self.tokens.pop(0)
            left = self.apply(sign, left, self.level(index + 1))
        return left

    def unary(self) -> Number:
        if not self.tokens:
            raise self.fail("a number is missing" if self.text.strip() else "'' is no number")
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.fail(f"more than {_DEEPEST} signs and parentheses inside each other")
        token = self.tokens.pop(0)
        if token == "(":
            result = self.level(0)
            if not self.tokens or self.tokens.pop(0) != ")":
                raise self.fail("a ')' is missing")
        elif token in ("-", "+", "~"):
            inner = self.unary()
            if token == "~":
                if isinstance(inner, float):
                    raise self.fail("~ takes an integer")
                result = ~inner
            else:
                result = -inner if token == "-" else inner
        elif token[0].isalnum() or token[0] == ".":
            result = _number(token)
        else:
            raise self.fail(f"{token!r} has no left operand")
        self.depth -= 1
        return result

    def apply(self, sign: str, left: Number, right: Number) -> Number:
        if isinstance(left, int) and isinstance(right, int):
            return self.whole(sign, left, right)
        if sign not in ("+", "-", "*", "/"):
            raise self.fail(f"{sign} takes integers")
        try:
            if sign == "/":
                return left / right
            return left * right if sign == "*" else left + (right if sign == "+" else -right)
        except ZeroDivisionError:
            raise self.fail("division by zero") from None
        except OverflowError:
            raise self.fail("the result is beyond a float's range") from None

    def whole(self, sign: str, left: int, right: int) -> int:
        if sign in ("/", "%"):
            if not right:
                raise self.fail("division by zero")
            quotient = abs(left) // abs(right)
            quotient = quotient if (left < 0) == (right < 0) else -quotient
            return quotient if sign == "/" else left - quotient * right
        if sign in ("<<", ">>"):
            if not 0 <= right < _MOST_BITS:
                raise self.fail(f"a shift by {right}: choose 0 to {_MOST_BITS - 1}")
            return left << right if sign == "<<" else left >> right
        if sign == "+":
            return left + right
        if sign == "-":
            return left - right
        if sign == "*":
            return left * right
        return left & right if sign == "&" else left ^ right if sign == "^" else left | right


def _number(token: str) -> Number:
    if token[:2].lower() in ("0x", "0b", "0o"):
        return int(token, 0)
    if token.isdigit():
        if len(token) > 1 and token[0] == "0" and token.strip("0"):
            raise DecodeError(f"{token!r} is no number: write 0o{token.lstrip('0')} for octal")
        if len(token) > _MOST_DIGITS:
            raise DecodeError(f"{token[:20]}...: a number of {len(token)} digits")
        return int(token)
    return float(token)


def evaluate(text: str) -> Number:
    """The value of an expression; :class:`~piblas.errors.DecodeError` with the reason if none."""
    return _Expression(text).value()


def integer(text: str, what: str, low: int, high: int) -> int:
    """An expression's value as an integer of ``low`` to ``high``; ``what`` names it in errors."""
    value = evaluate(text)
    if not isinstance(value, int):
        raise DecodeError(f"{what} {text.strip()!r} is no integer")
    if not low <= value <= high:
        raise DecodeError(f"{what} {value} is not in {low} .. {high}")
    return value
