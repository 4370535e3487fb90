"""The device contract: words, uniforms, names of devices."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.driver import open_device
from piblas.driver.device import program_words, uniform_words
from piblas.errors import DeviceError


def test_words_of_a_program():
    expected = [1, 1 << 63]
    raw = np.array(expected, dtype="<u8").tobytes()
    for words in (raw, bytearray(raw), memoryview(raw), expected, np.array(expected, np.uint64)):
        assert program_words(words).tolist() == expected
    with pytest.raises(DeviceError, match="12 bytes is no sequence of 64-bit words"):
        program_words(bytes(12))
    with pytest.raises(DeviceError, match=r"one or more 64-bit words, not of shape \(0,\)"):
        program_words([])
    with pytest.raises(DeviceError, match=r"not of shape \(1, 2\)"):
        program_words(np.zeros((1, 2), np.uint64))


def test_uniforms_are_converted_word_by_word():
    assert uniform_words([1, -1, 1.0, np.float32(2), 0xFFFFFFFF], 0).tolist() == [
        1, 0xFFFFFFFF, 0x3F800000, 0x40000000, 0xFFFFFFFF,
    ]  # fmt: skip
    for dtype in (np.uint32, np.int32, np.float32):
        stream = np.array([1, 2, 3, 4], dtype)[::2]
        assert uniform_words(stream, 0).tolist() == stream.copy().view(np.uint32).tolist()
    assert uniform_words(np.array([1.5, 2.0]), 0).tolist() == [0x3FC00000, 0x40000000]
    with pytest.raises(DeviceError, match="QPU 3: 4294967296 is no 32-bit word"):
        uniform_words([1 << 32], 3)
    with pytest.raises(DeviceError, match="QPU 0: 'x' is no 32-bit word"):
        uniform_words(["x"], 0)
    with pytest.raises(DeviceError, match="QPU 1 have 2 dimensions"):
        uniform_words(np.zeros((1, 2), np.uint32), 1)
    with pytest.raises(DeviceError, match="QPU 2: 1.5 is no sequence"):
        uniform_words(1.5, 2)


def test_names_of_devices():
    with pytest.raises(DeviceError, match="there is no device 'gpu': choose auto, qpu or emulator"):
        open_device("gpu")
    pytest.importorskip("numba")
    with open_device("emulator", memory=1 << 20, n_qpus=3) as device:
        assert (device.name, device.n_qpus) == ("emulator", 3)


@pytest.mark.parametrize("name", ["qpu", "auto"])
def test_no_gpu_is_an_error_and_never_the_emulator(name):
    with pytest.raises(DeviceError, match="no VideoCore IV GPU"):
        open_device(name)
