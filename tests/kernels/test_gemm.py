"""The gemm kernel on the device contract: any shape, any leading dimension, nothing outside D."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from gemm_runs import run

from piblas.driver import Emulator
from piblas.isa.disasm import to_text
from piblas.kernels import gemm, gemm_choice, gemm_layout, gemm_schedule, gemm_streams, parts


@pytest.fixture(scope="module", params=(False, True), ids=("coherent", "incoherent"))
def device(request):
    with Emulator(memory=64 << 20, seed=7, incoherent=request.param) as dev:
        yield dev


EDGES = (1, 2, 7, 8, 9, 16, 17, 95, 96, 97)


@pytest.mark.parametrize("beta", (False, True))
def test_every_tail(device, beta):
    options = gemm.SPEC.options(beta=beta, edge=2)
    for m, n in itertools.product(EDGES, EDGES):
        run(device, options, m, n, 1 + (m * n) % 5, alpha=1.5, beta=-0.5 if beta else 0.0)


@pytest.mark.parametrize("k", (1, 2, 3, 4, 5, 7, 48, 64, 129))
def test_every_depth(device, k):
    run(device, gemm.SPEC.options(), 20, 50, k, alpha=-2.0, beta=3.0)


def test_every_kernel_that_can_be_chosen(device):
    for tile in gemm_choice.FAMILY:
        for edge in range(tile.vectors):
            options = dataclasses.replace(tile, edge=edge, beta=edge % 2 == 0)
            n = options.columns + 16 * edge - 3
            run(device, options, 2 * tile.rows + 1, n, 50, alpha=1.5, beta=float(options.beta))


@pytest.mark.parametrize(
    "ldd",
    (
        pytest.param(61, id="odd"),
        pytest.param(2047, id="largest pitch of a DMA load"),
        pytest.param(2048, id="load row by row"),
        pytest.param(16399, id="largest stride of a DMA store"),
        pytest.param(16400, id="store row by row, but whole vectors fit"),
        pytest.param(16420, id="store row by row"),
    ),
)
def test_leading_dimension(device, ldd):
    run(device, gemm.SPEC.options(), 18, 53, 3, alpha=1.0, beta=1.0, ldd=ldd)


@pytest.mark.parametrize("n_qpus", (1, 2, 5, 12))
def test_result_does_not_depend_on_qpus(device, n_qpus):
    run(device, gemm.SPEC.options(), 70, 170, 57, beta=0.25, n_qpus=n_qpus)


@pytest.mark.parametrize(
    "options",
    (
        gemm.GemmOptions(rows=6, vectors=6, single=0, unroll=2),
        gemm.GemmOptions(rows=16, vectors=2, unroll=2),
        gemm.GemmOptions(rows=5, vectors=1, single=0),
        gemm.GemmOptions(rows=7, vectors=3, single=2, reach=1, unroll=6, beta=False),
    ),
    ids=str,
)
def test_other_tiles(device, options):
    run(device, options, 29, 70, 5, alpha=0.5, beta=1.0 if options.beta else 0.0)


def test_work_is_spread_over_all_qpus(device):
    options = gemm.SPEC.options(beta=False)
    report = run(device, options, 4 * options.rows, 6 * options.columns, 64, skew=0)
    issued = [qpu["instructions"] for qpu in report.per_qpu]
    assert len(issued) == 12
    assert max(issued) < 1.1 * min(issued)


def test_beta_zero_kernel_does_not_read_d(device):
    """Without beta nothing is loaded from D, so NaN in it cannot spread."""
    report = run(device, gemm.SPEC.options(beta=False), 33, 33, 5)
    assert report.bytes["vpm_dma_load"] == 0
    report = run(device, gemm.SPEC.options(beta=True), 33, 33, 5, beta=1.0)
    assert report.bytes["vpm_dma_load"] == 4 * 33 * 33


def test_bytes_moved(device):
    """D is stored once; a run requests its lines of Q once a step, and the last ones again."""
    m, n, k = 32, 96, 8
    options = gemm.GemmOptions(rows=8, vectors=3, beta=False)
    report = run(device, options, m, n, k)
    tiles = 4 * 2
    assert report.bytes["vpm_dma_store"] == 4 * m * n
    assert report.bytes["tmu"] == 64 * 3 * (k + 1) * tiles


@pytest.mark.parametrize("skew", (4, 8))
def test_qpus_behind_each_other_share_lines(device, skew):
    """4 tiles a QPU: L2 hands a line of Q to each of the 3 slices about once, though the QPUs are
    behind each other in time."""
    options = gemm.SPEC.options(beta=False)
    m, n, k = 12 * options.rows, 4 * options.columns, 192
    report = run(device, options, m, n, k, skew=skew)
    lines = 4 * (12 * options.rows / 16 + 3 * options.vectors) * k
    assert report.bytes["l2"] < 1.15 * 64 * lines
    assert report.bytes["sdram_read"] < report.bytes["l2"]


@pytest.mark.parametrize(
    "bad",
    (dict(rows=1), dict(rows=17), dict(vectors=0), dict(unroll=3), dict(reach=0), dict(edge=6)),
)
def test_impossible_options(bad):
    with pytest.raises(ValueError, match="no kernel has"):
        gemm.SPEC.options(**bad)


def test_too_many_accumulators():
    with pytest.raises(ValueError, match="no register is left"):
        gemm.SPEC.build(rows=16, vectors=3)


@pytest.mark.parametrize("width, edge", [(96, 0), (96, 16), (96, 64), (96, 80), (48, 32), (16, 0)])
def test_cover_is_the_cheapest(width, edge):
    """Against all ways of covering a length by panels of two widths."""

    def cost(wide, edges):
        return wide * (width + gemm_layout.PANEL) + edges * (edge + gemm_layout.PANEL)

    for length in (1, 15, 16, 17, 48, 95, 96, 97, 160, 256, 500, 1000, 1024):
        most = -(-length // width) + 1
        ways = [
            cost(wide, edges)
            for wide in range(most)
            for edges in range(3 * most if edge else 1)
            if wide * width + edges * edge >= length
        ]
        found = gemm_layout.cover(length, width, edge)
        assert found[0] * width + found[1] * edge >= length
        assert cost(*found) == min(ways)


@pytest.mark.parametrize("rows, vectors", [(8, 6), (8, 5), (8, 4), (8, 3), (8, 2), (12, 3)])
def test_scalars_leave_lines_of_the_stream_their_time(rows, vectors):
    """Whole lines of 16 scalars an iteration: 57 clocks from a line's last word but one to the
    next line's first (timing set "calibrated")."""
    tile = next(tile for tile in gemm_choice.FAMILY if tile.rows == rows)
    options = dataclasses.replace(tile, edge=vectors % tile.vectors)
    program = gemm.SPEC.program(options)
    first = program.labels["k_edge" if options.edge else "k"]
    loop = next(i for i in range(first, program.length) if program.instrs[i].sig == 15) + 4 - first
    texts = [to_text(instr) for instr in program.instrs[first : first + loop]]
    reads = [at for at, text in enumerate(texts) if "unif" in text]
    assert len(reads) == rows * options.unroll
    before = len(options.step(vectors).first_loads())
    for place in range(len(reads)):
        if (before + place) % 16 == 0:
            asked = reads[place - 2] - (loop if place < 2 else 0)
            assert 4 * (reads[place] - asked) >= 57


@pytest.mark.parametrize("wide, narrow", [(0, 5), (12, 24), (33, 99), (8, 8), (3, 6), (29, 0)])
def test_waves_are_of_one_width(wide, narrow):
    """All but the last ones: there QPUs with one tile more than others have narrow ones, and if
    there are none, the first have the wide ones."""
    layout = gemm_layout.Packed(96 * wide + 32 * narrow, 4, 96, 32)
    layout.__dict__["wide"] = wide  # whatever would be cheapest
    places = [(0, j, 0, 4) for j in range(wide + narrow)]
    found = [places[t] for t in gemm_schedule.waves(np.arange(wide + narrow) >= layout.wide)]
    assert sorted(found) == places
    widths = [layout.width_of(j) for _, j, _, _ in found]
    whole = wide // 12 + narrow // 12
    for at in range(0, 12 * whole, 12):
        assert len(set(widths[at : at + 12])) == 1
    late = widths[12 * whole :]
    more = len(late) - 12
    if more <= 0:
        assert late == sorted(late, reverse=True)
    else:
        assert late[:more] == late[12:] == [32] * more


def test_prediction_deals_tiles_out_in_waves():
    """The clocks of the QPU with most work, for any number of tiles of either width."""
    rng = np.random.default_rng(4)
    layout = gemm_layout.Packed(96 * 100, 4, 96, 32)
    for wide, narrow in rng.integers(0, 50, (200, 2)).tolist():
        layout.__dict__["wide"] = wide
        of_wide, of_narrow = sorted(rng.uniform(1, 3, 2), reverse=True)
        dealt = gemm_schedule.waves(np.arange(wide + narrow) >= layout.wide)
        clocks = [of_wide if j < wide else of_narrow for j in dealt]
        longest = max(sum(clocks[qpu::12]) for qpu in range(12))
        counts = np.array([wide]), np.array([narrow])
        found = gemm_choice._Family._longest(*counts, 12, np.array([[of_wide, of_narrow]]))
        assert found[0] == pytest.approx(longest)


def test_barriers(device):
    """Every few waves, if there are tiles for all; that takes instructions, from all of them."""
    options = gemm.SPEC.options(vectors=1, beta=False)
    waves = 2 * gemm_streams.BARRIER_WAVES + 1
    size = (12 * waves + 5) * options.rows, options.columns, 96
    with_barriers = run(device, options, *size, skew=4)
    without = run(device, options, *size, skew=4, barriers=0)
    for one, other in zip(with_barriers.per_qpu, without.per_qpu):
        assert one["instructions"] > other["instructions"]


def test_pack_is_zero_outside_the_operand():
    rng = np.random.default_rng(0)
    options = gemm.SPEC.options(edge=2)
    for k, length in itertools.product((1, 2, 5), (1, 15, 16, 17, 32, 33, 96, 100, 140)):
        for layout in gemm_layout.packed_words(options, length, length, k):
            operand = rng.standard_normal((length, k)).astype(np.float32).T
            out = np.full(layout.words, np.nan, dtype=np.float32)
            gemm_layout.pack(layout, operand, out)
            read = np.zeros_like(out, dtype=bool)
            for panel in range(layout.panels):
                width, at = layout.width_of(panel), layout.offset(panel) // 4
                lines = out[at : at + width * layout.steps].reshape(layout.steps, width)
                read[at : at + lines.size] = True
                own = operand[:, layout.first(panel) :][:, :width]
                assert np.array_equal(lines[:k, : own.shape[1]], own)
                assert np.all(lines[k:] == 0) and np.all(lines[:, own.shape[1] :] == 0)
            assert np.all(out[~read] == 0)


@pytest.mark.parametrize("k, length", [(512, 300), (511, 300), (1024, 33), (5, 1024)])
def test_pack_of_any_strides(k, length):
    """512 and 1024 steps in Fortran order: columns that share cache sets."""
    rng = np.random.default_rng(k)
    whole = rng.standard_normal((2 * k, 2 * length)).astype(np.float32)
    views = (
        whole[:k, :length], np.asfortranarray(whole[:k, :length]), whole[::2, ::2],
        whole[k - 1 :: -1, length - 1 :: -1], np.broadcast_to(whole[:k, :1], (k, length)),
        np.broadcast_to(whole[:1, :length], (k, length)),
    )  # fmt: skip
    for layout in gemm_layout.packed_words(gemm.SPEC.options(edge=2), length, length, k):
        for operand in views:
            out = np.full(layout.words, np.nan, dtype=np.float32)
            gemm_layout.pack(layout, operand, out)
            want = np.zeros_like(out)
            for panel in range(layout.panels):
                first, width = layout.first(panel), layout.width_of(panel)
                at = layout.offset(panel) // 4
                own = operand[:, first : first + width]
                lines = want[at : at + layout.steps * width].reshape(-1, width)
                lines[:k, : own.shape[1]] = own
            assert np.array_equal(out, want)
            assert np.array_equal(gemm_layout.unpack(layout, out)[:k], operand)


def test_words_of_a_load_and_of_stores_never_exceed_the_tile():
    """Sum of the elements that the setup words name is the tile's, on every path."""
    from piblas.isa import setup_words as sw

    for store, ldd in itertools.product((False, True), (64, 2048, 20000)):
        tile = np.array([[7], [0xC0000000], [4 * ldd]])
        columns = np.array([[16, 16, 5, 0]])
        if store:
            words = parts.store_words(tile[0], columns, 16, tile[1], tile[2])
            assert words[..., 4].tolist() == [[1, 1, 0, 0]] and words.shape == (1, 4, 5)
        else:
            head, words = parts.load_words(tile[0], columns, 16, tile[1], tile[2])
            assert head.tolist() == [[4 * ldd, 3]] and words.shape == (1, 4, 4)
        total = 0
        for _, setup, _, times in words[0, :3, :4].tolist():
            fields = sw.unpack("vdw" if store else "vdr", setup)
            pair = ("units", "depth") if store else ("nrows", "rowlen")
            total += fields[pair[0]] * fields[pair[1]] * times
        assert total == 7 * 37
