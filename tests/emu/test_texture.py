"""Texture lookups: T and S with configuration words (guide, p. 39-42; drivers that run on boards).

The images are put into memory by walking through it in order, block by block, which is how the
drivers describe the layout.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from harness import END, assemble, patterns, patterns_1d, store, store_uniforms

from piblas.errors import EmulatorFault
from piblas.isa.texture import texture_config

BYTES = {1: (8, 8), 2: (8, 4), 4: (4, 4), 8: (2, 4)}
LOOK = ["mov t{}t, r1", "mov t{}s, r0", "nop; ldtmu{}"]


def tiled(image):
    """Bytes of an image as it lies in blocks of 64 bytes."""
    height, width = image.shape
    across, down = BYTES[image.itemsize]
    lie_in_rows = width <= 4 * across or height <= 4 * down
    unit = 1 if lie_in_rows else 8
    blocks_x = -(-width // (across * unit)) * unit
    blocks_y = -(-height // (down * unit)) * unit
    whole = np.zeros((blocks_y * down, blocks_x * across), image.dtype)
    whole[:height, :width] = image
    order = []
    if lie_in_rows:
        order = [(x, y) for y in range(blocks_y) for x in range(blocks_x)]
    else:
        bottom_left, top_left, top_right, bottom_right = (0, 0), (0, 4), (4, 4), (4, 0)
        for tile_y in range(blocks_y // 8):
            columns = range(blocks_x // 8)
            pieces = [bottom_left, top_left, top_right, bottom_right]
            if tile_y % 2:
                columns, pieces = columns[::-1], [top_right, bottom_right, bottom_left, top_left]
            for tile_x in columns:
                for x, y in pieces:
                    for n in range(16):
                        order.append((8 * tile_x + x + n % 4, 8 * tile_y + y + n // 4))
    parts = [whole[y * down : (y + 1) * down, x * across : (x + 1) * across] for x, y in order]
    return b"".join(part.tobytes() for part in parts)


def raster(image):
    height, width = image.shape
    whole = np.zeros((height, -(-width // 4) * 4), image.dtype)
    whole[:, :width] = image
    return whole.tobytes()


class Texture:
    def __init__(self, lab, image, kind, **options):
        self.lab, self.image = lab, image
        raw = raster(image) if kind == "rgba32r" else tiled(image)
        self.buffer = lab.device.alloc(len(raw))
        self.buffer.array(np.uint8)[:] = np.frombuffer(raw, np.uint8)
        self.buffer.clean()
        height, width = image.shape
        self.words = texture_config(self.buffer.bus_address, width, height, kind, **options)

    def fetch(self, s, t, unit=0, pops=1, words=None, change=()):
        """Results of lookups at (s, t), rows of 16, one column a pop."""
        body = [line.format(unit) for line in LOOK] + [f"mov ra{1}, r4"]
        outputs = ["ra1"]
        if pops == 2:
            body += [f"nop; ldtmu{unit}", "mov ra2, r4"]
            outputs.append("ra2")
        s, t = np.float32(s).reshape(-1, 16), np.float32(t).reshape(-1, 16)
        uniforms = list(words or self.words) * len(s)
        got = self.lab.vectors([*change, *body], {"r0": s, "r1": t}, outputs, uniforms=uniforms)
        return np.stack([got[name].ravel() for name in outputs], axis=1)

    def free(self):
        self.buffer.free()


@pytest.fixture
def texture(request):
    made = []

    def make(*args, **options):
        made.append(Texture(*args, **options))
        return made[-1]

    yield make
    for each in made:
        each.free()


def noise(height, width, dtype, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, (height, width), dtype, endpoint=True)


def centres(height, width, count, seed=2):
    """Random texels, and coordinates of their centres."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, width, count), rng.integers(0, height, count)
    return x, y, (x + 0.5) / width, (y + 0.5) / height


SIZES = [(1, 1), (3, 5), (16, 16), (17, 40), (64, 64), (33, 33), (70, 130)]


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("kind", ["rgba32r", "rgba8888"])
@pytest.mark.parametrize("unit", [0, 1])
def test_the_nearest_texel(lab, texture, kind, height, width, unit):
    image = noise(height, width, np.uint32)
    made = texture(lab, image, kind)
    x, y, s, t = centres(height, width, 64)
    assert np.array_equal(made.fetch(s, t, unit)[:, 0], image[y, x])


def _channels(raw, bits):
    """Packed channels, the first in the highest bits, as bytes 0..3; repeated bits fill up."""
    result = np.zeros(raw.shape, np.uint32)
    left = 16
    for channel, width in enumerate(bits):
        left -= width
        value = raw.astype(np.uint32) >> left & ((1 << width) - 1)
        wide = np.zeros_like(value)
        filled = 8
        while width and filled > -width:
            filled -= width
            wide |= value << filled if filled >= 0 else value >> -filled
        result |= (wide if width else np.uint32(255)) << np.uint32(8 * channel)
    return result


def _grey(raw):
    return raw.astype(np.uint32) * 0x010101 | np.uint32(0xFF000000)


KINDS = {
    "rgbx8888": (np.uint32, lambda raw: raw | np.uint32(0xFF000000)),
    "rgba4444": (np.uint16, lambda raw: _channels(raw, (4, 4, 4, 4))),
    "rgba5551": (np.uint16, lambda raw: _channels(raw, (5, 5, 5, 1))),
    "rgb565": (np.uint16, lambda raw: _channels(raw, (5, 6, 5, 0))),
    "luminance": (np.uint8, _grey),
    "alpha": (np.uint8, lambda raw: raw.astype(np.uint32) << 24),
    "lumalpha": (
        np.uint16,
        lambda raw: (raw & 255).astype(np.uint32) * 0x010101 | (raw.astype(np.uint32) >> 8) << 24,
    ),
}


@pytest.mark.parametrize("height, width", [(4, 4), (48, 80)])
@pytest.mark.parametrize("kind", KINDS)
def test_texture_types(lab, texture, kind, height, width):
    dtype, meaning = KINDS[kind]
    image = noise(height, width, dtype)
    made = texture(lab, image, kind)
    x, y, s, t = centres(height, width, 96)
    assert np.array_equal(made.fetch(s, t)[:, 0], meaning(image[y, x]))


@pytest.mark.parametrize("height, width", [(4, 4), (40, 20)])
def test_rgba64_gives_two_results(lab, texture, height, width):
    image = noise(height, width, np.uint64)
    made = texture(lab, image, "rgba64")
    x, y, s, t = centres(height, width, 32)
    got = made.fetch(s, t, pops=2)
    assert np.array_equal(got[:, 0] | got[:, 1].astype(np.uint64) << np.uint64(32), image[y, x])


WRAPPED = {
    "repeat": lambda n, size: n % size,
    "clamp": lambda n, size: np.clip(n, 0, size - 1),
    "mirror": lambda n, size: np.where(n % (2 * size) < size, n % size, size - 1 - n % size),
}


@pytest.mark.parametrize("wrap", WRAPPED)
def test_wrap_modes(lab, texture, wrap):
    image = noise(5, 6, np.uint32)
    made = texture(lab, image, "rgba32r", wrap=wrap)
    x, y = np.arange(-24, 24), np.arange(48) % 31 - 15
    got = made.fetch((x + 0.5) / 6, (y + 0.5) / 5)
    fold = WRAPPED[wrap]
    assert np.array_equal(got[:, 0], image[fold(y, 5), fold(x, 6)])


def test_flip_y_counts_from_the_other_end(lab, texture):
    image = noise(8, 8, np.uint32)
    made = texture(lab, image, "rgba32r", flip_y=True)
    x, y, s, t = centres(8, 8, 32)
    assert np.array_equal(made.fetch(s, t)[:, 0], image[7 - y, x])


def test_a_size_of_0_means_2048(lab, texture):
    image = noise(1, 2048, np.uint32)
    made = texture(lab, image, "rgba32r")
    assert made.words[1] >> 8 & 2047 == 0
    x, _, s, t = centres(1, 2048, 32)
    assert np.array_equal(made.fetch(s, t)[:, 0], image[0, x])


def test_interpolation_of_equal_texels(lab, texture):
    image = np.full((8, 8), 0x80402010, np.uint32)
    made = texture(lab, image, "rgba8888", filter="linear")
    rng = np.random.default_rng(1)
    assert (made.fetch(rng.random(32), rng.random(32)) == 0x80402010).all()


def test_interpolation_at_the_centre_of_a_texel(lab, texture):
    image = noise(8, 8, np.uint32)
    made = texture(lab, image, "rgba8888", filter="linear")
    x, y, s, t = centres(8, 8, 32)
    assert np.array_equal(made.fetch(s, t)[:, 0], image[y, x])


def test_interpolation_between_texels_is_a_guess(lab, loose, texture):
    image = np.array([[0x00000000, 0xFF80FF40], [0x00000000, 0xFF80FF40]], np.uint32)
    quarter = [0.375] * 16
    with pytest.raises(EmulatorFault, match="interpolates between different texels"):
        texture(lab, image, "rgba32r", filter="linear").fetch(quarter, [0.25] * 16)
    made = texture(loose, image, "rgba32r", filter="linear")
    got = made.fetch(quarter, [0.25] * 16)[0, 0]
    for shift, want in ((0, 0x40), (8, 0xFF), (16, 0x80), (24, 0xFF)):
        assert abs(int(got >> shift & 255) - want / 4) <= 1


def test_direct_lookups_go_on_beside_textures(lab, texture):
    image = noise(4, 4, np.uint32)
    made = texture(lab, image, "rgba32r")
    plain = lab.device.alloc(64)
    plain.array(np.uint32)[:] = np.arange(16)
    body = ["mov t0s, ra0", "mov t0t, r1", "mov t0s, r0", "mov t0s, ra0", "nop; ldtmu0"]
    body += ["mov ra1, r4; ldtmu0", "mov ra2, r4; ldtmu0", "mov ra3, r4"]
    inputs = {"r0": np.float32([0.125] * 16), "r1": np.float32([0.375] * 16)}
    inputs["ra0"] = [plain.bus_address + 4 * e for e in range(16)]
    got = lab.vectors(body, inputs, ["ra1", "ra2", "ra3"], uniforms=made.words)
    assert got["ra1"][0].tolist() == got["ra3"][0].tolist() == list(range(16))
    assert (got["ra2"] == image[1, 0]).all()
    plain.free()


def test_each_write_takes_one_uniform_in_order(lab, texture):
    image = noise(4, 4, np.uint32)
    made = texture(lab, image, "rgba32r")
    # The bias of the level of detail does nothing without levels, but takes a word.
    body = ["mov t1t, r1", "mov t1b, 0", "mov t1s, r0", "mov ra2, unif", "nop; ldtmu1"]
    inputs = {"r0": np.float32([0.625] * 16), "r1": np.float32([0.125] * 16)}
    words = [*made.words, 0, 77]
    got = lab.vectors([*body, "mov ra1, r4"], inputs, ["ra1", "ra2"], uniforms=words)
    assert (got["ra1"] == image[0, 2]).all() and (got["ra2"] == 77).all()


@pytest.mark.parametrize("count, fits", [(4, True), (5, False)])
def test_s_and_t_take_two_slots_of_the_queue(lab, texture, count, fits):
    made = texture(lab, noise(4, 4, np.uint32), "rgba32r")
    body = ["mov t0t, r1", "mov t0s, r0"] * count + ["nop; ldtmu0"] * count
    inputs = {"r0": np.float32([0.5] * 16), "r1": np.float32([0.5] * 16)}
    if fits:
        lab.vectors(body, inputs, uniforms=made.words * count)
        return
    with pytest.raises(EmulatorFault, match="more results than its queue has room for"):
        lab.vectors(body, inputs, uniforms=made.words * count)


def test_twelve_qpus_look_up(lab, texture):
    image = noise(16, 16, np.uint32)
    made = texture(lab, image, "rgba8888")
    lines = ["mov r0, unif", "mov r1, unif", "mov t1t, r1", "mov t1s, r0", "nop; ldtmu1"]
    lines += ["mov ra1, r4", "nop", *store("ra1"), *END]
    out = lab.device.alloc(768)
    x, y, s, t = centres(16, 16, 12)
    floats = patterns(np.repeat(np.float32([s, t]), 16)).reshape(2, 12, 16)[:, :, 0]
    streams = [
        [floats[0, q], floats[1, q], *made.words, *store_uniforms(out.bus_address + 64 * q, q)]
        for q in range(12)
    ]
    lab.run(lines, streams)
    got = out.array(np.uint32, (12, 16))
    assert np.array_equal(got, np.repeat(image[y, x], 16).reshape(12, 16))
    out.free()


@pytest.mark.parametrize("timing", ["off", "calibrated"])
@pytest.mark.parametrize("incoherent", [False, True])
def test_textures_in_every_mode(texture, timing, incoherent):
    from harness import Lab

    from piblas.driver import Emulator

    with Emulator(memory=1 << 20, timing=timing, incoherent=incoherent) as device:
        image = noise(40, 40, np.uint64)
        made = Texture(Lab(device), image, "rgba64")
        x, y, s, t = centres(40, 40, 32)
        got = made.fetch(s, t, pops=2)
        assert np.array_equal(got[:, 0] | got[:, 1].astype(np.uint64) << np.uint64(32), image[y, x])


def test_a_texture_comes_through_the_cache(incoherent, texture):
    """A DMA store into a texture does not reach the line that its TMU holds."""
    lab = incoherent
    made = texture(lab, np.full((1, 16), 7, np.uint32), "rgba32r")
    out = lab.device.alloc(64)
    look = ["mov t0t, r1", "mov t0s, r1", "nop; ldtmu0"]
    lines = ["mov r1, unif", *look, "ldi r0, -, 8", *store("r0"), *look, "mov ra1, r4", "nop"]
    at = made.buffer.bus_address
    stream = [0x3D000000, *made.words, *store_uniforms(at), *made.words]
    lab.run(lines + [*store("ra1"), *END], [stream + store_uniforms(out.bus_address)])
    out.invalidate()
    made.buffer.invalidate()
    assert (out.array(np.uint32) == 7).all() and (made.buffer.array(np.uint32) == 8).all()


def fields(words, **changes):
    """Configuration words with some fields changed: name -> value."""
    places = {"cube": (0, 9, 1), "levels": (0, 0, 15), "type": (0, 4, 15), "type4": (1, 31, 1),
              "mag": (1, 7, 1), "min": (1, 4, 7)}  # fmt: skip
    result = list(words)
    for name, value in changes.items():
        word, low, mask = places[name]
        result[word] = result[word] & ~(mask << low) | value << low
    return result


UNDETERMINED = {
    "type": ("a texture type whose texels are undetermined", {"type": 8}),
    "reserved": ("a texture type whose texels are undetermined", {"type": 9, "type4": 1}),
    "cube": ("a cube map or a child image", {"cube": 1}),
    "level": ("the level of detail decides", {"levels": 2, "min": 3}),
    "filters": ("the level of detail decides", {"min": 0}),
}


@pytest.mark.parametrize("name", UNDETERMINED)
def test_what_is_undetermined_about_a_texture_is_a_fault(lab, loose, texture, name):
    message, changes = UNDETERMINED[name]
    image = np.arange(16, dtype=np.uint32).reshape(4, 4) * 0x01010101
    s, t = [0.3] * 16, [0.4] * 16
    made = texture(lab, image, "rgba32r")
    with pytest.raises(EmulatorFault, match=message):
        made.fetch(s, t, words=fields(made.words, **changes))
    made = texture(loose, image, "rgba32r")
    got = made.fetch(s, t, words=fields(made.words, **changes))
    # Types that nobody describes give 0; otherwise the nearest texel of level 0.
    assert (got == (0 if "type" in changes else image[1, 1])).all()


def test_a_coordinate_at_the_edge_of_a_texel(lab, loose, texture):
    image = noise(3, 3, np.uint32)
    near = np.float32(1 / 3)  # not exact: 1.00000003 texels
    with pytest.raises(EmulatorFault, match="so near the edge of a texel"):
        texture(lab, image, "rgba32r").fetch([near] * 16, [0.5] * 16)
    assert (texture(loose, image, "rgba32r").fetch([near] * 16, [0.5] * 16) == image[1, 1]).all()
    exact = texture(lab, noise(4, 4, np.uint32), "rgba32r")
    assert (exact.fetch([0.25] * 16, [0.5] * 16) == exact.image[2, 1]).all()


def test_the_border(lab, loose, texture):
    image = noise(4, 4, np.uint32)
    inside = texture(lab, image, "rgba32r", wrap="border")
    assert (inside.fetch([0.125] * 16, [0.125] * 16) == image[0, 0]).all()
    with pytest.raises(EmulatorFault, match="needs the border colour"):
        inside.fetch([1.125] * 16, [0.125] * 16)
    made = texture(loose, image, "rgba32r", wrap="border")
    assert (made.fetch([1.125] * 16, [0.125] * 16) == 0).all()


def test_a_texture_that_leaves_its_buffer(lab, texture):
    made = texture(lab, noise(4, 4, np.uint32), "rgba32r")
    words = texture_config(made.buffer.bus_address, 4, 8, "rgba32r")
    with pytest.raises(EmulatorFault, match="tmu: reads outside the buffers") as caught:
        made.fetch([0.125] * 16, np.linspace(0.0625, 0.9375, 16), words=words)
    assert caught.value.address == made.buffer.bus_address + 64
    assert "t0s" in caught.value.instruction


@pytest.mark.parametrize(
    "lines, message",
    [
        (["mov t0t, r1", "mov t0t, r1"], "writes a coordinate twice before S"),
        (["mov t0t, unif"], "reads a uniform beside a TMU write that takes one"),
        (["mov t0t, r1; thrsw", "nop", "nop"], "is not complete at a thread switch or the end"),
        (["mov t0t, r1", *END], "is not complete at a thread switch or the end"),
        (["nop; thrend", "mov t0t, r1", "nop"], "uniform or VPM access in the last three"),
        (["mov unif_addr, r0", "nop", "mov t0t, r1"], "less than 3 instructions after unif_addr"),
    ],
)
def test_wrong_sequences(lab, lines, message):
    program = lab.device.load(np.array(assemble([*lines, *END]), np.uint64))
    with pytest.raises(EmulatorFault, match=re.escape(message)):
        lab.device.execute(program, [patterns_1d([0, 0, 0])])
    program.free()
