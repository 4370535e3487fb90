"""Constant expressions: values, precedence, refusals."""

from __future__ import annotations

import math
import random

import pytest

from piblas.errors import DecodeError
from piblas.isa.expression import evaluate


@pytest.mark.parametrize(
    "text, value",
    [
        ("0", 0), ("007", None), ("00", 0), ("0x1F", 31), ("0b101", 5), ("0o17", 15),
        ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("10 - 4 - 3", 3), ("-7 / 2", -3), ("-7 % 2", -1),
        ("7 / -2", -3), ("1 << 4 | 3 & 2 ^ 1", 19), ("1 << 2 + 1", 8), ("~0 & 0xFF", 255),
        ("- - 3", 3), ("-~5", 6), ("1.5 * 2", 3.0), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0),
        ("7 / 2.0", 3.5), ("1 - 1e-3", 0.999), ("inf", math.inf), ("-inf", -math.inf),
        ("12345678901234567890 - 1", 12345678901234567889),
    ],
)  # fmt: skip
def test_values(text, value):
    if value is None:
        with pytest.raises(DecodeError, match="'007' is no number: write 0o7 for octal"):
            evaluate(text)
        return
    got = evaluate(text)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "'' is no number"),
        ("red", "^'red' is no number"),
        ("1 + red", "'1 [+] red': 'red' is no number"),
        ("1 +", "a number is missing"),
        ("(1", r"a '\)' is missing"),
        ("1)", r"'\)' is one too many"),
        ("1 2", "'2' is one too many"),
        ("0x", "is no number"),
        ("12ab", "is no number"),
        ("* 3", "has no left operand"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("1.0 / 0", "division by zero"),
        ("1.5 << 2", "<< takes integers"),
        ("~1.5", "~ takes an integer"),
        ("1 << 64", "a shift by 64: choose 0 to 63"),
        ("1 << -1", "a shift by -1"),
        ("(" * 60 + "1" + ")" * 60, "more than 50 signs and parentheses"),
        ("9" * 5000, "a number of 5000 digits"),
        ("0x" + "f" * 400 + " * 1.0", "beyond a float's range"),
    ],
)
def test_refusals(text, reason):
    with pytest.raises(DecodeError, match=reason):
        evaluate(text)


def test_random_integer_expressions_against_python():
    """Without division, whose sign rule differs, Python's integers have the same operators."""
    rng = random.Random(5)

    def make(depth):
        if depth == 0 or rng.random() < 0.2:
            return rng.choice(["7", "0x1f", "12", "0b11", "3"])
        kind = rng.random()
        if kind < 0.2:
            return f"({make(depth - 1)})"
        if kind < 0.3:
            return rng.choice("-+~") + make(depth - 1)
        sign = rng.choice(["+", "-", "*", "&", "|", "^", " + ", " * "])
        return f"{make(depth - 1)}{sign}{make(depth - 1)}"

    for _ in range(1000):
        text = make(5)
        assert evaluate(text) == eval(text), text
