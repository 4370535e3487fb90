"""The firmware of the virtual Pi behind the mailbox: memory, clocks, QPUs.

Tags and layouts: raspberrypi/linux include/soc/bcm2835/raspberrypi-firmware.h.  The firmware serves
one request after the other; a launch that does not end keeps it from answering any other.
"""

from __future__ import annotations

import struct
from typing import Callable, Dict, List, Optional

from .gpu import V3D, Gpu
from .ram import Ram
from .setups import Setup

__all__ = ["Firmware", "Refused", "Silent", "TAGS"]

TAGS = {
    0x00000001: "GET_FIRMWARE_REVISION", 0x00000002: "GET_FIRMWARE_VARIANT",
    0x00000003: "GET_FIRMWARE_HASH",
    0x00010001: "GET_BOARD_MODEL", 0x00010002: "GET_BOARD_REVISION",
    0x00010004: "GET_BOARD_SERIAL", 0x00010005: "GET_ARM_MEMORY", 0x00010006: "GET_VC_MEMORY",
    0x00030001: "GET_CLOCK_STATE", 0x00038001: "SET_CLOCK_STATE", 0x00030002: "GET_CLOCK_RATE",
    0x00038002: "SET_CLOCK_RATE", 0x00030004: "GET_MAX_CLOCK_RATE",
    0x00030007: "GET_MIN_CLOCK_RATE", 0x00030047: "GET_CLOCK_MEASURED",
    0x00030006: "GET_TEMPERATURE", 0x0003000A: "GET_MAX_TEMPERATURE",
    0x0003000C: "ALLOCATE_MEMORY", 0x0003000D: "LOCK_MEMORY", 0x0003000E: "UNLOCK_MEMORY",
    0x0003000F: "RELEASE_MEMORY", 0x00030011: "EXECUTE_QPU", 0x00030012: "SET_ENABLE_QPU",
    0x00030030: "GET_DOMAIN_STATE", 0x00038030: "SET_DOMAIN_STATE", 0x00030046: "GET_THROTTLED",
}  # fmt: skip
# Idein/librpimemmgr: README.md, "test/addr".
_ALIASES_2835 = {0: 0x00000000, 4: 0xC0000000, 8: 0x80000000, 12: 0x40000000}
_ALIASES_2836 = {0: 0x00000000, 4: 0xC0000000, 8: 0x80000000, 12: 0x80000000}
_FAILED = 0x80000000


class Refused(Exception):
    """The request's status is 0x80000001."""


class Silent(Exception):
    """No answer in time."""


class _Memory:
    def __init__(self, address: int, nbytes: int, flags: int) -> None:
        self.address, self.nbytes, self.flags = address, nbytes, flags
        self.locks = 0


class Firmware:
    """Answers property tags; keeps handles, the state of the QPUs, and who enabled them."""

    def __init__(self, setup: Setup, ram: Ram, gpu: Gpu, v3d: V3D) -> None:
        self.setup, self.ram, self.gpu, self.v3d = setup, ram, gpu, v3d
        self.handles: Dict[int, _Memory] = {}
        self.enables = 0
        self.clocks = {5: int(gpu.hertz), 4: 400_000_000, 3: 1_000_000_000, 8: 450_000_000}
        self.silent_for = 0  # requests that a stuck launch still swallows
        self.next_launch: Optional[str] = None  # "hang" or "nothing": what the next one does
        self.hang_requests = 0
        self.deaf = False  # to the time-outs that launches ask for: the kernel's comes first
        self._next_handle = 1
        self._answers: Dict[str, Callable[..., List[int]]] = {
            name: getattr(self, "_" + name.lower())
            for name in TAGS.values()
            if hasattr(self, "_" + name.lower())
        }

    # --- requests --------------------------------------------------------------------------------

    def properties(self, message: bytes) -> bytes:
        """The reply to a property buffer of 32-bit words."""
        if self.silent_for:
            self.silent_for -= 1
            if not self.silent_for:
                self.settle()
            raise Silent
        words = list(struct.unpack(f"<{len(message) // 4}I", message))
        at = 2
        while at < len(words) and words[at]:
            if at + 3 > len(words):
                raise Refused
            tag, room = words[at], words[at + 1] // 4
            if at + 3 + room > len(words):
                raise Refused
            request = words[at + 3 : at + 3 + room]
            reply = self._tag(tag, request)[:room]
            words[at + 3 : at + 3 + len(reply)] = [word & 0xFFFFFFFF for word in reply]
            words[at + 2] = 0x80000000 | 4 * len(reply)
            at += 3 + room
        words[1] = 0x80000000
        return struct.pack(f"<{len(words)}I", *words)

    def _tag(self, tag: int, request: List[int]) -> List[int]:
        answer = self._answers.get(TAGS.get(tag, ""))
        if answer is None:
            raise Refused
        return answer(*request)

    def settle(self) -> None:
        """A launch that was given up comes to its end."""
        self.silent_for = 0
        if self.gpu.begun:
            self.gpu.finish()

    # --- what it knows ---------------------------------------------------------------------------

    def _get_firmware_revision(self, *_: int) -> List[int]:
        return [1724253024]

    def _get_firmware_variant(self, *_: int) -> List[int]:
        return [self.setup.variant]

    def _get_firmware_hash(self, *_: int) -> List[int]:
        return [0x12345678] * 5

    def _get_board_model(self, *_: int) -> List[int]:
        return [0]

    def _get_board_revision(self, *_: int) -> List[int]:
        return [self.setup.board.revision]

    def _get_board_serial(self, *_: int) -> List[int]:
        return [0xCAFE0001, 0]

    def _get_arm_memory(self, *_: int) -> List[int]:
        return [0, self.ram.vc_base]

    def _get_vc_memory(self, *_: int) -> List[int]:
        return [self.ram.vc_base, self.ram.vc_size]

    def _get_clock_state(self, clock: int, *_: int) -> List[int]:
        return [clock, 1 if clock in self.clocks else 2]

    _set_clock_state = _get_clock_state

    def _get_clock_rate(self, clock: int, *_: int) -> List[int]:
        return [clock, self.clocks.get(clock, 0)]

    _get_max_clock_rate = _get_min_clock_rate = _get_clock_measured = _get_clock_rate

    def _set_clock_rate(self, clock: int, hertz: int = 0, *_: int) -> List[int]:
        return [clock, self.clocks.get(clock, 0)]

    def _get_temperature(self, *_: int) -> List[int]:
        return [0, 48000]

    def _get_max_temperature(self, *_: int) -> List[int]:
        return [0, 85000]

    def _get_throttled(self, *_: int) -> List[int]:
        return [self.setup.throttled]

    def _get_domain_state(self, domain: int, *_: int) -> List[int]:
        return [domain, int(self.v3d.powered) if domain == 11 else 1]

    def _set_domain_state(self, domain: int, on: int = 0, *_: int) -> List[int]:
        if domain == 11:
            self.v3d.power(bool(on))
        return [domain, on]

    # --- memory ----------------------------------------------------------------------------------

    def _allocate_memory(
        self, nbytes: int, align: int = 4096, flags: int = 0, *_: int
    ) -> List[int]:
        size = -(-nbytes // 4096) * 4096
        address = self.ram.vc.take(size, align) if size else None
        if address is None:
            return [0]
        self.ram.open(address, size, noise=not flags & 16)
        handle = self._next_handle
        self._next_handle += 1
        self.handles[handle] = _Memory(address, size, flags)
        return [handle]

    def _lock_memory(self, handle: int, *_: int) -> List[int]:
        memory = self.handles.get(handle)
        if memory is None:
            return [0]
        memory.locks += 1
        old = self.setup.board.soc == "bcm2835"
        alias = (_ALIASES_2835 if old else _ALIASES_2836)[memory.flags & 12]
        return [alias | memory.address]

    def _unlock_memory(self, handle: int, *_: int) -> List[int]:
        memory = self.handles.get(handle)
        if memory is None or not memory.locks:
            return [_FAILED]
        memory.locks -= 1
        return [0]

    def _release_memory(self, handle: int, *_: int) -> List[int]:
        memory = self.handles.pop(handle, None)
        if memory is None:
            return [_FAILED]
        if self.gpu.begun or not self.v3d.idle:
            self.gpu.violations.append("GPU memory was released while a launch may still write it")
        self.ram.shut(memory.address, self.ram.vc.give(memory.address))
        return [0]

    # --- QPUs ------------------------------------------------------------------------------------

    def _set_enable_qpu(self, on: int, *_: int) -> List[int]:
        if self.setup.variant == 4 or self.setup.enable_reply == "refused":
            raise Refused
        if self.setup.enable_reply:
            return [int(str(self.setup.enable_reply), 0)]
        self.enables += 1 if on else -1
        self.v3d.power(self.enables > 0)
        return [0]

    def _execute_qpu(
        self, count: int, control: int, noflush: int = 0, timeout: int = 0, *_: int
    ) -> List[int]:
        if self.setup.variant == 4 or self.setup.enable_reply == "refused":
            raise Refused
        what, self.next_launch = self.next_launch, None
        if what == "nothing":
            return [0]
        if not self.v3d.powered or not 1 <= count <= 12:
            self.gpu.violations.append(
                f"launch of {count} programs on QPUs that are {'on' if self.v3d.powered else 'off'}"
            )
            return [_FAILED]
        pairs = self.gpu.read_list(control, count)
        if pairs is None:
            return [_FAILED]
        if self.gpu.begun:
            self.gpu.finish()  # the programs before these end first
        if not noflush:
            self.gpu.clear_caches()
        self.gpu.begin(pairs)
        kernel = self.setup.mailbox_seconds
        if what == "hang":
            if timeout / 1000 < kernel and not self.deaf:
                return [_FAILED]
            self.silent_for = self.hang_requests
            raise Silent
        seconds = self.gpu.finish(needs_interrupt=True)
        limit = min(timeout / 1000, kernel)
        if seconds is not None and seconds <= limit:
            return [0]
        if timeout / 1000 < kernel:
            return [_FAILED]
        raise Silent
