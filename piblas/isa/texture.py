"""Textures: types, filters, wrap modes, and the uniforms of a lookup (guide, p. 39-42).

The order of channels in a texel and the codes of filters and wrap modes are those that the Linux
and Mesa drivers use, which run on boards.
"""

from __future__ import annotations

from typing import Tuple

from .setup_words import pack

__all__ = ["FILTERS", "TYPES", "WRAPS", "texture_config"]

TYPES: Tuple[str, ...] = (
    "rgba8888", "rgbx8888", "rgba4444", "rgba5551", "rgb565", "luminance", "alpha", "lumalpha",
    "etc1", "s16f", "s8", "s16", "bw1", "a4", "a1", "rgba64", "rgba32r", "yuyv422r",
)  # fmt: skip
"""Texture types by code."""

WRAPS: Tuple[str, ...] = ("repeat", "clamp", "mirror", "border")
"""What happens to coordinates outside 0..1, by code."""

FILTERS: Tuple[str, ...] = ("linear", "nearest")
"""Filters by code; codes of ``min`` above these choose among levels of detail."""


def texture_config(
    base: int,
    width: int,
    height: int,
    type: str = "rgba32r",
    *,
    filter: str = "nearest",
    wrap: str = "clamp",
    flip_y: bool = False,
) -> Tuple[int, int]:
    """The two words of a plain 2D lookup: one level from bus address ``base`` on.

    ``base`` is a multiple of 4096; sizes are 1 to 2048 texels.
    """
    if base & 0xFFF:
        raise ValueError(f"base = {base:#x}: a texture begins at a multiple of 4096")
    for name, value, known in (("type", type, TYPES), ("filter", filter, FILTERS)):
        if value not in known:
            raise ValueError(f"{name} = {value!r}: choose one of {', '.join(known)}")
    if wrap not in WRAPS:
        raise ValueError(f"wrap = {wrap!r}: choose one of {', '.join(WRAPS)}")
    code, kind, wraps = TYPES.index(type), FILTERS.index(filter), WRAPS.index(wrap)
    return (
        pack("texture_0", base=base >> 12, flip_y=int(flip_y), type=code & 15),
        pack(
            "texture_1", type4=code >> 4, height=height, width=width, mag=kind, min=kind,
            wrap_t=wraps, wrap_s=wraps,
        ),
    )  # fmt: skip
