"""``piblas run``: foreign programs with buffers and uniforms, faults, traces, JSON."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest

from piblas.cli import run as run_module
from piblas.emu.rules import RULES
from piblas.isa.source import assemble

from .helpers import END, PROGRAMS, run, words_of

COPY, SUM = PROGRAMS / "copy.qasm", PROGRAMS / "sum.qasm"


@pytest.fixture
def data(tmp_path):
    """a.npy: 24 vectors of numbers."""
    array = np.random.default_rng(3).standard_normal((24, 16)).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    return array


def forms(path, tmp_path):
    """The same program as text, hex words, C array of halves, and binary."""
    words = assemble(path.read_text()).words
    yield path
    (tmp_path / "p.hex").write_text("".join(f"{word:016x}\n" for word in words))
    yield tmp_path / "p.hex"
    halves = "".join(f"0x{word & 0xFFFFFFFF:08x}, 0x{word >> 32:08x},\n" for word in words)
    (tmp_path / "p.txt").write_text("// low, high\n" + halves)
    yield tmp_path / "p.txt"
    np.array(words, "<u8").tofile(tmp_path / "p.bin")
    yield tmp_path / "p.bin"


# --- what it computes ---------------------------------------------------------------------------


def test_a_program_in_every_form(capsys, tmp_path, data):
    for path in forms(COPY, tmp_path):
        out = tmp_path / "b.npy"
        buffers = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=24x16:float32")
        code, text, err = run(
            capsys, "run", path, *buffers, "--uniforms", "@a,@b,24", "--save", f"b={out}"
        )
        assert (code, err) == (0, "")
        np.testing.assert_array_equal(np.load(out), data)
        assert re.fullmatch(
            r"1 QPU: 352 instructions, \d+ clocks\n"
            r"bytes: tmu 1536, uniforms 12, vpm_dma_store 1536, sdram_write 1536, "
            r"l2 \d+, sdram_read \d+\n",
            text,
        )
        out.unlink()


def test_uniforms_of_each_qpu(capsys, tmp_path, data):
    argv = ["run", COPY, "--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=24x16:float32"]
    for qpu in range(12):
        argv += ["--uniforms", f"@a+{128 * qpu},@b+{128 * qpu:#x},2"]
    code, out, _ = run(capsys, *argv, "--qpus", 12, "--save", f"b={tmp_path}/b.npy")
    assert code == 0 and out.startswith("12 QPUs: 528 instructions, 44 on the busiest, ")
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), data)


def test_one_list_for_every_qpu(capsys, tmp_path, data):
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=24x16:float32", "--json")
    code, out, _ = run(capsys, "run", COPY, *argv, "--uniforms", "@a,@b,24", "--qpus", 3)
    facts = json.loads(out)
    assert code == 0 and facts["qpus"] == 3 == len(facts["per_qpu"])
    assert facts["bytes"]["vpm_dma_store"] == 3 * data.nbytes


@pytest.mark.parametrize("trace", [False, True])
def test_two_threads_a_qpu(capsys, tmp_path, data, trace):
    argv = ["run", COPY, "--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=24x16:float32"]
    for thread in range(4):
        argv += ["--uniforms", f"@a+{384 * thread},@b+{384 * thread:#x},6"]
    argv += ["--threads", 2, "--qpus", 2, "--save", f"b={tmp_path}/b.npy"]
    code, out, _ = run(capsys, *argv, *["--trace"] * trace)
    assert code == 0 and "2 QPUs: 400 instructions" in out
    assert ("QPU  1.1  pc" in out) == trace
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), data)


def test_sum_printed(capsys, tmp_path):
    np.save(tmp_path / "a.npy", np.arange(32, dtype=np.float32))
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "s=16:float32")
    code, out, _ = run(capsys, "run", SUM, *argv, "--uniforms", "@a,@s,2", "--print", "s")
    assert code == 0
    assert out.splitlines()[0].startswith("s = [496. 496. 496. ")


def test_json(capsys, tmp_path):
    np.save(tmp_path / "a.npy", np.arange(32, dtype=np.float32))
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "s=1x16:float32", "--json")
    code, out, _ = run(capsys, "run", SUM, *argv, "--uniforms", "@a,@s,2", "--print", "s")
    facts = json.loads(out)
    assert code == 0 and facts["ok"] and facts["interrupts"] == []
    assert facts["instructions"] == facts["per_qpu"][0]["instructions"] > 40
    assert facts["buffers"]["s"]["values"] == [[496.0] * 16]
    assert facts["buffers"]["a"]["shape"] == [32] and "values" not in facts["buffers"]["a"]
    assert facts["buffers"]["s"]["bus_address"] > facts["buffers"]["a"]["bus_address"]


STORE = (
    """
    mov -, mutex
    ldi vpm_wr_setup, -, 0x00001a00
    mov vpm, unif
    mov vpm, unif
    mov vpm, unif
    mov vpm, unif
    ldi vpm_wr_setup, -, 0x82104000
    ldi vpm_wr_setup, -, 0xc0000000
    mov vdw_addr, unif
    mov -, vdw_wait
    mov mutex, r0
    mov host_int, 1
"""
    + END
)


@pytest.mark.parametrize(
    "numbers, expected",
    [
        ("1,-1,0x10,0b11", [1, 0xFFFFFFFF, 16, 3]),
        ("1.5,-1e0,1E3,.5", [1.5, -1.0, 1000.0, 0.5]),
        ("inf,-inf, 0xE5 ,4294967295", [np.inf, -np.inf, 0xE5, 0xFFFFFFFF]),
    ],
)
def test_words_of_uniforms(capsys, tmp_path, numbers, expected):
    path = tmp_path / "store.qasm"
    path.write_text(STORE)
    argv = ("--buffer", "b=4x16:uint32", "--save", f"b={tmp_path}/b.npy")
    code, out, _ = run(capsys, "run", path, "--uniforms", f"{numbers},@b", *argv)
    assert code == 0 and "host interrupt from QPU 0" in out
    words = [
        int(np.float32(value).view(np.uint32)) if isinstance(value, float) else value
        for value in expected
    ]
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), np.repeat(words, 16).reshape(4, 16))


def test_uniforms_from_a_file(capsys, tmp_path):
    """Rows of a .npy file; buffers start at fixed places, so a first run tells their addresses."""
    path = tmp_path / "store.qasm"
    path.write_text(STORE)
    argv = ("--buffer", "b=4x16:uint32", "--json", "--print", "b")
    code, out, _ = run(capsys, "run", path, "--uniforms", "1,2,3,4,@b", *argv)
    address = json.loads(out)["buffers"]["b"]["bus_address"]
    for array in (
        np.array([5, 6, 7, 8, address], np.uint32),
        np.array([[9, 9, 9, 9, address], [5, 6, 7, 8, address]], np.uint32),
    ):
        np.save(tmp_path / "u.npy", array)
        code, out, _ = run(capsys, "run", path, "--uniforms", tmp_path / "u.npy", *argv)
        facts = json.loads(out)
        assert code == 0 and facts["qpus"] == np.atleast_2d(array).shape[0]
        if facts["qpus"] == 1:
            assert [row[0] for row in facts["buffers"]["b"]["values"]] == [5, 6, 7, 8]


def test_incoherent_and_seed(capsys, tmp_path, data):
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=24x16:float32", "--uniforms")
    save = ("@a,@b,24", "--save", f"b={tmp_path}/b.npy", "--incoherent", "--seed", 5)
    code, out, _ = run(capsys, "run", COPY, *argv, *save)
    assert code == 0 and "sdram_read" in out
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), data)


def test_bytes_and_halves(capsys, tmp_path):
    np.save(tmp_path / "a.npy", np.arange(64, dtype=np.uint8))
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=32:int16", "--print", "b", "--json")
    code, out, _ = run(capsys, "run", COPY, *argv, "--uniforms", "@a,@b,1")
    values = json.loads(out)["buffers"]["b"]["values"]
    assert code == 0 and values == np.arange(64, dtype=np.uint8).view(np.int16).tolist()


# --- faults -------------------------------------------------------------------------------------


def test_out_of_bounds_is_precise(capsys, tmp_path, data):
    """One vector too many: first the store beyond the end, in every form of the program."""
    for path in forms(COPY, tmp_path):
        argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=23x16:float32")
        code, out, err = run(capsys, "run", path, *argv, "--uniforms", "@a,@b,24")
        where = {".qasm": f" ({path}:23)", ".bin": ""}.get(path.suffix, f" ({path}:")
        assert (code, out) == (1, "")
        address = 0xC4001000 + 4096 + 4096 + 23 * 64
        assert err.startswith(
            "piblas run: QPU 0, pc 19 [mov vdw_addr, rb1]: vdw: writes outside the buffers at bus "
            f"address {address:#010x} (0 bytes behind the end of buffer b){where}"
        )


def test_a_fault_as_json(capsys, tmp_path, data):
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=30x16:float32", "--json")
    code, out, err = run(capsys, "run", COPY, *argv, "--uniforms", "@a,@b,30")
    fault = json.loads(out)["fault"]
    assert code == 1 and json.loads(out)["ok"] is False
    assert fault["message"] in err
    del fault["message"]
    assert fault == {
        "kind": "EmulatorFault",
        "qpu": 0,
        "pc": 13,
        "instruction": "mov t0s, ra0",
        "unit": "tmu",
        "address": 0xC4001000 + data.nbytes,
        "reason": "reads outside the buffers",
        "rule": "tmu",
        "where": f"{COPY}:17",
        "beside": "0 bytes behind the end of buffer a",
    }


@pytest.mark.parametrize(
    "uniforms, beside",
    [
        ("@a,@b+4,1", "(0 bytes behind the end of buffer b)"),
        ("0xc4000ff8,@b,1", "(8 bytes before buffer a)"),
        ("@a+4096,@b,1", "(2560 bytes behind the end of buffer a)"),
        ("0,@b,1", "bus address 0x00000000 ("),
        ("@a,@b+2,1", "(byte 2 of buffer b)"),
    ],
)
def test_a_fault_tells_the_nearest_buffer(capsys, tmp_path, data, uniforms, beside):
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=1x16:float32")
    code, _, err = run(capsys, "run", COPY, *argv, "--uniforms", uniforms)
    assert code == 1 and beside in err
    assert ("buffer" in err.split("bus address")[1]) == ("byte" in beside)


def test_a_program_that_runs_off_its_end(capsys, tmp_path):
    path = tmp_path / "off.qasm"
    path.write_text("nop\nnop\n")
    code, _, err = run(capsys, "run", path)
    assert code == 1 and "QPU 0, pc 2 " in err and f"(behind the 2 words of {path})" in err


def test_nothing_is_saved_after_a_fault(capsys, tmp_path, data):
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=1x16:float32")
    save = ("--save", f"b={tmp_path}/b.npy")
    assert run(capsys, "run", COPY, *argv, "--uniforms", "@a,@b,2", *save)[0] == 1
    assert not (tmp_path / "b.npy").exists()


def test_no_strict_goes_on(capsys, tmp_path, data):
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=23x16:float32", "--no-strict")
    code, out, _ = run(
        capsys, "run", COPY, *argv, "--uniforms", "@a,@b,24", "--save", f"b={tmp_path}/b.npy"
    )
    assert code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), data[:23])


@pytest.mark.parametrize("trace", [(), ("--trace", "--trace-limit", "1")])
def test_an_endless_loop(capsys, tmp_path, trace):
    path = tmp_path / "loop.qasm"
    path.write_text("x: br.always rel x\nnop\nnop\nnop")
    code, out, err = run(capsys, "run", path, "--timeout", "1e-4", *trace)
    assert code == 1 and "no end after 0.0001 s of the chip's time" in err
    assert "QPU 0, pc " in err and "running" in err
    code, out, _ = run(capsys, "run", path, "--timeout", "1e-4", "--json")
    assert code == 1 and json.loads(out)["fault"]["kind"] == "DeviceTimeout"


@pytest.mark.parametrize("trace", [(), ("--trace", "--trace-limit", "1"), ("--trace",)])
def test_an_endless_loop_ends_in_wall_time_and_is_seen_to_run(capsys, tmp_path, monkeypatch, trace):
    monkeypatch.setattr(run_module._Watch, "AT_LEAST", 0.0)
    monkeypatch.setattr(run_module._Watch, "EVERY", 1.5)
    path = tmp_path / "loop.qasm"
    path.write_text("x: br.always rel x\nnop\nnop\nnop")
    start = time.monotonic()
    code, _, err = run(capsys, "run", path, "--timeout", "4", *trace)
    assert time.monotonic() - start < 30
    assert code == 1 and re.search(r"no end after \d+\.\d s; give it more with --timeout", err)
    assert "QPU 0, pc " in err
    if not trace:
        assert re.search(r"running .*loop.qasm: \d+ million instructions, \d s \.\.\.", err)


RACE = """
    mov r3, unif
    ldi vpm_wr_setup, -, 0x00001a00
    mov.sf -, r3
    mov r0, unif
    br.all_zc rel writes
    nop
    nop
    nop
    ldi vpm_wr_setup, -, 0x82104000
    ldi vpm_wr_setup, -, 0xc0000000
    mov vdw_addr, r0
    mov -, vdw_wait
    br.always rel done
    nop
    nop
    nop
writes:
    mov vpm, r0
done:
"""


@pytest.mark.parametrize("how", [(), ("--trace",), ("--trace", "--trace-limit", 3), ("--seed", 5)])
def test_a_race_is_one_however_the_program_is_run(capsys, tmp_path, how):
    """QPU 0 stores rows 0 to 3, QPU 1 writes row 0, and nothing orders the two."""
    path = tmp_path / "race.qasm"
    path.write_text(RACE + END)
    argv = ["run", path, "--buffer", "b=64:uint32", "--uniforms", "0,@b", "--uniforms", "1,@b"]
    code, _, err = run(capsys, *argv, *how)
    assert code == 1
    for piece in ("QPU 0", "QPU 1", "VPM rows 0-3", "0xc4001000..0xc40010ff"):
        assert piece in err
    assert "(--keep-going vpm-race passes over what breaks this rule)" in err
    code, _, err = run(capsys, *argv, *how, "--keep-going", "vpm-race")
    assert code == 0
    code, _, err = run(capsys, *argv, *how, "--keep-going", "memory-race")
    assert code == 1


def test_rules_to_keep_going_at(capsys, tmp_path):
    path = tmp_path / "p.qasm"
    path.write_text("mov.zs r0, r1\nmov r0, none" + END)
    code, _, err = run(capsys, "run", path)
    assert code == 1 and "--keep-going flags-unset" in err
    code, _, err = run(capsys, "run", path, "--keep-going", "flags-unset")
    assert code == 1 and "--keep-going undefined-read" in err
    rules = ("--keep-going", "flags-unset", "--keep-going", "undefined-read")
    assert run(capsys, "run", path, *rules)[0] == 0
    code, _, err = run(capsys, "run", path, "--keep-going", "flags")
    assert code == 2 and "--keep-going flags: choose from" in err and "flags-unset" in err
    code, out, _ = run(capsys, "run", "--help")
    words = re.sub(r"-\s+", "-", out)
    assert code == 0 and all(rule in words for rule in RULES)


def test_more_uniforms_than_were_given(capsys, tmp_path):
    path = tmp_path / "p.qasm"
    path.write_text("mov r0, unif\nmov r0, unif\nmov r0, unif" + END)
    assert run(capsys, "run", path, "--uniforms", "1,2,3")[::2] == (0, "")
    code, _, err = run(capsys, "run", path, "--uniforms", "1,2")
    assert code == 1 and "(it was given 2 uniforms)" in err and "--keep-going unif " in err
    for how in ("--no-strict",), ("--keep-going", "unif"), ("--no-strict", "--trace"):
        code, _, err = run(capsys, "run", path, "--uniforms", "1,2,3", "--uniforms", "1,2", *how)
        warning = "QPU 1 read 3 uniforms and was given 2"
        assert (code, err) == (0, f"piblas run: warning: {warning}\n")
    code, out, _ = run(capsys, "run", path, "--uniforms", "1,2", "--no-strict", "--json")
    assert json.loads(out)["warnings"] == ["QPU 0 read 3 uniforms and was given 2"]
    # A program that says itself where its uniforms are.
    path.write_text("mov r0, unif\nmov unif_addr, r0\nnop\nnop\nmov r0, unif\nmov r0, unif" + END)
    buffer = ("--buffer", "b=16:uint32", "--uniforms", "@b", "--no-strict")
    assert run(capsys, "run", path, *buffer)[::2] == (0, "")


# --- trace --------------------------------------------------------------------------------------


def test_trace(capsys, tmp_path, data):
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=24x16:float32")
    argv += ("--uniforms", "@a,@b,1", "--uniforms", "@a+64,@b+64,1")
    plain = run(capsys, "run", COPY, *argv)[1].splitlines()
    code, out, _ = run(capsys, "run", COPY, *argv, "--trace")
    lines = out.splitlines()
    assert code == 0
    # A trace goes instruction by instruction, without a clock.
    assert plain[0].startswith(lines[-2] + ", ") and plain[1].startswith(lines[-1] + ", ")
    assert len(lines) - 2 == 60 and plain[0].startswith("2 QPUs: 60 instructions")
    assert lines[4] == "QPU  0  pc    2  mov ra2, unif  |  unif=1 -> ra2=1"
    assert lines[5] == "QPU  1  pc    2  mov ra2, unif  |  unif=1 -> ra2=1"
    one = run(capsys, "run", COPY, *argv, "--trace", "--trace-qpu", 1)[1].splitlines()
    assert one[:-2] == [line for line in lines[:-2] if line.startswith("QPU  1")]
    code, out, _ = run(capsys, "run", COPY, *argv, "--trace", "--trace-limit", 3)
    assert code == 0 and out.splitlines() == [
        *lines[:3],
        "... the trace ends after 3 lines",
        *lines[-2:],
    ]


def test_trace_of_a_fault(capsys, tmp_path, data):
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=1x16:float32", "--trace")
    code, out, err = run(capsys, "run", COPY, *argv, "--uniforms", "@a,@b,2")
    last = "QPU  0  pc   19  mov vdw_addr, rb1  |  faults: vdw: writes outside the buffers"
    assert code == 1 and out.splitlines()[-1] == last
    assert "vdw: writes outside the buffers at bus address 0xc4003040" in err


def test_trace_beside_json(capsys, tmp_path, data):
    argv = ("--buffer", f"a={tmp_path}/a.npy", "--buffer", "b=1x16:float32", "--trace", "--json")
    code, out, err = run(capsys, "run", COPY, *argv, "--uniforms", "@a,@b,1", "--trace-full")
    assert code == 0 and json.loads(out)["instructions"] == 30 == len(err.splitlines())
    values = " ".join(f"{value:#x}" for value in data[0].view(np.uint32))
    assert f"vpm=[{values}]" in err


def test_trace_passes_breakpoints(capsys, tmp_path):
    path = tmp_path / "break.qasm"
    path.write_text("nop; bkpt" + END)
    code, _, err = run(capsys, "run", path)
    assert code == 1 and "breakpoint signal, and no debugger is attached" in err
    code, out, _ = run(capsys, "run", path, "--trace")
    assert code == 0 and "6 instructions" in out


# --- wrong arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--buffer", "b"], "--buffer b: write NAME=..."),
        (["--buffer", "a b=4:uint32"], "--buffer a b=4:uint32: write NAME=..."),
        (["--buffer", "b=4:uint32", "--buffer", "b=5:uint32"], "b is there already"),
        (["--buffer", "b=4:colour"], "'colour' is no type of NumPy"),
        (["--buffer", "b=4:float64"], "choose a number type of at most 32 bits"),
        (["--save", "c=x.npy"], "--save c: there is no --buffer c"),
        (
            ["--buffer", "b=4:uint32", "--save", "b=/no/such/b.npy"],
            "--save b=/no/such/b.npy: there is no directory /no/such",
        ),
        (["--print", "c"], "--print c: there is no --buffer c"),
        (["--uniforms", "1,@c"], "--uniforms @c: there is no --buffer c"),
        (["--uniforms", "1,red"], "--uniforms: 'red' is neither a number nor @NAME"),
        (["--uniforms", "1.5.2"], "'1.5.2' is neither a number"),
        (["--buffer", "b=4:uint32", "--uniforms", "@b+red"], "'@b+red' is neither a number"),
        (["--qpus", "0"], "--qpus 0: there are 1 to 12"),
        (["--qpus", "13"], "--qpus 13: there are 1 to 12"),
        (["--qpus", "2", *["--uniforms", "1"] * 3], "--qpus 2: there are uniforms for 3"),
        (["--threads", "3"], "--threads 3: a QPU has 1 or 2"),
        (
            ["--threads", "2", *["--uniforms", "1"] * 3],
            "--threads 2: there are uniforms for 3 threads",
        ),
        (["--trace", "--trace-qpu", "1"], "--trace-qpu 1: QPUs 0 to 0 run"),
        (["--trace", "--trace-limit", "-1"], "--trace-limit -1: choose 0 or more"),
        (["--trace-full"], "--trace-full goes with --trace"),
        (["--trace-qpu", "0"], "--trace-qpu goes with --trace"),
        (["--trace-limit", "5"], "--trace-limit goes with --trace"),
    ],
)
def test_wrong_arguments(capsys, argv, message):
    code, out, err = run(capsys, "run", COPY, *argv)
    assert (code, out) == (2, "") and message in err and "usage: piblas run" in err


@pytest.mark.parametrize(
    "array, what, message",
    [
        (np.zeros(4), "b", "holds float64: QPUs work on at most 32 bits"),
        (np.zeros(4, np.complex64), "b", "no .npy file of numbers"),
        (np.array(["x"]), "b", "no .npy file of numbers"),
        (np.zeros((2, 2, 2), np.float32), "u", "holds float32 of shape (2, 2, 2): uniforms are"),
        (np.zeros(4, np.int16), "u", "holds int16 of shape (4,): uniforms are 32-bit words"),
        (None, "b", "no .npy file of numbers"),
        (None, "u", "no .npy file of numbers"),
    ],
)
def test_wrong_files(capsys, tmp_path, array, what, message):
    path = tmp_path / "x.npy"
    path.write_bytes(b"no array")
    if array is not None:
        np.save(path, array)
    argv = ("--buffer", f"b={path}") if what == "b" else ("--uniforms", path)
    code, out, err = run(capsys, "run", COPY, *argv)
    assert (code, out) == (1, "") and f"{path}" in err and message in err


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--uniforms", "4294967296"], "uniforms of QPU 0: 4294967296 is no 32-bit word"),
        (["--uniforms", "1e50"], "uniforms of QPU 0: 1e+50 is beyond float32"),
        (["--buffer", "b=0:uint32"], "--buffer b: a buffer of 0 bytes: the smallest has 1"),
        (["--buffer", "b=1000000000:uint32"], "--buffer b: no room for 4000000000 bytes"),
        (["--buffer", "b=9999999999x9999999999:uint32"], "--buffer b=9999999999x9999999999:uint32"),
        (["--timeout", "0"], "timeout = 0.0: a launch needs more than 0 seconds"),
        (["--trace", "--timeout", "0"], "timeout = 0.0: a launch needs more than 0 seconds"),
        (["--buffer", "b=/no/such/file.npy"], "No such file"),
    ],
)
def test_the_device_refuses(capsys, argv, message):
    code, out, err = run(capsys, "run", COPY, *argv)
    assert (code, out) == (1, "") and message in err


def test_a_file_of_the_other_byte_order(capsys, tmp_path):
    array = np.arange(16, dtype=">f4").reshape(1, 16)
    np.save(tmp_path / "big.npy", array)
    argv = ("--buffer", f"a={tmp_path}/big.npy", "--buffer", "b=1x16:float32", "--print", "b")
    code, out, _ = run(capsys, "run", COPY, *argv, "--uniforms", "@a,@b,1", "--json")
    assert code == 0 and json.loads(out)["buffers"]["b"]["values"] == array.tolist()


def test_no_program(capsys, tmp_path):
    path = tmp_path / "empty.qasm"
    path.write_text("# nothing\n")
    code, _, err = run(capsys, "run", path)
    assert code == 1 and "no instructions in this file" in err
    assert run(capsys, "run", tmp_path / "none")[0] == 1


def test_hand_written_words():
    """The programs here are as their comments say: no kernel, no generator."""
    assert len(words_of(COPY.read_text())) == 30
