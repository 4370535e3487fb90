"""The command line: results on stdout, messages on stderr, exit codes 0, 1, 2 and 130."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import piblas
from piblas import cli
from piblas.cli import console, demo, profile, programs
from piblas.isa.instr import encode
from piblas.isa.parse import parse
from piblas.isa.source import to_source
from piblas.kernels import gemm, spec

COMMAND = [sys.executable, "-m", "piblas"]
LINES = ["fadd r0, ra1, rb2; fmul r1, r2, r3", "ldtmu0"]
WORDS = [encode(parse(line)) for line in LINES]


def run(capsys, *argv):
    """(exit code, stdout, stderr) of a command line."""
    try:
        code = cli.main([str(each) for each in argv])
    except SystemExit as end:
        code = end.code
    streams = capsys.readouterr()
    return code, streams.out, streams.err


# --- in general ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["demo", "info", "why", "asm", "dis"])
def test_help(capsys, command):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0 and out.startswith(f"usage: piblas {command}")
    assert command in run(capsys, "--help")[1]


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"piblas {piblas.__version__}\n", "")


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "the following arguments are required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["why", "sgemm", "1", "2"], "sgemm has the sizes m n k"),
        (["why", "sgemm", "1", "2", "x"], "'x' is not an integer of at least 0"),
        (["why", "sgemm", "1", "2", "-3"], "-3"),
        (["why", "dgem", "1"], "invalid choice: 'dgem'"),
        (["why", "sgemm", "1", "2", "3", "--board", "pi4"], "invalid choice: 'pi4'"),
        (["demo", "--a", "x.npy"], "--a and --b go together"),
        (["demo", "--size", "3", "--a", "x.npy", "--b", "y.npy"], "--size makes the matrices"),
        (["demo", "--size", "0"], "--size 0 leaves nothing to multiply"),
        (["asm", "nonsense"], "no kernel 'nonsense'; there are "),
        (["asm", "gemm", "--set", "rows"], "--set rows: write OPTION=VALUE"),
        (["asm", "gemm", "--set", "colour=3"], "--set colour=3: write OPTION=VALUE"),
        (["asm", "gemm", "--set", "rows=x"], "--set rows=x: wants a value like 8"),
        (["asm", "gemm", "--set", "beta=x"], "--set beta=x: wants yes or no"),
        (["asm", "gemm", "--set", "rows=17"], "gemm: no kernel has"),
        (["dis"], "the following arguments are required: FILE"),
    ],
)
def test_wrong_arguments(capsys, argv, message):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err and "usage: piblas" in err


def test_wrong_setting(capsys, fresh, monkeypatch):
    monkeypatch.setenv("PIBLAS_DEVICE", "gpu")
    code, out, err = run(capsys, "why", "sgemm", 1, 2, 3)
    assert (code, out) == (1, "")
    assert err == (
        "piblas why: PIBLAS_DEVICE='gpu': choose one of auto, qpu, emulator, cpu\n"
    )


def test_broken_pipe(tmp_path):
    path = tmp_path / "many.bin"
    np.full(20000, WORDS[0], "<u8").tofile(path)
    process = subprocess.Popen(
        [*COMMAND, "dis", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


def test_interrupt(capsys, monkeypatch):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(programs, "read_program", interrupt)
    code, _, err = run(capsys, "dis", __file__)
    assert (code, err) == (130, "piblas dis: interrupted\n")


def test_verbose(capsys, fresh, monkeypatch):
    monkeypatch.setattr(logging.getLogger("piblas"), "level", 0)
    assert run(capsys, "-v", "why", "sgemm", 1, 2, 3)[0] == 0
    assert logging.getLogger("piblas").level == logging.DEBUG


def test_slow_work_is_announced(capsys, monkeypatch):
    monkeypatch.setattr(console, "PATIENCE", 0.05)
    with console.progress("counting sheep") as say, console.follow_log(say):
        time.sleep(0.2)
        logging.getLogger("piblas.somewhere").info("compiling sheep")
        time.sleep(0.2)
        say("done soon")
    assert capsys.readouterr().err == "counting sheep ...\ncompiling sheep ...\n"


def test_quick_work_is_not(capsys):
    with console.progress("counting sheep"):
        pass
    assert capsys.readouterr().err == ""


# --- info, why ----------------------------------------------------------------------------------


def test_info(capsys, fresh):
    code, out, _ = run(capsys, "info")
    assert code == 0
    for text in (piblas.__version__, np.__version__, "PIBLAS_DEVICE", "gemm", "no VideoCore IV"):
        assert text in out
    facts = json.loads(run(capsys, "info", "--json")[1])
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["settings"]["PIBLAS_DEVICE"] == {"value": "auto", "default": "auto"}
    assert facts["kernels"]["gemm"]["options"]["rows"] == gemm.SPEC.defaults.rows


def test_info_about_the_emulator(capsys, fresh, monkeypatch):
    scheduler = pytest.importorskip("piblas.emu.scheduler")

    def told():
        return json.loads(run(capsys, "info", "--json")[1])["devices"]["emulator"]

    assert told().startswith("available, compiled code is kept in /")
    monkeypatch.setattr(scheduler, "kept_in", lambda: None)
    assert told().startswith("available, but each process compiles it anew")
    monkeypatch.setitem(sys.modules, "piblas.emu.scheduler", None)
    assert told().startswith("numba does not work here: ")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert told().startswith("needs numba")


def test_progress_without_a_terminal_says_how_long_it_has_taken(capsys, monkeypatch):
    monkeypatch.setattr(console, "PATIENCE", 0.05)
    monkeypatch.setattr(console, "AGAIN", 0.2)
    with console.progress("counting"):
        time.sleep(0.8)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "counting ..." and len(lines) >= 3
    assert lines[-1] in ("counting ... 0 s", "counting ... 1 s")


def test_why(capsys, fresh):
    code, out, _ = run(capsys, "why", "sgemm", 2048, 2048, 2048, "--board", "pi1")
    assert code == 0 and out.startswith("qpu (kernel gemm): predicted faster on the QPUs")
    assert re.search(r"qpu [\d.]+ s \(host .*, launch .*, copy .*, kernel .*\)\n$", out)
    argv = ("why", "sgemm", 8, 8, 8, "--board", "pi1", "--device", "cpu", "--resident", "--json")
    choice = json.loads(run(capsys, *argv)[1])
    assert choice["backend"] == "cpu" and set(choice["seconds"]) == {"cpu", "qpu"}
    for backend, parts in choice["parts"].items():
        assert set(parts) == {"host", "launch", "copy", "kernel"}
        assert sum(parts.values()) == pytest.approx(choice["seconds"][backend])


# --- asm, dis -----------------------------------------------------------------------------------


def test_asm_and_dis_agree(capsys, tmp_path):
    """The same words in the three forms, and dis reads what asm writes."""
    from piblas.kernels import spec

    program = spec.get("gemm").build(rows=4, vectors=3, beta=False)
    options = ("--set", "rows=4", "--set", "vectors=3", "--set", "beta=no")
    assert run(capsys, "asm", "gemm", *options)[1] == program.listing().rstrip("\n") + "\n"
    assert run(capsys, "asm", "gemm", *options, "--hex", "-o", tmp_path / "k.hex")[0] == 0
    assert run(capsys, "asm", "gemm", *options, "--bin", "-o", tmp_path / "k.bin")[0] == 0
    assert (tmp_path / "k.bin").read_bytes() == program.words.astype("<u8").tobytes()
    of_hex = run(capsys, "dis", tmp_path / "k.hex")
    of_bin = run(capsys, "dis", tmp_path / "k.bin")
    assert of_hex == of_bin and of_hex[0] == 0
    assert of_hex[1] == to_source(program.words)


def test_asm_lists_kernels(capsys):
    code, out, _ = run(capsys, "asm")
    assert code == 0 and "gemm: " in out and "rows" in out
    assert all(f"{name}: " in out for name in spec.names())


def test_asm_bin_to_a_pipe():
    data = subprocess.run([*COMMAND, "asm", "gemm", "--bin"], capture_output=True, check=True)
    assert len(data.stdout) % 8 == 0 and data.stdout


def test_asm_bin_to_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(programs.sys.stdout, "isatty", lambda: True, raising=False)
    assert "--bin wants -o FILE" in run(capsys, "asm", "gemm", "--bin")[2]


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{w:016x}\n" for w in WORDS),
        ", ".join(f"0x{w:016X}ULL" for w in WORDS) + " // the end",
        "# low, high\n" + "".join(f"0x{w & 0xFFFFFFFF:08x}, 0x{w >> 32:08x},\n" for w in WORDS),
    ],
    ids=["plain", "C, 64 bits", "C, 32 bits"],
)
def test_dis_reads_hex(capsys, tmp_path, text):
    path = tmp_path / "words.txt"
    path.write_text(text)
    code, out, _ = run(capsys, "dis", path)
    assert code == 0
    assert out.splitlines() == [
        f"    {line:<60}  # {8 * index:04x}: {word:016x}"
        for index, (word, line) in enumerate(zip(WORDS, LINES))
    ]


def test_dis_stdin():
    data = np.array(WORDS, "<u8").tobytes()
    done = subprocess.run([*COMMAND, "dis", "-"], input=data, capture_output=True, check=True)
    assert b"fadd r0, ra1, rb2; fmul r1, r2, r3" in done.stdout


def test_dis_says_what_is_no_instruction(capsys, tmp_path):
    from piblas.errors import DecodeError
    from piblas.isa.instr import decode

    bad = next(w for w in (0xE000000000000000 | i << 57 for i in range(8)) if _rejects(decode, w))
    path = tmp_path / "words.txt"
    path.write_text(f"{WORDS[0]:016x} {bad:016x}")
    code, out, _ = run(capsys, "dis", path)
    with pytest.raises(DecodeError) as error:
        decode(bad)
    assert code == 1
    assert out.splitlines()[1].endswith(f".word {bad:#018x}  # {error.value.reason}")


def _rejects(decode, word):
    try:
        decode(word)
    except piblas.DecodeError:
        return True
    return False


@pytest.mark.parametrize(
    "data, message",
    [
        (b"\0" * 12, "12 bytes are no whole number of 64-bit words"),
        (b"", "0 bytes are no whole number of 64-bit words"),
        (b"0123456789abcdef\nhello, world", "words:2: 'hello,' is no hex word of 8 or 16 digits"),
        (b"  # nothing but this\n", "words: no instructions in this file"),
        (b"0123456789abcdef 01234567", "8-digit and 16-digit hex words are mixed"),
        (b"01234567 89abcdef 01234567", "an odd number of 8-digit hex words"),
    ],
)
def test_dis_refuses(capsys, tmp_path, data, message):
    path = tmp_path / "words"
    path.write_bytes(data)
    code, out, err = run(capsys, "dis", path)
    assert (code, out) == (1, "") and message in err


def test_dis_without_the_file(capsys):
    code, _, err = run(capsys, "dis", "/no/such/file")
    assert code == 1 and err == "piblas dis: /no/such/file: No such file or directory\n"


# --- demo ---------------------------------------------------------------------------------------


def test_demo(capsys, fresh):
    code, out, _ = run(capsys, "demo", "--size", 40, "--listing")
    assert code == 0
    assert "C (40 x 40) = A (40 x 40) times B (40 x 40)" in out
    assert "of its bound: ok" in out
    assert "with the calibrated timing set" in out and "fmul" in out


def test_demo_with_files(capsys, fresh, tmp_path):
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((30, 20)), rng.standard_normal((20, 50))
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    files = ("--a", tmp_path / "a.npy", "--b", tmp_path / "b.npy", "--out", tmp_path / "c.npy")
    code, out, _ = run(capsys, "demo", *files, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["ok"] and facts["c"] == [30, 50]
    assert facts["instructions"] == sum(facts["instructions_per_qpu"])
    seconds = facts["simulated_seconds"]
    least = 4 * max(facts["instructions_per_qpu"]) / facts["clock_hz"]
    assert least < seconds["optimistic"] < seconds["calibrated"] < seconds["pessimistic"]
    np.testing.assert_allclose(np.load(tmp_path / "c.npy"), a @ b, rtol=1e-4, atol=1e-4)


def test_demo_fails_when_the_product_is_wrong(capsys, fresh, monkeypatch):
    """The check is a real one: a product that is off by one part in a thousand fails."""
    right = piblas.sgemm
    monkeypatch.setattr(piblas, "sgemm", lambda alpha, a, b: right(1.001 * alpha, a, b))
    code, out, _ = run(capsys, "demo", "--size", 16)
    assert code == 1 and "of its bound: FAIL" in out


def test_residual_by_hand():
    a = b = np.ones((1, 1), np.float32)
    right = demo.residual(a, b, np.ones((1, 1)))
    assert right == {
        "residual": 0.0,
        "largest_error": 0.0,
        "largest_share_of_bound": 0.0,
        "ok": True,
    }
    wrong = demo.residual(a, b, np.full((1, 1), 1.5))
    assert wrong["residual"] == wrong["largest_error"] == 0.5 and not wrong["ok"]


@pytest.mark.parametrize(
    "a, b, message",
    [
        (np.ones((2, 3)), np.ones((2, 3)), "sgemm: argument b = (2, 3)"),
        (np.full((2, 2), np.nan), np.ones((2, 2)), "nothing ran on the QPUs"),
        (np.array(["x"]), np.ones((2, 2)), "wants a matrix of numbers"),
        (np.ones((0, 2)), np.ones((2, 2)), "nothing ran on the QPUs"),
    ],
    ids=["shapes", "NaN", "text", "empty"],
)
def test_demo_refuses(capsys, fresh, tmp_path, a, b, message):
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    code, out, err = run(capsys, "demo", "--a", tmp_path / "a.npy", "--b", tmp_path / "b.npy")
    assert (code, out) == (1, "") and message in err


def test_demo_needs_npy_files(capsys, fresh, tmp_path):
    path = tmp_path / "a.npy"
    path.write_text("no array")
    code, _, err = run(capsys, "demo", "--a", path, "--b", path)
    assert code == 1 and f"{path}: no .npy file of numbers" in err
    assert run(capsys, "demo", "--a", "/no/file", "--b", path)[0] == 1


@pytest.mark.parametrize(
    "argv",
    [
        ("demo", "--size", "8", "--out"),
        ("profile", "saxpy", "64", "--trace"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_before_anything_runs(
    capsys, tmp_path, monkeypatch, argv
):
    def never(*args, **kw):
        raise AssertionError("computed although the result cannot be kept")

    monkeypatch.setattr(demo, "_on_emulator", never)
    monkeypatch.setattr(profile, "_simulate", never)
    for path, reason in (
        (tmp_path / "no" / "c.npy", f"there is no directory {tmp_path}/no"),
        (tmp_path, "this is a directory"),
    ):
        code, out, err = run(capsys, *argv, path)
        assert code == 2 and not out and f"{argv[-1]} {path}: {reason}" in err


def test_a_demo_whose_file_fails_at_last_prints_its_result(capsys, fresh, tmp_path, monkeypatch):
    def full(path, array):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(demo.np, "save", full)
    code, out, err = run(capsys, "demo", "--size", 16, "--out", tmp_path / "c.npy")
    assert code == 1 and "residual" in out and "No space left on device" in err


def test_demo_without_numba(tmp_path):
    """Says what to install."""
    (tmp_path / "numba.py").write_text("raise ImportError('no numba here')\n")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [*COMMAND, "demo", "--size", "4"],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths)),
    )
    assert done.returncode == 1
    assert "pip install numba, or in a checkout of piblas: pip install '.[emulator]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_hints_name_no_package_of_ours():
    """No index has piblas: the extras are those of a checkout."""
    root = pathlib.Path(piblas.__file__).parent
    for path in (*root.rglob("*.py"), root.parent / "README.md"):
        found = re.search(r"pip install [^`\n]*piblas\[", path.read_text())
        assert found is None, f"{path}: {found.group()}"


def test_the_hint_on_a_32_bit_system(monkeypatch):
    from piblas.driver import needs

    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert "no numba for 32-bit systems" in needs.emulator()
    assert "pip install" not in needs.emulator()
