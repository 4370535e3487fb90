"""``piblas.why``: what dispatch would decide for a call, without making it."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from .. import routines
from ..errors import BlasError
from . import boards, devices
from .boards import Board
from .choose import Call, Choice, Target, choose

__all__ = ["aimed", "why"]


def why(
    routine: Any,
    *,
    device: Optional[str] = None,
    board: Optional[str] = None,
    resident: bool = False,
    **sizes: int,
) -> Choice:
    """The :class:`Choice` for a call of ``routine`` with these sizes (``m=``, ``n=``, ``k=``).

    Its ``seconds`` are those of a repeated call from beginning to end on each processor, and its
    ``parts`` the same by part: host (Python and SciPy), launch, copy, kernel.

    ``device`` asks about another target than the present one.  ``board`` ("pi0", "pi1", ...) asks
    about that board: its figures, and, unless ``device`` says otherwise, its GPU under "auto".
    ``resident`` says that the operands live in GPU memory already.  In place of a routine's name
    there may be a vector function, with its number of elements ``n=``.
    """
    if not isinstance(routine, str):
        chosen: Choice = routine.why(device=device, board=board, resident=resident, **sizes)
        return chosen
    routines.sizes(routine, sizes)
    target, figures = aimed(device, board)
    return choose(Call(routine, dict(sizes), resident), target, figures)


def aimed(device: Optional[str], board: Optional[str]) -> Tuple[Target, Optional[Board]]:
    """The target and the board that a question is about."""
    if board is not None and board not in boards.BOARDS:
        raise BlasError("why", "board", board, f"not among the boards {', '.join(boards.BOARDS)}")
    figures = devices.board() if board is None else devices.figures(board)
    if device is not None and device not in devices.NAMES:
        raise BlasError(
            "why", "device", device, f"not among the devices {', '.join(devices.NAMES)}"
        )
    if device in ("cpu", "emulator", "qpu"):
        target = Target(str(device))
    elif board is not None:
        target = Target("qpu", demanded=False)
    else:
        target = devices.found() if device == "auto" else devices.current()[0]
    return target, figures
