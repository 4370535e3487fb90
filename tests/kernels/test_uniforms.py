"""Uniform streams as one array with places to fill in (piblas/kernels/uniforms.py)."""

import numpy as np
import pytest

from piblas.kernels import uniforms


def table(rows):
    width = max(map(len, rows))
    words = np.zeros((len(rows), width), dtype=np.int64)
    kept = np.zeros(words.shape, dtype=bool)
    for number, row in enumerate(rows):
        words[number, : len(row)] = row
        kept[number, : len(row)] = True
    return words, kept


def test_records_go_to_their_owners_in_order():
    words, kept = table([[1, 2], [10], [3], [20, 21, 22]])
    streams = uniforms.flatten(words, kept, np.array([0, 1, 0, 2]), {}, {})
    assert streams.starts.tolist() == [0, 3, 4]
    assert streams.words[:7].tolist() == [1, 2, 3, 10, 20, 21, 22]
    assert streams.words.size == 7 + uniforms.PREFETCH and not streams.words[7:].any()
    assert streams.n_qpus == 3


def test_negative_words_wrap():
    words, kept = table([[-1, -(2**31)]])
    streams = uniforms.flatten(words, kept, np.array([0]), {}, {})
    assert streams.words[:2].tolist() == [0xFFFFFFFF, 0x80000000]


def test_addresses_and_values_are_filled_in():
    words, kept = table([[4, 7, 0], [8, 0, 5]])
    kept[1, 1] = False
    of_a = np.array([[True, False, False], [True, False, False]])
    of_x = np.array([[False, False, True], [False, False, False]])
    streams = uniforms.flatten(
        words, kept, np.array([1, 0]), {"a": of_a}, {"x": (of_x, np.full(words.shape, 2))}
    )
    out = np.zeros(streams.words.size, dtype=np.uint32)
    x = np.array([1, 2, 1.5], dtype=np.float32)
    streams.fill(out, {"a": 0xC0000000}, {"x": x})
    pattern = int(np.float32(1.5).view(np.uint32))
    assert out[:5].tolist() == [0xC0000008, 5, 0xC0000004, 7, pattern]
    # The template is as before, so that it may be filled in again.
    assert streams.words[:5].tolist() == [8, 5, 4, 7, 0]


def test_a_word_may_point_further_on_in_its_own_stream():
    words, kept = table([[9, 2, 9, 9], [9, 2, 9, 9]])
    kept[0, 0] = False
    streams = uniforms.flatten(words, kept, np.array([0, 1]), {}, {}, own_next=(1,))
    out = np.zeros(streams.words.size, dtype=np.uint32)
    streams.fill(out, {uniforms.OWN: 0x40001000}, {})
    assert out[0] == 0x40001000 + 4 * 2  # the word 2 after word 0
    assert out[4] == 0x40001000 + 4 * 6


@pytest.mark.parametrize("seed", range(5))
def test_flatten_against_lists(seed):
    rng = np.random.default_rng(seed)
    n, width = int(rng.integers(1, 60)), int(rng.integers(1, 9))
    words = rng.integers(-(2**31), 2**32, (n, width))
    kept = rng.random((n, width)) < 0.6
    kept[:, 0] = True
    owner = np.concatenate((np.arange(min(n, 12)), rng.integers(0, min(n, 12), n - min(n, 12))))
    marked = rng.random((n, width)) < 0.3
    streams = uniforms.flatten(words, kept, owner, {"a": marked}, {})
    expected, starts, places = [], [], []
    for qpu in range(min(n, 12)):
        starts.append(len(expected))
        for row in np.flatnonzero(owner == qpu):
            for column in np.flatnonzero(kept[row]):
                if marked[row, column]:
                    places.append(len(expected))
                expected.append(int(words[row, column]) & 0xFFFFFFFF)
    assert streams.words[: len(expected)].tolist() == expected
    assert streams.starts.tolist() == starts
    assert streams.addresses.get("a", np.zeros(0)).tolist() == places


# --- records of any length -----------------------------------------------------------------------


def test_streams_begin_on_lines_of_their_own():
    starts, size = uniforms.aligned(np.array([1, 16, 17, 32]))
    assert starts.tolist() == [0, 32, 64, 112] and size == 160


@pytest.mark.parametrize("seed", range(5))
def test_records_of_any_length_against_lists(seed):
    rng = np.random.default_rng(seed)
    n_qpus = int(rng.integers(1, 13))
    owner = np.concatenate((np.arange(n_qpus), rng.integers(0, n_qpus, 40)))
    rng.shuffle(owner)
    lengths = rng.integers(0, 9, owner.size)
    places, starts, counts, size = uniforms.placed(owner, lengths, n_qpus)
    assert not (starts % 16).any() and starts[0] == 0
    assert all(starts[1:] - (starts + counts)[:-1] >= 16) and size - (starts + counts)[-1] >= 16
    for qpu in range(n_qpus):
        expected = starts[qpu]
        for record in np.flatnonzero(owner == qpu):
            assert places[record] == expected
            expected += lengths[record]
        assert expected == starts[qpu] + counts[qpu]


def test_runs():
    assert uniforms.runs(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]
    assert uniforms.runs(np.array([5, 1]), np.array([2, 3]), 10).tolist() == [5, 15, 1, 11, 21]
    assert uniforms.runs(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []


def test_streams_one_by_one():
    words, kept = table([[4, 7], [8, 0], [1, 2]])
    kept[1, 1] = False
    marked = np.array([[True, False], [True, False], [False, False]])
    streams = uniforms.flatten(words, kept, np.array([0, 1, 0]), {"a": marked}, {})
    filled = streams.filled({"a": 0x40}, {})
    assert [each.tolist() for each in filled] == [[0x44, 7, 1, 2], [0x48]]
