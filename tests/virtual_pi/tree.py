"""The files of the virtual Pi: device tree, /proc, /sys, /boot, /etc, and where devices stand."""

from __future__ import annotations

import gzip
import pathlib
import struct
from typing import Iterable

from .ram import Ram
from .setups import Setup

__all__ = ["plant", "meminfo"]

_RELEASES = {"buster": ("10", "buster"), "bullseye": ("11", "bullseye"),
             "bookworm": ("12", "bookworm"), "trixie": ("13", "trixie")}  # fmt: skip
# What else stands in /dev, so that a listing looks like one; opening these is not the Pi's affair.
_OTHERS = ("null", "zero", "full", "random", "urandom", "tty", "console", "gpiochip0", "mmcblk0")


def _cells(*words: int) -> bytes:
    return struct.pack(f">{len(words)}I", *words)


def _strings(texts: Iterable[str]) -> bytes:
    return b"".join(text.encode() + b"\0" for text in texts)


def plant(root: pathlib.Path, setup: Setup, ram: Ram) -> None:
    """Write all files of a set-up below ``root``."""

    def put(path: str, content: "bytes | str") -> None:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    def link(path: str, target: str) -> None:
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    _device_tree(put, link, setup, ram)
    _proc(put, setup, ram)
    for directory in ("run/lock", "run/user", "sys/class", "sys/module", "dev", "var",
                      "sys/bus/platform/drivers"):  # fmt: skip
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "run/lock").chmod(0o1777)
    link("/var/lock", "../run/lock")
    link("/var/run", "../run")
    for path in (*setup.nodes, *(f"/dev/{name}" for name in _OTHERS)):
        put(path, b"")
    for path, target in setup.links.items():
        link(path, target)
    version, code = _RELEASES[setup.release]
    name = "Debian" if setup.bits == 64 else "Raspbian"
    put("/etc/os-release", f'PRETTY_NAME="{name} GNU/Linux {version} ({code})"\nNAME="{name}"\n'
        f'VERSION_ID="{version}"\nVERSION_CODENAME={code}\nID={name.lower()}\n')  # fmt: skip
    put("/etc/debian_version", version + ".7\n")
    put("/etc/rpi-issue", "Raspberry Pi reference 2024-07-04\n")
    lines = [f"dtoverlay={overlay}" for overlay in setup.overlays]
    lines.append(f"gpu_mem={setup.gpu_mem >> 20}")
    put(setup.config_txt, "# For more options see http://rptl.io/configtxt\n"
        + "\n".join(lines) + "\n" + setup.config)  # fmt: skip
    if "/dev/vcsm-cma" in setup.nodes:
        put("/sys/module/vc_sm_cma/initstate", "live\n")
        put("/sys/kernel/debug/vcsm-cma/state", "\nResources\n\n\nTotal resource count:   0\n\n")
    if setup.vc4_bound:
        link("/sys/bus/platform/drivers/vc4_v3d/3fc00000.v3d",
             "../../../../devices/platform/soc/3fc00000.v3d")  # fmt: skip
        put("/sys/devices/platform/soc/3fc00000.v3d/power/control", "auto\n")
        put("/sys/module/vc4/initstate", "live\n")
    if setup.udmabuf:
        _udmabuf(put, setup)
    if setup.container:
        put("/.dockerenv", "")


def _device_tree(put, link, setup: Setup, ram: Ram) -> None:
    board = setup.board
    base = "/sys/firmware/devicetree/base"
    link("/proc/device-tree", "../sys/firmware/devicetree/base")
    put(f"{base}/model", _strings([board.model]))
    put(f"{base}/compatible", _strings(board.compatible))
    put(f"{base}/serial-number", _strings(["00000000cafe0001"]))
    put(f"{base}/system/linux,revision", _cells(board.revision))
    put(f"{base}/system/linux,serial", _cells(0, 0xCAFE0001))
    if board.soc == "bcm2712":
        put(f"{base}/soc@107c000000/ranges", _cells(0, 0x10, 0, 0x80000000))
        put(f"{base}/soc@107c000000/compatible", _strings(["simple-bus"]))
        return
    if board.soc == "bcm2711":
        ranges = _cells(0x7E000000, 0, 0xFE000000, 0x01800000)
        put(f"{base}/v3dbus/v3d@7ec04000/compatible", _strings(["brcm,2711-v3d"]))
        put(f"{base}/v3dbus/v3d@7ec04000/status", _strings([setup.v3d]))
    else:
        size = 0x02000000 if board.soc == "bcm2835" else 0x01000000
        ranges = _cells(0x7E000000, board.peripherals, size)
        if board.soc != "bcm2835":
            ranges += _cells(0x40000000, 0x40000000, 0x00001000)
        put(f"{base}/soc/v3d@7ec00000/compatible", _strings(["brcm,bcm2835-v3d"]))
        put(f"{base}/soc/v3d@7ec00000/status", _strings([setup.v3d]))
        put(f"{base}/soc/v3d@7ec00000/reg", _cells(0x7EC00000, 0x1000))
    put(f"{base}/soc/ranges", ranges)
    put(f"{base}/soc/compatible", _strings(["simple-bus"]))
    put(f"{base}/soc/dma-ranges", _cells(board.dma_alias, 0, min(board.ram, board.peripherals)))
    put(f"{base}/soc/firmware/compatible",
        _strings(["raspberrypi,bcm2835-firmware", "simple-mfd"]))  # fmt: skip
    if "/dev/vcio" in setup.nodes:
        put(f"{base}/soc/firmware/vcio/compatible", _strings(["raspberrypi,vcio"]))


def meminfo(setup: Setup, ram: Ram) -> str:
    """/proc/meminfo with the CMA pool as it is now."""
    total = ram.vc_base >> 10
    free = (ram.cma.size - ram.cma.used) >> 10
    rows = {"MemTotal": total, "MemFree": total // 2, "MemAvailable": total * 2 // 3,
            "Buffers": 10240, "Cached": total // 4, "SwapTotal": 102396, "SwapFree": 102396,
            "CmaTotal": ram.cma.size >> 10, "CmaFree": free}  # fmt: skip
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in rows.items())


def _proc(put, setup: Setup, ram: Ram) -> None:
    board = setup.board
    put("/proc/meminfo", meminfo(setup, ram))
    put("/proc/cpuinfo", f"processor\t: 0\nmodel name\t: {board.cpu}\n\nHardware\t: BCM2835\n"
        f"Revision\t: {board.revision:04x}\nSerial\t\t: 00000000cafe0001\n"
        f"Model\t\t: {board.model}\n")  # fmt: skip
    put("/proc/version", f"Linux version {setup.kernel} (serge@raspberrypi.com) #1 SMP\n")
    put("/proc/sys/kernel/osrelease", setup.kernel + "\n")
    put("/proc/cmdline", "coherent_pool=1M console=tty1 root=PARTUUID=0-02 rootwait\n")
    modules = ["vc_sm_cma"] if "/dev/vcsm-cma" in setup.nodes else []
    modules += ["vc4"] if setup.vc4_bound else []
    put("/proc/modules", "".join(f"{name} 45056 1 - Live 0x00000000\n" for name in modules))
    put("/proc/iomem", f"00000000-{ram.vc_base - 1:08x} : System RAM\n")
    strict = "y" if setup.strict_devmem else "n"
    put("/proc/config.gz", gzip.compress(
        f"CONFIG_DMABUF_HEAPS=y\nCONFIG_DMABUF_HEAPS_CMA=y\nCONFIG_BCM_VC_SM_CMA=m\n"
        f"CONFIG_STRICT_DEVMEM={strict}\n# CONFIG_IO_STRICT_DEVMEM is not set\n".encode()))
    variant = {1: "start", 2: "start_x", 3: "start_db", 4: "start_cd"}[setup.variant]
    put("/dev/kmsg", f"6,1,100,-;Linux version {setup.kernel}\n"
        f"6,2,200,-;raspberrypi-firmware soc:firmware: Attached to firmware from "
        f"2024-08-21T15:10:24, variant {variant}\n")  # fmt: skip


def _udmabuf(put, setup: Setup) -> None:
    """u-dma-buf's attributes (ikwzm/udmabuf: Readme.md); the address is written by the kernel."""
    base = "/sys/class/u-dma-buf/udmabuf0"
    put(f"{base}/size", f"{setup.udmabuf}\n")
    put(f"{base}/driver_version", "5.2.0\n")
    for name in ("sync_mode", "sync_direction", "sync_offset", "sync_owner", "sync_for_cpu",
                 "sync_for_device"):  # fmt: skip
        put(f"{base}/{name}", "1\n" if name == "sync_mode" else "0\n")
    put(f"{base}/sync_size", f"{setup.udmabuf}\n")
    put(f"{base}/phys_addr", "0x0000000000000000\n")
