"""Memory under a DMA transfer that nobody waited for: who may touch which bytes of it (p. 56).

A tile of a matrix has gaps between its rows.  They belong to others, who may use them meanwhile.
The second half is about two QPUs: whether they race does not depend on who happens to be first.
"""

from __future__ import annotations

import numpy as np
import pytest
from harness import END, assemble, execute_timed, execute_traced, patterns_1d

from piblas.errors import EmulatorFault
from piblas.isa.setup_words import vdr_load, vdr_pitch, vdw_store, vdw_stride, vpm_write

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


# --- two QPUs -------------------------------------------------------------------------------------

RUNS = {
    "untimed": lambda device, *args: device.execute(*args),
    "timed": execute_timed,
    "traced": execute_traced,
}
# What a QPU does, and its uniforms given the place of the tile; the store takes rows 0 to 3.
ACTS = {
    "store": (STORE, store_tile),
    "vpm write": (["mov vpm_wr_setup, unif", "mov vpm, r0"], lambda at: [vpm_write(2)]),
    "column write": (
        ["mov vpm_wr_setup, unif", "mov vpm, r0"],
        lambda at: [vpm_write(0, 7, horizontal=False)],
    ),
    "load into its rows": (LOAD, lambda at: load_tile(at + 1024, y=3)),
    "load of its memory": (LOAD, lambda at: load_tile(at + PITCH)),
    "lookup": (["mov t0s, unif", "nop; ldtmu0"], lambda at: [at + 4]),
    "lookup in a row": (
        ["mov r0, unif", "shl r1, elem_num, 2", "add t0s, r0, r1", "nop; ldtmu0"],
        lambda at: [at + PITCH],
    ),
    "uniform": (["mov unif_addr, unif", "nop", "nop", "mov r1, unif"], lambda at: [at]),
}
RULE = {
    "vpm write": "vpm-race",
    "column write": "vpm-race",
    "load into its rows": "vpm-race",
    "load of its memory": "memory-race",
    "lookup": "memory-race",
    "lookup in a row": "memory-race",
    "uniform": "memory-race",
}
SLOW = ["ldi r2, -, 200", "turn:", "sub.sf r2, r2, 1", "br.any_zc rel @turn", *["nop"] * 3]
WAIT_STORE, WAIT_LOAD = ["mov -, vdw_wait"], ["mov -, vdr_wait"]


def part(name):
    """The lines of an act, and the wait that belongs to it."""
    lines = ACTS[name][0]
    wait = WAIT_STORE if name == "store" else WAIT_LOAD if name.startswith("load") else []
    return [*lines], wait


def program_of(parts):
    """Each QPU runs its part: the first uniform is its number."""
    lines = ["mov r3, unif"]
    for number in range(len(parts)):
        lines += [f"sub.sf -, r3, {number}", f"br.all_zs rel @part{number}", *["nop"] * 3]
    for number, body in enumerate(parts):
        body = [line.replace("turn", f"turn{number}") for line in body]
        lines += [f"part{number}:", *body, *END]
    return lines


def run_parts(lab, how, parts, uniforms):
    program = lab.device.load(np.array(assemble(program_of(parts)), np.uint64))
    try:
        streams = [patterns_1d([q, *stream]) for q, stream in enumerate(uniforms)]
        return RUNS[how](lab.device, program, streams)
    finally:
        program.free()


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize(
    "other, swapped, slow",
    [
        (other, swapped, slow)
        for other in RULE
        for swapped in (False, True)
        for slow in (None, 0, 1)
        # A store is not compared with uniforms that were read before it.
        if other != "uniform" or slow != int(swapped)
    ],
)
def test_two_qpus_race_whoever_is_first(lab, matrix, other, swapped, slow, how):
    """Each waits for what it does itself, but nothing orders the two."""
    names = ["store", other][:: -1 if swapped else 1]
    parts, uniforms = [], []
    for number, name in enumerate(names):
        lines, wait = part(name)
        parts.append([*(SLOW if number == slow else []), *lines, *wait])
        uniforms.append(ACTS[name][1](tile(matrix)))
    if other == "uniform":  # it is read behind the store in any case
        parts[names.index(other)] = [*SLOW, *parts[names.index(other)]]
    with pytest.raises(EmulatorFault) as info:
        run_parts(lab, how, parts, uniforms)
    assert info.value.rule == RULE[other]


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize("slow", [0, 1])
def test_the_message_names_both_sides(lab, matrix, slow, how):
    store, write = ([*part(name)[0], *part(name)[1]] for name in ("store", "vpm write"))
    parts = [[*(SLOW if q == slow else []), *lines] for q, lines in enumerate((store, write))]
    at = tile(matrix)
    with pytest.raises(EmulatorFault) as info:
        run_parts(lab, how, parts, [store_tile(at), ACTS["vpm write"][1](at)])
    memory = f"{at:#010x}..{at + 3 * PITCH + 63:#010x}"
    if slow:
        assert info.value.reason == (
            "touches rows of a DMA transfer that may still be running: QPU 1: VPM row 2; QPU 0's "
            f"DMA store of VPM rows 0-3 to {memory}, started at pc 13"
        )
    else:
        assert info.value.reason == (
            "transfers rows that another QPU accesses, and nothing orders the two: QPU 0: VPM rows "
            f"0-3, {memory}; QPU 1 writes VPM row 2"
        )


ORDERS = {
    "semaphore": (["sema_up 3"], ["sema_down 3"]),
    "wait at 15": (["sema_down 5"], [*["sema_up 5"] * 16, *["sema_down 5"] * 15]),
}


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("other", RULE)
@pytest.mark.parametrize("store_first", [True, False])
def test_a_wait_and_a_signal_order(lab, matrix, store_first, other, order, how):
    names = ["store", other] if store_first else [other, "store"]
    tell, hear = ORDERS[order]
    first, second = ([*lines, *wait] for lines, wait in (part(name) for name in names))
    uniforms = [ACTS[name][1](tile(matrix)) for name in names]
    run_parts(lab, how, [[*first, *tell], [*hear, *second]], uniforms)


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize("other", RULE)
@pytest.mark.parametrize("store_first", [True, False])
def test_the_mutex_orders(lab, matrix, store_first, other, how):
    names = ["store", other] if store_first else [other, "store"]
    parts = [["mov -, mutex", *a, *b, "mov mutex, r0"] for a, b in (part(n) for n in names)]
    run_parts(lab, how, parts, [ACTS[name][1](tile(matrix)) for name in names])


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize("other", RULE)
def test_a_signal_before_the_wait_does_not(lab, matrix, other, how):
    store, wait = part("store")
    lines, own = part(other)
    parts = [[*store, "sema_up 3", *wait], ["sema_down 3", *lines, *own]]
    uniforms = [store_tile(tile(matrix)), ACTS[other][1](tile(matrix))]
    with pytest.raises(EmulatorFault) as info:
        run_parts(lab, how, parts, uniforms)
    assert info.value.rule == RULE[other]
    # The other one may wait as well: it knows that the store has begun.
    parts[1][1:1] = wait
    run_parts(lab, how, parts, uniforms)


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize("other", RULE)
def test_a_transfer_without_a_wait_is_never_over(lab, matrix, other, how):
    """However long ago it began, and whoever it was."""
    lines, own = part(other)
    uniforms = [store_tile(tile(matrix)) + ACTS[other][1](tile(matrix))]
    with pytest.raises(EmulatorFault) as info:
        run_parts(lab, how, [[*STORE, *SLOW, *lines, *own]], uniforms)
    assert info.value.rule == RULE[other]


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize("downs", [1, 2])
def test_a_semaphore_orders_as_many_as_have_gone_up(lab, matrix, downs, how):
    """QPUs 0 and 1 write a row each and go up; QPU 2 stores both rows."""
    write = ["mov vpm_wr_setup, unif", "mov vpm, r0", "sema_up 6"]
    store = [*["sema_down 6"] * downs, *STORE, *WAIT_STORE, *["sema_down 6"] * (2 - downs)]
    uniforms = [[vpm_write(0)], [vpm_write(1)], store_tile(tile(matrix))]
    if downs == 2:
        run_parts(lab, how, [write, write, store], uniforms)
    else:
        with pytest.raises(EmulatorFault, match="QPU [01] writes VPM row [01]"):
            run_parts(lab, how, [write, write, store], uniforms)
