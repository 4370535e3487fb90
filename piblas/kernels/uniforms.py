"""The uniform streams of a launch as one array of words, with what is filled in for each call.

A launch gives every QPU a stream of 32-bit words.  Most of them depend on sizes and strides only,
so they are made once, by array operations, and kept in a plan.  What changes from call to call is
filled in at known places (:meth:`Streams.fill`):

- *addresses*: the words at these places hold a byte offset, to which the bus address of an operand
  (or, as :data:`OWN`, of the stream itself) is added;
- *values*: float32 numbers of the call, such as alpha or the elements of a short vector.

:func:`flatten` makes the array from a table of records: a row holds the words of one piece of work,
a mask says which of its columns are used.  :func:`placed` is for records of any length, which are
then written where it says (:func:`put`, :func:`runs`).
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

__all__ = ["INDEX", "OWN", "Streams", "aligned", "flatten", "placed", "put", "runs"]

OWN = "own"
"""The name of the address at which the streams themselves lie."""

PREFETCH = 16
"""Words after the last stream that the chip may fetch ahead (a line of 64 bytes)."""

INDEX = np.dtype(np.int32)
"""What indices are kept as."""


class Streams:
    """``words`` (uint32) of all streams; ``starts``, the index of the first word of each QPU's.

    ``addresses`` maps a name to the indices of the words to which its bus address is added;
    ``values`` maps a name to (indices of words, indices into that value's elements).  ``lengths``
    is the number of words of each QPU's stream, where somebody needs the streams one by one.
    """

    __slots__ = ("addresses", "lengths", "starts", "values", "words")

    def __init__(
        self,
        words: np.ndarray,
        starts: np.ndarray,
        addresses: Mapping[str, np.ndarray],
        values: Mapping[str, Tuple[np.ndarray, np.ndarray]],
        lengths: Optional[np.ndarray] = None,
    ) -> None:
        self.words, self.starts, self.lengths = words, starts, lengths
        self.addresses, self.values = addresses, values

    @property
    def n_qpus(self) -> int:
        """QPUs that have a stream."""
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        """Size of all streams in device memory."""
        return int(self.words.nbytes)

    @property
    def kept_bytes(self) -> int:
        """Host memory that this object takes."""
        indices = [*self.addresses.values(), *(x for pair in self.values.values() for x in pair)]
        return int(self.words.nbytes + sum(each.nbytes for each in indices))

    def fill(
        self,
        out: np.ndarray,
        addresses: Mapping[str, int],
        values: Mapping[str, np.ndarray],
    ) -> None:
        """Write the words for a call into ``out`` (uint32, one element per word).

        ``addresses`` holds a bus address for each name, ``values`` a float32 array for each.
        """
        words = self.words.copy()  # device memory may be uncached: it is written once, and not read
        for name, index in self.addresses.items():
            words[index] += np.uint32(addresses[name] & 0xFFFFFFFF)
        self.fill_values(words, values)
        out[...] = words

    def fill_values(self, out: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Write the values alone, into words that have their addresses already."""
        for name, (index, source) in self.values.items():
            out[index] = values[name].view(np.uint32)[source]

    def filled(
        self, addresses: Mapping[str, int], values: Mapping[str, np.ndarray]
    ) -> List[np.ndarray]:
        """The words of each QPU's stream for a call, as uint32 arrays; arguments as :meth:`fill`'s.

        Only where :attr:`lengths` is known.
        """
        assert self.lengths is not None
        words = np.empty_like(self.words)
        self.fill(words, addresses, values)
        return [words[at : at + count] for at, count in zip(self.starts, self.lengths)]

    def entries(self, own: int) -> List[int]:
        """The bus address of each QPU's stream where the words lie at bus address ``own``."""
        entries: List[int] = (own + 4 * self.starts).tolist()
        return entries


def flatten(
    words: np.ndarray,
    kept: np.ndarray,
    owner: np.ndarray,
    addresses: Mapping[str, np.ndarray],
    values: Mapping[str, Tuple[np.ndarray, np.ndarray]],
    own_next: Sequence[int] = (),
    front: Optional[np.ndarray] = None,
) -> Streams:
    """Streams from a table of records.

    ``words`` (records x columns) holds the words, of which those marked in ``kept`` (bool, the same
    shape) are used; ``owner`` says which QPU each record belongs to, whose records are taken in the
    order of the table.  ``addresses[name]`` marks (bool, the same shape, or one element per column)
    the words that an address is added to; ``values[name]`` is such a mask and for each word, or for
    each record, the index of the value's element.  A word in one of the columns ``own_next`` points
    into the streams themselves: the table holds how many words after itself, and it becomes a byte
    offset to :data:`OWN`.  ``front`` (uint32) are words that lie before all streams, at
    :data:`OWN`.
    """
    order = owner.argsort(kind="stable")
    kept = kept[order]
    of_row, of_column = kept.nonzero()
    chosen = words[order].astype(np.int64)[kept]
    before = 0 if front is None else front.size
    counts = np.bincount(owner[order][of_row])
    starts = before + np.concatenate(([0], counts.cumsum()[:-1]))

    def marked(mask: np.ndarray) -> np.ndarray:
        return (mask[of_column] if mask.ndim == 1 else mask[order][kept]).nonzero()[0]

    places: Dict[str, np.ndarray] = {name: marked(mask) for name, mask in addresses.items()}
    if len(own_next):
        columns = np.zeros(words.shape[1], dtype=bool)
        columns[list(own_next)] = True
        at = marked(columns)
        chosen[at] = 4 * (before + at + chosen[at])
        places[OWN] = np.concatenate((places[OWN], at)) if OWN in places else at
    filled = {}
    for name, (mask, source) in values.items():
        at = marked(mask)
        of_word = source[order][of_row[at]]
        if source.ndim == 2:
            of_word = of_word[np.arange(at.size), of_column[at]]
        filled[name] = ((before + at).astype(INDEX), of_word.astype(INDEX))
    array = np.zeros(before + chosen.size + PREFETCH, dtype=np.uint32)
    if front is not None:
        array[:before] = front
    array[before : before + chosen.size] = chosen & 0xFFFFFFFF
    indices = {name: (before + at).astype(INDEX) for name, at in places.items() if at.size}
    return Streams(array, starts, indices, filled, counts)


# --- records of any length -----------------------------------------------------------------------


def aligned(lengths: np.ndarray) -> Tuple[np.ndarray, int]:
    """(the first word of each QPU's stream, words of all) for streams of these lengths (int64).

    A stream begins on a line of 64 bytes, so that what a QPU's fetches take does not depend on the
    streams of others, and ends at least a line before the next.
    """
    room = (-(-lengths // PREFETCH) + 1) * PREFETCH
    ends = room.cumsum()
    return ends - room, int(ends[-1])


def placed(
    owner: np.ndarray, lengths: np.ndarray, n_qpus: int
) -> Tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Where records of any length go: (the first word of each record; first word and number of
    words of each QPU's stream, as :func:`aligned` has them; words of all).

    Record i of ``lengths[i]`` words (int64) belongs to QPU ``owner[i]``; the records of a QPU
    follow one another in the order given.  Each of the ``n_qpus`` has at least one.
    """
    order = owner.argsort(kind="stable")
    ends = lengths[order].cumsum()
    counts = np.bincount(owner.astype(np.intp), lengths, n_qpus).astype(np.int64)
    starts, size = aligned(counts)
    moved = starts - (counts.cumsum() - counts)
    places = np.empty_like(lengths)
    places[order] = ends - lengths[order] + moved[owner[order]]
    return places, starts, counts, size


def put(words: np.ndarray, places: np.ndarray, *columns: Any) -> None:
    """Write records of one length: word k of each is ``columns[k]``, a number or an array that has,
    or is broadcast to, the shape of ``places``."""
    for number, column in enumerate(columns):
        words[places + number] = column


def runs(first: np.ndarray, counts: np.ndarray, step: int = 1) -> np.ndarray:
    """``counts[i]`` numbers (int64) from ``first[i]``, ``step`` apart, for each i in turn."""
    begins = counts.cumsum() - counts
    made = (first - step * begins).repeat(counts.astype(np.intp))
    return made + step * np.arange(made.size, dtype=np.int64)
