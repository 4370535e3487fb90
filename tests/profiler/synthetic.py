"""Launch reports made up clock by clock, with the properties that a device promises.

QPUs walk through a program's words and wait at random; what each of them does in every clock stands
in one array, from which every figure of the report is counted.  No emulator is involved.
"""

from __future__ import annotations

import types

import numpy as np

from piblas.driver.detail import Hot, Timeline
from piblas.driver.device import RunReport
from piblas.isa.timing import CAUSES, timing_set

BASE = 0xC4010000
ISSUE, IDLE = CAUSES.index("issue"), CAUSES.index("idle")
WAITS = [i for i in range(len(CAUSES)) if i not in (ISSUE, IDLE)]


def walk(length, rng, rounds):
    """Indices of the words that a QPU issues: start, a loop in the middle, end."""
    first, last = length // 4, length - length // 4
    loop = list(range(first, last)) * int(rng.integers(1, rounds + 1))
    return list(range(first)) + loop + list(range(last, length))


def launch(words, n_qpus=6, seed=1, width=64, kernel="made up", rounds=6, start=BASE):
    """(report, doings): ``doings[qpu, clock]`` is the index of a cause."""
    rng = np.random.default_rng(seed)
    steps, hot, segments = [], {}, []
    for qpu in range(n_qpus):
        doing = []
        for index in walk(len(words), rng, rounds):
            issued, clocks = hot.setdefault(index, (np.zeros(1, int), np.zeros(len(CAUSES), int)))
            issued += 1
            if rng.random() < 0.15:
                cause, length = int(rng.choice(WAITS)), int(rng.integers(1, 90))
                if length >= 16:
                    at = len(doing)
                    segments.append((qpu, cause, at, at + length, start + 8 * index))
                doing += [cause] * length
                clocks[cause] += length
            doing += [ISSUE] * 4
            clocks[ISSUE] += 4
        steps.append(doing)
    cycles = max(map(len, steps))
    doings = np.array([doing + [IDLE] * (cycles - len(doing)) for doing in steps])
    indices = np.array(sorted(hot))
    stalls = {cause: int((doings == i).sum()) for i, cause in enumerate(CAUSES)}
    issued = np.array([hot[i][0][0] for i in indices])
    tables = np.stack([hot[i][1] for i in indices])
    per_word = {cause: tables[:, i] for i, cause in enumerate(CAUSES) if cause != "idle"}
    report = RunReport(
        n_qpus=n_qpus,
        clock_hz=250e6,
        seconds=cycles / 250e6,
        cycles=cycles,
        instructions=int(issued.sum()),
        issue_cycles=max(int((doings[q] == ISSUE).sum()) for q in range(n_qpus)),
        stalls=stalls,
        bytes={"tmu": 6400, "l2": 12800, "sdram_read": 3200, "sdram_write": 640, "uniforms": 0},
        kernel=kernel,
        timing=timing_set("calibrated"),
        counters={16: stalls["issue"], 17: stalls["tmu"], 29: 50},
        hot=Hot(
            addresses=start + 8 * indices.astype(np.int64),
            words=np.asarray(words, dtype=np.uint64)[indices],
            issued=issued,
            stalls=per_word,
            starts=(start,) * n_qpus,
        ),
        timeline=Timeline(
            width=width,
            clocks=bins(doings, width),
            causes=CAUSES,
            segments=np.array(segments, dtype=np.int64).reshape(-1, 5),
        ),
    )
    return report, doings


def bins(doings, width):
    """clocks[qpu, bin, cause] counted from what everybody did in every clock."""
    n_qpus, cycles = doings.shape
    out = np.zeros((n_qpus, -(-cycles // width), len(CAUSES)), dtype=np.int64)
    for qpu in range(n_qpus):
        np.add.at(out[qpu], (np.arange(cycles) // width, doings[qpu]), 1)
    return out


def without(report, **fields):
    """A copy of a report with some fields changed."""
    return types.SimpleNamespace(**{**vars(report), **fields})
