"""Where the clock keeps its state: names for indices into the arrays E, K, X and Z.

``E`` says when each unit and each QPU acts next, ``K`` what things cost (from the timing set),
``X`` is the state of what QPUs share, ``Z`` that of each QPU.  Times are clocks of the V3D block
since the launch.
"""

from __future__ import annotations

from ..isa import timing
from .layout import CODE_LINES, L2_WAYS, MAX_QPUS, MAX_SLICES, TMU_LINES, UNIF_LINES

NEVER = 1 << 62

CAUSES = timing.CAUSES[1:-1]
"""What waits are booked for; "issue" and "idle" are what is left."""
(
    BY_UNIFORM, BY_TMU, BY_PORT, BY_SDRAM, BY_VPM, BY_DMA, BY_MUTEX, BY_SEMAPHORE, BY_CODE, BY_SFU,
) = range(10)  # fmt: skip

# What a QPU waits for while the time is not known.
B_NONE, B_TMU0, B_TMU1, B_UNIFORM, B_VDR, B_VDW, B_MUTEX, B_UP, B_DOWN = range(9)

# --- E: units first, so that they go first where times are equal ---------------------------------

E_TMU, E_UNIFORM, E_VDR, E_VDW = 0, 6, 6 + MAX_QPUS, 7 + MAX_QPUS
E_QPU = 8 + MAX_QPUS
E_WIDTH = E_QPU + MAX_QPUS

# --- K -------------------------------------------------------------------------------------------

(
    K_TIMED,  # whether there is a clock
    K_ISSUE,
    K_FIFO,
    K_UNIFORM_LINES,
    K_UNIFORM_HIT,
    K_UNIFORM_L2,
    K_UNIFORM_SDRAM,
    K_RESTART,
    K_TMU_HIT,
    K_TMU_RATE,
    K_TMU_L2,
    K_TMU_SDRAM,
    K_TMU_BLOCK,
    K_L2_SETS,
    K_PORT,
    K_SDRAM,  # 1/256 clk a line
    K_VPM_SETUP,
    K_VPM,
    K_VDR_ROW,
    K_VDR_WORD,
    K_VDR_START,
    K_VDW_ROW,
    K_VDW_WORD,
    K_VDW_START,
    K_CODE_L2,
    K_CODE_SDRAM,
    K_CODE_AHEAD,
    K_MUTEX,
    K_SEMAPHORE,
    K_SFU,
    K_WIDTH,
) = range(31)

# --- Z: a row a QPU ------------------------------------------------------------------------------

(
    Z_CLOCK,  # when the next instruction can issue, as far as known; at last, the end
    Z_LINE,  # the line of code that the QPU is in
    Z_BLOCK,  # B_*
    Z_SINCE,  # when the QPU began to wait for the mutex or a semaphore, or -1
    Z_SEMAPHORE,
    Z_HELD,  # when the QPU last got the mutex, or -1
    Z_OLD,  # the uniforms lines fetched last, and when they are there
    Z_OLD_AT,
    Z_NEW,
    Z_NEW_AT,
    Z_NEW_PORT,  # how long it waited for the port from L2
    Z_FETCH,  # the line whose fetch is scheduled, or -1; whether it begins a stream
    Z_FETCH_FIRST,
    Z_FETCH_NEXT,  # the first line of a stream moved to, to be fetched behind that, or -1
    Z_FETCH_FREE,  # when the latest line is there, which the next one waits for
    Z_VPM_READY,  # when the first vector of the latest read setup is there
    Z_OTHER,  # five: Z_OLD to Z_NEW_PORT of the thread that is suspended
) = range(17)
Z_STALL = Z_OTHER + 5  # clk by cause
N_STREAMS, N_TMU_WAIT = Z_STALL + len(CAUSES), Z_STALL + len(CAUSES) + 1
Z_WIDTH = N_TMU_WAIT + 1

# --- H: a row a decoded instruction --------------------------------------------------------------

H_WIDTH = 1 + len(timing.CAUSES)  # issues, then clk by cause

# --- X -------------------------------------------------------------------------------------------

T_L2_SETS = 512  # of the largest L2 in a timing set
RING, RING_WIDTH = 8, 24
R_PUSHED, R_READY, R_PORT, R_SDRAM, R_COUNT, R_LINES = range(6)
LINE_WIDTH = 5
L_TAG, L_READY, L_PORT, L_SDRAM, L_AGE = range(LINE_WIDTH)
(
    X_HORIZON,  # up to when the running QPU may touch what is shared
    X_TICK,  # counts lookups; the age of cache lines
    X_END,  # the latest end of a program or a DMA transfer
    X_PORT,  # when the port from L2, the memory (in 1/256 clk) and the VPM are free
    X_SDRAM,
    X_VPM,
    X_HOT,  # whether H is kept
    X_LINES,  # whether the timeline is kept
    X_ROW,  # the decoded row of the running instruction
    X_VDR_BUSY,  # whether a DMA load is under way; rows left, clk of a row and of the rest, lines
    X_VDR_LEFT,
    X_VDR_ROW,
    X_VDR_REST,
    X_VDR_LINES,
    X_VDR_DONE,  # when the rows so far are moved
    X_VDW_BUSY,
    X_VDW_LEFT,
    X_VDW_ROW,
    X_VDW_REST,
    X_VDW_LINES,
    X_VDW_DONE,
    N_PORT,  # lines that L2 handed out, and that it fetched
    N_L2_MISS,
    N_TMU_MISS,
    N_UNIFORM_MISS,
    N_CODE_MISS,
    X_SFU,  # one a slice
) = range(27)
X_TMUS = X_SFU + MAX_SLICES
(
    TM_FREE,  # when the TMU can begin with the next request
    TM_QPU,  # whose request it serves, or -1; the next of its lines, and when that is looked up
    TM_STEP,
    TM_BEGUN,
    TM_STOPPED,  # time lost to misses so far
    TM_THERE,  # when the lines so far are there, and the waits in that
    TM_PORT,
    TM_SDRAM,
    TM_LAST,  # the same of the latest result
    TM_LAST_PORT,
    TM_LAST_SDRAM,
    TM_WIDTH,
) = range(12)
X_RING_HEAD = X_TMUS + 6 * TM_WIDTH  # of ring q * 2 + t: results taken, requested, resolved
X_RING_TAIL = X_RING_HEAD + 2 * MAX_QPUS
X_RING_DONE = X_RING_TAIL + 2 * MAX_QPUS
X_RINGS = X_RING_DONE + 2 * MAX_QPUS
X_TAGS = X_RINGS + 2 * MAX_QPUS * RING * RING_WIDTH
X_TMU_TAGS = X_TAGS
X_UNIF_TAGS = X_TMU_TAGS + 6 * TMU_LINES * LINE_WIDTH
X_CODE_TAGS = X_UNIF_TAGS + MAX_SLICES * UNIF_LINES * LINE_WIDTH
X_L2_TAGS = X_CODE_TAGS + MAX_SLICES * CODE_LINES * LINE_WIDTH
X_WIDTH = X_L2_TAGS + T_L2_SETS * L2_WAYS * LINE_WIDTH
