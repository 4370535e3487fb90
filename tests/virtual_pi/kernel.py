"""The kernel of the virtual Pi: device files, dma-bufs, heaps, vcsm-cma, /dev/mem, permissions.

Sources of the semantics (raspberrypi/linux): drivers/char/broadcom/vcio.c,
drivers/firmware/raspberrypi.c, drivers/staging/vc04_services/vc-sm-cma/vc_sm.c,
drivers/dma-buf/dma-heap.c, heaps/cma_heap.c and dma-buf.c, drivers/char/mem.c,
arch/arm/mm/dma-mapping.c, arch/arm64/mm/dma-mapping.c; ikwzm/udmabuf: Readme.md.

References count as in the kernel: a file lives while a descriptor in some process refers to it (the
other end of a socket pair shows that), a dma-buf while a file or a mapping does or an import holds
it.  ``reap`` looks at all of them; it runs before every call that depends on it.
"""

from __future__ import annotations

import errno
import os
import pathlib
import select
import socket
import stat
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from . import tree, vcsm
from .faults import Faults
from .firmware import TAGS, Firmware, Refused, Silent
from .gpu import REGISTERS, V3D, Gpu
from .ram import PAGE, Ram
from .setups import Setup

__all__ = ["Answer", "Kernel"]

V3D_OFFSET = 0xC00000


@dataclass
class Answer:
    """What goes back to the client."""

    error: int = 0
    values: Tuple[int, int, int, int] = (0, 0, 0, 0)
    payload: bytes = b""
    fd: int = -1
    close: bool = False  # whether the descriptor is to be closed once sent


@dataclass
class DmaBuf:
    """A dma-buf: pages, who imports it, or what it imports."""

    exporter: str  # "heap", "system", "vcsm-cma", "vcsm" or "import"
    address: int
    nbytes: int
    cached: bool
    source: Optional["DmaBuf"] = None
    importers: List["DmaBuf"] = field(default_factory=list)
    released: bool = False


@dataclass
class File:
    """An open file; ``end`` is the server's end of its socket pair, ``ino`` the client's inode."""

    path: str
    kind: str
    flags: int
    pid: int
    end: socket.socket
    ino: int
    buffer: Optional[DmaBuf] = None


@dataclass
class Mapping:
    pid: int
    buffer: Optional[DmaBuf]
    what: str


class Kernel:
    """One virtual Pi."""

    def __init__(self, setup: Setup, root: pathlib.Path) -> None:
        self.setup, self.root = setup, root
        self.lock = threading.RLock()
        self.transaction = threading.Lock()
        self.ram = Ram(setup)
        self.gpu = Gpu(self.ram)
        self.gpu.hertz = setup.v3d_hz or setup.board.v3d_hz
        self.v3d = V3D(self.gpu, vpmbase=0 if setup.vc4_bound else 16)
        self.firmware = Firmware(setup, self.ram, self.gpu, self.v3d)
        self.faults = Faults()
        self.files: Dict[int, File] = {}
        self.buffers: List[DmaBuf] = []
        self.mappings: Dict[int, Mapping] = {}
        self.processes: Dict[int, Tuple[int, int]] = {}  # pid: (pidfd, size of a pointer)
        self.log: List[str] = []
        self.patience = 0.02  # seconds that stand for one second of the mailbox's time-out
        self._token = 0
        self._vc_handle = 0x1000
        tree.plant(root, setup, self.ram)
        self.vcsm = vcsm.Vcsm(self)
        self.udmabuf: Optional[DmaBuf] = None
        if setup.udmabuf:
            self._probe_udmabuf()

    def close(self) -> None:
        for file in self.files.values():
            file.end.close()
        for pidfd, _ in self.processes.values():
            os.close(pidfd)
        self.ram.close()

    # --- processes and references ----------------------------------------------------------------

    def hello(self, pid: int, parent: int, pointer: int) -> Answer:
        if pid not in self.processes:
            self.processes[pid] = (os.pidfd_open(pid), pointer)
            if parent:  # a fork: what the parent has mapped, the child has mapped
                for mapping in [m for m in self.mappings.values() if m.pid == parent]:
                    self._token += 1
                    self.mappings[self._token] = Mapping(pid, mapping.buffer, mapping.what)
        return Answer()

    def reap(self) -> None:
        """Let go of what no descriptor and no process refers to any more."""
        if not self.transaction.acquire(blocking=False):
            return  # a launch is running; whoever started it looks again afterwards
        try:
            self._reap()
        finally:
            self.transaction.release()

    def settle(self) -> None:
        """The same, after a launch that is running has ended."""
        with self.transaction:
            self._reap()

    def _reap(self) -> None:
        dead = {pid for pid, (pidfd, _) in self.processes.items() if _ready(pidfd)}
        alive = bool(set(self.processes) - dead)
        if dead and not alive and not self.firmware.silent_for:
            # What they had launched runs on; they cannot be blamed for its end any more.
            blamed = list(self.gpu.violations)
            self.firmware.settle()
            if not self.v3d.hang:
                self.v3d.run()
            self.gpu.violations[:] = blamed
        for pid in dead:
            os.close(self.processes.pop(pid)[0])
            self.mappings = {k: m for k, m in self.mappings.items() if m.pid != pid}
        for ino, file in list(self.files.items()):
            if _hung_up(file.end):
                file.end.close()
                del self.files[ino]
                self.vcsm.closed(ino)
        busy = bool(self.gpu.begun) or not self.v3d.idle
        again = True
        while again:
            again = False
            for buffer in list(self.buffers):
                held = any(file.buffer is buffer for file in self.files.values())
                held = held or any(m.buffer is buffer for m in self.mappings.values())
                held = held or self.vcsm.holds(buffer)
                if held or buffer.importers:
                    continue
                if busy and alive:
                    self.gpu.violations.append(
                        "memory was freed while a launch may still write it"
                    )
                self._release(buffer)
                again = True

    def _release(self, buffer: DmaBuf) -> None:
        self.buffers.remove(buffer)
        buffer.released = True
        if buffer.source is not None:
            # Unmapping the attachment gives the memory back to the CPU.
            self.ram.invalidate(buffer.address, buffer.nbytes)
            buffer.source.importers.remove(buffer)
            return
        if buffer.exporter == "vcsm":
            self.ram.shut(buffer.address, self.ram.vc.give(buffer.address))
        elif buffer.exporter != "system":
            self.ram.shut(buffer.address, self.ram.cma.give(buffer.address))

    # --- opening ---------------------------------------------------------------------------------

    def resolve(self, path: str) -> str:
        """The path without symbolic links, as the Pi sees it."""
        real = os.path.realpath(str(self.root) + path)
        head = str(self.root)
        return real[len(head) :] if real.startswith(head + "/") else path

    def allowed(self, path: str, how: int) -> bool:
        """Whether the user may read (4) or write (2) a device file."""
        uid, gid, groups = self.setup.user
        mode, owner, group = self.setup.nodes[path]
        if uid == 0:
            return True
        shift = 6 if uid == owner else 3 if group in (gid, *groups) else 0
        return mode >> shift & how == how

    def open(self, pid: int, path: str, flags: int) -> Answer:
        path = self.resolve(path)
        self.faults.enter(f"open({path})", pid)
        if path == "/proc/meminfo":
            self.reap()
            (self.root / path[1:]).write_text(tree.meminfo(self.setup, self.ram))
        attribute = path.startswith("/sys/class/u-dma-buf/") and flags & 3 != os.O_RDONLY
        if path not in self.setup.nodes and not attribute:
            return Answer()
        if attribute:
            if self.setup.user[0] != 0:
                raise OSError(errno.EACCES, path)
            return self._install(pid, path, "attribute", flags)
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, path)
        how = {os.O_RDONLY: 4, os.O_WRONLY: 2, os.O_RDWR: 6}[flags & 3]
        if not self.allowed(path, how):
            raise OSError(errno.EACCES, path)
        if path == "/dev/mem" and self.setup.user[0] != 0:
            raise OSError(errno.EPERM, path)
        if path == "/dev/kmsg":
            return Answer()
        kind = path.rsplit("/", 1)[1]
        if path.startswith("/dev/dma_heap/"):
            kind = "system" if kind == "system" else "heap"
        elif path.startswith("/dev/udmabuf"):
            kind = "udmabuf"
        return self._install(pid, path, kind, flags)

    def _install(
        self, pid: int, path: str, kind: str, flags: int, buffer: Optional[DmaBuf] = None
    ) -> Answer:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ino = os.fstat(theirs.fileno()).st_ino
        mine.shutdown(socket.SHUT_WR)  # a read by the client ends at once
        self.files[ino] = File(path, kind, flags, pid, mine, ino, buffer)
        return Answer(fd=theirs.detach(), close=True)

    def look(self, path: str) -> Answer:
        """The mode and owner of a device file."""
        path = self.resolve(path)
        if path not in self.setup.nodes:
            return Answer()
        mode, owner, group = self.setup.nodes[path]
        number = os.makedev(10, 100 + sorted(self.setup.nodes).index(path))
        return Answer(values=(stat.S_IFCHR | mode, owner << 32 | group, number, 0))

    def look_at(self, ino: int) -> Answer:
        file = self.files.get(ino)
        if file is None:
            return Answer()
        if file.kind == "dma-buf" and file.buffer is not None:
            return Answer(values=(0o600, 0, 0, file.buffer.nbytes))  # an anonymous inode
        if file.kind == "attribute":
            return Answer(values=(stat.S_IFREG | 0o644, 0, 0, 4096))
        return self.look(file.path)

    def access(self, path: str, how: int) -> Answer:
        path = self.resolve(path)
        if path in self.setup.nodes and how & 6 and not self.allowed(path, how & 6):
            raise OSError(errno.EACCES, path)
        return Answer()

    # --- ioctl -----------------------------------------------------------------------------------

    def ioctl(
        self, pid: int, ino: int, number: int, inner: int, is_open: int, data: bytes
    ) -> Answer:
        file = self._file(ino)
        name = f"ioctl({file.kind}, {_ioctl_name(file.kind, number, data)})"
        self.faults.enter(name, pid, self)
        if file.kind.startswith("vcio"):
            return self._vcio(pid, file, number, data)
        with self.lock:
            self.reap()
            if file.kind == "vcsm-cma":
                return self._vcsm_cma(pid, number, inner, is_open, data)
            if file.kind == "vcsm":
                return Answer(payload=self.vcsm.ioctl(pid, ino, number, data))
            if file.kind in ("heap", "system"):
                return self._heap(pid, file, number, data)
            if file.kind == "dma-buf":
                return self._dma_buf(file, number, data)
        raise OSError(errno.ENOTTY, name)

    def _file(self, ino: int) -> File:
        file = self.files.get(ino)
        if file is None:
            raise OSError(errno.EBADF, "no such file")
        return file

    def _vcio(self, pid: int, file: File, number: int, data: bytes) -> Answer:
        pointer = self.processes[pid][1]
        if number != 3 << 30 | pointer << 16 | 100 << 8:
            self.log.append(f"vcio: unknown ioctl: {number:x}")
            raise OSError(errno.EINVAL, "unknown ioctl")
        if len(data) < 12:
            raise OSError(errno.EINVAL, "a property buffer has 12 bytes at least")
        if struct.unpack_from("<I", data)[0] != len(data):
            raise OSError(errno.ENOMEM, "property buffer beyond what this kernel copies")
        if len(data) % 4:
            raise OSError(errno.EINVAL, "packets are words")
        if file.kind == "vcio_gencmd" and data[8:12] != struct.pack("<I", 0x30080):
            raise OSError(errno.EPERM, "tag not permitted")
        with self.lock:
            self.reap()
        with self.transaction:
            try:
                # The kernel ends the message itself, whatever its last word was.
                reply = self.firmware.properties(data[:-4] + bytes(4))
            except Refused:
                tag = struct.unpack_from("<I", data, 8)[0]
                self.log.append(f"Request {tag:#010x} returned status 0x80000001")
                raise OSError(errno.EINVAL, "refused by the firmware") from None
            except Silent:
                time.sleep(self.patience * self.setup.mailbox_seconds)
                self.log.append("Firmware transaction timeout")
                raise OSError(errno.ETIMEDOUT, "the firmware does not answer") from None
        with self.lock:
            self.reap()
        return Answer(payload=reply)

    def _heap(self, pid: int, file: File, number: int, data: bytes) -> Answer:
        if number & 0xFF != 0:
            raise OSError(errno.EINVAL, "unknown ioctl")
        if number != 0xC0184800:
            raise OSError(errno.ENOTTY, "unknown ioctl")
        length, fd, fd_flags, heap_flags = struct.unpack("<QIIQ", data)
        if fd or heap_flags or fd_flags & ~(os.O_CLOEXEC | os.O_ACCMODE) or not length:
            raise OSError(errno.EINVAL, "allocation")
        nbytes = -(-length // PAGE) * PAGE
        address = 0
        if file.kind == "heap":
            address = self._cma(nbytes)
            self.ram.cached[address] = nbytes
        buffer = DmaBuf(file.kind, address, nbytes, cached=True)
        self.buffers.append(buffer)
        answer = self._install(pid, "dma-buf", "dma-buf", fd_flags, buffer)
        answer.payload = data
        answer.values = (8, 0 if fd_flags & os.O_CLOEXEC else 1, 0, 0)
        return answer

    def _cma(self, nbytes: int) -> int:
        """Contiguous pages, aligned to their order up to 1 MiB."""
        align = min(1 << (nbytes - 1).bit_length(), 1 << 20)
        address = self.ram.cma.take(nbytes, align)
        if address is None:
            self.log.append(f"cma: cma_alloc: alloc failed, req-size: {nbytes // PAGE} pages")
            raise OSError(errno.ENOMEM, "no room in the CMA pool")
        self.ram.open(address, nbytes)
        return address

    def take_gpu_memory(self, nbytes: int) -> DmaBuf:
        """Pages of gpu_mem for /dev/vcsm."""
        address = self.ram.vc.take(nbytes)
        if address is None:
            raise OSError(errno.ENOMEM, "no room in gpu_mem")
        self.ram.open(address, nbytes, noise=True)
        buffer = DmaBuf("vcsm", address, nbytes, cached=False)
        self.buffers.append(buffer)
        return buffer

    def _vcsm_cma(self, pid: int, number: int, inner: int, is_open: int, data: bytes) -> Answer:
        command = number & 0xFF
        if command not in (0x5A, 0x5B):
            raise OSError(errno.EINVAL, "unknown ioctl")
        data = data[:64].ljust(64, b"\0")
        alias = self.setup.board.dma_alias
        self._vc_handle += 1
        if command == 0x5A:
            size = struct.unpack_from("<I", data)[0]
            nbytes = -(-size // PAGE) * PAGE
            if not nbytes:
                raise OSError(errno.EINVAL, "size 0")
            try:
                address = self._cma(nbytes)
            except OSError:
                self.log.append(
                    f"[vc_sm_cma_ioctl_alloc]: dma_alloc_coherent alloc of {nbytes} bytes failed"
                )
                raise
            buffer = DmaBuf("vcsm-cma", address, nbytes, cached=False)
            reply = data[:48] + struct.pack("<iIQ", -1, self._vc_handle, alias | address)
            place = 48
        else:
            source = self.files.get(inner)
            if source is None or source.buffer is None:
                raise OSError(errno.EINVAL if is_open else errno.EBADF, "no dma-buf")
            if source.buffer.exporter == "system":
                raise OSError(errno.ENOMEM, "more than one segment")
            buffer = self._import(source.buffer)
            reply = data[:40] + struct.pack(
                "<iIIIQ", -1, self._vc_handle, buffer.nbytes, 0, alias | buffer.address
            )
            place = 40
        self.buffers.append(buffer)
        answer = self._install(pid, "dma-buf", "dma-buf", os.O_RDWR | os.O_CLOEXEC, buffer)
        answer.payload = reply
        answer.values = (place, 0, 0, 0)
        return answer

    def _import(self, source: DmaBuf) -> DmaBuf:
        buffer = DmaBuf("import", source.address, source.nbytes, source.cached, source)
        source.importers.append(buffer)
        if source.cached:  # mapping the attachment hands the memory to the device
            self.ram.clean(source.address, source.nbytes)
        return buffer

    def _dma_buf(self, file: File, number: int, data: bytes) -> Answer:
        buffer = file.buffer
        assert buffer is not None
        if number != 0x40086200:
            raise OSError(errno.ENOTTY, "unknown ioctl")
        flags = struct.unpack("<Q", data)[0]
        if flags & ~7 or not flags & 3:
            raise OSError(errno.EINVAL, "flags")
        pages = buffer.source or buffer
        # Only what a device has attached is synchronised.
        if pages.cached and pages.importers:
            if flags & 4:
                self._for_device(pages, bool(flags & 2))
            elif flags & 1:
                self.ram.invalidate(pages.address, pages.nbytes)
        return Answer(payload=data)

    def _for_device(self, buffer: DmaBuf, written: bool) -> None:
        """To the device; a buffer that it only fills is invalidated by a 32-bit kernel."""
        if written or self.setup.bits == 64:
            self.ram.clean(buffer.address, buffer.nbytes)
        else:
            self.ram.invalidate(buffer.address, buffer.nbytes)

    # --- mmap ------------------------------------------------------------------------------------

    def mmap(self, pid: int, ino: int, offset: int, nbytes: int, prot: int, flags: int) -> Answer:
        file = self._file(ino)
        what = file.kind
        if file.kind == "mem":
            what = "mem, registers" if self._is_mmio(offset) else "mem, memory"
        self.faults.enter(f"mmap({what})", pid)
        with self.lock:
            self.reap()
            if offset % PAGE or not nbytes:
                raise OSError(errno.EINVAL, "mmap")
            if file.kind == "mem":
                return self._map_mem(pid, file, offset, nbytes)
            if file.kind == "vcsm":
                buffer = self.vcsm.mapped(ino, offset, nbytes)
                return self._map(pid, buffer, what, buffer.address, False)
            buffer = self.udmabuf if file.kind == "udmabuf" else file.buffer
            if buffer is None:
                raise OSError(errno.ENODEV, "mmap")
            nbytes = -(-nbytes // PAGE) * PAGE
            pages = buffer.source or buffer
            if offset + nbytes > buffer.nbytes or pages.exporter == "system":
                raise OSError(errno.EINVAL, "beyond the buffer")
            if pages.exporter == "heap" and not flags & 1:
                raise OSError(errno.EINVAL, "private mapping")
            cached = pages.cached and not (file.kind == "udmabuf" and file.flags & os.O_SYNC)
            address = pages.address + (offset if pages.exporter != "vcsm-cma" else 0)
            return self._map(pid, buffer, what, address, cached)

    def _map(
        self, pid: int, buffer: Optional[DmaBuf], what: str, address: int, cached: bool
    ) -> Answer:
        self._token += 1
        self.mappings[self._token] = Mapping(pid, buffer, what)
        store = self.ram.caches if cached and self.ram.caches is not None else self.ram.memory
        return Answer(values=(0, address - self.ram.start, self._token, 0), fd=store.fd)

    def _is_mmio(self, address: int) -> bool:
        first = self.setup.board.peripherals
        return first <= address < first + 0x01000000

    def _map_mem(self, pid: int, file: File, offset: int, nbytes: int) -> Answer:
        if self._is_mmio(offset):
            if self.setup.mmio_locked:
                raise OSError(errno.EPERM, "claimed by a driver")
            self._token += 1
            self.mappings[self._token] = Mapping(pid, None, "registers")
            return Answer(values=(offset, 0, self._token, 0))
        system_ram = offset < self.ram.vc_base
        if system_ram and self.setup.strict_devmem:
            raise OSError(errno.EPERM, "System RAM")
        if not self.ram.inside(offset, nbytes):
            raise OSError(errno.EINVAL, "outside the memory that is modelled")
        cached = system_ram and not file.flags & os.O_SYNC
        return self._map(pid, None, "mem, memory", offset, cached)

    def munmap(self, token: int) -> Answer:
        with self.lock:
            self.mappings.pop(token, None)
            self.reap()
        return Answer()

    # --- registers -------------------------------------------------------------------------------

    def register(self, pid: int, address: int, value: Optional[int], width: int = 4) -> Answer:
        offset = address - self.setup.board.peripherals - V3D_OFFSET
        if not 0 <= offset < 0x1000:
            return Answer()
        name = REGISTERS.get(offset, hex(offset))
        with self.transaction:
            self.faults.enter(f"{'load' if value is None else 'store'}({name})", pid, self)
            if value is not None:
                self.v3d.store(offset, value, width)
                return Answer()
            return Answer(values=(self.v3d.load(offset), 0, 0, 0))

    # --- u-dma-buf -------------------------------------------------------------------------------

    def _probe_udmabuf(self) -> None:
        address = self._cma(self.setup.udmabuf)
        self.udmabuf = DmaBuf("udmabuf", address, self.setup.udmabuf, cached=True)
        self.ram.cached[address] = self.setup.udmabuf
        self._sync = {"sync_mode": 1, "sync_direction": 0, "sync_offset": 0,
                      "sync_size": self.setup.udmabuf}  # fmt: skip
        base = self.root / "sys/class/u-dma-buf/udmabuf0"
        (base / "phys_addr").write_text(f"0x{address:016x}\n")

    def write(self, ino: int, data: bytes) -> Answer:
        file = self._file(ino)
        if file.kind != "attribute" or self.udmabuf is None:
            raise OSError(errno.EINVAL, "write")
        name = file.path.rsplit("/", 1)[1]
        value = int(data.decode().strip("\0\n "), 0)
        if name in self._sync:
            self._sync[name] = value
            (self.root / file.path[1:]).write_text(f"{value}\n")
        elif name in ("sync_for_cpu", "sync_for_device") and value & 1:
            offset, size = self._sync["sync_offset"], self._sync["sync_size"]
            direction = self._sync["sync_direction"]
            if value != 1:  # one word says all
                offset, size = value >> 32, value & 0xFFFFFFF0
                direction = value >> 2 & 3
            first = (self.udmabuf.address + offset) & ~63
            end = min(self.udmabuf.address + offset + size, self.udmabuf.address
                      + self.udmabuf.nbytes)  # fmt: skip
            nbytes = -(-(end - first) // 64) * 64
            if name == "sync_for_cpu" and direction != 1:
                self.ram.invalidate(first, nbytes)
            elif name == "sync_for_device" and direction != 2:
                self.ram.clean(first, nbytes)
        return Answer(values=(len(data), 0, 0, 0))


def _ready(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _hung_up(end: socket.socket) -> bool:
    poll = select.poll()
    poll.register(end, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _ioctl_name(kind: str, number: int, data: bytes) -> str:
    command = number & 0xFF
    if kind.startswith("vcio") and len(data) >= 12:
        tag = struct.unpack_from("<I", data, 8)[0]
        name = TAGS.get(tag, hex(tag))
        if name == "SET_ENABLE_QPU" and len(data) >= 24:
            name += f" {struct.unpack_from('<I', data, 20)[0]}"
        return name
    if kind == "vcsm-cma":
        names = {0x5A: "ALLOC", 0x5B: "IMPORT_DMABUF", 0x5C: "CLEAN_INVALID2"}
        return names.get(command, hex(number))
    if kind == "vcsm":
        return vcsm.COMMANDS.get(command, hex(number))
    if kind in ("heap", "system"):
        return "ALLOC" if command == 0 else hex(number)
    if kind == "dma-buf" and number == 0x40086200 and len(data) == 8:
        flags = data[0]
        moment = "END" if flags & 4 else "START"
        return f"SYNC {moment}|{('', 'READ', 'WRITE', 'RW')[flags & 3]}"
    return hex(number)
