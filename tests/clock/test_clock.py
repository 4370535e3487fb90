"""The clock against an independent model, hand-counted times, and its own accounts."""

from __future__ import annotations

import numpy as np
import pytest
from uniform_oracle import clocks

pytest.importorskip("numba")

from piblas.driver import Emulator, collect
from piblas.errors import DeviceTimeout
from piblas.isa.instr import encode
from piblas.isa.parse import parse
from piblas.isa.timing import CAUSES, Timing, timing_set

END = ["nop; thrend", "nop", "nop"]
FREE_CODE = {"icache_l2": 0, "icache_sdram": 0, "l2_port_line": 0, "sdram_rate": 1_000_000}
"""Changes under which fetching code costs nothing and disturbs nobody."""


def words(lines):
    return [encode(parse(line)) for line in lines]


def run(lines, *streams, clock_hz=250e6, timing=None, n_qpus=12, **changes):
    """The report of one launch under the calibrated set with ``changes``."""
    timing = timing or timing_set("calibrated", **changes)
    with Emulator(memory=1 << 20, timing=timing, clock_hz=clock_hz, n_qpus=n_qpus) as device:
        return device.execute(device.load(words(lines + END)), streams or [[]], timeout=1e6)


def cycles(lines, *streams, **changes):
    """Clocks of a program without its end, code being free."""
    report = run(lines, *streams, **{**FREE_CODE, **changes})
    return report.cycles - 4 * len(END)


# --- uniforms ------------------------------------------------------------------------------------

PUBLISHED = {
    64: (0.60, 0.79, 0.88, 0.93, 0.97, 0.99, 1.00),
    16: (0.72, 0.86, 0.93, 0.97, 1.00),
}
"""Share of issue with 0, 1, ... nops behind each of so many reads."""


def stream_program(reads, nops, turns):
    plain = [("read", 1), ("op", nops)] * reads + [("op", 4)]
    lines = (["mov r0, unif"] + ["nop"] * nops) * reads + ["nop"] * 4
    return plain * turns, lines * turns


@pytest.mark.parametrize("latency", [30, 57, 100])
@pytest.mark.parametrize("reads, nops", [(64, 0), (64, 1), (16, 0), (16, 3), (5, 6), (33, 2)])
def test_uniform_streams_are_the_small_models(reads, nops, latency):
    turns = 2000 // (reads * (1 + nops) + 4)
    plain, lines = stream_program(reads, nops, turns)
    stream = np.zeros(reads * turns, np.uint32)
    got = cycles(lines, stream, uniform_l2=latency, uniform_sdram=0)
    assert got == clocks(plain, latency)


@pytest.mark.parametrize("restart", [0, 40, 150])
def test_moved_streams_are_the_small_models(restart):
    plain, lines = [], ["mov ra0, unif", "nop"]
    plain += [("read", 1), ("op", 1)]
    for turn in range(20):
        plain += [("jump", 1024 * (turn + 1)), ("op", 3), ("read", 40)]
        lines += ["mov unif_addr, ra0", "add r0, ra0, r1", "mov ra0, r0", "nop"]
        lines += ["mov r2, unif"] * 40
    lines.insert(2, "ldi r1, -, 4096")
    plain.insert(2, ("op", 1))
    timing = timing_set(
        "calibrated", uniform_l2=57, uniform_sdram=0, uniform_restart=4 * restart,
        **FREE_CODE,
    )  # fmt: skip
    with Emulator(memory=1 << 20, timing=timing) as device:
        data = device.alloc(21 * 4096)
        stream = device.alloc(64)
        stream.array(np.uint32, 1)[:] = data.bus_address + 4096
        report = device.execute(device.load(words(lines + END)), [stream.bus_address])
    assert report.cycles - 12 == clocks(plain, 57, restart)


def test_the_small_model_is_near_what_was_published():
    for reads, shares in PUBLISHED.items():
        for nops, share in enumerate(shares):
            plain, lines = stream_program(reads, nops, 300)
            issue = 4 * (reads * (1 + nops) + 4) * 300
            assert issue / clocks(plain, 57) == pytest.approx(share, abs=0.015)


def test_qpus_of_a_slice_share_lines_of_uniforms():
    lines = ["mov r0, unif"] * 160
    with Emulator(memory=1 << 20) as device:
        stream = device.alloc(1024)
        program = device.load(words(lines + END))
        one = device.execute(program, [stream.bus_address])
        four = device.execute(program, [stream.bus_address] * 4)
        five = device.execute(program, [stream.bus_address] * 5)
    # The FIFO reads two words ahead.
    assert one.counters[22] == 162 and one.counters[23] == 11
    assert four.counters[22] == 4 * 162 and four.counters[23] == 11
    assert five.counters[23] == 22


# --- TMU -----------------------------------------------------------------------------------------


def tmu_cycles(lines, *, offsets=(0,), **changes):
    timing = timing_set("calibrated", **{**FREE_CODE, **changes})
    with Emulator(memory=1 << 20, timing=timing) as device:
        data = device.alloc(1 << 16)
        streams = [[data.bus_address + offset, 4] for offset in offsets]
        program = device.load(words(["mov r0, unif", "mov r1, unif", *lines, *END]))
        return device.execute(program, streams)


def test_latency_of_a_tmu_request():
    # Two requests of one line: from memory 36 + 24 + 27 clk, then from the cache 36.
    look = ["mov t0s, r0", "nop; ldtmu0"]
    empty, once, twice = (tmu_cycles(look * times).cycles for times in range(3))
    assert once - empty == 87 + 4
    assert twice - once == 36 + 4


def test_requests_pass_a_tmu_every_16_clk():
    few, many = (
        tmu_cycles(["mov t0s, r0", "nop; ldtmu0"] + ["mov t0s, r0"] * n + ["nop; ldtmu0"] * n)
        for n in (1, 4)
    )
    assert many.cycles - few.cycles == 3 * 16
    both = ["mov t0s, r0", "mov t1s, r0"] * 2 + ["nop; ldtmu0", "nop; ldtmu1"] * 2
    one = ["mov t0s, r0"] * 4 + ["nop; ldtmu0"] * 4
    warm = ["mov t0s, r0", "mov t1s, r0", "nop; ldtmu0", "nop; ldtmu1"]
    assert tmu_cycles(warm + both).cycles < tmu_cycles(warm + one).cycles


def test_lines_4096_bytes_apart_evict_each_other():
    lines = ["mov t0s, r0", "nop; ldtmu0"]
    other = ["ldi r2, -, {}", "add r2, r0, r2", "mov t0s, r2", "nop; ldtmu0"]
    for distance, misses in ((4096, 6), (64, 2), (2048, 2)):
        pair = lines + [line.format(distance) for line in other]
        assert tmu_cycles(pair * 3).counters[25] == misses


def test_a_request_counts_each_line_that_it_touches_once():
    gather = ["mul24 r2, elem_num, r3", "nop", "add r2, r0, r2", "mov t0s, r2", "nop; ldtmu0"]
    for stride, misses in ((4, 1), (8, 2), (64, 16), (1024, 16)):
        report = tmu_cycles([f"ldi r3, -, {stride}", "nop", *gather])
        assert report.counters[25] == misses and report.counters[24] == 16


def test_a_line_of_l2_is_fetched_once_and_slices_share_it():
    look = ["mov t0s, r0", "nop; ldtmu0"]
    one, three = (tmu_cycles(look, offsets=[0] * n) for n in (1, 12))
    # Half of the QPUs of a slice go through its other TMU.
    assert one.counters[25] == 1 and three.counters[25] == 6
    lines_of_streams = 12 - 1
    assert three.counters[29] - one.counters[29] == lines_of_streams


def test_the_blocking_reading_stops_a_tmu_at_each_miss():
    gather = ["ldi r3, -, 64", "mul24 r2, elem_num, r3", "nop", "add r2, r0, r2"]
    gather += ["mov t0s, r2", "nop; ldtmu0"]
    free, stopped = (tmu_cycles(gather, tmu_miss_block=clk).cycles for clk in (0, 30))
    assert stopped - free == 15 * 30


# --- VPM, DMA, mutex, semaphores, SFU ------------------------------------------------------------

LOAD = ["ldi -, vpm_rd_setup, {:#x}", "mov vdr_addr, r0", "mov -, vdr_wait"]


@pytest.mark.parametrize("rows, width, slots", [(16, 16, 86), (1, 16, 11), (16, 1, 38), (4, 4, 0)])
def test_dma_loads_take_rows_and_a_start(rows, width, slots):
    from piblas.isa import setup_words as sw

    lines = [line.format(sw.vdr_load(rows, width, pitch=64)) for line in LOAD]
    spent = tmu_cycles(lines).cycles - tmu_cycles([]).cycles
    expected = 4 * slots if slots else rows * (8 + 12 * 3 // 15) + 24
    assert spent == 8 + expected + 4


def test_a_wait_that_comes_late_costs_nothing():
    from piblas.isa import setup_words as sw

    lines = [line.format(sw.vdr_load(16, 16, pitch=64)) for line in LOAD]
    late = [*lines[:2], *["nop"] * 60, lines[2]]
    assert tmu_cycles(late).cycles == tmu_cycles(lines).cycles
    assert tmu_cycles(late).stalls["dma"] == tmu_cycles(lines).stalls["dma"] - 240


def test_a_busy_flag_falls_when_the_transfer_ends():
    from piblas.isa import setup_words as sw

    start = [line.format(sw.vdr_load(16, 16, pitch=64)) for line in LOAD[:2]]
    poll = ["mov.sf r2, vdr_busy", "br.any_zc rel -40", "nop", "nop", "nop"]
    report = tmu_cycles([*start, *poll])
    waited = tmu_cycles([*start, "mov -, vdr_wait"])
    assert waited.cycles <= report.cycles <= waited.cycles + 2 * 4 * len(poll)


def test_first_vpm_read_comes_after_the_setup():
    for reads in (1, 3):
        setup = f"ldi -, vpm_rd_setup, {reads << 20 | 0x1A00:#x}"
        lines = [setup, "nop", *["mov r2, vpm"] * reads]
        wait = cycles(lines[:2] + ["nop"] * 8 + lines[2:]) - 4 * (10 + reads)
        assert wait == 0
        assert cycles(lines) == 24 + 4 * reads


def test_the_mutex_lets_one_in_and_serves_in_order_of_numbers():
    lines = ["mov -, mutex", *["nop"] * 10, "mov mutex, 0"]
    report = run(lines, *[[]] * 4, **FREE_CODE)
    held = 8 + 4 * 11
    assert report.stalls["mutex"] == 4 * 8 + sum(held * (n + 0) for n in range(4))
    assert report.stalls["idle"] == sum(held * n for n in range(4))


def test_the_mutex_goes_to_the_qpu_that_had_it_least_recently():
    # QPU 2 has it first; then 3, 1, 0 and QPU 2 again ask in this order.
    lines = ["mov r0, unif", "mov r1, 1", "sub.sf r0, r0, r1", *["nop"] * 2]
    lines += [f"br.any_zc rel {-8 * 7:+d}", "nop", "nop", "nop"]
    lines += ["mov -, mutex", *["nop"] * 300, "mov mutex, 0"] * 2
    with collect.collecting("timeline"):
        report = run(lines, [30], [15], [1], [5], **FREE_CODE)
    idle = report.timeline.clocks[:, :, report.timeline.causes.index("idle")].sum(axis=1)
    assert np.argsort(-idle).tolist() == [2, 0, 1, 3]


def test_a_semaphore_hands_over_at_once():
    ups = ["nop"] * 20 + ["sema_up 3"]
    branch = ["mov.sf -, unif", "br.any_zc rel {}".format(8 * len(ups) + 8 * 5)]
    lines = [*branch, "nop", "nop", "nop", *ups, *END, "nop", "nop", "sema_down 3"]
    report = run(lines, [0], [1], **FREE_CODE)
    assert report.stalls["semaphore"] == 4 * (len(ups) - 1)


def test_the_sfu_serves_a_slice():
    lines = ["mov recip, 1.0", "nop", "nop", "nop"] * 8
    assert run(lines, [], **FREE_CODE).stalls["sfu"] == 0
    assert run(lines, *[[]] * 4, **FREE_CODE).stalls["sfu"] > 0
    apart = run(lines, *[[]] * 12, **FREE_CODE).cycles
    assert apart == run(lines, *[[]] * 4, **FREE_CODE).cycles


def test_code_beyond_the_cache_is_fetched_again():
    body = ["nop"] * 600
    loop = ["ldi r0, -, 5", "mov r1, 1", *body, "sub.sf r0, r0, r1"]
    loop += [f"br.any_zc rel {-8 * (len(body) + 2 + 3):+d}", "nop", "nop", "nop"]
    assert run(loop).counters[21] > 5 * 60
    small = [*loop[:2], *["nop"] * 400, loop[-5], f"br.any_zc rel {-8 * 405:+d}", *["nop"] * 3]
    assert run(small).counters[21] <= 54


# --- accounts ------------------------------------------------------------------------------------


def gemm_report(timing="calibrated", shape=(48, 100, 64), beta=0.5, **options):
    from piblas.host import gemm_staged as host_gemm

    m, n, k = shape
    rng = np.random.default_rng(7)
    a, b = (rng.standard_normal(size).astype("f4") for size in ((m, k), (k, n)))
    c = np.zeros((m, n), "f4", order="F")
    with Emulator(memory=16 << 20, timing=timing, **options) as device:
        return host_gemm.sgemm(device, 1.5, a, b, beta, c)


@pytest.mark.parametrize("timing", ["pessimistic", "calibrated", "optimistic"])
@pytest.mark.parametrize("reading", ["memory", "port", "blocking"])
def test_every_clock_has_one_cause(timing, reading):
    with collect.collecting("hot", "timeline"):
        report = gemm_report(timing_set(timing, reading))
    assert tuple(report.stalls) == CAUSES
    assert sum(report.stalls.values()) == report.cycles * report.n_qpus
    assert all(clocks_ >= 0 for clocks_ in report.stalls.values())
    assert report.stalls["issue"] == 4 * report.instructions
    assert report.hot.issued.sum() == report.instructions
    for cause, column in report.hot.stalls.items():
        assert column.sum() == report.stalls[cause]
    sums = report.timeline.clocks.sum(axis=(0, 1))
    assert dict(zip(report.timeline.causes, sums)) == report.stalls


def test_a_copy_reads_each_line_once():
    lines = ["mov r0, unif", "mov ra1, unif", "mov ra0, r0", "ldi r1, -, 64"]
    block = ["mov t0s, ra0", "ldi -, vpm_wr_setup, 0x1a00", "nop; ldtmu0", "mov vpm, r4"]
    block += ["ldi -, vpm_wr_setup, 0x80904000", "ldi -, vpm_wr_setup, 0xc0000000"]
    block += ["mov vdw_addr, ra1", "mov -, vdw_wait", "add r0, ra0, r1", "mov ra0, r0"]
    block += ["add r0, ra1, r1", "mov ra1, r0", "nop"]
    with Emulator(memory=1 << 20) as device:
        source, target = device.alloc(4096), device.alloc(4096)
        source.array(np.uint32)[:] = np.arange(1024)
        first = ["shl r2, elem_num, 2", "add ra0, ra0, r2", "nop"]
        program = device.load(words([*lines, *first, *block * 64, *END]))
        report = device.execute(program, [[source.bus_address, target.bus_address]])
        assert target.array(np.uint32).tolist() == list(range(1024))
    assert report.counters[25] == 64 and report.counters[24] == 64 * 16
    assert report.bytes["vpm_dma_store"] == report.bytes["sdram_write"] == 4096
    code = -(-(len(block) * 64 + 10) // 8)
    assert report.counters[29] <= 64 + code + 3


def test_two_runs_take_the_same_time():
    first, second = gemm_report(shape=(80, 70, 60)), gemm_report(shape=(80, 70, 60))
    assert first.cycles == second.cycles and first.stalls == second.stalls
    assert first.counters == second.counters
    noise = gemm_report(shape=(80, 70, 60), seed=5)
    assert noise.cycles == first.cycles


def test_the_clock_changes_no_result():
    from piblas.host import gemm_staged as host_gemm

    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal((70, 70)).astype("f4") for _ in range(2))
    results = []
    for timing in ("off", "calibrated", timing_set("pessimistic", "blocking")):
        c = np.zeros((70, 70), "f4", order="F")
        with Emulator(memory=16 << 20, timing=timing) as device:
            host_gemm.sgemm(device, 1.0, a, b, 0.0, c)
        results.append(c.tobytes())
    assert len(set(results)) == 1


def test_times_of_the_memory_do_not_scale_with_the_clock():
    line = ["mov r0, unif"] * 16
    slow, fast = (
        run(line, np.zeros(20, np.uint32), clock_hz=hz, **FREE_CODE).counters[23]
        for hz in (250e6, 400e6)
    )
    assert slow == fast
    slow, fast = (
        run(["mov r0, unif"], [0], clock_hz=hz, **FREE_CODE).stalls["uniform"]
        for hz in (250e6, 400e6)
    )
    assert (slow, fast) == (30 + 27, 30 + 43)


def test_waiting_for_ever_is_found():
    with pytest.raises(DeviceTimeout, match="every QPU waits") as caught:
        run(["sema_down 3"], [], [])
    assert "QPU 1, pc 0 [sema_down 3]: waits for a semaphore at 0" in str(caught.value)
    with pytest.raises(DeviceTimeout, match="waits for the mutex"):
        run(["mov -, mutex"], [], [])


def test_a_program_without_end_is_stopped():
    lines = ["br.always rel -32", "nop", "nop", "nop"]
    with Emulator(memory=1 << 20) as device:
        program = device.load(words(lines))
        with pytest.raises(DeviceTimeout, match="no end after 0.001 s"):
            device.execute(program, [[]], timeout=1e-3)


def test_single_steps_and_the_clock():
    with Emulator(memory=1 << 20) as device:
        program = device.load(words(["mov r0, 3"] + END))
        device.machine.start([(0, program.bus_address)] * 2)
        while device.machine.step(1):
            pass
        device.machine.finish()
        assert device.machine.cycles >= 16
        assert not device.machine.running(0) and not device.machine.running(1)


def test_timing_is_a_timing():
    assert isinstance(timing_set(), Timing)
