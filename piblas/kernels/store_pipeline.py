"""The store pipeline: producers compute vectors into the VPM, one consumer has them stored.

The store engine is the bottleneck: a row of 64 bytes takes it 14 clocks and a transfer 40 more
(measured by others), while the memory may take a row in 7.  So it must not wait, and its transfers
must be long.  The VPM is a double buffer, two half buffers of 32 rows: while the engine stores one,
the producers fill the other.  A *phase* is one half buffer filled and stored:

- a producer has computed its results into registers;
- it waits until the half buffer is empty (semaphore ``EMPTY[half]``) and writes its rows;
- it reads a vector of the VPM, which drains its writes; meanwhile it requests later operands;
- it reports (semaphore ``FULL``) and computes the results of its next phase;
- the consumer has granted the half buffer to the producers, one after the other; it collects their
  reports, waits for the transfer of the phase before, which empties that half buffer, and starts
  this phase's.

The memory serves rows of a transfer and lines of operands in the order in which they come, and a
row that it delays delays the rest of the transfer.  So requests must not come in bursts, but evenly
over the time of a transfer.  That is why the grants come one after the other.

A producer gets ahead of another by less than a phase, so one semaphore per half buffer is enough:
a fast producer cannot consume a slow one's grant.

On a single QPU, one role produces and consumes, and no semaphore is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional

from . import macros

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["DRAIN", "EMPTY", "FULL", "HALF", "Role", "write_roles"]

HALF = 32
"""Rows of a half buffer: half of the VPM, as far as user programs see it."""

FULL, EMPTY, DRAIN = 3, (4, 5), 6
"""Semaphores: a producer has filled its rows; the rows of a half buffer are empty; all results are
stored, so that the largest magnitudes may be."""


class Role:
    """The program of a producer, of the consumer, or of one QPU that is both."""

    def __init__(self, asm: Assembler, produces: bool, consumes: bool) -> None:
        self.asm, self.produces, self.consumes = asm, produces, consumes

    def label(self, name: str) -> str:
        return f"{'producer' if self.produces else 'consumer'}_{name}"

    def phase(self, half: int) -> None:
        """Fill this QPU's rows of a half buffer, or store it; ends with :meth:`next_phase`, or goes
        on with the other half."""
        raise NotImplementedError

    def phases(self, enter: Optional[Any]) -> None:
        """All phases, beginning with the half buffer ``enter`` (a register; None: the first)."""
        asm = self.asm
        if enter is not None:
            asm.mov(asm.null, enter, sf=True)
            asm.branch(self.label("half1"), cond="any_zc")
        for half in range(2):
            asm.label(self.label(f"half{half}"))
            self.phase(half)
        asm.label(self.label("stored"))

    def next_phase(self, half: int, left: Any, compute: Callable[[], None]) -> None:
        """Count down ``left`` and leave after the last phase; a producer computes for the next."""
        asm = self.asm
        asm.sub(left, left, 1, sf=True)
        if not self.produces:
            name, cond = ("half0", "any_zc") if half else ("stored", "all_zs")
            asm.branch(self.label(name), cond=cond)
            return
        asm.branch(self.label("stored"), cond="all_zs")
        compute()
        if half:
            asm.branch(self.label("half0"))

    def wait_until_empty(self, empty: int) -> None:
        """A producer waits for its grant."""
        if not self.consumes:
            self.asm.sema_down(empty)

    def report_full(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """A producer reports that its rows are written; ``meanwhile`` is done while they are."""
        asm = self.asm
        if not self.consumes:
            macros.vpm_read_setup(asm, 1)
        meanwhile()
        if not self.consumes:
            asm.read(asm.vpm)
            asm.sema_up(FULL)

    def start_store(self, setup: Any, address: Any) -> None:
        """The consumer starts a transfer as soon as the one before has ended."""
        asm = self.asm
        with asm.fixed():
            asm.read(asm.vdw_wait)
            asm.mov(asm.vpm_wr_setup, setup)
            asm.mov(asm.vdw_addr, address)


def write_roles(asm: Assembler, alone: bool, write: Callable[[bool, bool], None]) -> None:
    """The program of a launch whose streams begin with whether the QPU is a producer, unless one is
    ``alone``; ``write(produces, consumes)`` writes that of a role."""
    if alone:
        write(True, True)
        return
    asm.mov(asm.null, asm.unif, sf=True)
    asm.branch("producer", cond="all_zc")
    write(False, True)
    asm.branch("end")
    asm.label("producer")
    write(True, False)
    asm.label("end")
