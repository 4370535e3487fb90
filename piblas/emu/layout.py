"""Where the emulated chip keeps its state: flat arrays, and names for their indices.

Compiled code works on plain integer arrays, gathered in :class:`State`, because they cost nothing
to pass, copy and inspect.  The names below are indices into them; a group counts up from 0 in the
order of its rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BASE = 0xC4000000
"""Bus address of the first byte of emulated memory (alias 0xC: uncached SDRAM), unless a machine
is told another."""

MAX_MEMORY = 0x100000000 - BASE
PAGE = 4096
LINE = 64
PER_QPU = 4  # QPUs of a slice
MAX_QPUS = 12
MAX_SLICES = 3
VPM_ROWS = 64
VPM_STORE_ROWS = 128  # a DMA store can name rows that no program can write
LOOKUPS = 16  # of each QPU, whose addresses are kept (see races)
T_LOOKUPS = MAX_QPUS * 2 * 8  # where in T, in vectors; the TMUs' rings come before
T_WORDS = 16 * (T_LOOKUPS + MAX_QPUS * LOOKUPS)


class State(NamedTuple):
    """All arrays of a machine."""

    R: Any  # uint32: vectors of 16 words; see SLOT_*; QPU q starts at q * QPU_WORDS
    Q: Any  # int64[qpu, Q_*]: scalars of each QPU
    G: Any  # int64[G_*]: scalars of the machine
    T: Any  # uint32: results of TMU requests; ring of TMU t of QPU q: (q * 2 + t) * 8 vectors
    V: Any  # uint32: VPM, 16 words a row
    M: Any  # uint32: memory as the chip sees it
    M8: Any  # the same memory in bytes
    L: Any  # int32[page]: how many bytes of a page, from its start, belong to a buffer
    U: Any  # int32[row, U_*]: decoded instructions
    F: Any  # int64[row]: the same, packed for the fast path (see fast)
    W: Any  # uint32[row, 2]: the words that they were decoded from
    P: Any  # int32[table, page]: the row of a page's first instruction, or -1
    CT: Any  # int64: cache tags and ages; see C_*
    CD: Any  # uint32: cache lines
    E: Any  # int64: the clock (see clock_layout): when units and QPUs act next
    K: Any  # int64: what things cost
    X: Any  # int64: what QPUs share
    Z: Any  # int64[qpu, Z_*]: each QPU
    HB: Any  # int64: which accesses happened before which (see races)
    H: Any  # int64[row, H_*]: issues and waits of each decoded instruction
    TB: Any  # int64: waits over time (see probe)
    TS: Any


# --- vectors of a QPU, in words from the QPU's start: 16 * slot ----------------------------------

FILE_A, FILE_B = 0, 32
ACC = 64  # r0..r5
R4, R5 = ACC + 4, ACC + 5
(
    SLOT_ELEMENT,  # 0..15
    SLOT_QPU,  # the QPU's number
    SLOT_PORT_A,  # what I/O reads of file A and B gave
    SLOT_PORT_B,
    SLOT_TRASH,  # where results without a destination go
    SLOT_X,  # results of the add and the mul unit on their way
    SLOT_Y,
    SLOT_OLD_A,  # file registers before the previous instruction wrote them
    SLOT_OLD_B,
    SLOT_SFU,  # the SFU's result until it appears in r4
    SLOT_UNPACKED,
    SLOT_SCRATCH,  # two slots in a row
    SLOT_SCRATCH_2,
    SLOT_TEXELS,  # the addresses of the texels of the latest texture lookup
) = range(70, 84)
SLOT_OLD_ACC = 84  # six: r0..r5 before the previous instruction
SLOT_COORDS = 90  # S, T, R of a texture lookup under way, for each TMU: SLOT_COORDS + 3 * tmu
SLOT_CONST = 96  # 64: the operands of the small immediates
SLOTS = 160
QPU_WORDS = 16 * SLOTS

# --- scalars of a QPU ----------------------------------------------------------------------------

# What each of two threads has of its own; the suspended thread's is Q_OTHER columns further on.
(
    Q_PC,  # bus address
    Q_BR,  # delay slots still to run before the jump to Q_TARGET; 0: no jump
    Q_TARGET,
    Q_END,  # instructions until the program ends; 0: no end in sight
    Q_BRANCHED,  # Q_COUNT at the last branch, and whether it was taken
    Q_TAKEN,
    Q_VIA,  # the file-A register that the last branch taken went by, or -1
    Q_LAST,  # whether the last thread switch is behind
    Q_UNIF,  # address of the next uniform
    Q_UNIF_NEW,  # a rewritten address, and Q_COUNT when it was written
    Q_UNIF_AT,
    Q_AHEAD,  # two uniforms fetched ahead; two of the rewritten address
    Q_AHEAD_2,
    Q_AHEAD_NEW,
    Q_AHEAD_NEW_2,
    Q_OTHER,
) = range(16)
(
    Q_STATE,  # 0: no program, 1: running
    Q_THREAD,  # which of two threads runs: 0, 1
    Q_SUSPENDED,  # whether the other one is suspended, and not ended or never begun
    Q_COUNT,  # instructions issued in this launch
    Q_SPECIAL,  # SP_* bits: reasons for the careful path
    Q_Z,  # flags: bit e = element e
    Q_N,
    Q_C,
    Q_THRSW,  # instructions until the thread switch
    Q_SFU,  # instructions until the SFU's result is in r4
    Q_HAZ_A,  # place of the file-A register that the previous instruction wrote, or -2
    Q_HAZ_B,
    Q_HAZ_ACC,  # bit n: the previous instruction wrote accumulator n
    Q_UNDEF,  # bit n: accumulator n was lost in a thread switch; then LOST_*
    Q_OURS_A,  # bit n: register n was last written by the running thread, by the other one
    Q_OURS_B,
    Q_THEIRS_A,
    Q_THEIRS_B,
    Q_NOSWAP,  # TMU_NOSWAP in force; a new value and Q_COUNT when it was written
    Q_NOSWAP_NEW,
    Q_NOSWAP_AT,
    Q_HEAD0,  # TMU result rings: oldest entry and number of entries
    Q_HEAD1,
    Q_FILL0,
    Q_FILL1,
    Q_OWNER0,  # bit i: entry i of the ring was asked for by thread 1
    Q_OWNER1,
    Q_EXTRA0,  # 4 bits an entry: slots of the request queue that it takes beyond the first
    Q_EXTRA1,
    Q_COORDS0,  # bits 0, 1, 2: T, R, B of a texture lookup are written, S is not
    Q_COORDS1,
    Q_LOOKUP,  # place of the addresses of the latest lookup, and how many results it has
    Q_RESULTS,
    Q_AGAIN,  # TMU (1 or 2) whose texture results the host has fetched for the next instruction
    Q_WR_SETUP,  # generic VPM setups; -1: never written
    Q_WR_ADDR,
    Q_RD_SETUP,
    Q_RD_ADDR,
    Q_RD_LEFT,
    Q_RD_NEXT,  # a setup that waits for the last vector of the current one, or -1
    Q_VDR_SETUP,  # DMA setups; -1: never written
    Q_VDR_PITCH,
    Q_VDW_SETUP,
    Q_VDW_STRIDE,
    Q_VDW_STRIDE_SET,  # whether this program wrote it
    Q_WAIT,  # why the QPU could not issue last time (WAIT_*)
    Q_PASS,  # a breakpoint to be passed once
    N_UNIFORMS,  # counters of this launch
    N_TMU,
    N_SFU,
    N_VPM_READ,
    N_VPM_WRITE,
    N_VDR,
    N_VDW,
    N_TMU_PEAK,
    Q_CONFIGS,  # four configuration words of a texture lookup, for each TMU
) = range(2 * Q_OTHER, 2 * Q_OTHER + 56)
Q_WIDTH = Q_CONFIGS + 8

# Bits of Q_SPECIAL; SP_THREADS: two threads under ``strict``, SP_TEXTURE: lookups with T, R or B.
SP_HAZARD, SP_SFU, SP_UNDEF, SP_END, SP_THRSW, SP_THREADS, SP_TEXTURE = (1 << n for n in range(7))
# Bits of Q_UNDEF behind those of the six accumulators: the flags, the SFU's result on its way,
# flag C of a mul op, flags that nothing has set yet, and flags of an undefined value.
LOST_FLAGS, LOST_SFU, LOST_C, NO_FLAGS, VAGUE_FLAGS = 64, 128, 256, 512, 1024
LOST_ALL = 127

# --- scalars of the machine ----------------------------------------------------------------------

(
    G_NQPUS,  # of this launch
    G_STRICT,  # whether any rule of strict is in force; each one: G_RULES
    G_INCOHERENT,
    G_TRAP,  # fault on reads of words never written
    G_BASE,  # bus address of the first byte of memory
    G_SIZE,  # bytes of memory
    G_QUANTUM,
    G_NOISE,  # state of the generator that varies the quantum; 0: no variation
    G_LIMIT,  # instructions per QPU
    G_CURRENT,  # the QPU whose turn it is, and what is left of the turn
    G_LEFT,
    G_MOVED,  # whether any QPU issued in this round
    G_FAULT,
    G_FAULT_QPU,
    G_FAULT_ADDR,
    G_MUTEX,  # the owner, or -1
    G_INTERRUPTS,  # bit q: QPU q raised the host interrupt
    G_VDR_OWNER,  # the QPU whose DMA load is in flight, or -1; then Q_COUNT when it is done
    G_VDR_DUE,
    G_VDR_SETUP,
    G_VDR_PITCH,
    G_VDR_ADDR,
    G_VDW_OWNER,
    G_VDW_DUE,
    G_VDW_SETUP,
    G_VDW_STRIDE,
    G_VDW_ADDR,
    G_DEBUGGER,  # breakpoints return to the host instead of faulting
    G_CLOCK,  # counts accesses; the age of cache lines
    G_DECODE_ADDR,  # where the decoder is wanted, for which table
    G_DECODE_TABLE,
    G_BYTES_LOADED,
    G_BYTES_STORED,
    G_L2_LINES,
    G_SDRAM_LINES,
    G_UNEVEN,  # bit q: QPU q has branched by a register whose elements differ
    G_FRESH,  # whether the launch has not begun: the uniforms of all QPUs are to be fetched ahead
    G_RULES,  # three words of 32 bits: the faults that are on
    G_RULES_2,
    G_RULES_3,
    G_STORED_FROM,  # addresses that all DMA stores of this launch lie between
    G_STORED_TO,
    G_SEMAPHORE,
) = range(43)
G_WIDTH = G_SEMAPHORE + 16

# --- decoded instructions ------------------------------------------------------------------------

(
    U_CLASS,
    U_OP_ADD,
    U_OP_MUL,
    U_SA,  # operands of the add and the mul unit: 16 * slot
    U_SB,
    U_SC,
    U_SD,
    U_DA,  # destinations: 16 * slot; SLOT_TRASH where there is none or a peripheral
    U_DM,
    U_ROT,  # 0: none; 1..15; 16: by r5; + 32: within quads, + 64: not determined which
    U_FLAGS,
    U_SIG,
    U_COND_ADD,
    U_COND_MUL,
    U_PM,
    U_PACK,
    U_UNPACK,
    U_RADDR_A,  # I/O reads: the address, or -1
    U_RADDR_B,
    U_WADDR_ADD,  # peripheral writes: the address, or -1
    U_WADDR_MUL,
    U_FILES,  # bit 0: ws
    U_FROM_A,  # bits 0-3: operand a, b of add, a, b of mul is unpacked
    U_IMM,
    U_EXTRA,  # load kind, or branch condition | rel << 4 | reg << 5 | raddr_a << 6
    U_KIND,  # class without regard to neighbours
    U_WIDTH,
) = range(27)

(
    CLASS_NONE,  # not decoded
    CLASS_FAST,  # both units on registers, no condition, nothing else
    CLASS_MOVE,  # the same with a rotation or a write of r5
    CLASS_IO,  # one of these that reads a uniform, requests from a TMU or takes its result
    CLASS_ALU,
    CLASS_LOAD,
    CLASS_SEMAPHORE,
    CLASS_BRANCH,
    CLASS_RESERVED,
    CLASS_OUTSIDE,  # no memory there
) = range(10)

# Bits of U_FLAGS.
F_SF = 1
F_RECORD = 2  # the next word reads what this one writes
F_READS_IO = 4  # an I/O read, or something else that can block
F_SAME = 8  # both units write the same accumulator or peripheral
F_FLOAT_ADD = 16  # the op of a unit packs as float
F_FLOAT_MUL = 32
F_UNPACK_FLOAT = 64
F_UNPACK_MIXED = 128  # a float op and an integer op share an unpacked operand
F_UNDEF_A = 256  # a value that the chip does not define is written somewhere
F_UNDEF_B = 512
F_STALE_MUL = 1024  # a mul nop with a condition and a destination
F_CROWD = 2048  # two accesses that the guide forbids in one instruction
F_VPM_CROWD = 4096
F_PACK_ADD = 8192  # file-A pack applies to the result of this unit
F_PACK_MUL = 16384
F_BYTE_IO = 32768  # a colour byte packed into a peripheral
F_VAGUE = 65536  # the flags, and nothing else, take a value that the chip does not define
F_PACK_TARGET = 131072  # file-A pack of a result that goes elsewhere

# --- caches --------------------------------------------------------------------------------------

TMU_LINES, UNIF_LINES, CODE_LINES, L2_SETS, L2_WAYS, CODE_WAYS = 64, 64, 64, 128, 4, 4
C_TMU = 0
C_UNIF = C_TMU + MAX_SLICES * 2 * TMU_LINES
C_CODE = C_UNIF + MAX_SLICES * UNIF_LINES
C_L2 = C_CODE + MAX_SLICES * CODE_LINES
C_LINES = C_L2 + L2_SETS * L2_WAYS
C_AGE = C_LINES  # ages follow the tags
C_WIDTH = 2 * C_LINES

# --- what a step returns -------------------------------------------------------------------------

OK = 0
(
    WAIT_MUTEX, WAIT_UP, WAIT_DOWN, WAIT_TMU, WAIT_TMU_FULL, WAIT_VPM,
    WAIT_TURN, WAIT_EVENT,  # the clock's: until a QPU is the earliest, or a unit has acted
) = range(1, 9)  # fmt: skip
WAIT_TEXT = {
    WAIT_MUTEX: "the mutex",
    WAIT_UP: "a semaphore at 15",
    WAIT_DOWN: "a semaphore at 0",
    WAIT_TMU: "a TMU result that nobody requested",
    WAIT_TMU_FULL: "room for a TMU request",
    WAIT_VPM: "a VPM vector that nobody set up",
}
LAST_WAIT = 15

(
    END_ALL, END_DEADLOCK, END_LIMIT, END_BUDGET, END_DECODE, END_BREAKPOINT, END_STEP, END_TEXTURE,
) = range(16, 24)  # fmt: skip

FIRST_FAULT = 32  # and further: see faults
