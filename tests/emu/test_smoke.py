"""A first look at every part of the emulator, and every fault once."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from piblas.driver import Emulator
from piblas.emu import layout, rules
from piblas.emu import machine as machine_module
from piblas.emu.decode import decode_rows
from piblas.errors import DecodeError, DeviceTimeout, EmulatorFault
from piblas.isa import ops
from piblas.isa.instr import Instr, encode
from piblas.isa.parse import parse
from piblas.isa.texture import texture_config

END = ["nop; thrend", "nop", "nop"]
STORE = [
    "ldi -, vpm_wr_setup, 0x00001a00",
    "mov vpm, r0",
    "ldi -, vpm_wr_setup, 0x80904000",
    "ldi -, vpm_wr_setup, 0xc0000000",
    "mov vdw_addr, unif",
    "mov -, vdw_wait",
    "nop",
    *END,
]
"""Stores r0 at the address that the next uniform gives."""


def words(lines):
    return [encode(parse(line)) for line in lines]


def execute(device, lines, *streams, **options):
    program = device.load(words(lines))
    try:
        return device.execute(program, [list(stream) for stream in streams] or [[]], **options)
    finally:
        program.free()


@pytest.fixture(scope="module")
def device():
    with Emulator(memory=1 << 20) as dev:
        yield dev


@pytest.fixture(scope="module")
def buffer(device):
    return device.alloc(4096)


def vector(device, buffer, lines, *uniforms):
    execute(device, [*lines, *STORE], [*uniforms, buffer.bus_address])
    return buffer.array(np.uint32, 16).copy()


def test_arithmetic_reaches_memory(device, buffer):
    lines = ["mov ra0, unif", "mov r1, elem_num", "itof r1, r1", "fadd r0, r1, ra0"]
    got = vector(device, buffer, lines, 2.5).view(np.float32)
    assert got.tolist() == [2.5 + e for e in range(16)]


def test_report_counts_exactly(device, buffer):
    lines = ["mov r0, 1", "mov -, mutex", *STORE[:-3], "mov mutex, r0", *END]
    report = execute(device, lines, [buffer.bus_address], [buffer.bus_address + 64])
    assert report.instructions == 2 * len(lines)
    assert report.issue_cycles == 4 * len(lines)
    assert [row["instructions"] for row in report.per_qpu] == [len(lines)] * 2
    lines_read = {name: report.bytes.pop(name) for name in ("l2", "sdram_read")}
    assert report.bytes == {
        "tmu": 0, "uniforms": 8, "vpm_dma_load": 0, "vpm_dma_store": 128, "sdram_write": 128,
    }  # fmt: skip
    # Each QPU fetches a line of uniforms, and the slice fetches the program, all through L2.
    assert lines_read["sdram_read"] >= 64 * (2 + len(lines) // 8)
    assert sum(report.stalls.values()) == 2 * report.cycles


def test_noise_is_the_same_in_every_launch():
    lines = ["xor r0, ra7, r3", *STORE]
    seen = []
    for seed in (1, 1, 2):
        with Emulator(memory=1 << 20, seed=seed) as dev:
            buf = dev.alloc(256)
            fresh = buf.array(np.uint32).copy()
            for _ in range(2):
                execute(dev, lines, [buf.bus_address])
                seen.append((fresh.tolist(), buf.array(np.uint32, 16).tolist()))
    assert seen[0] == seen[1] == seen[2] == seen[3] != seen[4]


def test_turns_of_any_length_give_the_same():
    """12 QPUs add to one word under the mutex."""
    lines = [
        "mov ra0, unif",
        "mov -, mutex",
        "mov t0s, ra0",
        "nop; ldtmu0",
        "add r0, r4, 1",
        "ldi -, vpm_wr_setup, 0x00001a00",
        "mov vpm, r0",
        "ldi -, vpm_wr_setup, 0x80904000",
        "ldi -, vpm_wr_setup, 0xc0000000",
        "mov vdw_addr, ra0",
        "mov -, vdw_wait",
        "mov mutex, 0",
        "nop",
        *END,
    ]
    for quantum in (1, 3, 128):
        with Emulator(memory=1 << 20, quantum=quantum) as dev:
            buf = dev.alloc(64)
            for launch in (1, 2):
                execute(dev, lines, *[[buf.bus_address]] * 12)
                assert buf.array(np.uint32).tolist() == [12 * launch] * 16


def test_single_steps_show_registers_and_flags(device):
    machine = device.machine
    program = device.load(words(["mov ra3, 5", "sub.sf r0, elem_num, 4", *END]))
    machine.start([(0, program.bus_address)])
    assert machine.instruction(0) == (0, "mov ra3, 5")
    assert machine.step(0)
    assert machine.registers(0)["ra3"].tolist() == [5] * 16
    assert machine.step(0)
    assert machine.flags(0)["z"].tolist() == [e == 4 for e in range(16)]
    assert machine.flags(0)["n"].tolist() == [e < 4 for e in range(16)]
    assert machine.flags(0)["c"].tolist() == [e < 4 for e in range(16)]
    assert [machine.step(0) for _ in range(4)] == [True, True, True, False]
    assert not machine.running(0)
    machine.reset()
    program.free()


def test_breakpoints_go_to_the_debugger(device, buffer):
    seen = []
    device.machine.debugger = lambda machine, qpu: seen.append(machine.instruction(qpu))
    try:
        got = vector(device, buffer, ["mov r0, 7", "nop; bkpt", "add r0, r0, 1"])
    finally:
        device.machine.debugger = None
    assert seen == [(1, "bkpt")]
    assert got.tolist() == [8] * 16


def test_code_that_a_program_writes_is_decoded_again(device):
    """A DMA store replaces an instruction that has already run."""
    new = words(["mov r0, 9", "nop"] + ["nop"] * 6)
    data = device.alloc(64)
    data.array(np.uint64)[:] = new
    lines = [
        "mov ra5, 0",  # 0
        "nop",
        "ldi -, vpm_rd_setup, 0x83011000",
        "mov vdr_addr, unif",
        "mov -, vdr_wait",
        "mov ra0, unif",
        "nop",
        "nop",
        "mov r0, 3",  # 8: replaced by the store below
        *["nop"] * 7,
        "mov.sf -, ra5",  # 16
        "br.any_zc rel +96",  # out in the second turn: word 17 + 4 + 12 = 33
        *["nop"] * 3,
        "mov ra5, 1",
        "ldi -, vpm_wr_setup, 0x80904000",
        "ldi -, vpm_wr_setup, 0xc0000000",
        "mov vdw_addr, ra0",
        "mov -, vdw_wait",
        "br.always rel -176",  # 26: back to word 26 + 4 - 22 = 8
        *["nop"] * 6,
        *STORE,  # 33
    ]
    program = device.load(words(lines))
    out = device.alloc(64)
    stream = [data.bus_address, program.bus_address + 64, out.bus_address]
    device.execute(program, [stream])
    assert out.array(np.uint32).tolist() == [9] * 16
    for item in (program, data, out):
        item.free()


def random_alu_words(rng, count):
    """ALU words on registers, with conditions, flags, packs, rotations and hazards."""
    found = []
    while len(found) < count:
        small = rng.random() < 0.3
        plain = rng.random() < 0.6
        registers = [int(n) for n in rng.integers(0, 4, 4)]
        accumulator = [int(n) for n in rng.integers(32, 36, 2)]
        fields = dict(
            sig=13 if small else 1,
            small_imm=int(rng.integers(0, 64)) if small else 0,
            raddr_a=registers[0],
            raddr_b=39 if small else registers[1],
            waddr_add=registers[2] if rng.random() < 0.6 else accumulator[0],
            waddr_mul=registers[3] if rng.random() < 0.6 else accumulator[1],
            ws=int(rng.integers(0, 2)),
            op_add=int(rng.choice([code for code in ops.ADD_BY_CODE])),
            op_mul=int(rng.integers(0, 8)),
            cond_add=1 if plain else int(rng.integers(0, 8)),
            cond_mul=1 if plain else int(rng.integers(0, 8)),
            sf=0 if plain else int(rng.integers(0, 2)),
            pack=0 if plain else int(rng.integers(0, 16)),
            unpack=0 if plain else int(rng.integers(0, 8)),
        )
        if fields["op_mul"] == 0:
            fields.update(cond_mul=0, waddr_mul=39)
        for name in ("add_a", "add_b", "mul_a", "mul_b"):
            fields[name] = int(rng.integers(0, 8))
        if rng.random() < 0.1:
            fields.update(waddr_mul=37)
        if small:
            fields["raddr_b"] = Instr().raddr_b
        try:
            found.append(encode(Instr(**fields)))
        except DecodeError:
            continue
    return found


@pytest.mark.parametrize("seed", range(12))
def test_fast_words_do_what_the_careful_way_does(seed, monkeypatch):
    """Random programs end with the same registers and flags whichever way their words take."""
    rng = np.random.default_rng(seed)
    code = random_alu_words(rng, 300) + words(["nop", "nop", *END])
    results, shares = [], []
    for careful in (False, True):

        def decode(*args, careful=careful):
            rows = decode_rows(*args)
            if careful:
                rows[:, layout.U_CLASS] = rows[:, layout.U_KIND]
            shares.append(float((rows[:, layout.U_CLASS] <= layout.CLASS_MOVE)[:300].mean()))
            return rows

        monkeypatch.setattr(machine_module, "decode_rows", decode)
        with Emulator(memory=1 << 20, seed=seed, strict=False) as dev:
            dev.execute(dev.load(code), [[], []])
            machine = dev.machine
            results.append([{**machine.registers(q), **machine.flags(q)} for q in range(2)])
    assert shares[0] > 0.2 and shares[1] == 0
    for fast, slow in zip(*results):
        wrong = [name for name in fast if (fast[name] != slow[name]).any()]
        assert not wrong


# --- faults ---------------------------------------------------------------------------------------

LOOKUP = ["mov r0, unif", "nop", "mov t0s, r0"]
VPM_READ = ["ldi vpm_rd_setup, -, 0x00101a00", "mov r0, vpm"]
DMA = ["ldi -, vpm_wr_setup, 0x80904000", "mov vdw_addr, unif"]
LOAD = ["ldi vpm_rd_setup, -, 0x83011000", "mov vdr_addr, unif"]

CASES = {
    "FETCH": ["br.always abs 0x00000008", "nop", "nop", "nop"],
    "FETCH_ALIGN": ["br.always rel +4", "nop", "nop", "nop"],
    "RESERVED": [".word"],
    "BREAKPOINT": ["nop; bkpt"],
    "LATE_A": ["mov r1, 1", "mov ra0, r1", "mov r0, ra0"],
    "LATE_B": ["mov r1, 1", "mov rb0, r1", "mov r0, rb0"],
    "LATE_ROTATE": ["mov r0, elem_num", "add r0, r0, 1", "m_mov r1, r0 rot 5"],
    "LATE_R5": ["mov r0, elem_num", "ldi -, r5rep, 3", "m_mov r1, r0 rot r5"],
    "MIXED_ROTATE": ["mov r0, elem_num", "mov ra0, 3", "nop", "mul24 r1, r0, ra0 rot 5"],
    "ROTATED_FLAGS": ["mov r0, elem_num", "nop", "m_mov.sf r1, r0 rot 5"],
    "UNPACK_MIXED": ["ldi ra0, -, 0x1234", "nop", "fadd r0, ra0.16a, r1; m_mov r1, ra0.16a"],
    "UNDEFINED_READ": ["mov r0, none"],
    "LOST": ["mov r0, r1; thrsw", "nop", "nop", "mov ra0, r0"],
    "STALE_MUL": ["m_nop.always r0"],
    "SAME_DESTINATION": ["mov r1, 1", "mov r0, r1; m_mov r0, r2"],
    "FLAGS_UNSET": ["mov.zs r0, r1"],
    "CARRY": ["ldi r0, -, 0xffff", "mul24.sf r1, r0, r0", "mov.cs r2, r0"],
    "LOAD_FLAGS": ["ldi.sf -, rb0, 1 !cond_add=0"],
    "SWITCH_LAST": ["nop; lthrsw", "nop", "nop", "nop; thrsw"],
    "CONDITIONAL_IO": [
        "ldi -, vpm_wr_setup, 0x1a00", "sub.sf r0, elem_num, 1", "mov.zs vpm, r0",
    ],
    "CROWD": ["mov t0s, r0; m_mov recip, r0"],
    "VPM_CROWD": ["mov r0, vpm; m_mov vpm_wr_setup, r1"],
    "BYTE_IO": ["m_mov vpm.8ac, r0"],
    "UNPACK_IO": ["mov r0, unif.8b"],
    "PACK_TARGET": ["add r0, r0, r1 !pack=4"],
    "R4_BUSY": ["fadd r0, r0, 2.0", "mov recip, r0", "mov r1, r4"],
    "SFU_BUSY": ["mov recip, r0", "mov exp2, r0"],
    "UNIF_EARLY": ["mov r0, unif", "mov unif_addr, r0", "mov r1, unif"],
    "UNIF": ["mov r0, unif", "mov r0, unif"],
    "UNIF_FILE_B": ["mov unif_addr_b, r0"],
    "UNIF_ALIGN": ["ldi unif_addr, -, 0xc4001002", "nop", "nop", "mov r0, unif"],
    "TMU": ["mov t0s, 0"],
    "TMU_POP": ["nop; ldtmu0"],
    "TMU_FULL": [*LOOKUP, *["mov t0s, r0"] * 8],
    "TMU_LEFT": LOOKUP,
    "TEX_TWICE": ["mov t0t, 0", "mov t0t, 0"],
    "TEX_UNIFORM": ["mov t0t, unif"],
    "TEX_SWITCH": ["mov t0t, 0"],
    "VPM_NO_SETUP": ["mov r0, vpm"],
    "VPM_EXTRA": [*VPM_READ, "mov r0, vpm"],
    "VPM_DROPPED": [VPM_READ[0].replace("101a", "201a"), VPM_READ[0]],
    "SETUP": ["ldi -, vpm_wr_setup, 0x40000000"],
    "VPM_RACE": [*LOAD, *VPM_READ],
    "VDR": [LOAD[0], "mov vdr_addr, 0"],
    "VDR_ALIGN": [LOAD[0], "mov r0, unif", "add vdr_addr, r0, 2"],
    "VDR_ROWS": [LOAD[0].replace("1000", "1008"), LOAD[1]],
    "VDR_SELECT": [LOAD[0].replace("0x83", "0xd3"), LOAD[1]],
    "VDR_COLUMN": [LOAD[0].replace("0x83011000", "0xa3011800"), LOAD[1]],
    "VDR_SETUP": ["mov vdr_addr, unif"],
    "VDW": [DMA[0], "mov vdw_addr, 0"],
    "VDW_ALIGN": [DMA[0], "mov r0, unif", "add vdw_addr, r0, 2"],
    "VDW_ROWS": [DMA[0].replace("0x80904000", "0x80904008"), DMA[1]],
    "VDW_DEEP": [DMA[0].replace("0x80904000", "0x80a00000"), DMA[1]],
    "VDW_BLOCK": [DMA[0].replace("0x80904000", "0x81014000"), "ldi -, vpm_wr_setup, 0xc0010000",
                  DMA[1]],
    "VDW_COLUMN": [DMA[0].replace("0x80904000", "0x80900004"), DMA[1]],
    "VDW_SETUP": ["mov vdw_addr, unif"],
    "TLB": ["mov tlb_all, r0"],
    "VARYING": ["mov r0, vary"],
    "BRANCH_SLOT": ["br.always rel +0", "br.always rel +0"],
    "END_SLOT": ["br.always rel +0", "nop; thrend"],
    "END_ACCESS": ["nop; thrend", "mov r0, unif"],
    "END_REGISTER": ["nop; thrend", "mov r0, rb14"],
    "RACE_LOAD": [*DMA, "mov r0, unif", "mov t0s, r0"],
    "RACE_STORE": [*LOAD, DMA[0].replace("4000", "4400"), DMA[1]],
}  # fmt: skip
TEXTURES = {
    "TEX_TYPE": {"type": "etc1"},
    "TEX_CUBE": {"cube": True},
    "TEX_LEVEL": {"levels": 3},
    "TEX_FILTER": {"filter": "linear"},
    "TEX_EDGE": {"width": 6, "at": 1 / 3},
    "TEX_BORDER": {"wrap": "border", "at": 1.5},
}
THREADS = {
    "OTHER_THREAD": ["mov ra0, 1", "nop; thrsw", "nop", "nop", "mov r0, ra16"],
    "TMU_HALF": [*LOOKUP, *["mov t0s, r0"] * 4],
    "TMU_OTHER": [*LOOKUP, "mov t0s, r0", *["nop; thrsw", "nop", "nop", "nop; ldtmu0"] * 2],
}
# On two QPUs, of which the second one does what the first one has not heard of.
TWO = {
    "VPM_ORDER": ["ldi -, vpm_wr_setup, 0x1a00", "mov vpm, r0", *DMA, "mov -, vdw_wait"],
    "RACE_READ": [*LOOKUP, "nop; ldtmu0", DMA[0], "mov vdw_addr, r0", "mov -, vdw_wait"],
}
ELSEWHERE = {"TMU_SWAP_EARLY", "TMU_SWAP_BUSY", "UNINITIALISED"}


def expect(name, run):
    _, unit, reason = next(row for row in rules.FAULTS if row[0] == name)
    with pytest.raises(EmulatorFault) as caught:
        run()
    assert (caught.value.reason.split(":")[0], caught.value.unit) == (reason, unit)
    assert f"pc {caught.value.pc} [" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", CASES)
def test_fault(device, buffer, name):
    lines = [line if line != ".word" else "nop" for line in CASES[name]]
    code = words([*lines, *["nop"] * 4, *END])
    if name == "RESERVED":
        code[0] = 9 << 24 | code[0]
    program = device.load(code)
    stream = [buffer.bus_address] * (1 if name == "UNIF" else 3)
    error = expect(name, lambda: device.execute(program, [stream]))
    program.free()
    assert error.qpu == 0
    vector(device, buffer, ["mov r0, 1"])  # the device still works


def test_every_fault_is_tested():
    tested = {*CASES, *TEXTURES, *THREADS, *TWO, *ELSEWHERE}
    assert tested == {name for name, _, _ in rules.FAULTS}


@pytest.mark.parametrize("name", TEXTURES)
def test_fault_of_a_texture(device, name):
    options = dict(TEXTURES[name])
    cube, levels = options.pop("cube", False), options.pop("levels", 0)
    at, width = options.pop("at", 0.3), options.pop("width", 4)
    image = device.alloc(4096)
    image.array(np.uint32)[:] = np.arange(1024) * 5
    config = [*texture_config(image.bus_address, width, 4, **options)]
    config[0] |= cube << 9 | levels
    config[1] |= 2 << 4 if levels else 0
    lines = ["mov r0, unif", "mov t0t, r0", "mov t0s, r0", "nop; ldtmu0", *END]
    error = expect(name, lambda: execute(device, lines, [float(at), *config]))
    assert error.pc == 2
    image.free()


@pytest.mark.parametrize("name", TWO)
def test_fault_of_two_qpus(device, buffer, name):
    program = device.load(words([*TWO[name], "nop", *END]))
    error = expect(name, lambda: device.execute(program, [[buffer.bus_address]] * 2))
    assert f"QPU {error.qpu}: " in error.reason and f"QPU {1 - error.qpu}" in error.reason
    program.free()


@pytest.mark.parametrize("name", THREADS)
def test_fault_of_two_threads(device, buffer, name):
    program = device.load(words([*THREADS[name], *END]))
    streams = [[buffer.bus_address]] * 2
    error = expect(name, lambda: device.execute(program, streams, threads=2))
    assert error.thread is not None
    program.free()


def test_fault_of_a_swap_too_late(device, buffer):
    """QPU 2 has its TMUs swapped, so tmu_noswap decides which one answers."""
    early = ["mov r0, unif", "mov tmu_noswap, 1", "nop", "mov t0s, r0", "nop; ldtmu0", *END]
    late = ["mov r0, unif", "nop", "mov t0s, r0", "mov tmu_noswap, 1", "nop; ldtmu0", *END]
    streams = [[buffer.bus_address]] * 3
    expect("TMU_SWAP_EARLY", lambda: execute(device, early, *streams))
    expect("TMU_SWAP_BUSY", lambda: execute(device, late, *streams))
    execute(device, early[:2] + ["nop"] + early[2:], *streams)


def test_fault_of_a_word_never_written():
    with Emulator(memory=1 << 20, trap_uninitialised=True) as dev:
        buf = dev.alloc(128)
        lines = [*LOOKUP, "nop; ldtmu0", *END]
        error = expect("UNINITIALISED", lambda: execute(dev, lines, [buf.bus_address]))
        assert error.address == buf.bus_address
        buf.array(np.uint32)[:] = 0
        execute(dev, lines, [buf.bus_address])


def test_deadlock_names_every_qpu(device):
    with pytest.raises(DeviceTimeout, match="every QPU waits for another one") as caught:
        execute(device, ["sema_down 3", *END], [], [])
    assert caught.value.details == (
        "QPU 0, pc 0 [sema_down 3]: waits for a semaphore at 0\n"
        "QPU 1, pc 0 [sema_down 3]: waits for a semaphore at 0"
    )
    assert not device.machine.semaphores.any()


def test_endless_loop_runs_into_the_limit(device):
    lines = ["br.always rel -32", "nop", "nop", "nop"]
    with pytest.raises(DeviceTimeout, match="no end after 0.001 s") as caught:
        execute(device, lines, timeout=0.001)
    assert caught.value.details.startswith("QPU 0, pc ")


@pytest.mark.parametrize(
    "lines, what",
    [
        (["nop; ldtmu0"], "a TMU result that nobody requested"),
        (["mov r0, vpm"], "a VPM vector that nobody set up"),
        ([*LOOKUP, *["mov t0s, r0"] * 8], "room for a TMU request"),
        (["mov -, mutex", "mov -, mutex"], "the mutex"),
        (["sema_up 1"] * 16, "a semaphore at 15"),
    ],
)
def test_what_a_qpu_can_wait_for(lines, what):
    with Emulator(memory=1 << 20, strict=False) as dev:
        buf = dev.alloc(64)
        with pytest.raises(DeviceTimeout, match=f"waits for {what}"):
            execute(dev, [*lines, *END], [buf.bus_address])


# --- caches --------------------------------------------------------------------------------------

# Reads a word by TMU, stores 1 there by DMA, reads it again, and stores what it saw second.
STALE = [
    "mov ra0, unif",
    "nop",
    "mov t0s, ra0",
    "nop; ldtmu0",
    "ldi -, vpm_wr_setup, 0x00001a00",
    "mov vpm, 1",
    "ldi -, vpm_wr_setup, 0x80904000",
    "ldi -, vpm_wr_setup, 0xc0000000",
    "mov vdw_addr, ra0",
    "mov -, vdw_wait",
    "mov t0s, ra0",
    "nop; ldtmu0",
    "mov r0, r4",
    *STORE,
]


def test_tmu_sees_old_data_until_caches_are_cleared():
    with Emulator(memory=1 << 20, incoherent=True) as dev:
        buf, out = dev.alloc(64), dev.alloc(64)
        buf.array(np.uint32)[:] = 5
        buf.clean()
        stream = [buf.bus_address, out.bus_address]
        first = dev.load(words(STALE))
        second = dev.load(words([*LOOKUP, "nop; ldtmu0", "mov r0, r4", *STORE]))
        dev.execute(first, [stream])
        assert out.array(np.uint32)[0] == 0
        out.invalidate()
        assert out.array(np.uint32)[0] == 5
        for clear, seen in ((False, 5), (True, 1)):
            report = dev.execute(second, [stream], clear_caches=clear)
            out.invalidate()
            assert out.array(np.uint32)[0] == seen
        assert report.bytes["sdram_read"] <= report.bytes["l2"]


def test_without_incoherence_the_tmu_sees_new_data(device, buffer):
    out = device.alloc(64)
    buffer.array(np.uint32, 16)[:] = 5
    execute(device, STALE, [buffer.bus_address, out.bus_address])
    assert out.array(np.uint32)[0] == 1
    out.free()


def test_old_code_runs_until_caches_are_cleared():
    with Emulator(memory=1 << 20, incoherent=True) as dev:
        out, code = dev.alloc(64), dev.alloc(4096)
        for value, clear, seen in ((1, True, 1), (2, False, 1), (2, True, 2)):
            lines = words([f"mov r0, {value}", *STORE])
            code.array(np.uint64, len(lines))[:] = lines
            code.clean()
            dev.execute(code.bus_address, [[out.bus_address]], clear_caches=clear)
            out.invalidate()
            assert out.array(np.uint32)[0] == seen


def test_data_that_was_not_cleaned_stays_with_the_cpu():
    with Emulator(memory=1 << 20, incoherent=True) as dev:
        buf, out = dev.alloc(64), dev.alloc(64)
        lines = [*LOOKUP, "nop; ldtmu0", "mov r0, r4", *STORE]
        buf.array(np.uint32)[:] = 9
        for clean, seen in ((False, 0), (True, 9)):
            if clean:
                buf.clean()
            execute(dev, lines, [buf.bus_address, out.bus_address])
            out.invalidate()
            assert out.array(np.uint32)[0] == seen
