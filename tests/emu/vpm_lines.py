"""Lines that fill the 64 rows of the VPM with a known background and copy them out."""

from __future__ import annotations

from typing import List

import numpy as np

ROWS = 64
FILL = [
    line
    for y in (0, 16, 32, 48)
    for line in (
        f"ldi vpm_rd_setup, -, {0x83001000 | y << 4:#x}",
        "mov vdr_addr, unif",
        "mov -, vdr_wait",
    )
]
"""Pops four addresses: :func:`fill_uniforms`."""

DUMP = [
    "ldi vpm_wr_setup, -, 0xa0104000",
    "ldi vpm_wr_setup, -, 0xc0000000",
    "mov vdw_addr, unif",
    "mov -, vdw_wait",
]
"""Pops the address of 4096 bytes."""


def fill_uniforms(address: int) -> List[int]:
    return [address + 1024 * part for part in range(4)]


def background(seed: int) -> np.ndarray:
    """64 rows of 16 words whose bytes all tell their place apart."""
    return np.random.default_rng(seed).integers(0, 1 << 32, (ROWS, 16), np.uint32)


class Window:
    """Two buffers beside a lab: the background and the copy of the VPM after the lines."""

    def __init__(self, lab, seed: int) -> None:
        self.lab = lab
        self.rows = background(seed)
        self.source = lab.device.alloc(4096)
        self.target = lab.device.alloc(4096)
        self.source.array(np.uint32, (ROWS, 16))[:] = self.rows

    def after(self, body, inputs=None, uniforms=()):
        """The 4096 bytes of the VPM after fill and body."""
        stream = fill_uniforms(self.source.bus_address) + list(uniforms)
        stream.append(self.target.bus_address)
        self.lab.vectors(FILL + list(body) + DUMP, inputs, ["r0"], uniforms=stream)
        return self.target.array(np.uint8, (4096,)).copy()

    def vectors(self, body, outputs, uniforms=()):
        """What the body reads out of the filled VPM."""
        stream = fill_uniforms(self.source.bus_address) + list(uniforms)
        return self.lab.vectors(FILL + list(body), {}, outputs, uniforms=stream)

    def bytes(self) -> np.ndarray:
        return self.rows.copy().view(np.uint8).ravel()

    def close(self) -> None:
        self.source.free()
        self.target.free()
