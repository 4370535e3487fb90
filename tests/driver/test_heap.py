"""The allocator of pages."""

from __future__ import annotations

import random

from piblas.driver.heap import Heap


def test_blocks_have_a_guard_behind_them():
    heap = Heap(1, 10)
    assert heap.take(3) == 1
    assert heap.take(4) == 5
    assert heap.take(1) is None


def test_the_last_pages_go_first_from_the_other_end():
    heap = Heap(1, 10)
    assert heap.take_last(2) == 7
    assert heap.take(2) == 1
    assert heap.take_last(2) == 4
    assert heap.take_last(1) is None


def test_freed_neighbours_join():
    heap = Heap(0, 12)
    blocks = [heap.take(2) for _ in range(4)]
    assert blocks == [0, 3, 6, 9]
    for block in (0, 6, 3):
        heap.give_back(block, 2)
    assert heap.largest == 8
    heap.give_back(9, 2)
    assert (heap.largest, heap.free) == (11, 12)
    assert heap.take(11) == 0


def test_no_page_belongs_to_two_blocks():
    rng = random.Random(5)
    heap, held = Heap(3, 200), {}
    for _ in range(3000):
        if held and rng.random() < 0.5:
            start = rng.choice(sorted(held))
            heap.give_back(start, held.pop(start))
        else:
            pages = rng.randint(1, 12)
            start = (heap.take if rng.random() < 0.5 else heap.take_last)(pages)
            if start is not None:
                held[start] = pages
        owned = [page for start, n in held.items() for page in range(start, start + n + 1)]
        assert len(owned) == len(set(owned))
        assert all(3 <= page < 200 for page in owned)
        assert heap.free == 197 - len(owned)
    for start, pages in held.items():
        heap.give_back(start, pages)
    assert heap.largest == 196
