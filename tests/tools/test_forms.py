"""Files as other projects keep their programs: C sources, bits, hex words."""

from __future__ import annotations

import pytest

from piblas.cli.files import read_words
from piblas.errors import PiblasError
from piblas.isa.source import assemble

from .helpers import PROGRAMS, run

WORDS = assemble((PROGRAMS / "sum.qasm").read_text()).words
PAIRS = "".join(
    f"/* [{8 * i:#010x}] */ {w & 0xFFFFFFFF:#010x}, {w >> 32:#010x}, // word {i} {{; }} #\n"
    for i, w in enumerate(WORDS)
)


def words_of(text):
    return read_words(text.encode(), "prog").words


@pytest.mark.parametrize(
    "head, tail",
    [
        ("", ""),
        ("uint32_t code[] = {\n", "\n};\n"),
        ("static const uint32_t code[] __attribute__((aligned(8))) =\n{\n", "\n};\n"),
        (
            '#include <stdint.h>\n#ifdef __cplusplus\nextern "C" { /* types { */\n#endif\n'
            "#ifdef __cplusplus\n}\n#endif\n// int x[] = { 0x00000000, };\n"
            "extern const unsigned n;\nextern const unsigned code[2];\nunsigned code[2] = {\n",
            "\n};\nconst unsigned n = sizeof(code) / 8;\nint other[] = { 1, 2 };\n",
        ),
        ("/* two\n   lines = { 1 } */\nunsigned code[] = { ", " };"),
        ("f(int n) { return n; }\nint code[] = {", "};"),
        ("{", "}"),
    ],
)
def test_c_sources(head, tail):
    source = read_words((head + PAIRS + tail).encode())
    assert source.words == WORDS
    first = head.count("\n") + 1
    assert source.lines == list(range(first, first + len(WORDS)))


def test_c_arrays_of_64_bits():
    text = "uint64_t code[] = {\n" + ",\n".join(f"0x{word:016x}ULL" for word in WORDS) + "\n};"
    assert words_of(text) == WORDS
    assert words_of(text.replace("ULL", "UL")) == WORDS


@pytest.mark.parametrize(
    "text, message",
    [
        ("int a[] = {\n0x00000001, 0x00000002 };\nint b[] = { 0x00000003 };",
         "prog: 2 arrays of hex words .lines 2, 3.: keep one"),
        ("int a[] = { 1,\n2 };", "prog:1: '1,' is no hex word of 8 or 16 digits"),
        ("int a[] = { 0x00000001,\n0x2, };", "prog:2: '0x2,' is no hex word"),
        ("int a[] = { 0x00000001 };", "an odd number of 8-digit hex words"),
        ("int a[] = { 0x0000000000000001, 0x00000001 };", "8-digit and 16-digit hex words"),
    ],
)  # fmt: skip
def test_c_sources_that_hold_no_program(text, message):
    with pytest.raises(PiblasError, match=message):
        words_of(text)


@pytest.mark.parametrize("groups", [(64,), (8,) * 8, (4, 3, 1, 4, 3, 3, 1, 1, 6, 6) + (8,) * 4])
@pytest.mark.parametrize("between", [" ", "\t", ", "])
def test_files_of_bits(groups, between):
    lines = ["// bits"]
    for word in WORDS:
        digits, parts = f"{word:064b}", []
        for size in groups:
            parts.append(digits[:size])
            digits = digits[size:]
        lines += [between.join(parts) + "  ; comment", ""]
    source = read_words("\n".join(lines).encode())
    assert source.words == WORDS and source.lines == list(range(2, 2 * len(WORDS) + 2, 2))


@pytest.mark.parametrize(
    "text, message",
    [
        ("1" * 64 + "\n" + "0" * 63, "prog:2: 63 digits of 0 and 1: a file of bits has 64"),
        ("10000000 00000001", "prog:1: 16 digits .*if these are hex words, write 0x before them"),
        ("1000000000000000", "prog:1: 16 digits of 0 and 1"),
    ],
)
def test_digits_that_are_neither_bits_nor_hex(text, message):
    with pytest.raises(PiblasError, match=message):
        words_of(text)
    marked = " ".join(f"0x{token}" for token in text.split())
    if "digits of 0 and 1: a file" not in message:
        assert len(words_of(marked)) == 1


def test_the_command(capsys, tmp_path):
    path = tmp_path / "sum.qbin"
    path.write_text("".join(f"{word:064b}\n" for word in WORDS))
    assert run(capsys, "asm", path, "--hex")[1].split() == [f"{word:016x}" for word in WORDS]
    (tmp_path / "sum.c").write_text("int code[] = {\n" + PAIRS + "};\n")
    assert run(capsys, "dis", tmp_path / "sum.c") == run(capsys, "dis", path)
