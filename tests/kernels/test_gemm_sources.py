"""Q read where it lies: which panels, which steps, and never a word outside."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from piblas.kernels import gemm, gemm_choice, gemm_layout, gemm_sources

ADDRESS = 0x10000


def planned(options, m, n, k, pitch, lag=8):
    """(layout of P, Q in place, all tiles)."""
    p, q = gemm_layout.packed_words(options, m, n, k)
    p = gemm_sources.folded(p, k, options.unroll)
    source = gemm_sources.InPlace(q, k, pitch)
    return p, source, gemm_sources.tiles(options, p, source, n, lag)


@pytest.mark.parametrize("lag", (0, 4, 8))
@pytest.mark.parametrize("k", (4, 5, 6, 7, 8, 95, 96, 97))
@pytest.mark.parametrize("n, edge", ((96, 0), (100, 1), (256, 4), (1000, 5)))
def test_each_row_meets_its_scalars_once(n, edge, k, lag):
    """And the runs' lines are lines of Q, or of the packed panel."""
    options = gemm.GemmOptions(edge=edge, beta=False)
    m, pitch = 40, 4 * 1024
    p, source, tiles = planned(options, m, n, k, pitch, lag)
    operand = 1.0 + np.arange(k * m, dtype=np.float32).reshape(k, m)
    packed = np.empty(p.words, np.float32)
    gemm_layout.pack(p, operand, packed)
    seen = set()
    for t in range(len(tiles)):
        row, column = divmod(int(tiles.d_at[t]) // 4, n)
        seen.add((row, column))
        width = min(w for w in (96, 16 * edge or 96) if w >= tiles.columns[t])
        met = np.zeros((k, options.rows), np.float32)
        assert tiles.steps[0, t] > 0
        for p_at, q_at, steps, apart in zip(
            *(x[:, t].tolist() for x in (tiles.p_at, tiles.q_at, tiles.steps, tiles.pitch))
        ):
            assert steps % options.unroll == 0 and steps >= 0
            if not steps:
                continue
            if tiles.rest is not None and tiles.rest[t]:
                begin = q_at // (4 * width)
                assert apart == 4 * width and q_at % apart == 0
            else:
                begin, first = divmod(q_at, pitch)
                assert first == 4 * column and apart == pitch and column + width <= n
            assert begin + steps <= k
            scalars = packed[p_at // 4 :][: steps * options.rows].reshape(-1, options.rows)
            met[begin : begin + steps] += scalars
        rows = int(tiles.rows[t])
        assert np.array_equal(met[:, :rows], operand[:, row : row + rows])
    assert len(seen) == len(tiles) == p.panels * source.layout.panels


def test_last_panel_is_packed_unless_it_is_whole():
    options = gemm.GemmOptions(edge=2)
    for n in range(1, 400):
        _, q = gemm_layout.packed_words(options, 8, n, 8)
        source = gemm_sources.InPlace(q, 8, 4096)
        first, rest = source.rest
        assert first + rest.length == n and rest.panels <= 1
        inside = [q.first(j) + q.width_of(j) <= n for j in range(q.panels)]
        assert inside == [True] * source.count + [False] * (q.panels - source.count)


def test_where_q_is_read_in_place():
    options = gemm.GemmOptions(beta=False)
    _, q = gemm_layout.packed_words(options, 96, 960, 100)

    def aligned(address=ADDRESS, down=4 * 960, along=4):
        return gemm_sources.aligned(address, (down, along))

    assert aligned() and aligned(down=4 * 1024) and aligned(down=-4096)
    assert not aligned(address=ADDRESS + 4) and not aligned(address=ADDRESS + 32)
    assert not aligned(down=4 * 961) and not aligned(down=4, along=4 * 960)
    assert gemm_sources.in_place(options, q, 96, 100, 4 * 960)
    assert gemm_sources.in_place(options, q, 96, 4, 4096)
    assert not gemm_sources.in_place(options, q, 96, 3, 4096)
    assert not gemm_sources.in_place(options, gemm_layout.Packed(95, 100, 96), 96, 100, 4096)


@pytest.mark.parametrize("tile", gemm_choice.FAMILY[:5], ids=str)
def test_what_is_lost_in_the_caches(tile):
    """Most where the next row's lines fall on those that QPUs still want, nothing where rows are
    far from each other's sets; in proportion to the rows of P, that decides."""
    options = dataclasses.replace(tile, beta=False)
    lost = [gemm_sources.lost(options.step(tile.vectors), 64 * (64 + away)) for away in range(64)]
    assert all(0 <= share < 0.5 for share in lost)
    assert max(lost) > 0.09 and max(lost) == max(lost[:4] + lost[-3:])
    assert not any(lost[8:30])
    worst = 64 * (64 + int(np.argmax(lost)))
    _, q = gemm_layout.packed_words(options, 96, 960, 100)
    found = [gemm_sources.in_place(options, q, m, 100, worst) for m in (8, 96, 5000)]
    assert found[0] and not found[2]


def test_folded_layout():
    """The padding comes before the rows that the last iteration holds."""
    for k, unroll in itertools.product(range(4, 20), (2, 4)):
        steps = -(-k // unroll) * unroll
        layout = gemm_sources.folded(gemm_layout.Packed(5, steps, 8), k, unroll)
        rows = layout.rows(k)
        assert [row for row in rows if row < k] == list(range(k))
        if steps > k:
            assert list(rows[steps - unroll :]) == [k] * (steps - k) + list(
                range(steps - unroll, k)
            )
