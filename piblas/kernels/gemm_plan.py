"""Where everything of a step of k goes: register files, order of the products, places of the rest.

The micro-kernel (:mod:`.gemm`) multiplies ``rows`` scalars of P by ``vectors`` vectors of Q in each
step.  Vector after vector stands in r4; each is multiplied by all scalars, a *block* of ``rows``
products.  A product and the sum of the one before share a word, ``fadd d, d, t; fmul t, s, r4``,
which is one word a multiply-add as long as

- s and d lie in different register files, since a word reads one register of each;
- the rest, which also wants a unit, is evenly mixed in: a request of the next step's lines or a
  pointer on the add unit beside a product, then the load of a scalar on the mul unit beside the sum
  that was left over.  Such pairs leave the rhythm as it was.

Scalars come from the uniform stream, whose queue holds two words: a line is asked for when the last
word but one of the line before is read, and its latency is hidden only if its first word is read
late enough.  So there is a gap between these two loads, and the others are evenly spread over the
rest.  A scalar of the next step is loaded while the step runs, so it takes two registers; of the
last ``single`` rows it takes one, because the last block begins with these rows and the first block
ends with them, and the time in between is enough to load them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

__all__ = ["FILE_SIZE", "Advance", "KStep", "files_of"]

FILE_SIZE = 32
NEAR = 5
"""How far a load may be moved to suit the register files."""
SHIFTS = range(-4, 5)
"""How far all of them are moved, to find where they fit best."""
LINE_WORDS = 16
"""Uniforms of a line."""
COUNT_BEFORE = 14
"""Products between the counting of an iteration and the first operation that depends on it."""
Product = Tuple[int, int, int]
"""Step within the iteration, vector, row."""


class Advance(NamedTuple):
    """An add operation that fetches Q, beside the products of a step.

    With ``v``, a request of line v, which lies ``lines`` lines from the pointer.  Without, the
    pointer moves on by ``lines`` lines, or to the lines of the next step if that is None.
    """

    v: Optional[int]
    lines: Optional[int]


class Load(NamedTuple):
    """A scalar of a row that is loaded for a step (``unroll`` is the next iteration's first), on
    the mul unit or on either, and whether it is the first word of a line of the stream."""

    row: int
    step: int
    unit: Optional[str]
    line: bool


def files_of(rows: int, vectors: int, single: int, levels: int = 1) -> Tuple[str, ...]:
    """The register file of each row's scalar, so that both files are filled alike.

    Neighbours share a file but for a few places, because the sums of a row lie in the file opposite
    to the next row's scalar; the first row and the first single one lie in the same file, because
    either may follow the last row or the last double one.
    """
    if not single:
        return ("A",) * ((rows + 1) // 2) + ("B",) * (rows // 2)
    double = rows - single
    ways = [
        ("A",) * first + ("B",) * (double - first) + ("A",) * more + ("B",) * (single - more)
        for more in range(single, 0, -1)
        for first in range(1, double + 1)
    ]
    return min(ways, key=lambda files: max(registers(files, vectors, double, levels)))


def registers(
    files: Sequence[str], vectors: int, double: int, levels: int = 1
) -> Tuple[int, int]:
    """Registers in file A and B that scalars and sums take; a second level of sums lies in the
    other file than the first."""
    scalars = {"A": 0, "B": 0}
    for row, file in enumerate(files):
        scalars[file] += 2 if row < double else 1
    in_a = files.count("A")
    if levels == 2:
        return vectors * len(files) + scalars["A"], vectors * len(files) + scalars["B"]
    return vectors * (len(files) - in_a) + scalars["A"], vectors * in_a + scalars["B"]


@dataclasses.dataclass(frozen=True)
class KStep:
    """The plan of an iteration of ``unroll`` steps of a tile of ``rows`` x ``vectors``.

    ``files`` are those of the scalars; a narrower tile than the one that ``files`` were chosen for
    is fine.  Lines up to ``reach`` lines away from the pointer are requested without moving it.
    There are ``levels`` levels of sums, 1 or 2.
    """

    rows: int
    vectors: int
    unroll: int
    single: int
    files: Tuple[str, ...]
    reach: int
    levels: int = 1

    def file_of_sum(self, row: int) -> str:
        """Opposite to the next row's scalar."""
        return "B" if self.files[(row + 1) % self.rows] == "A" else "A"

    def file_of_second(self, row: int) -> str:
        """Of the second level of sums: opposite to the first."""
        return "A" if self.file_of_sum(row) == "B" else "B"

    @property
    def ahead(self) -> int:
        """Steps between the request of a line and its use: one, or more where they are short, but
        less than an iteration, so that only the last one requests steps beyond the run."""
        return min(3, self.unroll - 1) if self.vectors == 1 and self.rows <= 8 else 1

    @property
    def double(self) -> int:
        """Rows whose scalars have two registers."""
        return self.rows - self.single

    def spare_files(self, count: int) -> List[str]:
        """Register files for ``count`` other values, besides scalars and sums: the emptier file
        each time."""
        used = {"A": 0, "B": 0}
        for row, file in enumerate(self.files):
            used[file] += 1 if row >= self.double else 2
            used[self.file_of_sum(row)] += self.vectors
            if self.levels == 2:
                used[self.file_of_second(row)] += self.vectors
        found = []
        for _ in range(count):
            file = min("AB", key=lambda name: used[name])
            used[file] += 1
            found.append(file)
        return found

    @property
    def slots(self) -> float:
        """Instruction words of a step, loop and gaps left out."""
        return self.rows * self.vectors + (self.rows + len(self.advance)) / 2

    @property
    def products(self) -> List[Product]:
        """All products of an iteration in order."""
        rows = list(range(self.rows))
        last = rows[self.double :] + rows[: self.double]
        return [
            (step, v, row)
            for step in range(self.unroll)
            for v in range(self.vectors)
            for row in (last if v + 1 == self.vectors else rows)
        ]

    def tmu(self, step: int, v: int) -> int:
        """The TMU for a line.  It alternates from step to step, so that a line that shares its set
        with that of the next step stays for two steps.  With an odd number of lines a step it does
        not alternate every second time, or each TMU would see lines of one parity only and use half
        of its direct-mapped cache."""
        step %= self.unroll
        return (step + (step // 2 if self.vectors % 2 else 0) + v) % 2

    @property
    def first(self) -> int:
        """The line of a step at which the pointer begins: it reaches lines on both sides."""
        return min(self.reach, self.vectors - 1)

    @property
    def advance(self) -> List[Advance]:
        """What is requested in a step, in order, and the moves of the pointer that this takes."""
        found, pointer = [], self.first
        for v in range(self.vectors):
            if v > pointer + self.reach:
                move = min(self.reach, self.vectors - v)
                found.append(Advance(None, move))
                pointer += move
            found.append(Advance(v, v - pointer))
        return [*found, Advance(None, None)]

    @property
    def moved(self) -> int:
        """Lines that the pointer moves within a step."""
        return sum(one.lines or 0 for one in self.advance if one.v is None)

    def _windows(self) -> List[Tuple[int, int]]:
        """For each scalar loaded in an iteration, the first and the last product beside which that
        may be: all in order, one a product, none before its register is free or after its use."""
        size = self.rows * self.vectors
        turned = self.vectors == 1  # the first block is the last one too
        lows, highs = [], []
        for word in range(self.rows * self.unroll):
            step, row = divmod(word, self.rows)
            first_use = (row - self.double) % self.rows if turned else row
            single = row >= self.double  # free once the row has had its last product
            lows.append(step * size + (size - self.rows + 1 + row - self.double if single else 1))
            highs.append(step * size + size + first_use - 1)
        for word in range(1, len(lows)):
            lows[word] = max(lows[word], lows[word - 1] + 1)
        for word in reversed(range(len(highs) - 1)):
            highs[word] = min(highs[word], highs[word + 1] - 1)
        return list(zip(lows, highs))

    def begins_line(self, word: int) -> bool:
        """Whether the scalar that an iteration loads as number ``word`` is the first of a line of
        the stream, at least in some iterations.  What is loaded belongs to a step later."""
        return (word + self.rows) % self._line_words == 0

    @property
    def _gap(self) -> float:
        """Products in which a line of uniforms arrives."""
        from ..codegen.pack import LINE_SLOTS  # here, as only the generator asks

        return LINE_SLOTS * self.rows * self.vectors / self.slots

    @property
    def _line_words(self) -> int:
        """At each multiple of so many words of an iteration a line of the stream may begin."""
        return math.gcd(self.rows * self.unroll, LINE_WORDS)

    def _wanted(self) -> List[float]:
        """Where the scalars would best be loaded if there were no bounds, from anywhere on.

        Evenly up to a line's last word but one, with which the next line is asked for; then comes a
        gap of ``LINE_SLOTS`` instruction words.
        """
        count, words = self.rows * self.unroll, self._line_words
        line = words * self.vectors
        gap = min(self._gap, 0.75 * line)
        apart = (line - max(gap, 2 * self.vectors)) / max(words - 2, 1)
        wanted = []
        for word in range(self.rows, self.rows + count):
            number, place = divmod(word, words)
            at = place * apart if place < words - 1 else line - gap / 2
            wanted.append(number * line + at)
        return wanted

    @functools.cached_property
    def places(self) -> List[int]:
        """Beside which product of an iteration each scalar is loaded.

        As wanted, but moved a little where the sum of the product before, with which a load shares
        its word, would be written to the same register file.
        """
        windows, wanted = self._windows(), self._wanted()
        # A register file delivers what is written two words later, so where there is room, a
        # single row's register is left alone for a word more after its last use, before its first.
        spare = [
            word % self.rows >= self.double and high - low > 2
            for word, (low, high) in enumerate(windows)
        ]
        apart = [(low + by, high - by) for (low, high), by in zip(windows, spare)]
        for bounds in (apart, windows):
            least = max(low - want for (low, _), want in zip(bounds, wanted))
            most = min(high - want for (_, high), want in zip(bounds, wanted))
            middle = (least + most) / 2
            tried = [self._placed(bounds, [want + middle + by for want in wanted]) for by in SHIFTS]
            found = [one for one in tried if one is not None]
            if found:
                return min(found, key=lambda one: one[0])[1]
        raise ValueError(f"gemm: no place to load scalars in {self}")

    def _placed(
        self, windows: Sequence[Tuple[int, int]], wanted: Sequence[float]
    ) -> Optional[Tuple[float, List[int]]]:
        """Places near the wanted ones, and how bad they are; None if there are none."""
        products, count = self.products, len(wanted)
        total, gap = len(products), self._gap
        other = [self.file_of_sum(row) for _, _, row in products]  # of the sum a word later
        found: List[int] = []
        cost = 0.0
        for word, ((low, high), want) in enumerate(zip(windows, wanted)):
            if found:
                low = max(low, found[-1] + 1)
                high = min(high, found[0] + total - (count - word))  # room for the words behind
            if low > high:
                return None
            line = word >= 2 and self.begins_line(word)
            if line:
                low = min(high, max(low, found[-2] + math.ceil(gap)))
            near = range(max(low, math.ceil(want - NEAR)), min(high, math.floor(want + NEAR)) + 1)
            file = self.files[word % self.rows]
            fits = [at for at in near if other[(at - 1) % total] != file]
            # One word more to the first product is better: no register is read in the next word.
            best = min(
                fits or near or (low if want < low else high,),
                key=lambda at: (at == high, abs(at - want), -at),
            )
            cost += abs(best - want) / count + (0 if fits else 2)
            if line:
                cost += max(0.0, gap - (best - found[-2]))
            found.append(best)
        return cost, found

    def loads(self) -> Dict[int, Load]:
        """Product of an iteration beside which a scalar is loaded -> what is loaded.

        Place 0 is the end of the iteration.
        """
        size = self.rows * self.vectors
        total = size * self.unroll
        requests, alone = self.requests(), 0
        found = {}
        for word, at in enumerate(self.places):
            step, row = divmod(word, self.rows)
            step += 1 - self.unroll if at > total else 1
            alone += at % total not in requests
            mul = at % total in requests or alone % 2 == 1
            found[at % total] = Load(row, step, "mul" if mul else None, self.begins_line(word))
        return found

    def first_loads(self) -> List[int]:
        """The rows whose scalars must be there before the first iteration."""
        inside = {load.row for load in self.loads().values() if load.step == 0}
        return [row for row in range(self.rows) if row not in inside]

    def requests(self) -> Dict[int, List[Tuple[int, Advance]]]:
        """Product -> (step, operation of ``advance``) beside it, each beside a load too if it can.

        Steps count from the first of the iteration; those from ``unroll`` on belong to the next.
        """
        size = self.rows * self.vectors
        total = size * self.unroll
        free = sorted(place % total or total for place in self.places)
        placed: Dict[int, List[Tuple[int, Advance]]] = {}
        before = 1
        for step in range(self.unroll):
            v = 0
            for one in self.advance:
                v = v if one.v is None else one.v
                at = max(before, step * size + v * self.rows + 1)
                beside = [place for place in free if at <= place < at + self.rows + 3]
                if beside:
                    at = beside[0]
                    free.remove(at)
                placed.setdefault(at % total, []).append((step + self.ahead, one))
                before = at
        return placed

    def in_last_only(self, step: int, one: Advance) -> bool:
        """Whether an operation moves the pointer beyond the last step of a run, if its iteration is
        the last."""
        return one.v is None and step >= self.unroll - (one.lines is None)

    def count_at(self) -> int:
        """Product of an iteration beside which the iterations are counted: early enough for the
        first operation that depends on it."""
        total = self.rows * self.vectors * self.unroll
        first = min(
            at or total
            for at, operations in self.requests().items()
            if any(self.in_last_only(*operation) for operation in operations)
        )
        return max(0, first - COUNT_BEFORE)
