"""Boards and set-ups as data: what a Pi of some model under some release looks like.

Figures are those of the Raspberry Pi kernel's device trees (bcm2708, bcm2709, bcm2710, bcm2711),
of its udev rules (RPi-Distro/raspberrypi-sys-mods) and of the firmware's revision codes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Tuple

__all__ = ["BOARDS", "Board", "SETUPS", "Setup", "VIDEO", "setup"]

MIB = 1 << 20
VIDEO = 44  # the group's number in Debian


@dataclass(frozen=True)
class Board:
    """A model: ``dma_alias`` is the bus address of physical 0 for devices (soc/dma-ranges)."""

    name: str
    model: str
    compatible: Tuple[str, ...]
    revision: int
    ram: int
    peripherals: int
    dma_alias: int
    v3d_hz: int
    cpu: str
    bits: Tuple[int, ...] = (32,)

    @property
    def soc(self) -> str:
        return self.compatible[-1].split(",")[1]

    @property
    def videocore4(self) -> bool:
        return self.soc in ("bcm2835", "bcm2836", "bcm2837")


def _board(name, model, tag, soc, revision, ram, v3d_mhz, bits=(32,)):
    peripherals, alias, cpu = {
        "bcm2835": (0x20000000, 0x80000000, "ARMv6-compatible processor rev 7 (v6l)"),
        "bcm2836": (0x3F000000, 0xC0000000, "ARMv7 Processor rev 5 (v7l)"),
        "bcm2837": (0x3F000000, 0xC0000000, "Cortex-A53"),
        "bcm2711": (0xFE000000, 0xC0000000, "Cortex-A72"),
        "bcm2712": (0x107C000000, 0x0, "Cortex-A76"),
    }[soc]
    compatible = (f"raspberrypi,{tag}", f"brcm,{soc}")
    return Board(
        name, model, compatible, revision, ram * MIB, peripherals, alias, v3d_mhz * 10**6, cpu, bits
    )


BOARDS: Dict[str, Board] = {
    board.name: board
    for board in (
        _board("zero", "Raspberry Pi Zero Rev 1.3", "model-zero", "bcm2835", 0x900093, 512, 300),
        _board("zerow", "Raspberry Pi Zero W Rev 1.1", "model-zero-w", "bcm2835", 0x9000C1, 512,
               300),
        _board("pi1", "Raspberry Pi Model B Rev 2", "model-b-rev2", "bcm2835", 0xE, 512, 250),
        _board("pi2", "Raspberry Pi 2 Model B Rev 1.1", "2-model-b", "bcm2836", 0xA01041, 1024,
               250),
        _board("pi3", "Raspberry Pi 3 Model B Rev 1.2", "3-model-b", "bcm2837", 0xA02082, 1024,
               300, (32, 64)),
        _board("pi3plus", "Raspberry Pi 3 Model B Plus Rev 1.3", "3-model-b-plus", "bcm2837",
               0xA020D3, 1024, 300, (32, 64)),
        _board("zero2", "Raspberry Pi Zero 2 W Rev 1.0", "model-zero-2-w", "bcm2837", 0x902120,
               512, 300, (32, 64)),
        _board("pi4", "Raspberry Pi 4 Model B Rev 1.1", "4-model-b", "bcm2711", 0xA03111, 1024,
               500, (32, 64)),
        _board("pi5", "Raspberry Pi 5 Model B Rev 1.0", "5-model-b", "bcm2712", 0xC04170, 1024,
               960, (64,)),
    )
}  # fmt: skip

_ROOT = (0o600, 0, 0)
_VIDEO = (0o660, 0, VIDEO)
_NODES = {
    "/dev/vcio": _VIDEO,
    "/dev/vcsm-cma": _VIDEO,
    "/dev/dma_heap/linux,cma": _VIDEO,
    "/dev/dma_heap/system": _VIDEO,
    "/dev/mem": (0o640, 0, 15),
    "/dev/gpiomem": (0o660, 0, 997),
    "/dev/vchiq": _VIDEO,
    "/dev/kmsg": (0o644, 0, 0),
}


@dataclass(frozen=True)
class Setup:
    """A board with its system, firmware settings and the user who runs the program.

    ``nodes`` maps device files to (mode, owner, group); ``user`` is (uid, gid, other groups), its
    name and whom /etc/group has in the group video are ``user_name`` and ``in_video``.
    ``version`` is what ``uname -v`` prints, with the date of the build.
    ``pointer`` is the size of a pointer of the process as the kernel sees it, None for the truth.
    ``enable_reply`` is what the firmware answers to enable-QPU: a word, or "refused".
    ``window`` is the top of the bus addresses that the chip's model knows: addresses with another
    alias fault.  ``incoherent`` keeps the CPU's caches, those of the GPU, and memory apart.
    """

    name: str
    board: Board
    release: str = "bookworm"
    kernel: str = "6.6.31+rpt-rpi-v8"
    version: str = "#1 SMP PREEMPT Debian 1:6.6.31-1+rpt1 (2024-05-29)"
    bits: int = 64
    pointer: Optional[int] = None
    nodes: Mapping[str, Tuple[int, int, int]] = field(default_factory=lambda: dict(_NODES))
    links: Mapping[str, str] = field(
        default_factory=lambda: {"/dev/dma_heap/vidbuf_cached": "linux,cma"}
    )
    user: Tuple[int, int, Tuple[int, ...]] = (1000, 1000, (1000, VIDEO))
    in_video: str = "pi"
    gpu_mem: int = 64 * MIB
    cma: int = 64 * MIB
    variant: int = 1
    v3d: str = "disabled"
    vc4_bound: bool = False
    enable_reply: object = 0
    overlays: Tuple[str, ...] = ()
    config: str = ""  # lines of config.txt after those of the overlays and of gpu_mem
    strict_devmem: bool = False
    mmio_locked: bool = False
    udmabuf: int = 0
    throttled: int = 0
    v3d_hz: Optional[int] = None
    mailbox_seconds: float = 1.0
    incoherent: bool = True
    window: Optional[int] = None
    container: bool = False
    timing: str = "calibrated"

    @property
    def alias(self) -> int:
        return self.board.dma_alias if self.window is None else self.window

    @property
    def machine(self) -> str:
        if self.bits == 64:
            return "aarch64"
        return "armv6l" if self.board.soc == "bcm2835" else "armv7l"

    @property
    def user_name(self) -> str:
        return {0: "root", 1000: "pi"}.get(self.user[0], "guest")

    @property
    def config_txt(self) -> str:
        old = self.release in ("buster", "bullseye")
        return "/boot/config.txt" if old else "/boot/firmware/config.txt"

    def but(self, **changes: object) -> "Setup":
        """The same with some fields changed; ``board`` may be a name, ``nodes`` a dict of changes.

        A node that is None is removed.
        """
        board = changes.get("board")
        if isinstance(board, str):
            changes["board"] = BOARDS[board]
        if "nodes" in changes:
            nodes = {**self.nodes, **changes["nodes"]}  # type: ignore[dict-item]
            changes["nodes"] = {path: row for path, row in nodes.items() if row is not None}
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


ROOT_USER = (0, 0, (0,))
GUEST = (1001, 1001, (1001,))
_NO_HEAP = {"/dev/dma_heap/linux,cma": None, "/dev/dma_heap/system": None}


def _setups() -> Dict[str, Setup]:
    book64 = Setup("bookworm64", BOARDS["pi3"], strict_devmem=True)
    book32 = Setup(
        "bookworm32", BOARDS["pi2"], kernel="6.6.31+rpt-rpi-v7", bits=32, v3d="disabled"
    )
    armv6 = book32.but(kernel="6.6.31+rpt-rpi-v6", board="zero")
    udev = book64.but(
        release="trixie", kernel="6.12.47+rpt-rpi-v8", mailbox_seconds=3.0,
        version="#1 SMP PREEMPT Debian 1:6.12.47-1+rpt1 (2025-09-16)",
        nodes={"/dev/vcio": _ROOT},
    )  # fmt: skip
    no_vcsm = book32.but(nodes={"/dev/vcsm-cma": None, **_NO_HEAP}, links={}, user=ROOT_USER)
    mailbox_zero = armv6.but(
        nodes={"/dev/vcsm-cma": None, **_NO_HEAP}, links={}, user=ROOT_USER, window=0x40000000
    )
    kms = book64.but(
        v3d="okay", vc4_bound=True, enable_reply=0x80000000, overlays=("vc4-kms-v3d",)
    )
    cut_down = book64.but(gpu_mem=16 * MIB, variant=4, nodes={"/dev/vcsm-cma": None})
    rows = {
        "bookworm64": book64,
        "bookworm32": book32,
        "bookworm32on64": book64.but(pointer=4),
        "bullseye": book32.but(
            release="bullseye", kernel="6.1.21-v7+",
            version="#1642 SMP Mon Apr  3 17:20:52 BST 2023",
        ),
        "bullseye64": book64.but(
            release="bullseye", kernel="6.1.21-v8+",
            version="#1642 SMP PREEMPT Mon Apr  3 17:24:16 BST 2023",
        ),
        "zero": armv6,
        "pi1": armv6.but(board="pi1"),
        "pi2": book32,
        "pi3": book64.but(board="pi3plus"),
        "zero2": book64.but(board="zero2"),
        "udev2026": udev,
        "udev2026-gencmd": udev.but(
            kernel="6.18.3+rpt-rpi-v8",
            version="#1 SMP PREEMPT Debian 1:6.18.3-1+rpt1 (2026-08-04)",
            nodes={"/dev/vcio_gencmd": _VIDEO, "/dev/vcio_crypto": _VIDEO},
        ),
        "udev2026-root": udev.but(user=ROOT_USER),
        "kms": kms,
        "kms-refuses": kms.but(enable_reply="refused"),
        "gpu_mem16": cut_down,
        "no-vcsm-cma": no_vcsm,
        "no-vcsm-cma-zero": mailbox_zero,
        "no-vcsm-cma-user": no_vcsm.but(user=(1000, 1000, (1000, VIDEO))),
        "no-heap": book64.but(nodes=_NO_HEAP, links={}),
        "new-heap-name": book64.but(
            nodes={"/dev/dma_heap/linux,cma": None, "/dev/dma_heap/default_cma_region": _VIDEO},
            links={"/dev/dma_heap/vidbuf_cached": "default_cma_region"},
            kernel="6.18.3+rpt-rpi-v8", mailbox_seconds=3.0,
            version="#1 SMP PREEMPT Debian 1:6.18.3-1+rpt1 (2026-08-04)",
        ),
        "old-vcsm": book32.but(
            release="buster", kernel="5.4.83-v7+", version="#1379 SMP Mon Dec 14 13:08:57 GMT 2020",
            nodes={"/dev/vcsm-cma": None, **_NO_HEAP, "/dev/vcsm": _VIDEO}, links={},
        ),
        "u-dma-buf": no_vcsm.but(udmabuf=16 * MIB, nodes={"/dev/udmabuf0": _ROOT}),
        "not-in-video": book64.but(user=GUEST),
        "not-logged-in-anew": book64.but(user=GUEST, in_video="guest"),
        "small-cma": book64.but(cma=4 * MIB),
        "root": book64.but(user=ROOT_USER),
        "locked-mmio": book64.but(user=ROOT_USER, mmio_locked=True),
        "under-voltage": book64.but(throttled=0x50005, v3d_hz=200_000_000),
        "no-vcio": book64.but(
            kernel="6.12.48-arm64", nodes={"/dev/vcio": None, "/dev/vcsm-cma": None}
        ),
        "container": book64.but(
            container=True,
            nodes={path: None for path in _NODES if path not in ("/dev/mem", "/dev/kmsg")},
            links={},
        ),
        "pi4": book64.but(board="pi4", v3d="okay", overlays=("vc4-kms-v3d",)),
        "pi5": book64.but(board="pi5", v3d="okay", overlays=("vc4-kms-v3d-pi5",)),
    }  # fmt: skip
    return {name: dataclasses.replace(row, name=name) for name, row in rows.items()}


SETUPS: Dict[str, Setup] = _setups()


def setup(name: str, **changes: object) -> Setup:
    """A set-up of :data:`SETUPS`, perhaps with some fields changed."""
    return SETUPS[name].but(**changes)
