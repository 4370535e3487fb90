"""``piblas.why``: what dispatch would decide for a call, without making it."""

from __future__ import annotations

from typing import Optional

from .. import routines
from ..errors import BlasError
from . import boards, devices
from .choose import Call, Choice, Target, choose

__all__ = ["why"]


def why(
    routine: str,
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
    ``resident`` says that the operands live in GPU memory already.
    """
    routines.sizes(routine, sizes)
    if board is not None and board not in boards.BOARDS:
        raise BlasError("why", "board", board, f"not among the boards {', '.join(boards.BOARDS)}")
    figures = devices.board() if board is None else devices.figures(board)
    if device is not None and device not in devices.NAMES:
        raise BlasError(
            "why", "device", device, f"not among the devices {', '.join(devices.NAMES)}"
        )
    if device in ("cpu", "emulator", "qpu"):
        target = Target(device)
    elif board is not None:
        target = Target("qpu", demanded=False)
    else:
        target = devices.found() if device == "auto" else devices.current()[0]
    return choose(Call(routine, dict(sizes), resident), target, figures)
