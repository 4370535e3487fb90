"""What the device tree says about the board: model, chip, peripheral base, bus alias.

The addresses are read and not assumed: downstream kernels give a BCM2835 the alias 0x80000000,
mainline 0x40000000 (raspberrypi/linux: bcm2708.dtsi, bcm2835.dtsi).
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple, Optional, Tuple

from ..errors import DeviceMissing

__all__ = ["Board", "TREE", "detect", "model", "read", "require"]

TREE = "/proc/device-tree"

OTHER_GPU = {
    "bcm2711": "VideoCore VI (use py-videocore6, or the CPU)",
    "bcm2712": "VideoCore VII (use py-videocore7, or the CPU)",
}
_BCM2835, _BCM2836, _BCM2837 = "BCM2835", "BCM2836", "BCM2837"
_CHIPS = {
    "bcm2708": _BCM2835,
    "bcm2835": _BCM2835,
    "bcm2709": _BCM2836,
    "bcm2836": _BCM2836,
    "bcm2710": _BCM2837,
    "bcm2837": _BCM2837,
}
_BASES = {_BCM2835: 0x20000000, _BCM2836: 0x3F000000, _BCM2837: 0x3F000000}
_ALIASES = {_BCM2835: 0x80000000, _BCM2836: 0xC0000000, _BCM2837: 0xC0000000}


class Board(NamedTuple):
    """``peripherals`` is where the ARM sees the SoC's registers; ``alias`` the top bits of the bus
    address of ordinary memory; ``other_gpu`` what a board without a VideoCore IV has instead."""

    model: str
    chip: str
    peripherals: int
    alias: int
    other_gpu: str = ""

    @property
    def v3d(self) -> int:
        """Physical address of the V3D registers."""
        return self.peripherals + 0xC00000

    @property
    def aliases(self) -> Tuple[int, ...]:
        """Top bits that a bus address may have for QPUs and ARM to see the same memory."""
        if self.chip == _BCM2835:  # the ARM goes through the L2 of the VideoCore there
            return (0x40000000, 0x80000000, 0xC0000000)
        return (0xC0000000,)


def read(*names: str) -> bytes:
    """A property of the device tree, empty where there is none."""
    try:
        with open(os.path.join(TREE, *names), "rb") as file:
            return file.read()
    except OSError:
        return b""


def _strings(raw: bytes) -> Tuple[str, ...]:
    return tuple(part.decode("ascii", "replace") for part in raw.split(b"\0") if part.strip())


def model() -> str:
    """The model that the device tree names, or "" where there is none."""
    return "".join(_strings(read("model"))[:1]).strip()


def _cell(raw: bytes, index: int) -> int:
    return int(struct.unpack_from(">I", raw, 4 * index)[0]) if len(raw) >= 4 * index + 4 else 0


def detect() -> Optional[Board]:
    """The Raspberry Pi that this is, with whatever GPU; None for any other computer."""
    names = [name.rpartition(",")[2] for name in _strings(read("compatible"))]
    for name, other in OTHER_GPU.items():
        if name in names:
            return Board(model(), name.upper(), 0, 0, other)
    chip = next((_CHIPS[name] for name in names if name in _CHIPS), None)
    if chip is None:
        return None
    ranges, dma = read("soc", "ranges"), read("soc", "dma-ranges")
    # Child address, parent address (two words of it on some trees), size.
    base = _cell(ranges, 1) or _cell(ranges, 2) or _BASES[chip]
    alias = _cell(dma, 0) & 0xC0000000 if dma else _ALIASES[chip]
    return Board(model(), chip, base, alias)


def require() -> Board:
    """The board, if it has a VideoCore IV; DeviceMissing says what is here instead."""
    board = detect()
    if board is None:
        what = model()
        here = f"this is a {what!r}" if what else "this computer has no device tree that names one"
        raise DeviceMissing(f"no VideoCore IV GPU: no Raspberry Pi Zero, 1, 2 or 3 ({here})")
    if board.other_gpu:
        raise DeviceMissing(
            f"no VideoCore IV GPU: {board.model} ({board.chip}) has a {board.other_gpu}"
        )
    return board
