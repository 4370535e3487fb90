"""Where everything of a step of k goes: register files, order of the products, places of the rest.

The micro-kernel (:mod:`.gemm`) multiplies ``rows`` scalars of P by ``vectors`` vectors of Q in each
step.  Vector after vector stands in r4; each is multiplied by all scalars, a *block* of ``rows``
products.  A product and the sum of the one before share a word, ``fadd d, d, t; fmul t, s, r4``,
which is one word a multiply-add as long as

- s and d lie in different register files, since a word reads one register of each;
- the rest, which also wants a unit, is evenly mixed in: a request of the next step's lines or a
  pointer on the add unit beside a product, then the load of a scalar on the mul unit beside the sum
  that was left over.  Such pairs leave the rhythm as it was.

Scalars come from the uniform stream, evenly spread, since the queue of two words behind it hides
the latency of a line only if words are taken slowly.  A scalar of the next step is loaded while the
step runs, so it takes two registers; of the last ``single`` rows it takes one, because the last
block begins with these rows and the first block ends with them, and the time in between is enough
to load them.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Optional, Tuple

__all__ = ["FILE_SIZE", "KStep", "files_of"]

FILE_SIZE = 32
NEAR = 5
"""How far a load may be moved to suit the register files."""
Product = Tuple[int, int, int]
"""Step within the iteration, vector, row."""


def files_of(rows: int, vectors: int, single: int) -> Tuple[str, ...]:
    """The register file of each row's scalar, so that both files are filled alike.

    Neighbours share a file but for two places, because the sums of a row lie in the file opposite
    to the next row's scalar; the first row and the first single one lie in the same file, because
    either may follow the last row or the last double one.
    """
    if not single:
        return ("A",) * ((rows + 1) // 2) + ("B",) * (rows // 2)
    best = min(
        range(1, rows - single + 1),
        key=lambda first: max(registers(rows, vectors, single, first)),
    )
    return ("A",) * best + ("B",) * (rows - single - best) + ("A",) * single


def registers(rows: int, vectors: int, single: int, first: int) -> Tuple[int, int]:
    """Registers in file A and B if the ``first`` rows and the single ones have scalars in A."""
    in_a = first + single
    return (
        vectors * (rows - in_a) + 2 * first + single,
        vectors * in_a + 2 * (rows - in_a),
    )


@dataclasses.dataclass(frozen=True)
class KStep:
    """The plan of an iteration of ``unroll`` steps of a tile of ``rows`` x ``vectors``.

    ``files`` are those of the scalars; a narrower tile than the one that ``files`` were chosen for
    is fine.  ``advance`` are the add operations beside the products of a step: (v, False) asks for
    vector v of the next step, (v, True) moves the pointer on.
    """

    rows: int
    vectors: int
    unroll: int
    single: int
    files: Tuple[str, ...]
    chain: int

    def file_of_sum(self, row: int) -> str:
        """Opposite to the next row's scalar."""
        return "B" if self.files[(row + 1) % self.rows] == "A" else "A"

    @property
    def ahead(self) -> int:
        """Steps between the request of a line and its use: one, or more where they are short."""
        return 3 if self.vectors == 1 and self.rows <= 8 else 1

    @property
    def double(self) -> int:
        """Rows whose scalars have two registers."""
        return self.rows - self.single

    def spare_files(self, count: int, used_in_a: int) -> List[str]:
        """Register files for ``count`` constants, beside the scalars and sums and ``used_in_a``
        other registers of file A: the emptier file each time."""
        used = {"A": used_in_a, "B": 0}
        for row, file in enumerate(self.files):
            used[file] += 1 if row >= self.double else 2
            used[self.file_of_sum(row)] += self.vectors
        found = []
        for _ in range(count):
            file = min("AB", key=lambda name: used[name])
            used[file] += 1
            found.append(file)
        return found

    def unit_of(self, row: int) -> Optional[str]:
        """The unit that loads a row's scalar, so that both have the same work: mul, or either."""
        on_mul = (self.rows + len(self.advance)) // 2
        before, after = (min(at * on_mul // self.rows, at) for at in (row, row + 1))
        return "mul" if after > before else None

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

    @property
    def advance(self) -> List[Tuple[int, bool]]:
        found = []
        for v in range(self.vectors):
            found.append((v, False))
            if v % self.chain == self.chain - 1 or v + 1 == self.vectors:
                found.append((v, True))
        return found

    def _bounds(self, row: int) -> Tuple[int, int]:
        """Products of a step between which the next step's scalar of a row may be loaded."""
        size = self.rows * self.vectors
        turned = self.vectors == 1  # the first block is the last one too
        first_use = (row - self.double) % self.rows if turned else row
        # Its register is free once the row has had its last product.
        earliest = size - self.rows + 1 + row - self.double if row >= self.double else 1
        return earliest, size + first_use - 1

    def places(self) -> List[int]:
        """Beside which product of a step the next step's scalar of each row is loaded.

        They are spread evenly, and moved a little where the sum of the product before, with which
        a load shares its word, would be written to the same register file.
        """
        size, products = self.rows * self.vectors, self.products
        freed = size - self.rows + 1  # the first single scalar has done its last product
        if self.single:
            first = max(1, freed + self.vectors * self.single - size)
            wanted = [first + row * (freed - first) // self.double for row in range(self.double)]
            wanted += [freed + self.vectors * row for row in range(self.single)]
        else:
            wanted = [self.vectors * row + self.vectors // 2 for row in range(self.rows)]
        found: List[int] = []
        for row, want in enumerate(wanted):
            low, high = self._bounds(row)
            if found:
                low = max(low, found[-1] + 1)
                high = min(high, found[0] + size - (self.rows - row))  # room for the rows behind
            free = [at for at in range(low, high + 1)]
            fits = [
                at
                for at in free
                if abs(at - want) <= NEAR
                and self.file_of_sum(products[(at - 1) % size][2]) != self.files[row]
            ]
            if not free:
                raise ValueError(f"gemm: no place to load scalars in {self}")
            # One word more to the first product is better: no register is read in the next word.
            found.append(min(fits or free, key=lambda at: (at == high, abs(at - want), -at)))
        return found

    def loads(self) -> Dict[int, Tuple[int, int]]:
        """Product of an iteration beside which a scalar is loaded -> (row, step).

        Step ``unroll`` is the next iteration's first.  Place 0 is the end of the iteration.
        """
        size = self.rows * self.vectors
        total = size * self.unroll
        placed = {}
        for step in range(self.unroll):
            for row, place in enumerate(self.places()):
                at = step * size + place
                placed[at % total] = (row, step + 1 - self.unroll if at > total else step + 1)
        return placed

    def first_loads(self) -> List[int]:
        """The rows whose scalars must be there before the first iteration."""
        inside = {row for row, step in self.loads().values() if step == 0}
        return [row for row in range(self.rows) if row not in inside]

    def requests(self) -> Dict[int, List[Tuple[int, int, bool]]]:
        """Product -> (step, v, pointer) of the operations of ``advance`` that stand beside it, each
        beside a load too if it can."""
        size = self.rows * self.vectors
        total = size * self.unroll
        free = sorted(place or total for place in self.loads())
        placed: Dict[int, List[Tuple[int, int, bool]]] = {}
        before = 1
        for step in range(self.unroll):
            for v, pointer in self.advance:
                at = max(before, step * size + v * self.rows + 1)
                beside = [place for place in free if at <= place < at + self.rows + 3]
                if beside:
                    at = beside[0]
                    free.remove(at)
                placed.setdefault(at % total, []).append((step + self.ahead, v, pointer))
                before = at
        return placed
