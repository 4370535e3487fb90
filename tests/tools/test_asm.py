"""``piblas asm FILE`` and ``piblas dis FILE``: text and words are exact images of each other."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest

from piblas.cli import files
from piblas.isa.source import assemble, to_source
from piblas.kernels import spec

from .helpers import PROGRAMS, run

TEXT = "mov r0, 3\nturn: sub.sf r0, r0, 1  # count\nbr.any_zc rel turn\nnop\nnop\nnop\n.word 5\n"
WORDS = assemble(TEXT).words


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "loop.qasm"
    file.write_text(TEXT)
    return file


def test_to_binary_and_back(capsys, tmp_path, path):
    assert run(capsys, "asm", path, "-o", tmp_path / "loop.bin") == (0, "", "")
    assert (tmp_path / "loop.bin").read_bytes() == np.array(WORDS, "<u8").tobytes()
    code, text, _ = run(capsys, "dis", tmp_path / "loop.bin")
    assert code == 0 and text == to_source(WORDS)
    (tmp_path / "again.txt").write_text(text)
    assert run(capsys, "asm", tmp_path / "again.txt", "-o", tmp_path / "again.bin")[0] == 0
    assert (tmp_path / "again.bin").read_bytes() == (tmp_path / "loop.bin").read_bytes()


def test_forms(capsys, tmp_path, path):
    hexes = "".join(f"{word:016x}\n" for word in WORDS)
    listing = to_source(WORDS, {"turn": 1})
    assert run(capsys, "asm", path)[1] == run(capsys, "asm", path, "--text")[1] == listing
    assert run(capsys, "asm", path, "--hex")[1] == hexes
    assert run(capsys, "asm", path, "-o", tmp_path / "x.hex")[0] == 0
    assert (tmp_path / "x.hex").read_text() == hexes
    assert run(capsys, "asm", path, "--text", "-o", tmp_path / "x.bin")[0] == 0
    assert (tmp_path / "x.bin").read_text() == listing
    assert run(capsys, "dis", path)[1] == listing
    assert "#" not in run(capsys, "dis", path, "--plain")[1]


@pytest.mark.parametrize("name", spec.names())
def test_kernels(capsys, tmp_path, name):
    words = spec.get(name).build().words
    assert run(capsys, "asm", name, "-o", tmp_path / "k.bin")[0] == 0
    assert (tmp_path / "k.bin").read_bytes() == words.astype("<u8").tobytes()
    (tmp_path / "k.qasm").write_text(run(capsys, "dis", tmp_path / "k.bin")[1])
    (tmp_path / "named.qasm").write_text(run(capsys, "asm", name, "--text")[1])
    for text in ("k.qasm", "named.qasm"):
        run(capsys, "asm", tmp_path / text, "-o", tmp_path / "again.bin")
        assert (tmp_path / "again.bin").read_bytes() == (tmp_path / "k.bin").read_bytes()


def test_random_data(capsys, tmp_path):
    """Words that are no instructions survive, and the exit code says that there are some."""
    rng = random.Random(2)
    data = np.array([rng.getrandbits(64) for _ in range(500)], "<u8").tobytes()
    (tmp_path / "data.bin").write_bytes(data)
    code, text, _ = run(capsys, "dis", tmp_path / "data.bin")
    assert code == 1 and ".word" in text
    (tmp_path / "data.qasm").write_text(text)
    assert run(capsys, "asm", tmp_path / "data.qasm", "-o", tmp_path / "again.bin")[0] == 0
    assert (tmp_path / "again.bin").read_bytes() == data


def test_stdin(capsys, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(TEXT.encode())

    monkeypatch.setattr(files.sys, "stdin", Stdin)
    assert run(capsys, "asm", "-", "--hex")[1].split() == [f"{word:016x}" for word in WORDS]
    Stdin.buffer = io.BytesIO(b"frob r0")
    code, _, err = run(capsys, "asm", "-")
    assert code == 1 and err.startswith("piblas asm: <stdin>:1: 'frob r0': 'frob' is no")


def test_refusals(capsys, tmp_path, path):
    code, _, err = run(capsys, "asm", path, "--set", "rows=3")
    assert code == 2 and "--set goes with a kernel" in err
    code, _, err = run(capsys, "asm", tmp_path / "none.qasm")
    assert code == 1 and "No such file" in err
    path.write_text("# only\nbr.always rel nowhere\n")
    code, _, err = run(capsys, "asm", path)
    assert code == 1 and f"{path}:2: there is no label 'nowhere'" in err


@pytest.mark.parametrize(
    "text, expected",
    [
        ("# comment\n\nloop: nop", "source"),
        ("# comment\n100009e7009e7000", "hex"),
        ("// C\n{ }", "source"),
        ("nop # {0x100009e7, 0x009e7000}", "source"),
        ("deadbeef: nop", "source"),
        ("0x009e7000, 0x100009e7,", "hex"),
        ("x = {0x009e7000, 0x100009e7}", "c"),
        ("x = {1, 2}", "c"),
        ("0" * 64, "bits"),
        ("0x" + "0" * 16, "hex"),
        ("", "source"),
    ],
)
def test_the_form_of_a_text(text, expected):
    assert files.form(text) == expected


def test_comments_in_any_script():
    """A text may hold letters beyond ASCII in its comments."""
    assert files.read_words("nop  # für später\n".encode()).words == assemble("nop").words
    assert len(files.read_words("\u20acnop".encode("utf-16")[:8]).words) == 1


@pytest.mark.parametrize("program", sorted(PROGRAMS.glob("*.qasm")), ids=lambda path: path.stem)
def test_our_programs(capsys, tmp_path, program):
    words = assemble(program.read_text()).words
    (tmp_path / "x.qasm").write_text(run(capsys, "dis", program)[1])
    assert files.read_program(str(tmp_path / "x.qasm")).words == words
