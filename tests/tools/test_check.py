"""``piblas check``: findings as text and JSON, exit codes, every form of a program."""

from __future__ import annotations

import json

import numpy as np
import pytest

from piblas.isa.source import assemble
from piblas.kernels import spec

from .helpers import END, PROGRAMS, run, words_of

# Reads a register one word after it was written.
LATE = "mov ra0, 1\nmov r0, ra0" + END


@pytest.fixture(params=["bin", "hex", "qasm"])
def late(request, tmp_path):
    path = tmp_path / f"late.{request.param}"
    words = words_of(LATE)
    if request.param == "bin":
        path.write_bytes(words.astype("<u8").tobytes())
    else:
        path.write_text(
            LATE if request.param == "qasm" else "".join(f"{word:016x}\n" for word in words)
        )
    return path


def test_a_broken_rule(capsys, late):
    code, out, err = run(capsys, "check", late)
    assert code == 1 and err == ""
    first, second = out.splitlines()[:2]
    assert first.startswith("0008  error  H1 ") and "register" in first
    where = "" if late.suffix == ".bin" else f"  ({late}:2)"
    assert second.strip() == f"mov r0, ra0{where}"
    assert out.splitlines()[-1] == "7 words, 1 error, 1 warning"


def test_json(capsys, late):
    code, out, _ = run(capsys, "check", late, "--json")
    facts = json.loads(out)
    assert code == 1
    assert (facts["words"], facts["errors"], facts["warnings"]) == (7, 1, 1)
    finding = facts["findings"][0]
    assert {name: finding[name] for name in ("rule", "level", "index", "address")} == {
        "rule": "H1",
        "level": "error",
        "index": 1,
        "address": 8,
    }
    assert finding["instruction"] == "mov r0, ra0" and finding["message"]


def test_a_kernel_is_clean(capsys, tmp_path):
    path = tmp_path / "gemm.bin"
    spec.get("gemm").build().words.astype("<u8").tofile(path)
    code, out, _ = run(capsys, "check", path)
    assert code == 0 and " 0 errors, " in out


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.qasm")), ids=lambda path: path.stem)
def test_our_programs_are_clean(capsys, path):
    code, out, _ = run(capsys, "check", path, "--json")
    rules = {finding["rule"] for finding in json.loads(out)["findings"]}
    assert code == 0 and rules <= {"H30"}


def test_a_word_that_is_no_instruction(capsys, tmp_path):
    path = tmp_path / "data.qasm"
    path.write_text("nop\n.word 0xe400000000000000" + END)
    code, out, _ = run(capsys, "check", path)
    assert code == 1
    assert out.startswith("0008  error  decode  ") and "load kind 2 is reserved" in out


def test_labels_are_entries(capsys, tmp_path):
    """A branch by a register may go to a label, and the words behind it are checked, too."""
    path = tmp_path / "table.qasm"
    text = "mov ra2, unif\nnop\nbr.always abs 0x00000000 + ra2\nnop\nnop\nnop" + END
    path.write_text(text + "other: " + LATE)
    assert "H1 " in run(capsys, "check", path)[1]
    path.write_text(text + LATE)
    assert "H1 " not in run(capsys, "check", path)[1]
    assert np.array_equal(words_of(text + LATE), assemble(text + "other: " + LATE).words)


def test_errors_in_the_text(capsys, tmp_path):
    path = tmp_path / "wrong.qasm"
    path.write_text("nop\nfrob r1")
    code, out, err = run(capsys, "check", path)
    assert (code, out) == (1, "") and err.startswith(f"piblas check: {path}:2: 'frob r1'")
