"""The uniform streams of levels 1 and 2, word by word in plain Python: what tests hold the array
operations of the kernels against.

Each function lists what a QPU's program reads, in the order in which it reads it.
"""

from __future__ import annotations

import numpy as np

from piblas.isa import setup_words as sw

LINE, LANES = 64, 16


def words_of(values):
    return np.array([int(value) & 0xFFFFFFFF for value in values], dtype=np.uint32)


def patterns(values):
    return np.asarray(values, dtype=np.float32).view(np.uint32).tolist()


# --- level 1 -------------------------------------------------------------------------------------


def segments(n, block, out):
    """(first, count, transfers, rows of each, words of a row)."""
    head = 0
    while (out // 4 + head) % LANES and head < n:
        head += 1
    blocks = (n - head) // (LANES * block)
    whole = head + blocks * LANES * block
    vectors = (n - whole) // LANES
    tail = whole + LANES * vectors
    found = [
        (head, whole - head, blocks, block, LANES), (whole, tail - whole, 1, vectors, LANES),
        (0, head, 1, 1, head), (tail, n - tail, 1, 1, n - tail),
    ]  # fmt: skip
    return [each for each in found if each[1]]


def elementwise(options, n, constants, inputs, outputs, watch):
    streams = []
    for qpu in range(options.n_qpus):
        consumer, producer = qpu == 0, qpu if options.alone else qpu - 1
        words = [] if options.alone else [0 if consumer else 1]
        if producer >= 0:
            words += patterns(constants)
            words += [sw.vpm_write(row + producer, stride=options.workers) for row in (0, 32)]
        parts, phases = segments(n, options.block, outputs[0]), 0
        words.append(len(parts))
        for first, count, blocks, units, depth in parts:
            words.append(blocks)
            if len(outputs) == 1:
                words.append(phases % 2)
                phases += blocks
            if consumer:
                words += [sw.vdw_store(units, depth, row) for row in (0, 32)]
                words += [out + 4 * first for out in outputs]
            for each in inputs if producer >= 0 else ():
                words += [each + 4 * first + LINE * producer, each + 4 * (first + count - 1)]
        if options.watch and consumer:
            words += [sw.vdw_store(options.workers, LANES), watch]
        streams.append(words_of([*words, qpu, options.n_qpus - 1]))
    return streams


def reduction(kernel, options, n, constants, inputs, out, n_qpus):
    unit = LANES * options.unroll
    groups = -(-n // unit)
    count = min(12, groups)
    sizes = [groups // count + (part < groups % count) for part in range(count)]
    n_qpus, stored = min(n_qpus, count), kernel.rows + options.watch
    streams = []
    for qpu in range(n_qpus):
        mine, row = list(range(qpu, count, n_qpus)), qpu * stored
        words = [*patterns(constants), sw.vpm_write(row), sw.vdw_store(stored, LANES, row)]
        words.append(len(mine))
        for part in mine:
            first = unit * sum(sizes[:part])
            last = min(n, first + unit * sizes[part]) - 1
            words.append(sizes[part])
            for each in inputs:
                words += [each + 4 * first, each + 4 * last]
            words.append(out + LINE * stored * part)
        streams.append(words_of([*words, qpu, n_qpus - 1]))
    return streams


# --- tiles ---------------------------------------------------------------------------------------


def places(kept, columns):
    """Words from the beginning to where (0, j) is or would be, for columns 0 to ``columns``."""
    found = [kept.first]
    for j in range(columns):
        found.append(found[-1] + kept.step + kept.growth * j)
    return found


def tiles(kept, height, width, rows, columns):
    """(i, rows, j, columns) of the tiles of what is stored in these rows and columns."""
    found = []
    for i in range(rows[0], rows[1], height):
        count = min(height, rows[1] - i)
        there = [
            j for j in range(*columns)
            if kept.low <= kept.high and i - kept.high <= j < i + count - kept.low
        ]  # fmt: skip
        for at in range(0, len(there), width):
            found.append((i, count, there[at], len(there[at : at + width])))
    return found


def whole_tiles(kept, height, width):
    """The same, each of whose columns is stored in every row: where others are, each is a tile of
    its own, after the columns of the tile that are."""
    found = []
    for i, rows, j, columns in tiles(kept, height, width, (0, kept.m), (0, kept.n)):
        stored = {
            column: range(max(i, column + kept.low), min(i + rows, column + kept.high + 1))
            for column in range(j, j + columns)
        }
        whole = [column for column in stored if len(stored[column]) == rows]
        if whole:
            assert whole == list(range(whole[0], whole[-1] + 1))
            found.append((i, rows, whole[0], len(whole)))
        found += [(r[0], len(r), c, 1) for c, r in stored.items() if len(r) < rows]
    return found


# --- level 2 -------------------------------------------------------------------------------------


def panel(plan, tiles, a, x_at, x, out, n_qpus, part):
    """The streams of a product; ``tiles`` are those of the plan, ``part`` a range of them."""
    kept, options, column = plan.storage, plan.options, places(plan.storage, plan.storage.n)
    plain, transposed = options.use in "ns", options.use in "ts"
    n_qpus = min(n_qpus, 12, len(part))
    numbers, streams = patterns(x), []
    for qpu in range(n_qpus):
        mine, row = part[qpu::n_qpus], 4 * qpu
        words = [sw.vpm_write(row), sw.vdw_store(1, LANES, row)]
        words += [sw.vdw_store(min(4, options.vectors), LANES, row), len(mine)]
        for number in mine:
            i, rows, j, columns = tiles[number]
            words += [a + 4 * (column[j] + i), 4 * (column[j + 1] - column[j]), 4 * (rows - 1)]
            if options.masked:
                words += [4 * kept.growth, 4 * (j + kept.low - i), 4 * (j + kept.high - i)]
            before = sum(-(-tile[3] // LANES) for tile in tiles[:number])
            words += [columns, -(-columns // LANES)]
            of_rows = LINE * (12 + options.vectors * (len(tiles) if plain else 0) + before)
            if transposed:
                words += [x_at + 4 * i, out + of_rows]
            if plain:
                words.append(out + LINE * (12 + options.vectors * number))
            for first in range(j, j + columns, LANES):
                count = min(LANES, j + columns - first)
                words.append(count)
                words += numbers[first : first + count] if plain else []
        streams.append(words_of([*words, out + LINE * qpu, qpu, n_qpus - 1]))
    return streams


def joined(plan, tiles, stored):
    """(the product, the words of ``stored`` that it is made of), tile by tile."""
    options = plan.options
    plain, transposed = options.use in "ns", options.use in "ts"
    total = np.zeros(plan.storage.m if plain else plan.storage.n)
    used, at = [], LANES * 12
    for i, rows, _, _ in tiles if plain else ():
        total[i : i + rows] += stored[at : at + rows]
        used += range(at, at + rows)
        at += LANES * options.vectors
    for _, _, j, columns in tiles if transposed else ():
        total[j : j + columns] += stored[at : at + columns]
        used += range(at, at + columns)
        at += -(-columns // LANES) * LANES
    return total, used


def update(plan, tiles, a, vectors, factors, watch):
    """The streams of an update of these tiles."""
    kept, options = plan.storage, plan.options
    together, numbers = options.together, [patterns(each) for each in factors]
    column = places(kept, kept.n + together)
    streams = []
    for qpu in range(options.n_qpus):
        consumer, producer = qpu == 0, qpu if options.alone else qpu - 1
        words = [] if options.alone else [0 if consumer else 1]
        if producer >= 0:
            words += [sw.vpm_write(row) for row in (4 * producer, 32 + 4 * producer, producer)]
        words.append(len(tiles))
        phases_before = 0
        for i, rows, j, columns in tiles:
            phases = -(-columns // together)
            words += [phases, phases_before % 2]
            phases_before += phases
            if consumer:
                words += [a + 4 * (column[j] + i), 4 * (column[j + 1] - column[j])]
                words += [4 * kept.growth, columns]
                stores = [sw.vdw_store(rows // LANES, LANES)] if rows >= LANES else []
                stores += [sw.vdw_store(1, rows % LANES, rows // LANES)] if rows % LANES else []
                words += [stores[0], stores[-1]]
                words.append(LINE * (rows // LANES) if len(stores) == 2 else 0)
            if producer < 0:
                continue
            own, vector = divmod(4 * producer, options.vectors)
            mine = list(range(j + own, j + columns, together))
            words += [each + 4 * i + LINE * vector for each in vectors]
            if mine:
                leap = column[mine[0] + together] - column[mine[0]]
                words += [a + 4 * (column[mine[0]] + i) + LINE * vector, 4 * leap]
            else:
                words += [vectors[0] + 4 * i + LINE * vector, 0]
            words += [4 * kept.growth * together**2, 4 * (rows - 1) - LINE * vector]
            words.append(max(1, len(mine)))
            for phase in range(phases):
                words += [n[mine[phase]] if phase < len(mine) else 0 for n in numbers]
        if consumer:
            words += [sw.vdw_store(options.workers, LANES), watch]
        streams.append(words_of([*words, qpu, options.n_qpus - 1]))
    return streams
