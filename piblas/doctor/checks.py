"""The checks, in order.  Each is a row: a name, why it matters, a function of the examination.

A function returns an :class:`~.finding.Outcome`.  Later checks use what earlier ones have left in
the :class:`Examination`: the board, the open mailbox, the lock, the borrowed QPUs.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import Iterator, List, Optional

from ..driver import mailbox as mb
from ..driver import needs
from ..driver import soc as boards
from ..driver.cma import CMA_NODE, HEAPS, heaps
from ..driver.launchers import kernel_limit
from ..driver.lock import GpuLock, holder
from ..driver.memory import MEM, cma_free
from ..driver.soc import Board
from ..driver.survey import Surveyed, survey
from ..driver.vcsm import NODE as OLD_NODE
from ..errors import DeviceBusy, DeviceError
from . import fixes, system
from .config_txt import config_lines, config_path
from .finding import FAIL, INFO, OK, SKIP, WARN, Check, Finding, Outcome
from .trial import TRIAL

__all__ = ["CHECKS", "Examination", "examine"]

HINTS = "`piblas doctor --fix-hints` prints the files"
_IN_CONFIG = "under [all] in"


class Examination:
    """What the checks so far have found out and hold open."""

    def __init__(self) -> None:
        self.board: Optional[Board] = None
        self.mailbox: Optional[mb.Mailbox] = None
        self.locked = False
        self.enabled = False
        self.memory: List[Surveyed] = []
        self.stack = contextlib.ExitStack()

    def ask(self, tag: int, answer: int = 1) -> Optional[int]:
        return self.mailbox.ask(tag, [0] * (answer - 1), answer) if self.mailbox else None

    def close(self) -> None:
        """Give everything back, so that the GPU is free for whoever comes next."""
        self.stack.close()
        self.mailbox, self.locked, self.enabled = None, False, False


_NO_ACCESS = Outcome(SKIP, "not tried, because the firmware cannot be asked")


def _board(at: Examination) -> Outcome:
    found = boards.detect()
    if found is None:
        what = boards.model()
        here = f"this is a {what!r}" if what else "no device tree names a board"
        return Outcome(
            FAIL,
            f"no Raspberry Pi Zero, 1, 2 or 3: {here}",
            "use the CPU (PIBLAS_DEVICE=cpu), or the emulator to develop "
            f"(PIBLAS_DEVICE=emulator; it needs numba: {needs.emulator()})",
        )
    if found.other_gpu:
        return Outcome(
            FAIL,
            f"{found.model} ({found.chip}) has a {found.other_gpu.split(' (')[0]}",
            "use py-videocore6 (Pi 4) or py-videocore7 (Pi 5) for its GPU; piblas computes on the "
            "CPU here",
        )
    at.board = found
    return Outcome(
        OK,
        f"{found.model}, {found.chip}; peripherals at {found.peripherals:#010x}, bus alias "
        f"{found.alias:#010x}; {system.os_name()}, Linux {os.uname().release}",
    )


def _vcio(at: Examination) -> Outcome:
    found = system.node(mb.NODE)
    if found is not None:
        return Outcome(OK, str(found))
    remedy = "install the Raspberry Pi kernel; Debian's and mainline's have no such node"
    if system.in_container():
        remedy = f"start the container with --device {mb.NODE} --device {CMA_NODE}; or {remedy}"
    return Outcome(FAIL, f"there is no {mb.NODE}", remedy)


def _open_vcio(at: Examination) -> Outcome:
    found = system.node(mb.NODE)
    if found is None:
        return Outcome(SKIP, "not tried, because there is no such node")
    try:
        at.mailbox = mb.Mailbox()
    except PermissionError:
        return _refused(found)
    except OSError as error:
        return Outcome(FAIL, f"{mb.NODE}: {error.strerror}", "reboot; then see `dmesg | grep vcio`")
    at.stack.callback(at.mailbox.close)
    return Outcome(OK, f"{system.user()} may open it")


def _refused(found: system.Node) -> Outcome:
    who = f"user {system.user()}, groups {' '.join(system.groups())}"
    if found.root_only or found.group == "root":
        return Outcome(
            FAIL,
            f"permission denied: {found} ({who}); the udev rules of raspberrypi-sys-mods leave the "
            "node to root since June 2026, and a reboot changes nothing",
            f"install a udev rule as {fixes.RULES_PATH} ({HINTS}), then: {fixes.UDEV_COMMANDS}"
            + ("" if system.is_member("video") or "video" in system.groups() else
               f"; and sudo usermod -aG video {system.user()}, then log in anew"),
        )
    if found.group in system.groups():
        return Outcome(
            FAIL,
            f"permission denied: {found} ({who})",
            f"sudo chmod g+rw {mb.NODE}, or a udev rule ({HINTS})",
        )
    if system.is_member(found.group):
        remedy = f"log out and in again: you were added to the group {found.group} since"
    else:
        remedy = f"sudo usermod -aG {found.group} {system.user()}, then log out and in again"
    return Outcome(FAIL, f"permission denied: {found} ({who})", remedy)


def _v3d_node(at: Examination) -> Outcome:
    status, bound = system.v3d_status(), system.v3d_driver()
    if status in (None, "disabled") and bound is None:
        return Outcome(OK, "no kernel driver has it" + (" (no node)" if status is None else ""))
    what = f"the device tree has it as {status!r}" if status else "no node in the device tree"
    if bound:
        what += f", and the driver vc4_v3d is bound to {bound}"
    lines = config_lines(r"dtoverlay=vc4-f?kms-v3d")
    if lines:
        remedy = f"comment out {' and '.join(map(str, lines))}, then reboot"
    else:
        remedy = f"remove the vc4 overlay from {config_path()}, then reboot"
    if at.enabled:
        what += "; the firmware lends its QPUs all the same, but the driver may spoil results"
    return Outcome(
        WARN if at.enabled else FAIL,
        what,
        f"{remedy}; or keep the display and switch only the 3D core off ({HINTS})",
    )


def _firmware(at: Examination) -> Outcome:
    if at.mailbox is None:
        return _NO_ACCESS
    variant, memory = at.ask(mb.FIRMWARE_VARIANT), at.ask(mb.VC_MEMORY, 2)
    revision = at.ask(mb.FIRMWARE_REVISION)
    dated = "of unknown revision" if revision is None else f"revision {revision:#x}"
    size = "unknown" if memory is None else f"{memory >> 20} MiB"
    found = f"firmware {dated}, memory of the GPU {size}"
    cut_down = variant == 4  # start_cd.elf, by the order of the kernel's list of names
    if cut_down or (memory is not None and memory <= 16 << 20):
        lines = config_lines(r"gpu_mem(_\d+)?=16\b")
        old = f"in place of {' and '.join(map(str, lines))}"
        where = old if lines else f"{_IN_CONFIG} {config_path()}"
        return Outcome(
            FAIL,
            found + ": the cut-down firmware (start_cd.elf), which lends no QPUs",
            f"gpu_mem=32 or more {where}, then reboot",
        )
    return Outcome(OK, found)


def _busy(at: Examination) -> Outcome:
    who = holder()
    if who is not None:
        return Outcome(FAIL, f"the GPU is in use by {who}", "wait for it to end, or end it")
    if at.mailbox is None:
        return Outcome(OK, "nobody uses the GPU")
    try:
        lock = GpuLock()
    except DeviceBusy as error:
        return Outcome(FAIL, str(error), "wait for it to end, or end it")
    except DeviceError as error:
        return Outcome(FAIL, str(error), "make /run/lock or /tmp writable")
    at.stack.callback(lock.release)
    at.locked = True
    return Outcome(OK, "nobody uses the GPU")


def _enable(at: Examination) -> Outcome:
    if at.mailbox is None or not at.locked:
        return _NO_ACCESS if at.mailbox is None else Outcome(SKIP, "not tried, the GPU is in use")
    remedy = "see the findings on the V3D node and the firmware; update the firmware if both are ok"
    try:
        status = at.mailbox.enable_qpu(True)
    except OSError as error:
        return Outcome(FAIL, f"the firmware refuses: {error.strerror}", remedy)
    if status:
        return Outcome(FAIL, f"the firmware refuses: status {status:#x}", remedy)
    at.enabled = True

    def hand_back() -> None:
        with contextlib.suppress(OSError):
            mailbox.enable_qpu(False)

    mailbox = at.mailbox
    at.stack.callback(hand_back)
    return Outcome(OK, "the firmware lends its QPUs")


def _vcsm_cma(at: Examination) -> Outcome:
    found = system.node(CMA_NODE)
    older = system.node(OLD_NODE)
    if found is None and older is not None and os.access(OLD_NODE, os.R_OK | os.W_OK):
        return Outcome(INFO, f"the one of kernels before 5.9: {older}; its memory is uncached")
    if found is None:
        return Outcome(
            WARN if os.geteuid() == 0 else FAIL,
            f"there is no {CMA_NODE}" + (
                ": memory of the GPU itself serves instead" if os.geteuid() == 0 else ""
            ),
            "sudo modprobe vc-sm-cma; it needs the full firmware (gpu_mem above 16). Without it "
            "only root can use the GPU, with gpu_mem=64 or more",
        )
    if not os.access(CMA_NODE, os.R_OK | os.W_OK):
        return Outcome(
            FAIL,
            f"permission denied: {found}",
            f"install a udev rule as {fixes.RULES_PATH} ({HINTS}), or sudo usermod -aG "
            f"{found.group} {system.user()} and log in anew",
        )
    return Outcome(OK, str(found))


def _dma_heap(at: Examination) -> Outcome:
    slow = "without one, memory is uncached and copies take 3 to 5 times as long"
    paths = heaps()
    if not paths:
        where = f"no heap of contiguous memory in {HEAPS}"
        return Outcome(WARN, f"{where}; {slow}", "update the kernel (5.10 or later has them)")
    usable = [path for path in paths if os.access(path, os.R_OK)]
    if not usable:
        found = system.node(paths[0])
        return Outcome(
            WARN,
            f"permission denied: {found}; {slow}",
            f"install a udev rule as {fixes.RULES_PATH} ({HINTS})",
        )
    return Outcome(OK, str(system.node(usable[0])))


def _cma_pool(at: Examination) -> Outcome:
    total, free = cma_free()
    if total is None or free is None:
        return Outcome(INFO, "/proc/meminfo does not tell the size of the CMA pool")
    found = f"{free >> 20} of {total >> 20} MiB free"
    wanted = fixes.CMA_MIB << 20
    if total < wanted // 2:
        return Outcome(
            WARN,
            f"{found}: too small for large operands, which then go to the CPU",
            f"dtoverlay=cma,cma-{fixes.CMA_MIB} {_IN_CONFIG} {config_path()}, then reboot",
        )
    if free < wanted // 4:
        return Outcome(WARN, found, "end whatever holds it (camera, display), or make it larger")
    return Outcome(OK, found)


def _memory(at: Examination) -> Outcome:
    if at.board is None or at.mailbox is None or not at.enabled:
        return Outcome(SKIP, "not tried, because the QPUs were not lent")
    at.memory = survey(at.board, at.mailbox)
    working = [row for row in at.memory if row.bus is not None]
    others = "; ".join(str(row.problem) for row in at.memory if row.problem)
    wrong = [row for row in at.memory if row.wrong_alias]
    if wrong:
        return Outcome(
            WARN if working else FAIL,
            str(wrong[0].problem),
            "install the kernel and device tree of Raspberry Pi OS that belong together",
        )
    if not working:
        return Outcome(FAIL, f"no backend gives memory: {others}", "see the findings above")
    best = working[0]
    kind = "cached" if best.cached else "uncached"
    text = f"{best.name}, {kind}, bus address {best.bus:#010x}"
    if len(working) > 1:
        text += "; also " + ", ".join(row.name for row in working[1:])
    return Outcome(OK if best.cached else INFO, text)


def _dev_mem(at: Examination) -> Outcome:
    if at.board is None or os.geteuid() != 0:
        return Outcome(SKIP, "not root: launches go through the mailbox")
    from ..driver.v3d import Registers

    options = system.kernel_options("STRICT_DEVMEM", "IO_STRICT_DEVMEM")
    told = "".join(f", {name}={value}" for name, value in options.items())
    if not at.enabled:
        return Outcome(SKIP, "not tried, because the QPUs were not lent")
    try:
        registers = Registers(at.board)
    except OSError as error:
        return Outcome(
            WARN,
            f"{MEM}: {error.strerror}{told}: launches go through the mailbox, at most "
            f"{kernel_limit():g} s each",
            "iomem=relaxed in cmdline.txt if the kernel is strict; leave kernel lockdown",
        )
    try:
        registers.check()
    except DeviceError as error:
        return Outcome(WARN, f"{error}{told}: launches go through the mailbox", "")
    finally:
        registers.close()
    return Outcome(OK, f"V3D registers at {at.board.v3d:#010x} answer{told}")


def _kernel(at: Examination) -> Outcome:
    name, limit = os.uname(), kernel_limit()
    found = f"Linux {name.release}: it waits {limit:g} s for the firmware"
    if limit < 3:
        found += "; kernels from the middle of May 2025 on wait 3 s"
    return Outcome(INFO, found + "; launches are cut to 0.4 s predicted")


def _power(at: Examination) -> Outcome:
    if at.mailbox is None:
        return _NO_ACCESS
    throttled, clock = at.ask(mb.THROTTLED), at.mailbox.clock_hz()
    found = "clock unknown" if not clock else f"V3D clock {clock / 1e6:.0f} MHz"
    problems = []
    remedy = ""
    if throttled is not None:
        for bit, text in ((0, "under-voltage now"), (2, "throttled now"), (16, "under-voltage")):
            if throttled >> bit & 1:
                problems.append(text + (" since the boot" if bit >= 16 else ""))
    if problems:
        remedy = "a power supply and cable that keep 5 V; cooling"
    if clock and clock < 250e6:
        problems.append("below the usual 250 MHz")
        remedy = (remedy + "; " if remedy else "") + (
            f"v3d_freq=250 (or gpu_freq) {_IN_CONFIG} {config_path()}"
        )
    if problems:
        return Outcome(WARN, f"{found}: {', '.join(problems)}", remedy)
    return Outcome(OK, found)


def _python(at: Examination) -> Outcome:
    bits, machine = 8 * struct.calcsize("P"), os.uname().machine
    found = f"{bits}-bit Python on {machine}"
    if bits == 32 and machine in ("aarch64", "x86_64"):
        found += ": works, the mailbox request is 0xC0046400; 64-bit BLAS would be faster"
    return Outcome(INFO, found)


CHECKS = (
    Check("board", "only the Pi Zero, 1, 2, 3 and Zero 2 W have a VideoCore IV", _board),
    Check("vcio node", "the firmware, which owns the QPUs, is reached through it", _vcio),
    Check("vcio access", "without it nobody but root launches programs", _open_vcio),
    Check("firmware", "its cut-down variant has no QPU services", _firmware),
    Check("other users", "two processes on the GPU would spoil each other's results", _busy),
    Check("enable QPUs", "the firmware has to lend its QPUs", _enable),
    Check("V3D node", "the firmware lends its QPUs only while no kernel driver may use them",
          _v3d_node),
    Check("vcsm-cma", "it tells the bus address of memory", _vcsm_cma),
    Check("dma-heap", "it gives memory that the CPU caches", _dma_heap),
    Check("CMA pool", "operands of a call have to fit into it", _cma_pool),
    Check("memory", "QPUs and CPU have to mean the same memory by an address", _memory),
    Check("registers", "as root, launches through registers have no time limit", _dev_mem),
    Check("kernel", "it gives up a launch through the firmware after a while", _kernel),
    Check("power, clock", "a low clock or voltage makes everything slow, or wrong", _power),
    Check("Python", "requests to the kernel depend on the word length", _python),
)  # fmt: skip
"""Everything but the last check, a real program (:mod:`.trial`)."""


def examine() -> Iterator[Finding]:
    """The findings, one after the other; the last is that of a program on the QPUs."""
    at = Examination()
    failed = False
    try:
        for check in CHECKS:
            finding = _finding(check, at)
            failed = failed or finding.status == FAIL
            yield finding
            if at.board is None:
                return  # nothing else here could work, or would help
    finally:
        at.close()
    if failed:
        yield Finding(TRIAL.name, SKIP, "not tried, because of the findings above", TRIAL.why, "")
    else:
        yield _finding(TRIAL, at)


def _finding(check: Check, at: Examination) -> Finding:
    try:
        outcome = check.run(at)
    except (DeviceError, OSError) as error:
        outcome = Outcome(FAIL, str(error), "")
    return Finding(check.name, outcome.status, outcome.found, check.why, outcome.remedy)
