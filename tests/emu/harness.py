"""Runs lines of QPU text on the emulator: vectors in, vectors out.

``Lab.vectors`` puts a body of instructions into a loop of a fixed program.  Each turn loads one
vector per input by TMU 0 into the named destinations, runs the body, and stores the named sources
and (on demand) the flags through VPM rows 0.. and one DMA store.  So a test says: "with these
registers, after these lines, these vectors come out", for hundreds of cases a launch.

The fixed program keeps its state in ra28..ra31 and rb28..rb31; a body must leave them alone.
It is written by hand in the text form of :mod:`piblas.isa.parse`, with every hazard respected.

A program that faults is run again with a clock, and traced: the same rule must be broken each time.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np

from piblas.emu import accounts, layout
from piblas.emu.debugger import Debugger
from piblas.errors import EmulatorFault
from piblas.isa.instr import encode
from piblas.isa.parse import parse
from piblas.isa.timing import timing_set

END = ["nop", "nop", "nop; thrend", "nop", "nop"]
"""The end of a program, far enough from a last access of the VPM."""


_FLAG = {"z": 1, "n": 2, "c": 4}


def assemble(lines: Sequence[str]) -> List[int]:
    """Words of lines; ``name:`` is a label and ``rel @name`` a branch to it."""
    places: Dict[str, int] = {}
    code: List[str] = []
    for line in lines:
        line = line.strip()
        if re.fullmatch(r"\w+:", line):
            places[line[:-1]] = len(code)
        else:
            code.append(line)
    words = []
    for index, line in enumerate(code):
        match = re.search(r"@(\w+)", line)
        if match:
            offset = 8 * (places[match.group(1)] - (index + 4))
            line = line.replace(match.group(0), f"{offset:+d}")
        words.append(encode(parse(line)))
    return words


def patterns(values: Any) -> np.ndarray:
    """uint32 patterns of floats, ints (negative ones too) or arrays, as rows of 16 elements."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        array = array.astype(np.float32).view(np.uint32)
    elif array.dtype != np.uint32:
        array = np.array([int(value) & 0xFFFFFFFF for value in array.ravel()], np.uint32)
    if array.size == 1:
        array = np.full(16, array.ravel()[0], np.uint32)
    return np.ascontiguousarray(array.reshape(-1, 16), dtype=np.uint32)


def _load(target: str) -> List[str]:
    lines = ["mov t0s, ra30", "add ra30, ra30, rb29", "ldtmu0"]
    return lines if target == "r4" else lines + [f"mov {target}, r4"]


def loop_program(
    body: Sequence[str], inputs: Sequence[str], outputs: Sequence[str], flags: str
) -> List[int]:
    """The program of :meth:`Lab.vectors`."""
    count = len(outputs) + bool(flags)
    lines = [
        "mov ra30, unif",
        "mov rb30, unif",
        "mov ra31, unif",
        "mov r0, elem_num",
        "shl r0, r0, 2",
        "add ra30, ra30, r0",
        "ldi -, rb29, 64",
        f"ldi -, rb31, {64 * count}",
        "turn:",
    ]
    for target in sorted(inputs, key=lambda name: name == "r4"):
        lines += _load(target)
    lines += ["nop", "nop", *body, "nop", "nop"]
    if flags:
        lines += ["ldi ra28, -, 0", "nop"]
        for name in flags:
            lines += [f"add.{name}s ra28, ra28, {_FLAG[name]}", "nop"]
    lines += ["ldi vpm_wr_setup, -, 0x1a00"]
    lines += [f"mov vpm, {source}" for source in outputs]
    if flags:
        lines += ["mov vpm, ra28"]
    lines += [
        f"ldi vpm_wr_setup, -, {0x80104000 | count << 23:#x}",
        "ldi vpm_wr_setup, -, 0xc0000000",
        "mov vdw_addr, rb30",
        "mov -, vdw_wait",
        "mov r0, rb31",
        "add rb30, rb30, r0",
        "sub.sf ra31, ra31, 1",
        "br.any_zc rel @turn",
        "nop",
        "nop",
        "nop",
    ]
    return assemble(lines + END)


def execute_timed(device: Any, program: Any, streams: Any, **options: Any) -> Any:
    """A launch with a clock on a device that has none."""
    costs = device.machine._state.K
    before = costs.copy()
    costs[:] = accounts.costs(timing_set("calibrated"), device.clock_hz)
    try:
        return device.execute(program, streams, **options)
    finally:
        costs[:] = before


def execute_traced(device: Any, program: Any, streams: Any, **options: Any) -> None:
    """A launch instruction by instruction."""
    with Debugger(device, program, streams, trace=lambda line: None, **options) as debugger:
        while debugger.step().reason != "end":
            pass


def execute(device: Any, program: Any, streams: Any, **options: Any) -> Any:
    """A launch; a fault must be one in every manner of running the program."""
    state = device.machine._state
    left = state.V.copy(), state.Q[:, layout.Q_VDW_STRIDE].copy(), state.G.copy()
    try:
        return device.execute(program, streams, **options)
    except EmulatorFault as fault:
        if "no debugger" in fault.reason:
            raise
        for manner in (execute_timed, execute_traced):
            # What the launch before has left.
            state = device.machine._state
            state.V[:], state.Q[:, layout.Q_VDW_STRIDE], state.G[:] = left
            try:
                manner(device, program, streams, **options)
            except EmulatorFault as again:
                same = again.rule or again.reason, fault.rule or fault.reason
                assert same[0] == same[1], f"{manner.__name__}: {again}; without: {fault}"
            else:
                raise AssertionError(f"{manner.__name__} runs what faults: {fault}") from fault
        raise


class Lab:
    """A device with the means to run bodies of text on it."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def run(
        self,
        lines: Sequence[str],
        uniforms: Sequence[Sequence[int]] = ((),),
        timeout: float = 2.0,
        **options: Any,
    ) -> Any:
        """Launch a whole program; one list of uniforms a QPU."""
        program = self.device.load(np.array(assemble(lines), np.uint64))
        try:
            streams = [patterns_1d(stream) for stream in uniforms]
            return execute(self.device, program, streams, timeout=timeout, **options)
        finally:
            program.free()

    def vectors(
        self,
        body: Sequence[str],
        inputs: Optional[Mapping[str, Any]] = None,
        outputs: Sequence[str] = ("r0",),
        flags: Union[bool, str] = False,
        uniforms: Sequence[int] = (),
        turns: int = 1,
        timeout: float = 10.0,
    ) -> Dict[str, np.ndarray]:
        """Outputs (rows of 16 patterns) of a body run once for each row of the inputs.

        ``flags`` adds the rows "z", "n" and "c", or those that it names.  ``uniforms`` are popped
        by the body, turn by turn.  An input of one row is used for every turn.
        """
        rows = {name: patterns(value) for name, value in (inputs or {}).items()}
        turns = max([turns] + [len(value) for value in rows.values()])
        order = sorted(rows, key=lambda name: name == "r4")
        data = np.zeros((turns, len(order), 16), np.uint32)
        for index, name in enumerate(order):
            data[:, index] = rows[name]
        names = "znc" if flags is True else flags or ""
        count = len(outputs) + bool(names)
        device = self.device
        source = device.alloc(max(data.nbytes, 64))
        target = device.alloc(turns * count * 64)
        program = device.load(np.array(loop_program(body, order, outputs, names), np.uint64))
        try:
            if data.size:
                source.array(np.uint32, data.shape)[:] = data
                source.clean()
            stream = [source.bus_address, target.bus_address, turns, *uniforms]
            execute(device, program, [patterns_1d(stream)], timeout=timeout)
            target.invalidate()
            got = np.array(target.array(np.uint32, (turns, count, 16)))
        finally:
            program.free()
            source.free()
            target.free()
        result = {name: got[:, index] for index, name in enumerate(outputs)}
        for name in names:
            result[name] = (got[:, -1] & _FLAG[name] != 0).astype(np.uint32)
        return result


def patterns_1d(values: Sequence[int]) -> np.ndarray:
    """Uniform words; an empty stream gets one unused word."""
    return np.array([int(value) & 0xFFFFFFFF for value in values] or [0], np.uint32)


def store(source: str) -> List[str]:
    """Lines that store a vector under the mutex; they pop three uniforms.

    The uniforms are the VPM write setup, the VDW setup and the bus address; see
    :func:`store_uniforms`.  Registers stay as they are.
    """
    return [
        "mov -, mutex",
        "mov vpm_wr_setup, unif",
        f"mov vpm, {source}",
        "mov vpm_wr_setup, unif",
        "ldi vpm_wr_setup, -, 0xc0000000",
        "mov vdw_addr, unif",
        "mov -, vdw_wait",
        "mov mutex, elem_num",
    ]


def store_uniforms(address: int, row: int = 0) -> List[int]:
    return [0x1A00 | row, 0x80904000 | row << 7, address]


def load_by_dma(target: str) -> List[str]:
    """Lines that load a vector past all caches into a register, under no lock.

    They pop the VDR setup, the bus address and the VPM read setup; see :func:`load_uniforms`.
    """
    return [
        "mov vpm_rd_setup, unif",
        "mov vdr_addr, unif",
        "mov -, vdr_wait",
        "mov vpm_rd_setup, unif",
        "nop",
        "nop",
        "nop",
        f"mov {target}, vpm",
    ]


def load_uniforms(address: int, row: int = 0) -> List[int]:
    return [0x83011000 | row << 4, address, 0x00101A00 | row]
