"""Setup words of the VPM, of its DMA load (VDR) and of its DMA store (VDW) (guide, p. 53-60), and
the configuration words of a texture lookup (p. 39-42).

Each kind of word is a table of fields, shared by the packers below, the emulator and the
disassembler.  A field whose full range is one more than its bits hold (16 rows in 4 bits) writes
its maximum as 0; ``zero_is`` says so.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Tuple

__all__ = [
    "SetupField",
    "GENERIC_READ",
    "GENERIC_WRITE",
    "VDR_BASIC",
    "VDR_STRIDE",
    "VDW_BASIC",
    "VDW_STRIDE",
    "TEXTURE_0",
    "TEXTURE_1",
    "TABLES",
    "pack",
    "pack_arrays",
    "unpack",
    "vpm_read",
    "vpm_write",
    "vpm_writes",
    "vdr_load",
    "vdr_pitch",
    "vdw_store",
    "vdw_stores",
    "vdw_stride",
    "vpm_address",
]


class SetupField(NamedTuple):
    """Bits ``hi``..``lo``; ``zero_is`` is the value that the code 0 stands for, if not 0."""

    name: str
    hi: int
    lo: int
    zero_is: int = 0

    @property
    def mask(self) -> int:
        return (1 << (self.hi - self.lo + 1)) - 1


# Generic access of the QPU to the VPM: written to vpm_rd_setup (p. 57) and vpm_wr_setup (p. 56).
GENERIC_WRITE: Tuple[SetupField, ...] = (
    SetupField("id", 31, 30),
    SetupField("stride", 17, 12, zero_is=64),
    SetupField("horiz", 11, 11),
    SetupField("laned", 10, 10),
    SetupField("size", 9, 8),
    SetupField("addr", 7, 0),
)
GENERIC_READ: Tuple[SetupField, ...] = GENERIC_WRITE + (SetupField("num", 23, 20, zero_is=16),)

# DMA load, written to vpm_rd_setup (p. 58-59).  The pitch field has 13 bits in the guide; kernels
# that run on boards need 14.
VDR_BASIC: Tuple[SetupField, ...] = (
    SetupField("id", 31, 31),
    SetupField("modew", 30, 28),
    SetupField("mpitch", 27, 24),
    SetupField("rowlen", 23, 20, zero_is=16),
    SetupField("nrows", 19, 16, zero_is=16),
    SetupField("vpitch", 15, 12, zero_is=16),
    SetupField("vert", 11, 11),
    SetupField("y", 9, 4),
    SetupField("x", 3, 0),
)
VDR_STRIDE: Tuple[SetupField, ...] = (
    SetupField("id", 31, 28),
    SetupField("mpitchb", 13, 0),
)

# DMA store, written to vpm_wr_setup (p. 57-58).  The stride field has 13 bits in the guide and 16
# on the chip.
VDW_BASIC: Tuple[SetupField, ...] = (
    SetupField("id", 31, 30),
    SetupField("units", 29, 23, zero_is=128),
    SetupField("depth", 22, 16, zero_is=128),
    SetupField("laned", 15, 15),
    SetupField("horiz", 14, 14),
    SetupField("y", 13, 7),
    SetupField("x", 6, 3),
    SetupField("modew", 2, 0),
)
VDW_STRIDE: Tuple[SetupField, ...] = (
    SetupField("id", 31, 30),
    SetupField("blockmode", 16, 16),
    SetupField("stride", 15, 0),
)

# What writes of T, R, B and then S of a TMU take as uniforms: the first of them takes word 0, the
# next one word 1, and so on.
TEXTURE_0: Tuple[SetupField, ...] = (
    SetupField("base", 31, 12),
    SetupField("swizzle", 11, 10),
    SetupField("cube", 9, 9),
    SetupField("flip_y", 8, 8),
    SetupField("type", 7, 4),
    SetupField("levels", 3, 0),
)
TEXTURE_1: Tuple[SetupField, ...] = (
    SetupField("type4", 31, 31),
    SetupField("height", 30, 20, zero_is=2048),
    SetupField("etc_flip", 19, 19),
    SetupField("width", 18, 8, zero_is=2048),
    SetupField("mag", 7, 7),
    SetupField("min", 6, 4),
    SetupField("wrap_t", 3, 2),
    SetupField("wrap_s", 1, 0),
)

_IDS = {"vpm_read": 0, "vpm_write": 0, "vdr": 1, "vdr_stride": 9, "vdw": 2, "vdw_stride": 3}

TABLES: Dict[str, Tuple[SetupField, ...]] = {
    "vpm_read": GENERIC_READ,
    "vpm_write": GENERIC_WRITE,
    "vdr": VDR_BASIC,
    "vdr_stride": VDR_STRIDE,
    "vdw": VDW_BASIC,
    "vdw_stride": VDW_STRIDE,
    "texture_0": TEXTURE_0,
    "texture_1": TEXTURE_1,
}


def _table(kind: str) -> Tuple[SetupField, ...]:
    if kind not in TABLES:
        raise ValueError(f"no setup word is called {kind!r}; there are {', '.join(TABLES)}")
    return TABLES[kind]


def pack(kind: str, **values: int) -> int:
    """The setup word of a kind of :data:`TABLES`; missing fields are 0.

    Values are what the fields mean, so a field with ``zero_is`` takes 1..``zero_is``.
    """
    word = 0
    table = _table(kind)
    unknown = set(values) - {field.name for field in table}
    if unknown:
        raise ValueError(f"a {kind} setup word has no field {sorted(unknown)[0]!r}")
    for field in table:
        value = _IDS[kind] if field.name == "id" else values.get(field.name, 0)
        if field.zero_is and value == field.zero_is:
            value = 0
        elif not 0 <= value <= field.mask or (
            field.zero_is and value == 0 and field.name in values
        ):
            raise ValueError(f"{kind} setup: {field.name} = {value} does not fit")
        word |= value << field.lo
    return word


def pack_arrays(kind: str, **values: Any) -> Any:
    """Many setup words of a kind at once: as :func:`pack`, but values may be integer arrays that
    broadcast."""
    word: Any = 0
    for field in _table(kind):
        if field.name == "id":
            word = word | _IDS[kind] << field.lo
        elif field.name in values:
            value = values.pop(field.name)
            mask = (1 << (field.hi - field.lo + 1)) - 1
            least, most = (1, field.zero_is) if field.zero_is else (0, mask)
            wrong = (value < least) | (value > most)
            if wrong is True or wrong is not False and wrong.nonzero()[0].size:
                first = value if wrong is True else value[wrong][0]
                raise ValueError(f"{kind} setup: {field.name} = {first} does not fit")
            if not isinstance(value, int):
                value = value.astype("int64")  # NumPy's integers have 32 bits on 32-bit systems
            word = word | (value & mask) << field.lo
    if values:
        raise ValueError(f"a {kind} setup word has no field {sorted(values)[0]!r}")
    return word


def unpack(kind: str, word: int) -> Dict[str, int]:
    """The values of a setup word, with codes 0 replaced by what they stand for."""
    values = {}
    for field in _table(kind):
        value = word >> field.lo & field.mask
        values[field.name] = field.zero_is if field.zero_is and value == 0 else value
    return values


_SIZE_CODE = {8: 0, 16: 1, 32: 2}
_SUB_BITS = {8: 2, 16: 1, 32: 0}


def vpm_address(
    y: int, x: int = 0, *, size: int = 32, horizontal: bool = True, sub: int = 0
) -> int:
    """The ADDR field of a generic access: row ``y``, column ``x`` (vertical only), and the
    half-word or byte ``sub`` of 16- and 8-bit accesses (p. 53-55)."""
    if size not in _SUB_BITS:
        raise ValueError(f"size = {size} is neither 8, 16 nor 32 bits")
    bits = _SUB_BITS[size]
    if not 0 <= y < 64 or not 0 <= x < 16 or not 0 <= sub < (1 << bits):
        raise ValueError(f"there is no VPM address y = {y}, x = {x}, sub = {sub}")
    if horizontal:
        if x:
            raise ValueError("a horizontal access starts at column 0")
        return y << bits | sub
    if y % 16:
        raise ValueError("a vertical access starts at a row that is a multiple of 16")
    return ((y >> 4) << 4 | x) << bits | sub


def vpm_read(
    num: int,
    y: int = 0,
    x: int = 0,
    *,
    stride: int = 1,
    size: int = 32,
    horizontal: bool = True,
    laned: bool = False,
    sub: int = 0,
) -> int:
    """Word for vpm_rd_setup: read ``num`` (1..16) vectors, ``stride`` (1..64) addresses apart."""
    addr = vpm_address(y, x, size=size, horizontal=horizontal, sub=sub)
    return pack(
        "vpm_read",
        num=num,
        stride=stride,
        horiz=int(horizontal),
        laned=int(laned),
        size=_SIZE_CODE[size],
        addr=addr,
    )


def vpm_write(
    y: int = 0,
    x: int = 0,
    *,
    stride: int = 1,
    size: int = 32,
    horizontal: bool = True,
    laned: bool = False,
    sub: int = 0,
) -> int:
    """Word for vpm_wr_setup: write vectors ``stride`` (1..64) addresses apart."""
    addr = vpm_address(y, x, size=size, horizontal=horizontal, sub=sub)
    return pack(
        "vpm_write",
        stride=stride,
        horiz=int(horizontal),
        laned=int(laned),
        size=_SIZE_CODE[size],
        addr=addr,
    )


def vdr_load(
    nrows: int,
    rowlen: int,
    y: int = 0,
    x: int = 0,
    *,
    pitch: int = 0,
    vpitch: int = 1,
    vertical: bool = False,
    modew: int = 0,
) -> int:
    """Word for vpm_rd_setup: DMA load of ``nrows`` rows (1..16) of ``rowlen`` elements (1..16).

    Rows start ``pitch`` bytes apart in memory, 16 * 2**i up to 8 * 2**15; 0 takes the pitch from
    the stride word (:func:`vdr_pitch`).  In the VPM they start ``vpitch`` (1..16) steps apart.
    """
    mpitch = 0
    if pitch:
        mpitch = (pitch // 8).bit_length() - 1
        if not 1 <= mpitch <= 15 or 8 << mpitch != pitch:
            raise ValueError(f"vdr setup: pitch = {pitch} is no 8 * 2**(1..15)")
    return pack(
        "vdr",
        modew=modew,
        mpitch=mpitch,
        rowlen=rowlen,
        nrows=nrows,
        vpitch=vpitch,
        vert=int(vertical),
        y=y,
        x=x,
    )


def vdr_pitch(nbytes: int) -> int:
    """Word for vpm_rd_setup: rows of DMA loads start ``nbytes`` apart (start to start)."""
    return pack("vdr_stride", mpitchb=nbytes)


def vdw_store(
    units: int,
    depth: int,
    y: int = 0,
    x: int = 0,
    *,
    horizontal: bool = True,
    modew: int = 0,
) -> int:
    """Word for vpm_wr_setup: store ``units`` rows (1..128) of ``depth`` elements (1..128)."""
    return pack("vdw", units=units, depth=depth, horiz=int(horizontal), y=y, x=x, modew=modew)


def vdw_stride(nbytes: int, *, blockmode: bool = False) -> int:
    """Word for vpm_wr_setup: ``nbytes`` (0..65535) from a stored row's end to the next's start."""
    return pack("vdw_stride", stride=nbytes, blockmode=int(blockmode))


# --- many words at once --------------------------------------------------------------------------

_WRITE, _STORE = vpm_write(0, stride=64), vdw_store(128, 128)  # these numbers are written as 0
_STRIDE = next((each.mask, each.lo) for each in GENERIC_WRITE if each.name == "stride")
_UNITS, _DEPTH, _ROW = (
    next((each.mask, each.lo) for each in VDW_BASIC if each.name == name)
    for name in ("units", "depth", "y")
)


def vpm_writes(y: Any, stride: int = 1) -> Any:
    """:func:`vpm_write` for a number or an array of rows (0..63), which are not checked."""
    return _WRITE + ((stride & _STRIDE[0]) << _STRIDE[1]) + y


def vdw_stores(units: Any, depth: Any, y: Any) -> Any:
    """:func:`vdw_store` for numbers or arrays, whose ranges are not checked."""
    size = ((units & _UNITS[0]) << _UNITS[1]) + ((depth & _DEPTH[0]) << _DEPTH[1])
    return _STORE + size + (y << _ROW[1])
