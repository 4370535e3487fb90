"""Texture lookups: T, R, B of a TMU are written, then S (guide, p. 39-42).

Each of these writes takes one uniform, a configuration word.  A lookup takes S and T as floats from
0 to 1 across the texture, and gives a 32-bit texel for each element, or for type rgba64 two of
them, popped one after the other, low word first.  Facts beyond the guide are those on which the
Linux and Mesa drivers rely: memory layout, channel order, codes of filters and wrap modes.

- Type rgba32r lies in rows of a multiple of 16 bytes.  All others lie in blocks of 64 bytes: these
  in rows where the texture is at most 4 blocks wide or high, otherwise 4 x 4 blocks (1 KiB) in
  rows, 2 x 2 of those (4 KiB) along a curve, and these 4 KiB from left to right and back.
- Colours of less than 8 bits are extended by repeating their bits.

What nobody has measured is a fault under ``strict``, unless all readings agree: the rounding of
interpolated texels and of coordinates at the edge of a texel, the level of detail, cube maps and
child images, border colours, types that only their names describe.  Otherwise the guess: eight
fraction bits and the nearest result (of rgba64 the nearest texel); the edge belongs to the higher
texel; level 0, magnified; configuration words behind the second do nothing; R holds the border
colour; undescribed types give 0, the integer ones their bits.

Lookups are rare in programs that compute, so the host carries them out: compiled code stops at the
write of S with END_TEXTURE, and goes on with that instruction when the results are there.
"""

from __future__ import annotations

import math
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from ..isa.setup_words import unpack
from ..isa.texture import TYPES, WRAPS
from . import layout as x
from . import memory, races
from .faults import FAULT, on

__all__ = ["TextureFault", "lookup", "texel_offset"]

_BYTES = {
    "rgba8888": 4, "rgbx8888": 4, "rgba4444": 2, "rgba5551": 2, "rgb565": 2, "luminance": 1,
    "alpha": 1, "lumalpha": 2, "s16f": 2, "s8": 1, "s16": 2, "rgba64": 8, "rgba32r": 4,
}  # fmt: skip
_GUESSED = ("s16f", "s8", "s16")
# Channels of packed texels: bits of red, green, blue, alpha, the first one highest.
_PACKED = {"rgba4444": (4, 4, 4, 4), "rgba5551": (5, 5, 5, 1), "rgb565": (5, 6, 5, 0)}
# In which order 1 KiB pieces lie in 4 KiB, by 2 * row + column: in even and in odd rows of 4 KiB.
_PIECES = ((0, 3, 1, 2), (2, 1, 3, 0))
_FRACTION = 256
_FAR = 2.0**24


class TextureFault(Exception):
    """What is undetermined about a lookup: a code of ``FAULT``, a bus address or -1."""

    def __init__(self, code: int, address: int = -1) -> None:
        super().__init__(code)
        self.code = code
        self.address = address


def _raise_if_on(s: x.State, code: int, address: int = -1) -> None:
    """Raise a fault of ``strict``, unless its rule is off."""
    if on.py_func(s, code):
        raise TextureFault(code, address)


class _Texture(NamedTuple):
    kind: str
    base: int
    width: int
    height: int
    wraps: Tuple[str, str]
    linear: Tuple[bool, bool]  # whether it interpolates when enlarged, when reduced
    flip_y: bool


def _configured(first: int, second: int) -> Optional[_Texture]:
    """What two configuration words say; None for a reserved type."""
    low, high = unpack("texture_0", first), unpack("texture_1", second)
    code = low["type"] | high["type4"] << 4
    if code >= len(TYPES):
        return None
    return _Texture(
        kind=TYPES[code],
        base=low["base"] << 12,
        width=high["width"],
        height=high["height"],
        wraps=(WRAPS[high["wrap_s"]], WRAPS[high["wrap_t"]]),
        # Codes 2 and 3 take the nearest texel of a level, 0, 4 and 5 interpolate within it.
        linear=(high["mag"] == 0, not 1 <= high["min"] <= 3),
        flip_y=bool(low["flip_y"]),
    )


def texel_offset(kind: str, width: int, height: int, column: int, row: int) -> int:
    """Bytes from the start of a texture to a texel."""
    size = _BYTES[kind]
    if kind == "rgba32r":
        return 4 * (row * (width + 3 & ~3) + column)
    across, down = {1: (8, 8), 2: (8, 4), 4: (4, 4), 8: (2, 4)}[size]
    block_x, block_y = column // across, row // down
    within = size * (row % down * across + column % across)
    if width <= 4 * across or height <= 4 * down:
        return 64 * (block_y * -(-width // across) + block_x) + within
    tiles = -(-width // (8 * across))
    tile_x, tile_y = block_x // 8, block_y // 8
    piece = _PIECES[tile_y & 1][(block_y >> 1 & 2) + (block_x >> 2 & 1)]
    if tile_y & 1:
        tile_x = tiles - 1 - tile_x
    block = 16 * piece + 4 * (block_y & 3) + (block_x & 3)
    return 4096 * (tile_y * tiles + tile_x) + 64 * block + within


def _colour(kind: str, raw: int) -> int:
    """The result of a texel of up to 32 bits: red lowest, alpha highest."""
    if kind in _PACKED:
        word, left = 0, 16
        for channel, bits in enumerate(_PACKED[kind]):
            left -= bits
            value, wide = raw >> left & ((1 << bits) - 1), 255
            if bits:
                wide = value * (255 if bits == 1 else (1 << 8 - bits)) & 255
                wide |= wide >> bits if bits > 1 else 0
            word |= wide << 8 * channel
        return word
    if kind == "rgbx8888":
        return raw | 0xFF000000
    if kind in ("luminance", "lumalpha"):
        alpha = raw >> 8 if kind == "lumalpha" else 255
        return (raw & 255) * 0x010101 | alpha << 24
    return raw << 24 if kind == "alpha" else raw


def _wrapped(wrap: str, index: int, size: int) -> Optional[int]:
    """The texel for any index; None in the border."""
    if 0 <= index < size:
        return index
    if wrap == "repeat":
        return index % size
    if wrap == "clamp":
        return 0 if index < 0 else size - 1
    if wrap == "mirror":
        index %= 2 * size
        return min(index, 2 * size - 1 - index)
    return None


def _across(word: int, size: int) -> float:
    """A coordinate in texels from a float's pattern; Inf and NaN are far out, denormals are 0."""
    exponent = word >> 23 & 255
    value = _FAR
    if exponent < 255:
        magnitude = (word & 0x7FFFFF | 0x800000) * 2.0 ** (exponent - 150) if exponent else 0.0
        value = min(magnitude * size, _FAR)
    return -value if word >> 31 else value


class _Lookup:
    """One result of a lookup: words and addresses of texels."""

    def __init__(self, s: x.State, qpu: int, unit: int, texture: _Texture, result: int) -> None:
        self.s, self.qpu, self.unit, self.texture, self.result = s, qpu, unit, texture, result
        self.strict = bool(s.G[x.G_STRICT])
        self.address = texture.base
        self._known: Dict[int, int] = {}

    def _word(self, address: int, size: int) -> int:
        """The aligned word that holds an address."""
        s, aligned = self.s, address & 0xFFFFFFFC
        if self.strict:
            if not memory.live(s, address, min(size, 4)):
                _raise_if_on(s, FAULT.TMU, address)
            if races.reads_stored(s, self.qpu, aligned, aligned + 4):
                raise TextureFault(FAULT.RACE_LOAD, address)
        if not memory.inside(s, aligned):
            return 0
        if aligned not in self._known:
            word = int(memory.tmu_word(s, self.qpu, self.unit, aligned))
            if s.G[x.G_TRAP] and word == memory.poison(aligned):
                raise TextureFault(FAULT.UNINITIALISED, aligned)
            self._known[aligned] = word
        return self._known[aligned]

    def texel(self, column: int, row: int, border: int) -> int:
        """The result for a texel, inside the texture or not."""
        kind, base, width, height, wraps, _, _ = self.texture
        place_x, place_y = _wrapped(wraps[0], column, width), _wrapped(wraps[1], row, height)
        if place_x is None or place_y is None:
            _raise_if_on(self.s, FAULT.TEX_BORDER)
            return border
        if kind not in _BYTES:
            return 0
        size = _BYTES[kind]
        address = base + texel_offset(kind, width, height, place_x, place_y) + 4 * self.result
        address &= 0xFFFFFFFF
        word = self._word(address, size)
        self.address = address & 0xFFFFFFFC
        if size < 4:
            word = word >> 8 * (address & 3) & (1 << 8 * size) - 1
        return word if kind == "rgba64" else _colour(kind, word)

    def nearest(self, u: float, v: float, border: int) -> int:
        """The texel at (u, v); a coordinate that rounding may move must not make a difference."""
        column, row = math.floor(u), math.floor(v)
        if self.strict:
            near_x, near_y = math.floor(u + 0.5), math.floor(v + 0.5)
            other_x, other_y = column, row
            if u != near_x and abs(u - near_x) * _FRACTION < 1:
                other_x = near_x - 1 if column == near_x else near_x
            if v != near_y and abs(v - near_y) * _FRACTION < 1:
                other_y = near_y - 1 if row == near_y else near_y
            others = {(other_x, row), (column, other_y), (other_x, other_y)} - {(column, row)}
            word = self.texel(column, row, border)
            if any(self.texel(*other, border) != word for other in others):
                _raise_if_on(self.s, FAULT.TEX_EDGE, self.address)
        return self.texel(column, row, border)

    def linear(self, u: float, v: float, border: int) -> int:
        """Interpolated between the centres of 2 x 2 texels."""
        u, v = u - 0.5, v - 0.5
        column, row = math.floor(u), math.floor(v)
        part_x = math.floor((u - column) * _FRACTION + 0.5)
        part_y = math.floor((v - row) * _FRACTION + 0.5)
        weights = {}
        for down, weight_y in ((0, _FRACTION - part_y), (1, part_y)):
            for right, weight_x in ((0, _FRACTION - part_x), (1, part_x)):
                if weight_x * weight_y:
                    weights[column + right, row + down] = weight_x * weight_y
        texels = [(self.texel(*place, border), weight) for place, weight in weights.items()]
        if len({word for word, _ in texels}) == 1:
            return texels[0][0]
        _raise_if_on(self.s, FAULT.TEX_FILTER, self.address)
        if self.texture.kind == "rgba64":
            return max(texels, key=lambda pair: pair[1])[0]
        word = 0
        for shift in (0, 8, 16, 24):
            total = sum((texel >> shift & 255) * weight for texel, weight in texels)
            word |= (total + _FRACTION**2 // 2) // _FRACTION**2 << shift
        return word

    def sample(self, u: float, v: float, border: int) -> int:
        """By the filter for enlarged textures, or both if that is open under ``strict``."""
        enlarged, reduced = self.texture.linear
        filters = (self.nearest, self.linear)
        word = filters[enlarged](u, v, border)
        if self.strict and enlarged != reduced:
            try:
                same = filters[reduced](u, v, border) == word
            except TextureFault:
                same = False
            if not same:
                _raise_if_on(self.s, FAULT.TEX_LEVEL, self.address)
        return word


def _check(s: x.State, configs: Sequence[int], words: int, texture: Optional[_Texture]) -> None:
    """Faults of ``strict`` that the configuration alone decides."""
    low, high = unpack("texture_0", configs[0]), unpack("texture_1", configs[1])
    if texture is None or texture.kind not in _BYTES or texture.kind in _GUESSED:
        _raise_if_on(s, FAULT.TEX_TYPE)
    if low["cube"] or (words > 2 and configs[2] >> 30):
        _raise_if_on(s, FAULT.TEX_CUBE)
    if low["levels"] and high["min"] > 1:
        _raise_if_on(s, FAULT.TEX_LEVEL)


def lookup(s: x.State, qpu: int, tmu: int, unit: int, targets: Sequence[int]) -> None:
    """Carry out the lookup that a QPU waits for.

    Its coordinates are in SLOT_COORDS, the results go to ``targets`` of ``s.T``, the addresses of
    the texels to SLOT_TEXELS.  Raises TextureFault.
    """
    slots = s.R.reshape(-1, x.SLOTS, 16)[qpu]
    coords = int(s.Q[qpu, x.Q_COORDS0 + tmu])
    at = x.Q_CONFIGS + 4 * tmu
    configs = [int(word) for word in s.Q[qpu, at : at + 4]]
    texture = _configured(configs[0], configs[1])
    if s.G[x.G_STRICT]:
        _check(s, configs, 1 + bin(coords).count("1"), texture)
    slot = x.SLOT_COORDS + 3 * tmu
    for result, target in enumerate(targets):
        if texture is None:
            s.T[target : target + 16] = 0
            continue
        one = _Lookup(s, qpu, unit, texture, result)
        for e in range(16):
            u = _across(int(slots[slot, e]), texture.width)
            v = _across(int(slots[slot + 1, e]), texture.height) if coords & 1 else 0.5
            if texture.flip_y:
                v = texture.height - v
            border: Any = slots[slot + 2, e] if coords & 2 else 0
            s.T[target + e] = one.sample(u, v, int(border))
            slots[x.SLOT_TEXELS, e] = one.address
