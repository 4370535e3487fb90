"""Where the emulated chip keeps its state: flat arrays, and names for their indices.

Compiled code works on plain integer arrays, gathered in :class:`State`, because they cost nothing
to pass, copy and inspect.  The names below are indices into them; a group counts up from 0 in the
order of its rows.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple, Tuple

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
    Q_LAST,  # whether the last thread switch is behind
    Q_UNIF,  # address of the next uniform
    Q_UNIF_NEW,  # a rewritten address, and Q_COUNT when it was written
    Q_UNIF_AT,
    Q_AHEAD,  # two uniforms fetched ahead; two of the rewritten address
    Q_AHEAD_2,
    Q_AHEAD_NEW,
    Q_AHEAD_NEW_2,
    Q_OTHER,
) = range(15)
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
# flag C of a mul op, and flags that nothing has set yet.
LOST_FLAGS, LOST_SFU, LOST_C, NO_FLAGS = 64, 128, 256, 512
LOST_ALL = 127

# --- scalars of the machine ----------------------------------------------------------------------

(
    G_NQPUS,  # of this launch
    G_STRICT,
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
    G_VDR_COUNT,  # rows of the load in flight, and bytes of each
    G_VDR_BYTES,
    G_VDR_ROWS,  # bit y, bit x: rows and columns of the VPM that the load in flight touches
    G_VDR_COLUMNS,
    G_VDW_OWNER,
    G_VDW_DUE,
    G_VDW_SETUP,
    G_VDW_STRIDE,
    G_VDW_ADDR,
    G_VDW_PITCH,  # bytes from row to row in memory, rows, bytes of each
    G_VDW_COUNT,
    G_VDW_BYTES,
    G_VDW_ROWS,
    G_VDW_COLUMNS,
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
    G_SEMAPHORE,
) = range(47)
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
F_UNDEF_A = 256  # a value that the chip does not define is used
F_UNDEF_B = 512
F_STALE_MUL = 1024  # a mul nop with a condition and a destination
F_CROWD = 2048  # two accesses that the guide forbids in one instruction
F_VPM_CROWD = 4096
F_PACK_ADD = 8192  # file-A pack applies to the result of this unit
F_PACK_MUL = 16384
F_BYTE_IO = 32768  # a colour byte packed into a peripheral
F_PACK_SATURATE = 65536  # pack 32s where the chip does not support it
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

FIRST_FAULT = 32
# Name, unit, reason; the code of a fault is FIRST_FAULT + its index.
FAULTS: Tuple[Tuple[str, str, str], ...] = (
    ("FETCH", "fetch", "the program counter is outside the loaded code"),
    ("FETCH_ALIGN", "fetch", "the program counter is no multiple of 8"),
    ("RESERVED", "decode", "reserved encoding"),
    ("BREAKPOINT", "control", "breakpoint signal, and no debugger is attached"),
    ("LATE_A", "regfile", "reads a file-A register that the previous instruction writes"),
    ("LATE_B", "regfile", "reads a file-B register that the previous instruction writes"),
    ("LATE_ROTATE", "alu", "rotates an accumulator that the previous instruction writes"),
    ("LATE_R5", "alu", "rotates by r5, which the previous instruction writes"),
    ("MIXED_ROTATE", "alu", "rotates one of r0-r3 together with another operand"),
    ("ROTATED_FLAGS", "alu", "takes flags from a rotated result"),
    ("UNPACK_MIXED", "alu", "unpacks one operand for a float and an integer operation"),
    ("UNPACK_IO", "alu", "unpacks what no register of file A holds, which is undetermined"),
    ("UNDEFINED_READ", "regfile", "uses a register address whose value is undefined"),
    ("LOST", "control", "uses an accumulator or flags that a thread switch has lost"),
    ("FLAGS_UNSET", "control", "uses flags that no operation of the program has set"),
    ("CARRY", "alu", "uses flag C of a mul24 or fmul, which is undetermined"),
    ("LOAD_FLAGS", "alu", "takes flags from a load that the add unit never writes"),
    ("OTHER_THREAD", "regfile", "reads a register that the other thread wrote"),
    ("SWITCH_LAST", "control", "a thread switch behind the last one"),
    ("STALE_MUL", "alu", "writes the result of a mul nop"),
    ("SAME_DESTINATION", "alu", "both units write different values to one destination"),
    ("CONDITIONAL_IO", "alu", "conditional write to a peripheral, and the condition is false"),
    ("CROWD", "alu", "more than one access to TMU, SFU, TLB, mutex or semaphores"),
    ("VPM_CROWD", "vpm", "VPM accesses that exclude each other in one instruction"),
    ("BYTE_IO", "alu", "packs a colour byte into a peripheral"),
    ("PACK_SATURATE", "alu", "pack 32s behind an integer operation other than add and sub"),
    ("PACK_TARGET", "alu", "file-A pack, but the result goes elsewhere"),
    ("R4_BUSY", "sfu", "reads r4 before the SFU's result is there"),
    ("SFU_BUSY", "sfu", "writes r4 while the SFU is at work"),
    ("UNIF_EARLY", "uniforms", "reads a uniform less than 3 instructions after unif_addr"),
    ("UNIF", "uniforms", "reads outside the buffers, or beyond the end of the stream"),
    ("UNIF_FILE_B", "uniforms", "writes the uniforms address through file B"),
    ("UNIF_ALIGN", "uniforms", "uniforms address is no multiple of 4"),
    ("TMU", "tmu", "reads outside the buffers"),
    ("TMU_POP", "tmu", "takes a result that was not requested"),
    ("TMU_FULL", "tmu", "requests more results than its queue has room for"),
    ("TMU_SWAP_EARLY", "tmu", "TMU request less than 3 instructions after tmu_noswap"),
    ("TMU_SWAP_BUSY", "tmu", "changes tmu_noswap while requests are outstanding"),
    ("TMU_LEFT", "tmu", "program ends with TMU results not taken"),
    ("TMU_HALF", "tmu", "fills more than its half of the queue, which two threads share"),
    ("TMU_OTHER", "tmu", "takes a result that the other thread requested"),
    ("TEX_TWICE", "tmu", "writes a coordinate twice before S"),
    ("TEX_UNIFORM", "tmu", "reads a uniform beside a TMU write that takes one"),
    ("TEX_SWITCH", "tmu", "a texture lookup is not complete at a thread switch or the end"),
    ("TEX_TYPE", "tmu", "a texture type whose texels are undetermined"),
    ("TEX_CUBE", "tmu", "a cube map or a child image, whose lookup is undetermined"),
    ("TEX_LEVEL", "tmu", "the level of detail decides on the filter, and it is undetermined"),
    ("TEX_FILTER", "tmu", "interpolates between different texels, with undetermined rounding"),
    ("TEX_EDGE", "tmu", "a coordinate so near the edge of a texel that rounding decides"),
    ("TEX_BORDER", "tmu", "needs the border colour, which is undetermined"),
    ("UNINITIALISED", "memory", "reads a word that was never written"),
    ("VPM_NO_SETUP", "vpm", "VPM access without a setup"),
    ("VPM_EXTRA", "vpm", "reads more vectors than were set up"),
    ("VPM_DROPPED", "vpm", "read setup while more than one vector is outstanding"),
    ("SETUP", "vpm", "undefined setup word"),
    ("VPM_RACE", "vpm", "touches rows of a DMA transfer that may still be running"),
    ("VDR", "vdr", "reads outside the buffers"),
    ("VDR_ALIGN", "vdr", "address is no multiple of the element size"),
    ("VDR_ROWS", "vdr", "writes VPM rows outside 0..63 or columns outside 0..15"),
    ("VDR_SELECT", "vdr", "selects a byte or half-word, whose place is undetermined"),
    ("VDR_COLUMN", "vdr", "bytes or half-words into a column, whose place is undetermined"),
    ("VDR_SETUP", "vdr", "DMA load without a setup, or without a pitch"),
    ("VDW", "vdw", "writes outside the buffers"),
    ("VDW_ALIGN", "vdw", "address is no multiple of the element size"),
    ("VDW_ROWS", "vdw", "reads VPM rows outside 0..63 or columns outside 0..15"),
    ("VDW_COLUMN", "vdw", "bytes or half-words out of a column, whose place is undetermined"),
    ("VDW_SETUP", "vdw", "DMA store without a setup, or with another program's stride"),
    ("TLB", "tlb", "a user program has no tile buffer"),
    ("VARYING", "varyings", "a user program has no varyings"),
    ("BRANCH_SLOT", "control", "a branch in the first two delay slots of a branch"),
    ("END_SLOT", "control", "thread end or switch in the delay slots of a jump or switch"),
    ("END_ACCESS", "control", "uniform or VPM access in the last three instructions"),
    ("END_REGISTER", "control", "reads ra14 or rb14 in the last three instructions"),
    ("RACE_LOAD", "memory", "reads memory that a DMA store may still be writing"),
    ("RACE_STORE", "memory", "writes memory that a DMA load may still be reading"),
)
_names = [name for name, _, _ in FAULTS]
FAULT = namedtuple("FAULT", _names)(*range(FIRST_FAULT, FIRST_FAULT + len(_names)))  # type: ignore
