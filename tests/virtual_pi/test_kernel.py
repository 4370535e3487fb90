"""The virtual Pi's kernel, met by small programs that make the system calls themselves."""

from __future__ import annotations

import signal
import struct
import sys

import pytest

from .conftest import PRELUDE
from .setups import SETUPS

COUNT = """
place = uncached(0x4000)
data = cached(0x100000)
tell(place.address, data.address)
"""


def test_numbers_and_layouts_byte_for_byte():
    """hardware-access.md 3.2, 3.5, 3.6: what a 32-bit and a 64-bit process send."""
    from . import raw as calls

    assert calls.property_number(4) == 0xC0046400
    assert calls.property_number(8) == 0xC0086400
    assert struct.calcsize("<IIII32siIQ") == 64 and struct.calcsize("<iI32siIIIQ") == 64
    assert struct.calcsize("<QIIQ") == 0x18


SOME = ("bookworm32", "zero", "pi5", "bullseye64")


@pytest.mark.parametrize(
    "name",
    [name if name in SOME else pytest.param(name, marks=pytest.mark.slow) for name in SETUPS],
)
def test_every_set_up_boots_and_says_who_it_is(boot, raw, name):
    pi = boot(name)
    model, machine, release, uid, config = raw(
        pi,
        'u = os.uname()\ntell(open("/proc/device-tree/model").read(), u.machine, u.release,'
        ' os.geteuid(), [p for p in ("/boot/config.txt", "/boot/firmware/config.txt")'
        " if os.path.exists(p)])",
    )[0]
    assert model.rstrip("\0") == pi.setup.board.model
    assert (machine, release, uid) == (pi.setup.machine, pi.setup.kernel, pi.setup.user[0])
    assert config == [pi.setup.config_txt]
    assert pi.report().clean


@pytest.mark.parametrize(
    "name, path, flags, expected",
    [
        ("bookworm64", "/dev/vcio", "O_RDONLY", ""),
        ("bookworm64", "/dev/mem", "O_RDWR", "EACCES"),
        ("root", "/dev/mem", "O_RDWR", ""),
        ("udev2026", "/dev/vcio", "O_RDONLY", "EACCES"),
        ("udev2026-gencmd", "/dev/vcio_gencmd", "O_RDONLY", ""),
        ("udev2026-root", "/dev/vcio", "O_RDONLY", ""),
        ("not-in-video", "/dev/vcio", "O_RDONLY", "EACCES"),
        ("not-in-video", "/dev/dma_heap/vidbuf_cached", "O_RDWR", "EACCES"),
        ("no-vcio", "/dev/vcio", "O_RDONLY", "ENOENT"),
        ("gpu_mem16", "/dev/vcsm-cma", "O_RDWR", "ENOENT"),
        ("no-heap", "/dev/dma_heap/linux,cma", "O_RDWR", "ENOENT"),
        ("new-heap-name", "/dev/dma_heap/vidbuf_cached", "O_RDWR", ""),
        ("bookworm64", "/dev/vcsm", "O_RDWR", "ENOENT"),
    ],
)
def test_who_may_open_what(boot, raw, name, path, flags, expected):
    pi = boot(name)
    opened, can = raw(
        pi, f'tell(number(os.open, "{path}", os.{flags}), os.access("{path}", os.R_OK))'
    )[0]
    assert opened == expected and can == (not expected)


def test_devices_look_like_devices(boot, raw):
    import stat

    pi = boot("udev2026")
    mode, uid, gid, mode2, heap, names = raw(
        pi,
        's = os.stat("/dev/vcio"); fd = os.open("/dev/vcsm-cma", os.O_RDWR)\n'
        'tell(s.st_mode, s.st_uid, s.st_gid, os.fstat(fd).st_mode,'
        ' os.path.realpath("/dev/dma_heap/vidbuf_cached"), sorted(os.listdir("/dev/dma_heap")))',
    )[0]
    assert stat.S_ISCHR(mode) and mode & 0o777 == 0o600 and (uid, gid) == (0, 0)
    assert stat.S_ISCHR(mode2) and mode2 & 0o777 == 0o660
    assert heap == "/dev/dma_heap/linux,cma"
    assert names == ["linux,cma", "system", "vidbuf_cached"]


def test_device_tree_and_pool_sizes(boot, raw):
    pi = boot("zero")
    ranges, dma, free, less = raw(
        pi,
        "def cells(name):\n"
        '    data = open("/proc/device-tree/" + name, "rb").read()\n'
        '    return struct.unpack(f">{len(data) // 4}I", data)\n'
        "def free():\n"
        '    rows = dict(line.split(":") for line in open("/proc/meminfo"))\n'
        '    return int(rows["CmaFree"].split()[0])\n'
        'before = free(); held = uncached(1 << 20)\n'
        'tell(cells("soc/ranges"), cells("soc/dma-ranges"), before, free())',
    )[0]
    assert ranges == [0x7E000000, 0x20000000, 0x02000000]
    assert dma[:2] == [0x80000000, 0]
    assert free == 64 << 10 and less == free - 1024


# --- references ----------------------------------------------------------------------------------


def test_addresses_carry_the_alias(boot, raw):
    for name, alias in (("bookworm64", 0xC0000000), ("zero", 0x80000000)):
        pi = boot(name)
        addresses = raw(pi, COUNT)[0]
        assert all(address & 0xC0000000 == alias for address in addresses)
        assert pi.report().clean


def test_memory_lives_as_long_as_a_descriptor_or_a_mapping(boot, raw):
    pi = boot("bookworm64")
    code = """
def free():
    rows = dict(line.split(":") for line in open("/proc/meminfo"))
    return int(rows["CmaFree"].split()[0]) << 10
start = free()
data = cached(1 << 20)
tell(start - free())
os.close(data.fds[0]); tell(start - free())          # the import still holds it
os.close(data.fds[1]); tell(start - free())          # the mapping does
data.map.close(); tell(start - free())
place = uncached(1 << 20)
again = os.dup(place.fds[0]); os.close(place.fds[0]); place.map.close()
tell(start - free())
os.close(again); tell(start - free())
"""
    mib = 1 << 20
    assert raw(pi, code) == [mib, mib, mib, 0, mib, 0]


def test_a_fork_shares_and_outlives(boot, raw):
    pi = boot("bookworm64")
    code = """
place = uncached(1 << 20)
place.put(0, [1])
for fd in place.fds: os.close(fd)
r, w = os.pipe()
if os.fork() == 0:
    place.put(0, [2])
    os.write(w, b"x"); os.read(r, 1) if False else None
    os._exit(0)
os.read(r, 1)
tell(place.get(0, 1)[0])
os.wait()
"""
    assert raw(pi, code) == [2]
    assert pi.report().clean
    # The parent is gone, the child still has the memory mapped.
    code = """
import time
place = uncached(1 << 20)
for fd in place.fds: os.close(fd)
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()
    os._exit(0)
tell("forked")
os._exit(0)
"""
    import subprocess

    child = pi.popen([sys.executable, "-c", PRELUDE + code], stdin=subprocess.PIPE,
                     stdout=subprocess.PIPE)  # fmt: skip
    assert child.stdout.read().strip() == '"forked"' and child.wait() == 0
    assert pi.report().cma_used == 1 << 20
    child.stdin.close()
    for _ in range(200):
        if pi.report().clean:
            break
        import time

        time.sleep(0.02)
    assert pi.report().clean
    child.stdout.close()


def test_kill_frees_cma_but_not_gpu_memory(boot, raw):
    pi = boot("no-vcsm-cma", nodes={"/dev/vcsm-cma": (0o660, 0, 44)})
    code = """
box = mailbox(); box.enable(1)
memory, handle = carve_out(box, 0x10000, 4)
place = uncached(1 << 20)
tell("ready")
os.kill(os.getpid(), 9)
"""
    done = pi.python(PRELUDE + code)
    assert done.returncode == -signal.SIGKILL
    report = pi.report()
    assert report.cma_used == 0 and not report.buffers and not report.files
    assert (report.handles, report.gpu_mem_used, report.enables) == (1, 0x10000, 1)
    assert len(report.leaks) == 2


# --- errors --------------------------------------------------------------------------------------


def test_wrong_calls_get_the_kernels_errors(boot, raw):
    pi = boot("bookworm64")
    code = """
vcio, vcsm = os.open("/dev/vcio", os.O_RDONLY), os.open("/dev/vcsm-cma", os.O_RDWR)
heap = os.open("/dev/dma_heap/linux,cma", os.O_RDWR)
system = os.open("/dev/dma_heap/system", os.O_RDWR)
buffer = heap_alloc(heap, 4096)
def tag(*words): return bytearray(struct.pack(f"<{len(words)}I", *words))
checks = {
    "other pointer size": (fcntl.ioctl, vcio, 0xC0046400, tag(28, 0, 0x10002, 4, 0, 0, 0)),
    "unknown tag": (fcntl.ioctl, vcio, 0xC0086400, tag(28, 0, 0x4711, 4, 0, 0, 0)),
    "short": (fcntl.ioctl, vcio, 0xC0086400, tag(8, 0)),
    "null": (fcntl.ioctl, vcio, 0xC0086400, 0),
    "read": (os.write, vcio, b"x"),
    "import of a device": (import_dmabuf, vcsm, vcio),
    "import of a closed one": (import_dmabuf, vcsm, 999),
    "import of scattered memory": (import_dmabuf, vcsm, heap_alloc(system, 8192)),
    "empty": (vcsm_alloc, vcsm, 0),
    "too much": (vcsm_alloc, vcsm, 65 << 20),
    "heap, too much": (heap_alloc, heap, 65 << 20),
    "heap, flags": (heap_alloc, heap, 4096, os.O_APPEND),
    "heap, empty": (heap_alloc, heap, 0),
    "clean_invalid2": (fcntl.ioctl, vcsm, 0x80084A5C, bytearray(8)),
    "sync of nothing": (fcntl.ioctl, buffer, 0x40086200, struct.pack("<Q", 4)),
    "sync of more": (fcntl.ioctl, buffer, 0x40086200, struct.pack("<Q", 8)),
    "other ioctl": (fcntl.ioctl, buffer, 0x40086201, bytearray(8)),
    "map beyond": (mmap.mmap, buffer, 8192),
    "map a device": (mmap.mmap, vcio, 4096),
    "private": (lambda: mmap.mmap(buffer, 4096, flags=mmap.MAP_PRIVATE)),
}
tell({k: number(*(v if isinstance(v, tuple) else (v,))) for k, v in checks.items()})
"""
    assert raw(pi, code)[0] == {
        "other pointer size": "EINVAL",
        "unknown tag": "EINVAL",
        "short": "EINVAL",
        "null": "EFAULT",
        "read": "EINVAL",
        "import of a device": "EINVAL",
        "import of a closed one": "EBADF",
        "import of scattered memory": "ENOMEM",
        "empty": "EINVAL",
        "too much": "ENOMEM",
        "heap, too much": "ENOMEM",
        "heap, flags": "EINVAL",
        "heap, empty": "EINVAL",
        "clean_invalid2": "EINVAL",
        "sync of nothing": "EINVAL",
        "sync of more": "EINVAL",
        "other ioctl": "ENOTTY",
        "map beyond": "EINVAL",
        "map a device": "ENODEV",
        "private": "EINVAL",
    }
    assert pi.report().clean
    assert any("alloc of 68157440 bytes failed" in line for line in pi.kernel.log)
    assert "vcio: unknown ioctl: c0046400" in pi.kernel.log


def test_a_32_bit_process_uses_the_other_number(boot, raw):
    pi = boot("bookworm32on64")
    code = """
fd = os.open("/dev/vcio", os.O_RDONLY)
def revision(n):
    message = bytearray(struct.pack("<7I", 28, 0, 0x10002, 4, 0, 0, 0))
    fcntl.ioctl(fd, n, message)
    return struct.unpack("<7I", message)[5]
tell(revision(0xC0046400), number(revision, 0xC0086400))
"""
    assert raw(pi, code)[0] == [0xA02082, "EINVAL"]


def test_dev_mem(boot, raw):
    code = """
fd = os.open("/dev/mem", os.O_RDWR | os.O_SYNC)
tell([number(mmap.mmap, fd, 4096, mmap.MAP_SHARED, 3, None, at)
      if False else number(lambda: mmap.mmap(fd, 4096, offset=at))
      for at in (0x3FC00000, 0x3B000000, 0x3C000000)])
"""
    # registers, system RAM, the part that gpu_mem gives to the firmware
    assert raw(boot("root"), code)[0] == ["", "EPERM", ""]
    assert raw(boot("no-vcsm-cma"), code)[0] == ["", "", ""]
    assert raw(boot("locked-mmio"), code)[0] == ["EPERM", "EPERM", ""]


# --- faults --------------------------------------------------------------------------------------


def test_any_call_can_fail_at_will(boot, raw):
    import errno

    pi = boot("bookworm64")
    code = """
vcsm = os.open("/dev/vcsm-cma", os.O_RDWR)
tell([number(vcsm_alloc, vcsm, 4096) for _ in range(4)])
"""
    with pi.fault("ioctl(vcsm-cma, ALLOC)", 3, error=errno.EINTR) as rule:
        assert raw(pi, code)[0] == ["", "", "EINTR", ""]
    assert rule.hits == 1 and pi.calls.count("ioctl(vcsm-cma, ALLOC)") == 4
    assert raw(pi, code)[0] == [""] * 4
    with pi.fault("ioctl(vcsm-cma, ALLOC)", 0, error=errno.ENOMEM):
        assert raw(pi, code)[0] == ["ENOMEM"] * 4
    place = pi.calls.index("ioctl(vcsm-cma, ALLOC)") + len(pi.calls)
    with pi.fault(at=place, error=errno.EACCES):
        assert raw(pi, code)[0] == ["EACCES", "", "", ""]
    lock = """
import fcntl
fd = os.open("/run/lock/x", os.O_CREAT | os.O_RDWR)
tell(number(fcntl.flock, fd, fcntl.LOCK_EX), number(fcntl.flock, fd, fcntl.LOCK_UN),
     number(os.fork) if len(sys.argv) > 1 else "")
"""
    with pi.fault("flock", error=errno.ENOLCK):
        assert raw(pi, lock)[0] == ["ENOLCK", "", ""]
    assert pi.report().clean


def test_signals_at_a_call(boot):
    pi = boot("bookworm64")
    code = """
try:
    box = mailbox()
    box.call(0x10002, room=1)
except KeyboardInterrupt:
    tell("interrupted")
"""
    with pi.fault("GET_BOARD_REVISION", signal=signal.SIGINT):
        assert pi.python(PRELUDE + code).stdout.strip() == '"interrupted"'
    with pi.fault("GET_BOARD_REVISION", signal=signal.SIGKILL):
        assert pi.python(PRELUDE + code).returncode == -signal.SIGKILL
    assert pi.report().clean


def test_vcsm_of_old_kernels(boot, raw):
    """By the request numbers of the old header; what a process leaves is freed at its end."""
    code = """
fd = os.open("/dev/vcsm", os.O_RDWR)
def call(number, data):
    data = bytearray(data)
    try:
        fcntl.ioctl(fd, number, data)
    except OSError as error:
        return errno.errorcode[error.errno]
    return list(struct.unpack(f"<{len(data) // 4}I", data))
alloc = lambda size: call(0x8030495a, struct.pack("<III32sI", size, 1, 0, b"raw", 0))
address = lambda pid, handle: call(0x8010496a, struct.pack("<4I", pid, handle, 0, 0))
handle = alloc(5000)[11]
early = address(os.getpid(), handle)
memory = mmap.mmap(fd, 8192, offset=handle)
memory[:4] = b"here"
call(0x8008495c, struct.pack("<II", handle, 0))
tell(handle % 4096, early, address(os.getpid(), handle)[2:], address(1, handle), alloc(0),
     alloc(1 << 30), call(0x80044961, struct.pack("<I", 77)), call(0x80084963, bytes(8)))
other = alloc(4096)[11]
tell(call(0x80044961, struct.pack("<I", other)), address(os.getpid(), other))
"""
    pi = boot("old-vcsm")
    prelude = "import errno, fcntl, mmap, os, struct\n"
    first, second = raw(pi, prelude + code)
    place, early, (bus, size), foreign, empty, large, unknown, resize = first
    assert place == 0 and size == 8192 and bus >> 30 == 3
    assert early == foreign == empty == unknown == resize == "EINVAL" and large == "ENOMEM"
    assert second[1] == "EINVAL"
    assert pi.kernel.ram.memory.words[((bus & 0x3FFFFFFF) - pi.kernel.ram.start) // 4] != 0
    assert pi.report().clean
