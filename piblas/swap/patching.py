"""``piblas.patch`` and its like: which targets are replaced, for how long, and by whose wish.

The targets belong to the process and not to a thread, as NumPy's and SciPy's modules do.  Each is
replaced while any patch that is active names it; of several, the newest says ``min_size``.
"""

from __future__ import annotations

import atexit
import os
import threading
import warnings
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

from ..dispatch import devices
from ..errors import PiblasError, brief

__all__ = ["TARGETS", "is_patched", "patch", "patch_map", "unpatch"]

_lock = threading.RLock()
_active: List["_Active"] = []
_installed: Dict[str, Any] = {}


def _scipy(least: int) -> Any:
    from .scipy_functions import ScipyFunctions

    return ScipyFunctions(least)


def _all_of_scipy(least: int) -> Any:
    from .scipy_functions import ScipyFunctions

    return ScipyFunctions(least, every=True)


def _matmul(least: int) -> Any:
    from .matmul import MatmulLoop

    return MatmulLoop(least)


def _dot(least: int) -> Any:
    from .dot import Dot

    return Dot(least)


TARGETS: Dict[str, Callable[[int], Any]] = {
    "scipy.blas": _scipy,
    "scipy.blas.all": _all_of_scipy,
    "numpy.matmul": _matmul,
    "numpy.dot": _dot,
}
DEFAULT = ("scipy.blas", "numpy.matmul", "numpy.dot")


def _wanted(targets: Union[None, str, Iterable[str]], caller: str) -> Tuple[str, ...]:
    if targets is None:
        return DEFAULT
    wanted = (targets,) if isinstance(targets, str) else tuple(targets)
    for each in wanted:
        if each not in TARGETS:
            raise PiblasError(f"{caller}: target {brief(each)}: choose of {', '.join(TARGETS)}")
    if {"scipy.blas", "scipy.blas.all"} <= set(wanted):
        wanted = tuple(each for each in wanted if each != "scipy.blas")
    return tuple(dict.fromkeys(wanted))


class patch:
    """Have NumPy's and SciPy's functions call piblas: ``piblas.patch()``, until
    ``piblas.unpatch()``; or ``with piblas.patch(): ...``; or ``@piblas.patch()`` before a function,
    for the length of each of its calls.

    ``targets``, one or several of:

    - "scipy.blas": the routines of ``scipy.linalg.blas`` that have a QPU kernel, also for those who
      ask ``get_blas_funcs`` ("scipy.blas.all": every routine, for tests);
    - "numpy.matmul": ``@`` and ``np.matmul`` on float32;
    - "numpy.dot": ``np.dot``, and with it ``np.tensordot`` and ``np.linalg.multi_dot``.

    Without ``targets`` all three.  Where a call runs is what ``piblas.use`` or ``PIBLAS_DEVICE``
    says, as for any other call.  Calls of a smaller size than ``min_size`` (floating-point
    operations, or the numbers that a call moves if these are more) stay on the CPU; without it,
    those do for which "auto" predicts that.  Whatever stays on the CPU, or fails on the device, is
    computed by the function that was replaced, whose results, warnings and errors it has.

    Patches may be nested, and may end in any order; what was replaced is put back when the last one
    that names it ends.  They hold for every thread.  Functions that were bound before in classes,
    closures or containers are not found; those in modules are, whatever their names there.

    PiblasError: an unknown target, a wrong ``min_size``, or a NumPy that does not allow it.
    """

    __module__ = "piblas"

    def __init__(
        self, targets: Union[None, str, Iterable[str]] = None, min_size: Optional[int] = None
    ) -> None:
        self.targets = _wanted(targets, "piblas.patch")
        if min_size is not None and (
            isinstance(min_size, bool) or not isinstance(min_size, int) or min_size < 0
        ):
            raise PiblasError(
                f"piblas.patch: min_size = {brief(min_size)}: wants an integer of at least 0"
            )
        self.min_size = min_size
        self._lasting = True
        _begin(self)

    def __enter__(self) -> "patch":
        with _lock:
            # What began when it was made lasts for this block, unless unpatch has ended it.
            if not self._lasting or not any(each.of is self for each in _active):
                _begin(self)
            self._lasting = False
        return self

    def __exit__(self, *exc: object) -> None:
        _end(self)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from ..decorating import decorated

        with _lock:
            if self._lasting:
                self._lasting = False
                _end(self)
        return decorated(self, function, "piblas.patch", PiblasError)


class _Active:
    """A patch between its beginning and its end, and those of its targets that ``unpatch`` has not
    ended before."""

    def __init__(self, of: patch) -> None:
        self.of, self.targets = of, of.targets


def _begin(one: patch) -> None:
    with _lock:
        _active.append(_Active(one))
        try:
            _settle()
        except BaseException:
            _active.pop()
            _settle()
            raise


def _end(one: patch) -> None:
    """End the patch, the innermost if it was begun several times."""
    with _lock:
        for each in reversed(_active):
            if each.of is one:
                _active.remove(each)
                break
        _settle()


def _settle() -> None:
    """Replace what active patches name, and put back everything else."""
    least: Dict[str, int] = {}
    for each in _active:
        for target in each.targets:
            least[target] = each.of.min_size or 0
    if "scipy.blas.all" in least:
        least.pop("scipy.blas", None)
    left: List[str] = []
    for target in [each for each in _installed if each not in least]:
        left += _installed.pop(target).remove()
    for target, size in least.items():
        if target in _installed:
            _installed[target].set_least(size)
        else:
            _installed[target] = TARGETS[target](size)
    devices.set_patched(bool(least))
    for name in left:
        warnings.warn(
            f"piblas.unpatch leaves {name} as it is: it was replaced again after piblas.patch",
            RuntimeWarning,
            stacklevel=4,
        )


def unpatch(targets: Union[None, str, Iterable[str]] = None) -> None:
    """End every patch of these targets, or of all; nothing happens where there is none.

    What somebody else has replaced meanwhile stays, with a RuntimeWarning.
    """
    gone = set(TARGETS if targets is None else _wanted(targets, "piblas.unpatch"))
    with _lock:
        for each in _active:
            each.targets = tuple(target for target in each.targets if target not in gone)
        _active[:] = [each for each in _active if each.targets]
        _settle()


def is_patched(target: Optional[str] = None) -> bool:
    """Whether a target is replaced now; without one, whether any is."""
    if target is not None:
        _wanted(target, "piblas.is_patched")
        return target in _installed
    return bool(_installed)


def patch_map() -> Dict[str, List[str]]:
    """The names that are replaced now, by target; an empty list where a target is not."""
    with _lock:
        return {
            target: _installed[target].names() if target in _installed else []
            for target in TARGETS
        }


# Before the devices are closed, whose module was imported first.
atexit.register(unpatch)


def _after_fork() -> None:
    """In the child: a thread that held the lock is not here."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
