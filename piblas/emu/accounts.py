"""The host's side of the clock: costs in clocks, the start of a launch, what it took.

The compiled side is :mod:`piblas.emu.clock`; both share the arrays of
:mod:`piblas.emu.clock_layout`.
"""

from __future__ import annotations

from typing import Any, Collection, Dict, List, Mapping, Optional, Tuple

import numpy as np

from ..isa.timing import CAUSES, memory_rate
from . import clock_layout as t
from . import layout as x
from . import probe

__all__ = ["clear_tags", "costs", "counters", "cycles", "ends", "hot", "stalls", "start"]

_CLK = {
    t.K_ISSUE: "issue",
    t.K_FIFO: "uniform_fifo",
    t.K_UNIFORM_LINES: "uniform_cache_lines",
    t.K_UNIFORM_HIT: "uniform_cache_hit",
    t.K_UNIFORM_L2: "uniform_l2",
    t.K_TMU_HIT: "tmu_hit",
    t.K_TMU_RATE: "tmu_rate",
    t.K_TMU_L2: "tmu_l2",
    t.K_TMU_BLOCK: "tmu_miss_block",
    t.K_L2_SETS: "l2_sets",
    t.K_PORT: "l2_port_line",
    t.K_VPM_SETUP: "vpm_read_setup",
    t.K_VPM: "vpm_port",
    t.K_VDR_ROW: "dma_load_row",
    t.K_VDR_WORD: "dma_load_word",
    t.K_VDR_START: "dma_load_start",
    t.K_VDW_ROW: "dma_store_row",
    t.K_VDW_WORD: "dma_store_word",
    t.K_VDW_START: "dma_store_start",
    t.K_CODE_L2: "icache_l2",
    t.K_CODE_AHEAD: "icache_ahead",
    t.K_MUTEX: "mutex",
    t.K_SEMAPHORE: "semaphore",
    t.K_SFU: "sfu",
}
_NS = {
    t.K_RESTART: "uniform_restart",
    t.K_UNIFORM_SDRAM: "uniform_sdram",
    t.K_TMU_SDRAM: "tmu_sdram",
    t.K_CODE_SDRAM: "icache_sdram",
}


def costs(timing: Any, clock_hz: float) -> np.ndarray:
    """The array K of a timing set at a clock; all zeros without one."""
    k = np.zeros(t.K_WIDTH, dtype=np.int64)
    if timing is None:
        return k
    k[t.K_TIMED] = 1
    for index, name in _CLK.items():
        k[index] = getattr(timing, name)
    for index, name in _NS.items():
        k[index] = round(getattr(timing, name) * 1e-9 * clock_hz)
    k[t.K_SDRAM] = max(1, round(256 * x.LINE * clock_hz / memory_rate(timing)))
    return k


def clear_tags(s: x.State) -> None:
    """Empty the caches whose lines the clock knows."""
    tags = s.X[t.X_TAGS :].reshape(-1, t.LINE_WIDTH)
    tags[:] = 0
    tags[:, t.L_TAG] = -1


def start(s: x.State, n_qpus: int, collect: Collection[str]) -> x.State:
    """The clock at the start of a launch, with fresh arrays for what is to be collected."""
    # Lines stay in the caches from launch to launch, where they have been for long.
    tags = s.X[t.X_TAGS :].reshape(-1, t.LINE_WIDTH)
    tags[:, [t.L_READY, t.L_PORT, t.L_SDRAM]] = 0
    tick = s.X[t.X_TICK]
    s.X[: t.X_TAGS] = 0
    s.X[t.X_TICK] = tick
    s.X[t.X_TMUS : t.X_RING_HEAD].reshape(6, -1)[:, t.TM_QPU] = -1
    s.E[:] = t.NEVER
    s.E[t.E_QPU : t.E_QPU + n_qpus] = 0
    s.Z[:] = 0
    for index in (
        t.Z_LINE, t.Z_SINCE, t.Z_HELD, t.Z_OLD, t.Z_NEW, t.Z_FETCH, t.Z_FETCH_NEXT
    ):  # fmt: skip
        s.Z[:, index] = -1
    s.Z[:, [t.Z_OTHER, t.Z_OTHER + t.Z_NEW - t.Z_OLD]] = -1
    for qpu in range(n_qpus):
        address = int(s.Q[qpu, x.Q_UNIF])
        if address:
            # The FIFO fills at the start, whether the program reads uniforms or not.
            s.Z[qpu, t.Z_FETCH] = address >> 6
            s.Z[qpu, t.N_STREAMS] = 1
            s.E[t.E_UNIFORM + qpu] = 0
    timed = bool(s.K[t.K_TIMED])
    if timed and "hot" in collect:
        s.X[t.X_HOT] = 1
        s.H[:] = 0
    if timed and "timeline" in collect:
        s.X[t.X_LINES] = 1
        bins, segments = probe.new(len(s.Z), len(CAUSES))
        s = s._replace(TB=bins, TS=segments)
    return s


def cycles(s: x.State) -> Optional[int]:
    """Clocks from launch to the end of the last program and DMA transfer; None without a clock."""
    return int(s.X[t.X_END]) if s.K[t.K_TIMED] else None


def ends(s: x.State) -> Tuple[int, ...]:
    """When each QPU's program ended."""
    return tuple(int(end) for end in s.Z[: int(s.G[x.G_NQPUS]), t.Z_CLOCK])


def stalls(s: x.State) -> Optional[Dict[str, int]]:
    """Clocks of all QPUs by cause; they add up to cycles times QPUs."""
    total = cycles(s)
    if total is None:
        return None
    n_qpus = int(s.G[x.G_NQPUS])
    by_cause = {"issue": int(s.K[t.K_ISSUE]) * int(s.Q[:n_qpus, x.Q_COUNT].sum())}
    for index, cause in enumerate(t.CAUSES):
        by_cause[cause] = int(s.Z[:n_qpus, t.Z_STALL + index].sum())
    by_cause["idle"] = n_qpus * total - sum(ends(s))
    return by_cause


def counters(s: x.State) -> Optional[Dict[int, int]]:
    """The V3D performance counters that are modelled, by the chip's numbers."""
    by_cause = stalls(s)
    if by_cause is None:
        return None
    n_qpus = int(s.G[x.G_NQPUS])
    q, z = s.Q[:n_qpus], s.Z[:n_qpus]
    ahead = int(s.K[t.K_FIFO]) * int(z[:, t.N_STREAMS].sum())
    return {
        13: by_cause["idle"],
        16: by_cause["issue"],
        17: int(z[:, t.N_TMU_WAIT].sum()),
        20: int(q[:, x.Q_COUNT].sum()),
        21: int(s.X[t.N_CODE_MISS]),
        22: int(q[:, x.N_UNIFORMS].sum()) + ahead,
        23: int(s.X[t.N_UNIFORM_MISS]),
        24: 16 * int(q[:, x.N_TMU].sum()),
        25: int(s.X[t.N_TMU_MISS]),
        28: int(s.X[t.N_PORT] - s.X[t.N_L2_MISS]),
        29: int(s.X[t.N_L2_MISS]),
    }


def traffic(s: x.State) -> Dict[str, int]:
    """Bytes by path that only the clock's caches know."""
    if not s.K[t.K_TIMED]:
        return {}
    loaded = int(s.G[x.G_BYTES_LOADED])
    return {
        "l2": x.LINE * int(s.X[t.N_PORT]),
        "sdram_read": x.LINE * int(s.X[t.N_L2_MISS]) + loaded,
    }


def hot(
    s: x.State, blocks: Mapping[Tuple[int, int], int]
) -> Optional[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(bus addresses, words, issues and clocks by cause) of all instructions executed.

    ``blocks`` maps (table, page) to the first decoded row of a page of code.
    """
    if not s.X[t.X_HOT]:
        return None
    merged: Dict[int, List[Any]] = {}
    for (_, page), first in blocks.items():
        rows = s.H[first : first + x.PAGE // 8]
        for index in np.flatnonzero(rows.any(axis=1)):
            low, high = s.W[first + index].tolist()
            address = int(s.G[x.G_BASE]) + page * x.PAGE + 8 * int(index)
            entry = merged.setdefault(address, [low | high << 32, np.zeros_like(rows[0])])
            entry[1] += rows[index]
    addresses = sorted(merged)
    words = np.array([merged[address][0] for address in addresses], dtype=np.uint64)
    table = np.array([merged[address][1] for address in addresses], dtype=np.int64)
    table = table.reshape(-1, t.H_WIDTH)
    table[:, 1] = int(s.K[t.K_ISSUE]) * table[:, 0]
    return np.array(addresses, dtype=np.int64), words, table


def timeline(s: x.State) -> Optional[Dict[str, Any]]:
    """The arguments of a :class:`~piblas.driver.device.Timeline`."""
    total = cycles(s)
    if total is None or not s.X[t.X_LINES]:
        return None
    return probe.timeline(s.TB, s.TS, total, ends(s), CAUSES)
