"""Arrays as bare pointers in compiled code.

A NumPy array in numba is seven values and a reference count, paid for at every call.  A
:class:`Flat` is one pointer: element type and row length are part of its type, nothing is counted,
and the caller keeps the array alive.  ``flat[i]`` and ``flat[row, column]`` read an int64 (sign or
zero extended) and store the low bits of an integer.
"""

from __future__ import annotations

import operator

from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic

__all__ = ["Flat", "pointer"]


class Flat(types.Type):
    """A pointer to elements of an integer type, in rows of ``width``."""

    def __init__(self, dtype, width):
        self.dtype = dtype
        self.width = width
        super().__init__(name=f"Flat({dtype}, {width})")


@register_default(Flat)
class _FlatModel(PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, dmm.lookup(fe_type.dtype).get_data_type().as_pointer())


def _is_index(flat, index):
    if isinstance(index, types.Integer):
        return flat.width == 1
    return (
        isinstance(index, types.BaseTuple)
        and len(index) == 2
        and all(isinstance(item, types.Integer) for item in index)
    )


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args, kws):
        flat, index = args
        if isinstance(flat, Flat) and _is_index(flat, index):
            return signature(types.int64, flat, index)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args, kws):
        flat, index, value = args
        if isinstance(flat, Flat) and _is_index(flat, index):
            return signature(types.none, flat, index, types.int64)
        return None


def _address(context, builder, flat_type, flat, index_type, index):
    if isinstance(index_type, types.Integer):
        place = context.cast(builder, index, index_type, types.int64)
    else:
        parts = cgutils.unpack_tuple(builder, index, 2)
        row, column = (
            context.cast(builder, part, part_type, types.int64)
            for part, part_type in zip(parts, index_type)
        )
        width = context.get_constant(types.int64, flat_type.width)
        place = builder.add(builder.mul(row, width), column)
    return builder.gep(flat, [place])


@lower_builtin(operator.getitem, Flat, types.Any)
def _load(context, builder, sig, args):
    flat_type, index_type = sig.args
    value = builder.load(_address(context, builder, flat_type, args[0], index_type, args[1]))
    return context.cast(builder, value, flat_type.dtype, types.int64)


@lower_builtin(operator.setitem, Flat, types.Any, types.int64)
def _store(context, builder, sig, args):
    flat_type, index_type, _ = sig.args
    value = context.cast(builder, args[2], types.int64, flat_type.dtype)
    builder.store(value, _address(context, builder, flat_type, args[0], index_type, args[1]))
    return context.get_dummy_value()


@intrinsic
def pointer(typingctx, array):
    """The :class:`Flat` of a contiguous array: rows of 1 for one dimension.

    The row length of a two-dimensional array must be known to the type, so such arrays are passed
    flat, and :func:`rows` says how they are divided.
    """
    flat = Flat(array.dtype, 1)

    def codegen(context, builder, sig, args):
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return flat(array), codegen


def rows(width):
    """A compiled function: contiguous two-dimensional array with ``width`` columns -> Flat."""

    @intrinsic
    def pointer_to_rows(typingctx, array):
        flat = Flat(array.dtype, width)

        def codegen(context, builder, sig, args):
            return context.make_array(sig.args[0])(context, builder, args[0]).data

        return flat(array), codegen

    return pointer_to_rows
