"""The exception family of piblas: everything it raises on purpose is a :class:`PiblasError`."""

from __future__ import annotations

import math
import reprlib
import sys
from typing import Any, Dict, Optional, Tuple, Type

__all__ = [
    "PiblasError",
    "DecodeError",
    "AssemblerError",
    "BlasError",
    "DeviceBusy",
    "DeviceError",
    "DeviceMissing",
    "DeviceTimeout",
    "OutOfDeviceMemory",
    "EmulatorFault",
    "VectorError",
]


class _Brief(reprlib.Repr):
    """Values at no more length than a message can take."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 60

    def repr_int(self, x: int, level: int) -> str:
        # By its digits only if they are few: newer versions of Python refuse to write down more
        # than some thousands.
        if x.bit_length() < 200:
            return repr(x)
        return f"<an integer of about {round(x.bit_length() * math.log10(2))} digits>"


_brief = _Brief()


def brief(value: Any) -> str:
    """``repr(value)``, abbreviated where it is long; never an exception."""
    try:
        return _brief.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _words(text: str, most: int = 500) -> str:
    """A message, without its middle if it is long: NumPy's and SciPy's quote whole strings."""
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


class PiblasError(Exception):
    """Base of every error that piblas raises on purpose.

    Errors can be pickled and copied with all that they hold, so they come back from processes of a
    pool.
    """

    def __reduce__(self) -> Tuple[Any, ...]:
        # What __init__ takes is not what Exception keeps, so that it cannot be called again.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: Type[PiblasError], args: Tuple[Any, ...], attributes: Dict[str, Any]
) -> PiblasError:
    """An error as it was pickled."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class DecodeError(PiblasError, ValueError):
    """A 64-bit word is no instruction of the QPU, or a field value does not fit its field.

    ``reason`` says which field is at fault; ``word`` is the word, or None when encoding.
    """

    def __init__(self, reason: str, word: Optional[int] = None) -> None:
        self.reason = reason
        self.word = word
        super().__init__(reason if word is None else f"{word:016x}: {reason}")


class AssemblerError(PiblasError):
    """A generator asked for something that the QPU cannot do.

    Attributes: ``where`` ("file:line" of the generator, or None), ``instruction`` (text) and
    ``rule`` (the id of the hazard row, or None).
    """

    def __init__(
        self,
        message: str,
        *,
        where: Optional[str] = None,
        instruction: Optional[str] = None,
        rule: Optional[str] = None,
    ) -> None:
        self.where = where
        self.instruction = instruction
        self.rule = rule
        text = message if rule is None else f"{rule}: {message}"
        if instruction:
            text = f"{text} [{instruction}]"
        super().__init__(f"{where}: {text}" if where else text)


class BlasError(PiblasError, ValueError):
    """A BLAS call got an argument that it cannot take; nothing was written.

    Attributes: ``routine``, ``argument`` (its name), ``value`` and ``message``.

    Once ``scipy.linalg`` is imported, an error is also one of those that SciPy's BLAS functions
    raise (``_fblas.error``), so that code that catches these catches it.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> "BlasError":
        kind = _caught_as_scipys() if cls is BlasError else cls
        made: BlasError = ValueError.__new__(kind, *args)
        return made

    def __init__(self, routine: str, argument: str, value: Any, message: str) -> None:
        self.routine = routine
        self.argument = argument
        self.value = value
        self.message = message
        super().__init__(f"{routine}: argument {argument} = {brief(value)}: {_words(message)}")

    def __reduce__(self) -> Tuple[Any, ...]:
        restored, (kind, *rest) = super().__reduce__()
        return restored, (BlasError if kind in _kinds.values() else kind, *rest)

    def with_words(self, text: str) -> "BlasError":
        """The same error with another library's message to the same call added."""
        return BlasError(self.routine, self.argument, self.value, f"{self.message}; SciPy: {text}")


_kinds: Dict[Tuple[type, ...], Type[BlasError]] = {}


def _caught_as_scipys() -> Type[BlasError]:
    """BlasError, derived from the errors of SciPy's BLAS modules too, as far as these are there."""
    theirs = []
    for name in ("_fblas", "_fblas_64"):
        module = sys.modules.get(f"scipy.linalg.{name}")
        for attribute in (f"__{name[1:]}_error", "error"):  # what f2py names it
            kind = getattr(module, attribute, None)
            if isinstance(kind, type) and issubclass(kind, Exception):
                theirs.append(kind)
    found = tuple(kind for kind in dict.fromkeys(theirs) if not issubclass(BlasError, kind))
    if not found:
        return BlasError
    if found not in _kinds:
        names = {"__module__": BlasError.__module__, "__doc__": BlasError.__doc__}
        _kinds[found] = type("BlasError", (BlasError, *found), names)
    return _kinds[found]


class VectorError(PiblasError, ValueError):
    """A vector function is wrong, or a call of it; no array was written.

    Attributes: ``function`` (its name), ``position`` (of the op in its list, from 0; or None),
    ``op`` (as it was written; or None) and ``where`` ("file:line" of a traced function, or None).
    """

    def __init__(
        self,
        function: str,
        message: str,
        *,
        position: Optional[int] = None,
        op: Any = None,
        where: Optional[str] = None,
    ) -> None:
        self.function, self.position, self.op, self.where = function, position, op, where
        at = "" if position is None else f" op {position}"
        what = "" if op is None else f" {op if isinstance(op, str) else brief(op)}"
        text = f"{function}:{at}{what}{':' if at or what else ''} {_words(message)}"
        super().__init__(f"{where}: {text}" if where else text)


class DeviceError(PiblasError, RuntimeError):
    """A device could not be opened or used."""


class DeviceBusy(DeviceError):
    """The device is in use by another process, which the message names."""


class DeviceMissing(DeviceError):
    """This computer has no such device: nothing is wrong and nothing could be set right."""


class DeviceTimeout(DeviceError):
    """A launch did not end in time; ``details`` says where each QPU stood, when known."""

    def __init__(self, message: str, details: Optional[str] = None) -> None:
        self.details = details
        super().__init__(message if not details else f"{message}\n{details}")


class OutOfDeviceMemory(DeviceError, MemoryError):
    """The device has no room for a buffer of the wanted size."""


class EmulatorFault(DeviceError):
    """A program did something on the emulator whose result the chip does not define.

    Attributes: ``qpu``, ``thread`` (0 or 1, or None where the QPU has one), ``pc`` (index of the
    instruction word), ``instruction`` (disassembled), ``unit`` ("tmu", "vdw", ...), ``address``
    (bus address, or None), ``reason``, and ``rule``: the name of the rule of ``strict`` that was
    broken, for ``Emulator(keep_going=[rule])``, or None where no program can go on.
    """

    def __init__(
        self,
        reason: str,
        *,
        qpu: int,
        pc: int,
        instruction: str,
        unit: str,
        address: Optional[int] = None,
        thread: Optional[int] = None,
        rule: Optional[str] = None,
    ) -> None:
        self.reason = reason
        self.rule = rule
        self.qpu = qpu
        self.thread = thread
        self.pc = pc
        self.instruction = instruction
        self.unit = unit
        self.address = address
        at = "" if address is None else f" at bus address {address:#010x}"
        who = f"QPU {qpu}" if thread is None else f"QPU {qpu}, thread {thread}"
        super().__init__(f"{who}, pc {pc} [{instruction}]: {unit}: {reason}{at}")
