"""Every system call of a session fails in every plausible way: open, canary, product, close.

Of calls with the same name the first, the second and the last one.

No hang, nothing left behind (counted by the virtual kernel), no operand changed, and the right
result or a clear error; under "auto" always the right result, with a line in the log if the CPU had
to help out.
"""

from __future__ import annotations

import errno
import signal
from collections import Counter
from typing import Dict, List, NamedTuple, Tuple

import pytest

from .crew import Crew, faults_of
from .faults import Fault

E = errno
# What the kernel's sources return from such calls, and what a container or a limit adds.
PLAUSIBLE = {
    "open(/dev/": (E.EACCES, E.EPERM, E.ENOENT, E.ENODEV, E.EBUSY, E.EMFILE, E.EINTR),
    "open(": (E.EACCES, E.ENOENT, E.EMFILE, E.EIO),
    "ioctl(vcio, EXECUTE_QPU": (E.ETIMEDOUT, E.EINVAL, E.ENOMEM, E.EINTR, E.EIO, E.EPERM),
    "ioctl(vcio": (E.ETIMEDOUT, E.EINVAL, E.ENOMEM, E.EPERM, E.EIO),
    "ioctl(heap": (E.ENOMEM, E.EINTR, E.EMFILE, E.EINVAL, E.ENOTTY),
    "ioctl(vcsm, ": (E.ENOMEM, E.EINTR, E.EINVAL, E.EPERM),
    "ioctl(vcsm-cma": (E.ENOMEM, E.EINTR, E.EMFILE, E.EINVAL, E.EPERM, E.ENOTTY),
    "ioctl(dma-buf": (E.EINTR, E.EAGAIN, E.EINVAL, E.EIO, E.ENOTTY),
    "mmap(": (E.ENOMEM, E.EPERM, E.EACCES, E.EAGAIN, E.EINVAL),
    "flock": (E.EWOULDBLOCK, E.EINTR, E.ENOLCK, E.EBADF),
}


def errors(call: str) -> Tuple[int, ...]:
    """The errors that a call of the trace may fail with; none for register accesses."""
    return next((row for head, row in PLAUSIBLE.items() if call.startswith(head)), ())


def places(calls: List[str]) -> List[int]:
    """Where in a trace the first, second and last call of each name stand."""
    where: Dict[str, List[int]] = {}
    for at, call in enumerate(calls):
        where.setdefault(call, []).append(at)
    return sorted({at for row in where.values() for at in (*row[:2], row[-1])})


def _without_registers(told: dict) -> List[str]:
    """The trace without accesses to registers, which cannot fail and are not counted."""
    return [call for call in told["calls"] if not call.startswith(("load(", "store("))]


class Sweep(NamedTuple):
    """``cases``: (call by name, its place in the trace, error) of each fault; ``calls`` of the
    clean run; ``outcomes`` counted; ``problems``, a line each."""

    cases: List[Tuple[str, int, int]]
    calls: int
    outcomes: Counter
    problems: List[str]

    def __str__(self) -> str:
        names, places = {case[0] for case in self.cases}, {case[:2] for case in self.cases}
        told = ", ".join(f"{count} {what}" for what, count in self.outcomes.items())
        return (
            f"{len(self.cases)} faults: {len(names)} different calls at {len(places)} places of a "
            f"session of {self.calls} calls, {len({case[2] for case in self.cases})} errors: {told}"
        )


def sweep(crew: Crew, options: dict, every: int = 1, start: int = 0) -> Sweep:
    """All (place, error) pairs of a clean run's trace, or every n-th.

    Each on a Pi that is as after the first run, so that places mean the same calls.
    """
    crew.run(**options)  # makes the lock file
    crew.reboot()
    clean = crew.run(**options)
    assert clean["right"] and not faults_of(clean), faults_of(clean)
    calls = _without_registers(clean)
    cases = [(calls[at], at, code) for at in places(calls) for code in errors(calls[at])]
    outcomes: Counter = Counter()
    problems: List[str] = []
    for name, at, code in cases[start::every]:
        crew.reboot()
        told = crew.run(Fault(at=at, error=code), **options)
        wrong = faults_of(told)
        if _without_registers(told)[at : at + 1] != [name]:
            wrong.append(f"that was another call: {_without_registers(told)[at:at + 1]}")
        if options.get("device") == "auto" and not told["right"]:
            wrong.append(f"auto did not fall back: {told['error']}")
        warned = any(row.startswith("WARNING") for row in told["log"])
        # Without a device tree nothing says that this is a Pi: no reason for a warning.
        if told["stats"].get("cpu") and not warned and "devicetree" not in calls[at]:
            wrong.append("the CPU stood in without a warning")
        if told["error"].count(":") < 1 and not told["right"]:
            wrong.append(f"no clear error: {told['error']!r}")
        where = "cpu" if told["stats"].get("cpu") else "qpu"
        outcomes[f"right, {where}" if told["right"] else told["error"].split(":")[0]] += 1
        problems += [f"{name} (call {at}) fails with {E.errorcode[code]}: {row}" for row in wrong]
    return Sweep(cases[start::every], len(calls), outcomes, problems)


SESSION = {"n": 72}
SWEEPS = {
    "mailbox, cached memory": ("pi1", {"device": "qpu"}),
    "auto": ("pi1", {"device": "auto"}),
    "mailbox, uncached memory": ("no-heap", {"device": "qpu"}),
    "registers": ("root", {"device": "qpu"}),
    "GPU memory": ("no-vcsm-cma", {"device": "qpu"}),
    "u-dma-buf": ("u-dma-buf", {"open": {"memory": "u-dma-buf"}}),
    "old vcsm": ("old-vcsm", {"device": "qpu"}),
}


def show(name: str, found: Sweep) -> None:
    print(f"{name}: {found}")
    assert not found.problems, "\n".join(found.problems)


@pytest.mark.parametrize("name", ["mailbox, cached memory"])
def test_some_faults(name):
    setup, options = SWEEPS[name]
    with Crew(setup, timing="off") as crew:
        show(name, sweep(crew, {**SESSION, **options}, every=31, start=5))


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_every_fault(name):
    setup, options = SWEEPS[name]
    with Crew(setup, timing="off") as crew:
        show(name, sweep(crew, {**SESSION, **options}))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_every_call(number):
    """Ctrl-C anywhere: KeyboardInterrupt or the right result, and nothing left behind."""
    with Crew("pi1", timing="off") as crew:
        crew.run(**SESSION)  # makes the lock file
        clean = crew.run(**SESSION)
        outcomes: Counter = Counter()
        for at in places(_without_registers(clean)):
            told = crew.run(Fault(at=at, signal=number), **SESSION)
            rows = faults_of(told)
            if number == signal.SIGTERM:
                rows = [row for row in rows if "died of 15" not in row]
                rows = [row for row in rows if row != "a wrong result without an error"]
                rows = [row for row in rows if row != "an operand was changed"]
                rows = [row for row in rows if not row.startswith("left behind: enable-QPU")]
            assert not rows, (at, clean["calls"][at], rows, told)
            outcomes[told["error"] or f"status {told['status']}, right: {told['right']}"] += 1
            crew.reboot()
        print(f"signal {number} at {sum(outcomes.values())} calls: {dict(outcomes)}")


@pytest.mark.slow
def test_persistent_refusals():
    """A call that fails every time: memory of another kind, or the CPU, or an error."""
    with Crew("pi1", timing="off") as crew:
        for name, code, expected in (
            ("ioctl(heap, ALLOC)", E.ENOMEM, "qpu"),
            ("IMPORT_DMABUF", E.EINVAL, "qpu"),
            ("SYNC", E.EINVAL, "qpu"),
            ("ioctl(vcsm-cma", E.EPERM, "cpu"),
            ("EXECUTE_QPU", E.EINVAL, "cpu"),
            ("SET_ENABLE_QPU 1", E.EINVAL, "cpu"),
            ("flock", E.EWOULDBLOCK, "cpu"),
        ):
            told = crew.run(Fault(name, 0, error=code), n=80, device="auto")
            assert told["right"] and not faults_of(told), (name, told)
            assert list(told["stats"]) == [expected], (name, told)
            warnings = [row for row in told["log"] if row.startswith("WARNING")]
            assert len(warnings) <= 1 and bool(warnings) >= (expected == "cpu"), (name, told)
