"""``piblas run`` and ``check``: programs after a header, buffers that hold addresses of others."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from .helpers import END, PROGRAMS, run, words_of

COPY = PROGRAMS / "copy.qasm"


@pytest.fixture
def a(tmp_path):
    array = np.random.default_rng(3).standard_normal((4, 16)).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    return array


def argv(tmp_path):
    return (
        *("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=4x16:float32"),
        *("--uniforms", "@a,@b,4", "--save", f"b={tmp_path}/b.npy"),
    )


HEADER = ".word 0xe500000000000000, 2, 3\n"  # what is no instruction, and faults if executed


def with_header(tmp_path, form):
    """copy.qasm after three words of data."""
    text = HEADER + "start:\n" + COPY.read_text()
    path = tmp_path / f"headed.{form}"
    if form == "qasm":
        path.write_text(text)
    else:
        path.write_bytes(words_of(text).astype("<u8").tobytes())
    return path


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("form, entry", [("qasm", "3"), ("qasm", "start"), ("bin", "0x3")])
def test_entry(capsys, tmp_path, a, form, entry, trace):
    path = with_header(tmp_path, form)
    options = ["--trace"] * trace
    assert run(capsys, "run", path, *argv(tmp_path), *options)[0] == 1
    code, out, err = run(capsys, "run", path, *argv(tmp_path), "--entry", entry, *options)
    assert (code, err) == (0, "") and ("pc    0  mov r0, unif" in out) == trace
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), a)


def test_code_before_the_entry_can_be_branched_to(capsys, tmp_path):
    path = tmp_path / "back.qasm"
    path.write_text("done: mov host_int, 1" + END + "br.always rel done\nnop\nnop\nnop")
    code, out, _ = run(capsys, "run", path, "--entry", "6")
    assert code == 0 and "host interrupt from QPU 0" in out


def test_a_fault_after_a_header_names_the_file_s_line(capsys, tmp_path):
    text = HEADER + "nop\nmov t0s, unif\nldtmu0" + END
    path = tmp_path / "fault.qasm"
    path.write_text(text)
    code, _, err = run(capsys, "run", path, "--entry", "3", "--uniforms", "64")
    assert code == 1 and "pc 1 [mov t0s, unif]" in err and f"({path}:3)" in err
    (tmp_path / "fault.bin").write_bytes(words_of(text).astype("<u8").tobytes())
    code, out, err = run(
        capsys, "run", tmp_path / "fault.bin", "--entry", "3", "--uniforms", "64", "--json"
    )
    assert "(word 4 of " in err and json.loads(out)["fault"]["where"].startswith("word 4 of")


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    "entry, message",
    [
        ("99", "--entry 99: the program has words 0 to"),
        ("-1", "--entry -1: the program has words 0 to"),
        ("nowhere", "--entry nowhere: no number of a word and no label; there are start, loop"),
    ],
)
def test_refused_entries(capsys, tmp_path, command, entry, message):
    code, _, err = run(capsys, command, with_header(tmp_path, "qasm"), f"--entry={entry}")
    assert code == 1 and message in err


def test_check_after_a_header(capsys, tmp_path):
    path = with_header(tmp_path, "qasm")
    assert run(capsys, "check", path)[0] == 1
    code, out, _ = run(capsys, "check", path, "--entry", "start")
    assert code == 0 and "0 errors" in out
    path.write_text(HEADER + "mov ra0, 1\nmov r0, ra0" + END)
    code, out, _ = run(capsys, "check", path, "--entry", "3", "--json")
    [finding] = [row for row in json.loads(out)["findings"] if row["level"] == "error"]
    assert code == 1 and (finding["index"], finding["address"]) == (4, 32)
    assert finding["where"] == f"{path}:3"


# --- buffers of words ----------------------------------------------------------------------------

# Uniforms come from a table in memory: unif_addr is set to its address, then its words are read.
BY_TABLE = """
    mov unif_addr, unif
    nop
    nop
""" + COPY.read_text()


def test_a_table_of_addresses(capsys, tmp_path, a):
    """The table comes before the buffers that it names, and holds an offset and a number."""
    path = tmp_path / "table.qasm"
    path.write_text(BY_TABLE)
    code, out, _ = run(
        *(capsys, "run", path, "--buffer", "table=@a+64, @b+0x80,2", "--uniforms", "@table"),
        *("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=4x16:float32"),
        *("--save", f"b={tmp_path}/b.npy", "--print", "table", "--json"),
    )
    assert code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), [a[0] * 0, a[0] * 0, a[1], a[2]])
    made = json.loads(out)["buffers"]
    assert made["table"]["dtype"] == "uint32" and made["table"]["shape"] == [3]
    assert made["table"]["values"] == [
        made["a"]["bus_address"] + 64,
        made["b"]["bus_address"] + 128,
        2,
    ]


def test_a_list_of_words(capsys, tmp_path):
    path = tmp_path / "end.qasm"
    path.write_text("nop" + END)
    code, out, _ = run(
        *(capsys, "run", path, "--print", "t", "--print", "u", "--json"),
        *("--buffer", "t=1,-1,0x10,1.5,@t", "--buffer", "u=@u"),
    )
    made = json.loads(out)["buffers"]
    bits = int(np.float32(1.5).view(np.uint32))
    assert made["t"]["values"] == [1, 0xFFFFFFFF, 16, bits, made["t"]["bus_address"]]
    assert code == 0 and made["u"]["values"] == [made["u"]["bus_address"]]


@pytest.mark.parametrize(
    "what, message",
    [
        ("t=@a,@c", "--buffer t @c: there is no --buffer c"),
        ("t=1,red", "--buffer t: 'red' is neither a number nor @NAME"),
        ("t=@a+red", "--buffer t: '@a[+]red' is neither a number"),
        ("t=1,4294967296", "--buffer t: 4294967296 is no 32-bit word"),
        ("t=1,1e99", "--buffer t: 1e[+]99 is beyond float32"),
    ],
)
def test_refused_lists(capsys, tmp_path, what, message):
    code, _, err = run(capsys, "run", COPY, "--buffer", "a=4:uint32", "--buffer", what)
    assert code == 2 and re.search(message, err)
