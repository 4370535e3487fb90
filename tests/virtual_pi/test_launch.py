"""Launches on the virtual Pi: mailbox, registers, caches, time-outs; by raw programs."""

from __future__ import annotations

import pytest

from .conftest import PRELUDE, needs_x86
from .programs import COPY, COPY_SILENT, EARLY, LATE, LEADER, WORKER, text

DATA = list(range(100, 116))
LAUNCH = """
code, *worker = [[int(word, 16) for word in part.split(",")] for part in sys.argv[1].split("/")]
how = sys.argv[2:]
box = mailbox()
assert box.enable(1) == 0
place, data = uncached(SIZE), cached(SIZE)
n = 12 if worker else 1
lay_out(place, code, data, n, *worker)
data.put(SOURCE, range(100, 100 + 16 * n))
if "clean" in how: data.sync(END | WRITE)
if "read" in how: data.get(TARGET, 16)
status = box.execute(n, place.address + CONTROL, timeout=100 if "short" in how else 10000)
if "invalidate" in how: data.sync(READ, which="imported" in how)
result = data.get(TARGET, 16 * n)
assert box.enable(0) == 0
tell(status, list(result))
"""


@pytest.mark.parametrize("name", ["bookworm64", "bookworm32", "bullseye", "zero", "pi1", "zero2"])
def test_a_launch_with_all_cache_operations_is_right(boot, raw, name):
    pi = boot(name)
    status, result = raw(pi, LAUNCH, text(LEADER) + "/" + text(WORKER), "clean", "invalidate")[0]
    assert status == 0 and result == list(range(100, 292))
    report = pi.report()
    assert report.clean and report.launches == 1


@pytest.mark.parametrize("how", [(), ("clean",), ("invalidate",)])
def test_a_missing_cache_operation_shows(boot, raw, how):
    pi = boot("bookworm64")
    status, result = raw(pi, LAUNCH, text(COPY), *how)[0]
    assert status == 0 and result != DATA
    assert pi.report().clean


def test_coherent_set_ups_need_none(boot, raw):
    pi = boot("bookworm64", incoherent=False)
    assert raw(pi, LAUNCH, text(COPY))[0] == [0, DATA]


def test_sync_reaches_the_memory_through_either_descriptor_but_only_while_it_is_attached(
    boot, raw
):
    pi = boot("bookworm64")
    assert raw(pi, LAUNCH, text(COPY), "clean", "invalidate", "imported")[0] == [0, DATA]
    code = LAUNCH.replace('if "clean"', 'os.close(data.fds[1])\nif "clean"')
    status, result = raw(pi, code, text(COPY), "clean", "invalidate")[0]
    assert status == 0 and result != DATA


def test_dirty_lines_may_be_written_back_over_results(boot, raw):
    """The CPU wrote to the target and did not clean it: its line may go to memory at any time."""
    pi = boot("bookworm64")
    code = LAUNCH.replace(
        "status = box", "data.put(TARGET, [1])\nstatus = box"
    )
    status, result = raw(pi, code, text(COPY), "clean", "invalidate")[0]
    assert status == 0 and result[0] == 1 and result[1:] != DATA[1:]


def test_without_flush_the_gpu_may_read_old_lines(boot, raw):
    pi = boot("bookworm64")
    code = """
code = [int(word, 16) for word in sys.argv[1].split(",")]
box = mailbox(); box.enable(1)
place, data = uncached(SIZE), uncached(SIZE)
lay_out(place, code, data)
got = []
for noflush, first in ((0, 10), (1, 20), (0, 30)):
    data.put(SOURCE, range(first, first + 16))
    box.execute(1, place.address + CONTROL, noflush)
    got.append(data.get(TARGET, 1)[0])
box.enable(0)
tell(got)
"""
    assert raw(pi, code, text(COPY))[0] == [10, 10, 30]


def test_a_launch_without_an_interrupt_times_out(boot, raw):
    pi = boot("bookworm64")
    status, _ = raw(pi, LAUNCH, text(COPY_SILENT), "clean", "short")[0]
    assert status == 0x80000000
    code = LAUNCH.replace("status = box.execute(", "status = number(box.execute, ")
    code = code.replace('timeout=100 if "short" in how else 10000', "0, 10000")
    assert raw(pi, code, text(COPY_SILENT), "clean")[0][0] == "ETIMEDOUT"


def test_results_after_the_interrupt_are_a_violation(boot, raw):
    pi = boot("bookworm64")
    assert raw(pi, LAUNCH, text(EARLY) + "/" + text(LATE), "clean", "invalidate")[0][0] == 0
    assert pi.report().violations == ["results were stored after the host interrupt"]


def test_wild_programs_are_a_violation_and_a_time_out(boot, raw):
    pi = boot("bookworm64")
    code = LAUNCH.replace(
        "lay_out(place, code, data, n, *worker)",
        "lay_out(place, code, data); place.put(UNIFORMS + 4, [0xC1000000])",
    )
    assert raw(pi, code, text(COPY), "short")[0][0] == 0x80000000
    assert "writes outside the buffers" in pi.report().violations[0]


def test_the_list_must_be_in_the_gpus_memory_and_the_qpus_on(boot, raw):
    pi = boot("bookworm64")
    code = """
box = mailbox()
off = box.execute(1, 0xFE000000)
box.enable(1)
tell(off, box.execute(1, 0x12345678), box.enable(0))
"""
    assert raw(pi, code)[0] == [0x80000000, 0x80000000, 0]
    assert len(pi.report().violations) == 2


@pytest.mark.parametrize(
    "name, reply", [("kms", 0x80000000), ("kms-refuses", "EINVAL"), ("gpu_mem16", "EINVAL")]
)
def test_set_ups_without_qpus_refuse(boot, raw, name, reply):
    code = """
box = mailbox()
try:
    tell(box.enable(1))
except OSError as error:
    tell(errno.errorcode[error.errno])
"""
    assert raw(boot(name), code) == [reply]


# --- time-outs -----------------------------------------------------------------------------------

HANG = """
code = [int(word, 16) for word in sys.argv[1].split(",")]
box = mailbox(); box.enable(1)
place, data = uncached(SIZE), uncached(SIZE)
lay_out(place, code, data)
data.put(SOURCE, range(100, 116))
first = number(box.execute, 1, place.address + CONTROL, 0, 10000)
early = data.get(TARGET, 1)[0]
if "free" in sys.argv:
    data.close()
later = [number(box.call, 0x10002, 0) for _ in range(3)]
late = 0 if "free" in sys.argv else data.get(TARGET, 1)[0]
box.enable(0)
tell(first, early, later, late)
"""


def test_after_a_time_out_the_firmware_goes_on(boot, raw):
    pi = boot("bookworm64")
    with pi.fault("EXECUTE_QPU", launch="hang", requests=2):
        assert raw(pi, HANG, text(COPY))[0] == [
            "ETIMEDOUT", 0, ["ETIMEDOUT", "ETIMEDOUT", ""], 100,
        ]  # fmt: skip
    assert pi.report().clean


def test_freeing_what_a_launch_may_still_write_is_a_violation(boot, raw):
    pi = boot("bookworm64")
    with pi.fault("EXECUTE_QPU", launch="hang", requests=2):
        raw(pi, HANG, text(COPY), "free")
    assert "memory was freed while a launch may still write it" in pi.report().violations


def test_the_kernel_gives_up_after_a_second_of_the_chips_time(boot, raw):
    """Simulated seconds against the kernel's patience, which is what a set-up says."""
    code = LAUNCH.replace("status = box.execute(", "status = number(box.execute, ")
    code = code.replace('timeout=100 if "short" in how else 10000', "0, 10000")
    for kernel, expected in ((1e-9, "ETIMEDOUT"), (3.0, "")):
        pi = boot("bookworm64", mailbox_seconds=kernel)
        status, result = raw(pi, code, text(COPY), "clean", "invalidate")[0]
        assert (status, result) == (expected, DATA)


def test_the_firmware_may_claim_what_it_did_not_do(boot, raw):
    pi = boot("bookworm64")
    with pi.fault("EXECUTE_QPU", launch="nothing"):
        status, result = raw(pi, LAUNCH, text(COPY), "clean", "invalidate")[0]
    assert status == 0 and result == [0] * 16


# --- mailbox memory, registers, u-dma-buf --------------------------------------------------------


@pytest.mark.parametrize("name, flags, alias", [
    ("no-vcsm-cma", 4, 0xC0000000), ("no-vcsm-cma-zero", 12, 0x40000000),
])  # fmt: skip
def test_mailbox_memory(boot, raw, name, flags, alias):
    pi = boot(name)
    code = """
code = [int(word, 16) for word in sys.argv[1].split(",")]
box = mailbox(); box.enable(1)
memory, handle = carve_out(box, SIZE, int(sys.argv[2]))
noise = memory.get(TARGET, 16)
lay_out(memory, code, memory)
memory.put(SOURCE, range(100, 116))
status = box.execute(1, memory.address + CONTROL)
result = memory.get(TARGET, 16)
replies = [box.call(tag, handle)[0] for tag in (0x3000E, 0x3000E, 0x3000F, 0x3000F, 0x3000D)]
zero, other = carve_out(box, SIZE, 4 | 16)
box.call(0x3000E, other); box.call(0x3000F, other)
box.enable(0)
tell(memory.address, status, list(result), replies, any(noise), any(zero.get(0, 64)),
     box.call(0x3000C, 1 << 30, 4096, 4)[0])
"""
    address, status, result, replies, noise, zero, too_much = raw(pi, code, text(COPY), flags)[0]
    assert address & 0xC0000000 == alias and status == 0 and result == DATA
    assert replies == [0, 0x80000000, 0, 0x80000000, 0]
    assert noise and not zero and too_much == 0
    assert pi.report().clean


REGISTERS = """
code = [int(word, 16) for word in sys.argv[1].split(",")]
base = int(sys.argv[2])
box = mailbox()
v3d = Registers(base)
off = v3d[0]
box.enable(1)
place, data = uncached(SIZE), uncached(SIZE)
lay_out(place, code, data, 12)
data.put(SOURCE, range(100, 292))
pairs = [place.get(CONTROL + 8 * q, 2) for q in range(12)]
v3d[0x674] = 0
v3d[0x670] = 0xFFFF
v3d[0x684] = 24
v3d[0x674] = 1 << 31 | 1
v3d.launch(pairs)
polls = 0
while v3d.completed() != 12:
    polls += 1
counted = v3d[0x680]
result = list(data.get(TARGET, 192))
data.put(SOURCE, range(500, 692))
v3d.launch(pairs, clear=False)
while v3d.completed() != 12: pass
stale = data.get(TARGET, 1)[0]
v3d.launch(pairs)
while v3d.completed() != 12: pass
new = data.get(TARGET, 1)[0]
idents = [v3d[0], v3d[4]]
v3d.close()
box.enable(0)
tell(off, idents, polls, counted, result, stale, new)
"""


@needs_x86
@pytest.mark.parametrize("name", ["root", "zero"])
def test_registers(boot, raw, name):
    pi = boot(name, user=(0, 0, (0,)))
    base = pi.setup.board.peripherals + 0xC00000
    off, idents, polls, counted, result, stale, new = raw(pi, REGISTERS, text(COPY_SILENT), base)[0]
    assert off == 0xDEADBEEF
    assert idents[0] == 0x02443356 and idents[1] >> 8 & 0xF == 4 and idents[1] >> 4 & 0xF == 3
    assert polls == 1 and counted == 12 * 16
    assert result == list(range(100, 292)) and stale == 100 and new == 500
    assert pi.report().clean
    stores = [row for row in pi.kernel.v3d.log if row[0] == "store"]
    assert stores[0][1:] == ("PCTRE", 0) and ("store", "L2CACTL", 4) in stores


@needs_x86
def test_registers_take_words_only(boot, raw):
    pi = boot("root")
    code = """
box = mailbox(); box.enable(1)
v3d = Registers(0x3FC00000)
v3d.map[0x10:0x12] = b"ab"
v3d[0x10] = 0x12345678
tell(v3d[0x10])
v3d.close(); box.enable(0)
"""
    assert raw(pi, code)[0] == 0x12345678
    assert "SCRATCH was stored to by 2 bytes, not 4" in pi.report().violations


@needs_x86
def test_a_hung_queue_never_completes_until_the_power_goes(boot, raw):
    pi = boot("root")
    code = """
code = [int(word, 16) for word in sys.argv[1].split(",")]
box = mailbox(); box.enable(1)
v3d = Registers(0x3FC00000)
place, data = uncached(SIZE), uncached(SIZE)
lay_out(place, code, data)
data.put(SOURCE, range(100, 116))
v3d.launch([place.get(CONTROL, 2)])
seen = [v3d.completed() for _ in range(20)]
box.call(0x38030, 11, 0); box.call(0x38030, 11, 1)
v3d.launch([place.get(CONTROL, 2)])
while v3d.completed() != 1: pass
box.enable(0)
tell(max(seen), data.get(TARGET, 1)[0])
"""
    with pi.fault("store(SRQPC)", launch="hang"):
        assert raw(pi, code, text(COPY_SILENT))[0] == [0, 100]
    assert pi.report().clean


@needs_x86
def test_a_program_may_catch_faults_itself(boot, raw):
    pi = boot("root")
    code = """
import faulthandler
box = mailbox(); box.enable(1)
v3d = Registers(0x3FC00000)
faulthandler.enable()
tell(v3d[0])
v3d.close(); box.enable(0)
"""
    assert raw(pi, code)[0] == 0x02443356
    crash = code.replace("tell(v3d[0])", "ctypes.string_at(8)")
    done = pi.python(PRELUDE + crash)
    assert done.returncode == -11 and "Segmentation fault" in done.stderr


def test_u_dma_buf(boot, raw):
    code = """
code = [int(word, 16) for word in sys.argv[1].split(",")]
how = sys.argv[2:]
def attribute(name, value=None):
    path = "/sys/class/u-dma-buf/udmabuf0/" + name
    if value is None:
        return int(open(path).read(), 0)
    fd = os.open(path, os.O_WRONLY); os.write(fd, str(value).encode()); os.close(fd)
box = mailbox(); box.enable(1)
fd = os.open("/dev/udmabuf0", os.O_RDWR | (os.O_SYNC if "sync" in how else 0))
address = 0xC0000000 | attribute("phys_addr")
memory = Memory([fd], address, attribute("size"))
lay_out(memory, code, memory)
memory.put(SOURCE, range(100, 116))
attribute("sync_offset", 0); attribute("sync_size", SIZE); attribute("sync_direction", 1)
if "clean" in how: attribute("sync_for_device", 1)
if "clean-word" in how: attribute("sync_for_device", SIZE | 1 << 2 | 1)
try:
    box.execute(1, memory.address + CONTROL, 0, 100)
except OSError: pass
attribute("sync_direction", 2)
if "invalidate" in how: attribute("sync_for_cpu", 1)
box.enable(0)
tell(list(memory.get(TARGET, 16)))
"""
    for how in (("sync",), ("clean", "invalidate"), ("clean-word", "invalidate")):
        pi = boot("u-dma-buf")
        assert raw(pi, code, text(COPY), *how)[0] == DATA, how
        assert pi.report().clean
    for how in ("clean", "invalidate"):
        assert raw(boot("u-dma-buf"), code, text(COPY), how)[0] != DATA
