"""Problems for the published strategies of :mod:`.gemm_rivals`, and the streams that drive them."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Sequence, Tuple

import numpy as np

from . import parts
from .gemm import LANES, LINE
from .gemm_rivals import STEPS, RivalOptions
from .stream import words_of

__all__ = ["Problem", "Streams", "shares"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """D (m x n) = alpha A (m x k) B (k x n), all row-major, and how the QPUs share out D.

    ``lda`` and ``ldb`` are the words from row to row of A and B, 0 for rows without a gap; D has no
    gaps.  ``split`` are the shares of its rows and of its columns, at most 12 together.
    """

    m: int
    n: int
    k: int
    lda: int = 0
    ldb: int = 0
    split: Tuple[int, int] = (2, 6)
    alpha: float = 1.0

    @property
    def pitches(self) -> Tuple[int, int]:
        """Bytes from row to row of A and of B."""
        return 4 * (self.lda or self.k), 4 * (self.ldb or self.n)

    @property
    def room(self) -> Tuple[int, int, int]:
        """Bytes of the buffers of A, B and D.

        Behind A and B are zeros: 16 rows are read though fewer may be there, B has a row of zeros
        more, and the next steps are asked for before it is known that there are none.
        """
        of_a, of_b = self.pitches
        high = -(-self.m // LANES) * LANES
        return high * of_a + 4 * self.k + 8, (self.k + 2) * of_b + 4 * LINE, 4 * self.m * self.n


def shares(length: int, unit: int, parts_: int) -> List[range]:
    """The beginnings of the tiles of each share of a length."""
    tiles = -(-length // unit)
    cuts = [tiles * part // parts_ for part in range(parts_ + 1)]
    return [range(unit * low, unit * high, unit) for low, high in zip(cuts, cuts[1:])]


class Streams:
    """The uniform streams of a launch, with a line of addresses or two a tile in front of them.

    They hold addresses of their own words, so they are written for the place where they will lie
    (:meth:`at`), which is on a line of 64 bytes.
    """

    def __init__(
        self, options: RivalOptions, problem: Problem, a_addr: int, b_addr: int, d_addr: int
    ) -> None:
        self._problem = problem
        self._addresses = a_addr, b_addr, d_addr
        rows = shares(problem.m, LANES, problem.split[0])
        columns = shares(problem.n, options.columns, problem.split[1])
        dealt = [[(i, j) for i in high for j in wide] for high in rows for wide in columns]
        dealt = [own for own in dealt if own]
        self._lines: List[int] = []
        self._words: List[int] = []
        # Places in the stream that hold the address of a line, or of a place in the stream.
        self._of_line: Dict[int, int] = {}
        self._of_word: Dict[int, int] = {}
        self._starts: List[int] = []
        for index, own in enumerate(dealt):
            self._starts.append(len(self._words))
            for number, (i, j) in enumerate(own):
                if options.b_path == "uniforms":
                    self._by_uniforms(i, j)
                else:
                    self._by_rotations(i, j)
                self._store(i, j, options.columns)
                self._words.append(int(number + 1 < len(own)))
            self._words += parts.finish_words(index, len(dealt))
        self._words += [0] * LANES  # the line behind the last word is fetched too

    @property
    def nbytes(self) -> int:
        """Size of all lines and streams."""
        return 4 * (len(self._lines) + len(self._words))

    def at(self, address: int) -> Tuple[np.ndarray, List[int]]:
        """The words as they lie at bus address ``address``, and the address of each stream."""
        words = np.array(self._words, dtype=np.int64)
        stream = address + 4 * len(self._lines)
        words[list(self._of_line)] = [address + 4 * place for place in self._of_line.values()]
        words[list(self._of_word)] = [stream + 4 * place for place in self._of_word.values()]
        words = np.concatenate((np.array(self._lines, dtype=np.int64), words))
        return words_of(words), [stream + 4 * at for at in self._starts]

    def _line(self, line: Sequence[int]) -> None:
        self._of_line[len(self._words)] = len(self._lines)
        self._words.append(0)
        self._lines += line

    def _by_uniforms(self, i: int, j: int) -> None:
        (a_addr, b_addr, _), (of_a, of_b) = self._addresses, self._problem.pitches
        self._line([a_addr + of_a * (i + row) for row in range(LANES)])
        left = -of_b * (self._problem.k + 1)
        self._line([b_addr + 4 * j] + [left] * (LANES - 1))
        self._words.append(of_b)
        self._of_word[len(self._words)] = len(self._words) + 1
        self._words.append(0)

    def _by_rotations(self, i: int, j: int) -> None:
        (a_addr, b_addr, _), (of_a, of_b) = self._addresses, self._problem.pitches
        state = [b_addr + 4 * j, a_addr + of_a * i, self._problem.k + 1, of_a]
        steps = [of_b, 4, -1, 0]
        blank = [0] * (STEPS - len(state))
        self._line([*state, *blank, *steps, *blank])

    def _store(self, i: int, j: int, columns: int) -> None:
        problem, pitch = self._problem, 4 * self._problem.n
        inside = min(columns, problem.n - j)
        widths = np.array([[min(LANES, inside - at) for at in range(0, inside, LANES)]])
        corner = self._addresses[2] + pitch * i + 4 * j
        rows = min(LANES, problem.m - i)
        self._words += [parts.float_word(problem.alpha), pitch]
        tile = np.array([[rows], [corner], [pitch]])
        stored = parts.store_words(tile[0], widths, LANES, tile[1], tile[2])
        self._words += stored.ravel().tolist()
