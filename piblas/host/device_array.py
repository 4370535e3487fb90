"""The class of arrays in device memory, and what NumPy makes of them.

NumPy hands its universal functions, its other functions and its methods to the class
(``__array_ufunc__``, ``__array_function__``).  Products go on to :mod:`piblas.protocols`, which is
loaded when the first one comes; everything else is computed by NumPy from views of class ndarray,
and what comes back is given the class that the rule in :class:`DeviceArray` says.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import Device
from .placement import home, owner, taken

__all__ = ["DeviceArray", "PROTOCOLS"]

_FLOAT32 = np.dtype(np.float32)
_matmul = np.matmul

PROTOCOLS = f"{__package__.rpartition('.')[0]}.protocols"
"""By name, as it is above this package: what NumPy hands to the class leads to calls."""

_loaded: Any = None

if TYPE_CHECKING:
    _Seen = List[Tuple[np.ndarray, "DeviceArray"]]


def _protocols() -> Any:
    global _loaded
    if _loaded is None:
        _loaded = importlib.import_module(PROTOCOLS)
    return _loaded


# --- to NumPy and back ---------------------------------------------------------------------------


def _plain(value: Any, seen: _Seen) -> Any:
    """The value with views of class ndarray in place of device arrays, which ``seen`` notes."""
    if isinstance(value, DeviceArray):
        for view, original in seen:
            if original is value:
                return view
        view = value.view(np.ndarray)
        seen.append((view, value))
        return view
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([_plain(each, seen) for each in value])
    if kind is dict:
        return {name: _plain(each, seen) for name, each in value.items()}
    return value


def _classed(made: Any, seen: _Seen) -> Any:
    """What NumPy made of plain views: those of the same memory become device arrays again."""
    if type(made) is np.ndarray:
        for view, original in seen:
            if made is view:
                return original
        last = owner(made) if seen else None
        for view, original in seen:
            if owner(view) is last:
                return made.view(type(original))
        return made
    if isinstance(made, tuple):
        items = [_classed(each, seen) for each in made]
        if type(made) is tuple:
            return tuple(items)
        return type(made)._make(items) if hasattr(made, "_make") else made
    if type(made) is list:
        return [_classed(each, seen) for each in made]
    return made


def _by_numpy(function: Callable[..., Any], args: Sequence[Any], kwargs: Dict[str, Any]) -> Any:
    seen: _Seen = []
    given = [_plain(value, seen) for value in args]
    made = function(*given, **_plain(kwargs, seen)) if kwargs else function(*given)
    return _classed(made, seen)


def _foreign(kind: type, protocol: str, self: "DeviceArray") -> bool:
    """Whether a class has the protocol in a way of its own, so that it is to be asked first."""
    own = getattr(kind, protocol, None)
    if own is None or own is getattr(np.ndarray, protocol):
        return False
    return own is not getattr(DeviceArray, protocol) and not isinstance(self, kind)


class DeviceArray(np.ndarray):
    """An array whose memory the QPUs see; made by ``piblas.array`` and its like.

    Where things lie, and of what class they are:

    - A view of a device array (a slice, a transpose, ``reshape``, ``np.split``, a result written by
      ``out=`` or in place) is a device array, whoever makes it but ``np.lib.stride_tricks``.
    - Products of float32 arrays are computed where ``piblas.use`` aims calls at: ``@``, ``dot`` and
      ``np.matmul``, ``dot``, ``vdot``, ``inner``, ``outer``, ``tensordot``, ``einsum``,
      ``np.linalg.multi_dot``, ``matrix_power`` and ``norm`` (of 2).  A product of arrays that all
      lie on that device is a device array there; where an operand is an ordinary array, or the
      device has no room for the result, it is an ordinary array.  They are in C order, as
      NumPy's, but for those of ``einsum``.
    - A copy is a device array on the same device: ``copy``, ``copy.copy``, ``copy.deepcopy``,
      ``astype(np.float32)``, ``np.empty_like``, ``zeros_like``, ``ones_like``, ``full_like`` of the
      same type or float32.
    - Everything else is NumPy's and gives ordinary arrays and numbers, of NumPy's values, types and
      errors: arithmetic, sums, indexing by arrays or booleans, ``astype`` to other types,
      ``np.array``, ``np.copy``.  So does ``pickle``, as whoever reads may have no device.  Products
      with other types (float64, integers, complex numbers), with ``dtype=`` or the like, of empty
      or 0-d arrays, and those for which there is no device, are among these.

    ``np.asarray`` gives a view of class ndarray; calls of piblas find the memory of that, too.

    A device array in ordinary memory (made where there was no device) follows the same rules; its
    copies are in ordinary memory, and so are those of arrays whose device was closed, which stay
    readable.  A call that is aimed at a closed device raises :class:`~piblas.errors.DeviceError`.
    """

    @property
    def on_device(self) -> Optional[Device]:
        """The device in whose memory it lies; None for ordinary memory."""
        return home(self)

    # --- protocols -----------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is _matmul and method == "__call__":
            made = _protocols().matmul(inputs, kwargs)
            if made is not None:
                return made
        for value in (*inputs, *kwargs.get("out", ())):
            if _foreign(type(value), "__array_ufunc__", self):
                return NotImplemented
        return _by_numpy(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        for kind in types:
            if _foreign(kind, "__array_function__", self):
                return NotImplemented
        protocols = _protocols()
        ours = protocols.FUNCTIONS.get(func)
        if ours is not None:
            made = ours(*args, **kwargs)
            if made is not None:
                return made
        elif func in protocols.AS_THEY_ARE:
            return super().__array_function__(func, types, args, kwargs)
        return _by_numpy(func, args, kwargs)

    def __array_wrap__(self, made: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """For NumPy's methods and other code that calls it."""
        if return_scalar:
            return made[()]
        plain = made.view(np.ndarray)
        return plain.view(type(self)) if owner(made) is owner(self) else plain

    # --- products ------------------------------------------------------------------------------

    def dot(self, b: Any, out: Any = None) -> Any:
        """As ``np.dot(self, b, out)``."""
        return np.dot(self, b, out)

    # --- copies --------------------------------------------------------------------------------

    def _unset(self, dtype: Any, order: Any, shape: Any = None) -> Any:
        """An array of any contents that NumPy's ``empty_like`` would give, on the same device."""
        form = np.empty_like(self.view(np.ndarray), dtype, order, False, shape)
        device = home(self)
        if device is None or not device.is_open or form.size == 0 or form.dtype.hasobject:
            made = form
        else:
            room = np.asarray(taken(device, form.nbytes))
            made = np.ndarray(form.shape, form.dtype, room, 0, form.strides)
        view = made.view(type(self))
        if type(self) is not DeviceArray:
            view.__array_finalize__(self)
        return view

    def copy(self, order: Any = "C") -> Any:
        """A copy on the same device; ``order`` as NumPy's."""
        made = self._unset(None, order)
        np.copyto(made.view(np.ndarray), self.view(np.ndarray))
        return made

    def __copy__(self) -> Any:
        return self.copy("K")

    def __deepcopy__(self, memo: Any) -> Any:
        if self.dtype.hasobject:
            return _by_numpy(np.ndarray.__deepcopy__, (self, memo), {})
        return self.copy("K")

    def astype(  # type: ignore[override]
        self, dtype: Any, order: Any = "K", casting: Any = "unsafe", subok: bool = True,
        copy: bool = True,
    ) -> Any:  # fmt: skip
        """As NumPy's; what is float32 then is on the same device, any other type an ordinary
        array."""
        if np.dtype(dtype) == _FLOAT32 and subok and np.can_cast(self.dtype, _FLOAT32, casting):
            plain = self.view(np.ndarray)
            if self.dtype == _FLOAT32 and not copy and plain.astype(
                _FLOAT32, order, casting, True, False
            ) is plain:
                return self
            made = self._unset(_FLOAT32, order)
            np.copyto(made.view(np.ndarray), plain, casting="unsafe")
            return made
        return _by_numpy(np.ndarray.astype, (self, dtype, order, casting, subok, copy), {})

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)

    # --- elements ------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        made = super().__getitem__(key)
        if isinstance(made, DeviceArray):
            base = made.base
            if base is self or base is self.base or owner(made) is owner(self):
                return made
            return made.view(np.ndarray)
        return made

    @property
    def flat(self) -> Any:
        return self.view(np.ndarray).flat

    @flat.setter
    def flat(self, value: Any) -> None:
        self.view(np.ndarray).flat = value  # type: ignore[misc]

    @property
    def imag(self) -> Any:
        seen: _Seen = []
        return _classed(_plain(self, seen).imag, seen)

    @imag.setter
    def imag(self, value: Any) -> None:
        self.view(np.ndarray).imag = value


def _method(name: str) -> Any:
    """A method of NumPy's that may give an array in other memory, and would give it this class.

    Sums and the like are universal functions to NumPy, and other methods give views.
    """
    of_numpy = getattr(np.ndarray, name)

    def method(self: DeviceArray, *args: Any, **kwargs: Any) -> Any:
        return _by_numpy(of_numpy, (self, *args), kwargs)

    method.__name__, method.__qualname__ = name, f"DeviceArray.{name}"
    method.__doc__ = of_numpy.__doc__
    return method


for _name in (
    "argmax", "argmin", "argpartition", "argsort", "byteswap", "choose", "clip", "compress",
    "cumprod", "cumsum", "flatten", "nonzero", "ravel", "repeat", "reshape", "round",
    "searchsorted", "take", "trace",
):  # fmt: skip
    setattr(DeviceArray, _name, _method(_name))
