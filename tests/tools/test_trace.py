"""Lines of a trace: what they say about operands, results, flags, waits and faults."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.driver import Emulator
from piblas.emu.debugger import Debugger
from piblas.emu.trace import show
from piblas.errors import DeviceTimeout, EmulatorFault

from .helpers import END, words_of

E = np.arange(16, dtype=np.uint32)
FLOATS = np.arange(16, dtype=np.float32).view(np.uint32)


@pytest.mark.parametrize(
    "vector, options, text",
    [
        (E * 0 + 7, {}, "7"),
        (E * 0 - 7, {}, "-7"),
        (E * 0 + 65535, {}, "65535"),
        (E * 0 + 65536, {}, "0x10000"),
        (E * 0 - 65536, {}, "-65536"),
        (E * 0 - 65537, {}, "0xfffeffff"),
        (E * 0 + 0x3FC00000, {"as_float": True}, "1.5"),
        (E * 0 + 0x7FC00000, {"as_float": True}, "nan"),
        (E * 0 + 0x3DCCCCCD, {"as_float": True}, "0.100000001"),
        (E, {}, "0+1*e"),
        (3 - E, {}, "3-1*e"),
        (E * 4 + 0xC4001000, {}, "0xc4001000+4*e"),
        (E, {"full": True}, "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]"),
        (E * E, {}, "[0 1 4 .. 225]"),
        (FLOATS, {"as_float": True}, "[0 1 2 .. 15]"),
        (FLOATS, {"as_float": True, "full": True}, f"[{' '.join(map(str, range(16)))}]"),
    ],
)
def test_vectors(vector, options, text):
    assert show(vector.astype(np.uint32), **options) == text


def trace(device, text, uniforms=((),), **options):
    lines = []
    with Debugger(device, words_of(text), uniforms, trace=lines.append, **options) as debugger:
        try:
            debugger.run()
        except (EmulatorFault, DeviceTimeout):
            pass
    return lines


@pytest.fixture(scope="module")
def lenient():
    with Emulator(memory=1 << 20, strict=False) as device:
        yield device


# Instruction, then what the trace says about it; worked out by hand from what the words mean.
STEPS = """
mov ra1, unif                                   |  unif=0x3fc00000 -> ra1=0x3fc00000
mov rb2, unif                                   |  unif=0x40000000 -> rb2=0x40000000
nop
fadd.sf r0, ra1, rb2; fmul r1, ra1, rb2         |  ra1=1.5 rb2=2 -> r0=3.5 r1=3 z=0000 n=0000 c=ffff
mov.sf -, elem_num                              |  elem_num=0+1*e -> z=0001 n=0000 c=0000
add.zs ra3, elem_num, 5; m_mov.zc rb3, 5        |  elem_num=0+1*e -> ra3=[5 0 0 .. 0]@0001 rb3=[0 5 5 .. 5]@fffe
fsub.cs r2, r1, r1                              |  r1=3 -> r2=0@0000
ldi.sf ra4.ns, rb4, 0x80000000                  |  -> ra4=0@0000 rb4=0x80000000 z=0001 n=0000 c=0000
ldi_signed ra5, -, [0 1 -2 -1 0 0 0 0 0 0 0 0 0 0 0 0]  |  -> ra5=[0 1 -2 .. 0]
ldi ra6, -, 0x3f8000ff                          |  -> ra6=0x3f8000ff
nop
fadd r0, ra6.8a, ra6.8a                         |  ra6.8a=1 -> r0=2
mov ra6.16b, 7                                  |  -> ra6=0x700ff
itof recip, 4                                   |  -> recip=4
nop
nop                                             |  -> r4=0.25
fmul r5rep, r4, 2.0                             |  r4=0.25 -> r5rep=0.5
m_mov r3, r0 rot 3                              |  r0=0x40000000 -> r3=0x40000000
ldi ra9, -, 0x00000018                          |  -> ra9=24
sub r3, 15, elem_num                            |  elem_num=0+1*e -> r3=15-1*e
br.any_zs rel +0, ra7, -                        |  -> pc 24 ra7=LINK
nop
nop
nop
br.all_zs rel -32                               |  -> not taken
nop
nop
nop
sema_up 4                                       |  -> semaphore 4=1
mov r0, ra7                                     |  ra7=LINK -> r0=LINK
mov t0s, unif                                   |  unif=BUFFER -> t0s=BUFFER
ldtmu0                                          |  -> r4=77
mov -, mutex
mov mutex, r0                                   |  r0=LINK -> mutex
br.always rel -24 + ra9                         |  ra9=24 -> pc 38 z=0000 n=ffff c=0000
nop
nop
nop
mov ra8, 1                                      |  -> ra8=1
mov r0, ra8                                     |  ra8=0 -> r0=0
mov r1, r0; thrend                              |  r0=0 -> r1=0
nop
nop
"""  # noqa: E501


def test_what_the_lines_say(lenient):
    """Among them: a register that is read too late shows the value that was used."""
    buffer = lenient.alloc(64)
    buffer.array(np.uint32)[:] = 77
    rows = [row.split("  |  ") for row in STEPS.strip().splitlines()]
    program = lenient.load(words_of("\n".join(row[0] for row in rows)))
    stream = [1.5, 2.0, buffer.bus_address]
    lines = []
    with Debugger(lenient, program, [stream], trace=lines.append) as debugger:
        debugger.run()
    names = {"LINK": f"{program.bus_address + 8 * 24:#x}", "BUFFER": f"{buffer.bus_address:#x}"}
    for pc, (line, row) in enumerate(zip(lines, rows)):
        expected = "  |  ".join([f"QPU  0  pc {pc:4d}  {row[0].strip()}", *row[1:]])
        for name, value in names.items():
            expected = expected.replace(name, value)
        assert line == expected
    assert len(lines) == len(rows)
    program.free()
    buffer.free()


def test_waits_are_said_once(device):
    text = (
        """
    mov.sf -, unif
    br.all_zc rel second
    nop
    nop
    nop
    nop
    nop
    nop
    sema_up 5
    br.always rel end
    nop
    nop
    nop
second:
    sema_down 5
end:
    nop"""
        + END
    )
    lines = [line for line in trace(device, text, [[0], [1]]) if "sema" in line]
    assert lines == [
        "QPU  1  pc   13  sema_down 5  |  waits for a semaphore at 0",
        "QPU  0  pc    8  sema_up 5  |  -> semaphore 5=1",
        "QPU  1  pc   13  sema_down 5  |  -> semaphore 5=0",
    ]


def test_a_fault_is_the_last_line(device):
    lines = trace(device, "mov ra0, 1\nmov t0s, 0" + END)
    assert lines[-1] == "QPU  0  pc    1  mov t0s, 0  |  faults: tmu: reads outside the buffers"
    assert len(lines) == 2
    lines = trace(device, "mov r0, 1\n.word 0xe400000000000000" + END)
    assert ".word 0xe400000000000000" in lines[1] and "faults: decode: reserved" in lines[1]


def test_one_qpu_and_all_elements(device):
    lines = trace(device, "mov r0, elem_num" + END, [[]] * 3, trace_qpu=1, trace_full=True)
    elements = " ".join(map(str, range(16)))
    head = "QPU  1  pc    0  mov r0, elem_num"
    assert lines[0] == f"{head}  |  elem_num=[{elements}] -> r0=[{elements}]"
    assert {line[:6] for line in lines} == {"QPU  1"}
