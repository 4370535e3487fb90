"""Memory under a DMA transfer that nobody waited for: who may touch which bytes of it (p. 56).

A tile of a matrix has gaps between its rows.  They belong to others, who may use them meanwhile.
"""

from __future__ import annotations

import numpy as np
import pytest
from harness import END

from piblas.errors import EmulatorFault
from piblas.isa.setup_words import vdr_load, vdr_pitch, vdw_store, vdw_stride

PITCH = 128  # bytes from row to row; a tile of four rows of 16 words lies in the first half
ROWS = 4
STORE = ["mov vpm_wr_setup, unif", "mov vpm_wr_setup, unif", "mov vdw_addr, unif"]
LOAD = ["mov vpm_rd_setup, unif", "mov vpm_rd_setup, unif", "mov vdr_addr, unif"]
WAIT = ["mov -, vdr_wait", "mov -, vdw_wait"]
# Two rows of 8 words that start before, inside, between and behind the rows of the tile.
PLACES = [-128, -32, -4, 0, 28, 60, 64, 96, 100, 448, 480]
TOUCHING = {-128: True, -32: False, -4: True, 0: True, 28: True, 60: True, 64: False, 96: False}
TOUCHING.update({100: True, 448: False, 480: False})


@pytest.fixture
def matrix(lab):
    buffer = lab.device.alloc(4096)
    buffer.array(np.uint32, (1024,))[:] = np.arange(1024)
    buffer.clean()
    yield buffer
    buffer.free()


def tile(matrix):
    return matrix.bus_address + 1024


def store_tile(address, units=ROWS, depth=16, y=0):
    return [vdw_stride(PITCH - 4 * depth), vdw_store(units, depth, y), address]


def load_tile(address, rows=ROWS, length=16, y=32):
    return [vdr_pitch(PITCH), vdr_load(rows, length, y), address]


def meets(place):
    """Whether two rows of 32 bytes at ``place``, PITCH apart, share a byte with the tile."""
    mine = {place + PITCH * r + b for r in range(2) for b in range(32)}
    return bool(mine & {PITCH * r + b for r in range(ROWS) for b in range(64)})


def test_the_places_are_what_they_are_called():
    assert {place: meets(place) for place in PLACES} == TOUCHING


@pytest.mark.parametrize("place", PLACES)
def test_a_load_beside_a_store(lab, matrix, place):
    lines, uniforms = STORE + LOAD, store_tile(tile(matrix))
    uniforms += load_tile(tile(matrix) + place, 2, 8)
    if meets(place):
        with pytest.raises(EmulatorFault, match="reads memory that a DMA store may still"):
            lab.run(lines + WAIT + END, [uniforms])
    else:
        lab.run(lines + WAIT + END, [uniforms])
    lab.run(STORE + ["mov -, vdw_wait"] + LOAD + WAIT + END, [uniforms])


@pytest.mark.parametrize("place", PLACES)
def test_a_store_beside_a_load(lab, matrix, place):
    lines, uniforms = LOAD + STORE, load_tile(tile(matrix))
    uniforms += store_tile(tile(matrix) + place, 2, 8)
    if meets(place):
        with pytest.raises(EmulatorFault, match="writes memory that a DMA load may still"):
            lab.run(lines + WAIT + END, [uniforms])
    else:
        lab.run(lines + WAIT + END, [uniforms])
    lab.run(LOAD + ["mov -, vdr_wait"] + STORE + WAIT + END, [uniforms])


@pytest.mark.parametrize("offset", [-4, 0, 60, 64, 124, 128, 444, 448])
def test_a_lookup_beside_a_store(lab, matrix, offset):
    uniforms = [tile(matrix) + offset, *store_tile(tile(matrix))]
    lines = ["mov r0, unif", *STORE, "mov t0s, r0", *WAIT, "nop; ldtmu0", *END]
    if 0 <= offset and offset % PITCH < 64:
        with pytest.raises(EmulatorFault, match="reads memory that a DMA store may still"):
            lab.run(lines, [uniforms])
    else:
        lab.run(lines, [uniforms])


@pytest.mark.parametrize("offset", [60, 64])
def test_a_uniform_beside_a_store(lab, matrix, offset):
    uniforms = [tile(matrix) + offset, *store_tile(tile(matrix))]
    lines = ["mov r0, unif", *STORE, "mov unif_addr, r0", "nop", "nop", "mov r1, unif", *WAIT, *END]
    if offset < 64:
        with pytest.raises(EmulatorFault, match="reads memory that a DMA store may still"):
            lab.run(lines, [uniforms])
    else:
        lab.run(lines, [uniforms])


def test_rows_that_overlap_leave_no_gap(lab, matrix):
    # Two rows of 64 bytes, 32 apart, cover 96 bytes.
    for place, wrong in ((-32, False), (64, True), (92, True), (96, False)):
        uniforms = [vdr_pitch(32), vdr_load(2, 16, 32), tile(matrix)]
        uniforms += [vdw_stride(0), vdw_store(1, 1, 0), tile(matrix) + place]
        if wrong:
            with pytest.raises(EmulatorFault, match="writes memory that a DMA load may still"):
                lab.run(LOAD + STORE + WAIT + END, [uniforms])
        else:
            lab.run(LOAD + STORE + WAIT + END, [uniforms])
