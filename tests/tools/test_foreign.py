"""Programs launched as the firmware launches them: a list of {uniforms, code} in GPU memory.

The host lays out everything in one buffer by itself, as hosts of other projects do: code, one
stream of uniforms a QPU, then the list; only the launch is ours.
"""

from __future__ import annotations

import numpy as np
import pytest

from piblas.driver import Emulator
from piblas.errors import DeviceError, EmulatorFault

from .helpers import PROGRAMS, words_of

CODE = words_of((PROGRAMS / "copy.qasm").read_text())
N_UNIFORMS = 3


def lay_out(device, n_qpus, vectors):
    """(buffer, list address, uniforms, source, target) with ``vectors`` for each QPU."""
    layout = np.dtype(
        {
            "names": ["code", "uniforms", "list", "source", "target"],
            "formats": [
                ("<u8", CODE.size),
                ("<u4", (n_qpus, N_UNIFORMS)),
                ("<u4", (n_qpus, 2)),
                ("<f4", (n_qpus, vectors, 16)),
                ("<f4", (n_qpus, vectors, 16)),
            ],
            "offsets": [0, 1024, 2048, 4096, 4096 + 64 * n_qpus * vectors],
        }
    )
    buffer = device.alloc(layout.itemsize)
    bus = buffer.bus_address
    host = buffer.array(layout, 1)[0]
    at = {name: bus + layout.fields[name][1] for name in layout.names}
    host["code"] = CODE
    host["source"] = np.random.default_rng(n_qpus).standard_normal(host["source"].shape)
    for qpu in range(n_qpus):
        step = 64 * vectors * qpu
        host["uniforms"][qpu] = at["source"] + step, at["target"] + step, vectors
        host["list"][qpu] = at["uniforms"] + 4 * N_UNIFORMS * qpu, bus
    buffer.clean()
    return buffer, at["list"], host


@pytest.mark.parametrize("n_qpus", [1, 12])
def test_a_list_of_launches(device, n_qpus):
    buffer, address, host = lay_out(device, n_qpus, 5)
    before = host["list"].copy()
    report = device.execute_list(address, n_qpus)
    np.testing.assert_array_equal(host["target"], host["source"])
    np.testing.assert_array_equal(host["list"], before)
    assert report.n_qpus == n_qpus == len(report.per_qpu)
    assert report.bytes["vpm_dma_store"] == n_qpus * 5 * 64
    buffer.free()


@pytest.mark.parametrize("n_qpus", [1, 12])
def test_it_does_what_execute_does(device, n_qpus):
    buffer, address, host = lay_out(device, n_qpus, 3)
    one = device.execute_list(address, n_qpus)
    copied = host["target"].copy()
    host["target"] = 0
    program = device.load(CODE)
    two = device.execute(program, [row.copy() for row in host["uniforms"]])
    np.testing.assert_array_equal(host["target"], copied)
    assert one.instructions == two.instructions
    program.free()
    buffer.free()


def test_programs_of_their_own(device):
    """Each pair has its own code: QPU 1 runs a copy of the program elsewhere, with other rows."""
    buffer, address, host = lay_out(device, 2, 2)
    elsewhere = device.load(CODE)
    host["list"][1, 1] = elsewhere.bus_address
    host["code"][-3:] = 0  # no thread end in the first copy any more: QPU 0 must be the one to trip
    with pytest.raises(EmulatorFault) as fault:
        device.execute_list(address, 2)
    assert fault.value.qpu == 0
    elsewhere.free()
    buffer.free()


def test_incoherent():
    """What the host has laid out is there only when the list and all else was cleaned."""
    with Emulator(memory=1 << 20, incoherent=True) as device:
        buffer, address, host = lay_out(device, 12, 4)
        device.execute_list(address, 12)
        assert not host["target"].any()
        buffer.invalidate()
        np.testing.assert_array_equal(host["target"], host["source"])


def test_a_wrong_uniform_faults_precisely(device):
    buffer, address, host = lay_out(device, 12, 2)
    host["uniforms"][7, 0] = 0x1000
    with pytest.raises(EmulatorFault, match="tmu: reads outside the buffers") as fault:
        device.execute_list(address, 12)
    assert (fault.value.qpu, fault.value.address) == (7, 0x1000)
    assert fault.value.instruction == "mov t0s, ra0"
    buffer.free()


@pytest.mark.parametrize(
    "address, count, message",
    [
        (0x40, 1, "the list of launches at 0x00000040 is outside device memory"),
        (0xC4001000, 0, "a list of 0 launches: this device has 1 to 12 QPUs"),
        (0xC4001000, 13, "a list of 13 launches"),
    ],
)
def test_refused_lists(device, address, count, message):
    with pytest.raises(DeviceError, match=message):
        device.execute_list(address, count)
