"""An independent model of one QPU that reads uniforms, in a few lines of plain Python.

In order, 4 clk an instruction.  A read waits until its 64-byte line has arrived; on each read the
line that holds the word two ahead is requested; one line is in flight at a time, for ``latency``
clk.  A write of the uniforms address starts the fetch of the new line when the one in flight has
arrived.  Nothing else costs anything.
"""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

WORDS_OF_LINE = 16
AHEAD = 2


def clocks(program: Sequence[Tuple[str, int]], latency: int, restart: int = 0) -> int:
    """When the last instruction is issued and done.

    ``program``: ("op", n) for n plain instructions, ("read", n) for n reads, ("jump", word) for an
    instruction that moves the stream to a word.
    """
    now, word, in_flight_until = 0, 0, 0
    arrival: Dict[int, int] = {}

    def request(line: int, at: int, extra: int) -> None:
        nonlocal in_flight_until
        if line not in arrival:
            in_flight_until = max(at, in_flight_until) + latency + extra
            arrival[line] = in_flight_until

    request(0, 0, 0)
    for what, amount in program:
        if what == "op":
            now += 4 * amount
        elif what == "jump":
            arrival.clear()
            word = amount
            request(word // WORDS_OF_LINE, now, restart)
            now += 4
        else:
            for _ in range(amount):
                line = word // WORDS_OF_LINE
                request(line, now, 0)
                now = max(now, arrival[line])
                request((word + AHEAD) // WORDS_OF_LINE, now, 0)
                now += 4
                word += 1
    return now
