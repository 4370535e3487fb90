"""The device on which function calls are counted: real memory, launches that do nothing."""

from __future__ import annotations

import numpy as np
import pytest

import piblas
from bench.null_device import NullDevice
from piblas.errors import DeviceError


def test_memory():
    device = NullDevice()
    one, other = device.alloc(100), device.alloc(10000)
    assert one.bus_address % 4096 == other.bus_address % 4096 == 0
    assert abs(one.bus_address - other.bus_address) >= 4096 and one.nbytes == 100
    view = other.array(np.float32, (3, 5), 40, order="F")
    view[:] = 7
    whole = other.array(np.float32)
    assert whole.size == 2500 and (whole[10:25] == 7).all() and not whole[25:].any()
    assert view.flags.f_contiguous and view.ctypes.data % 4096 == 40
    one.free()
    one.free()
    assert list(device.in_use) == [other.bus_address]
    assert device.alloc(4).bus_address not in (one.bus_address, other.bus_address)
    with pytest.raises(DeviceError, match="a buffer of 0 bytes"):
        device.alloc(0)
    with pytest.raises(TypeError):
        other.array(np.float32, (2501,))


def test_bus_addresses_stay_words():
    device = NullDevice()
    for _ in range(5):
        device._next = 0xFFFFF000
        assert device.alloc(1 << 20).bus_address + (1 << 20) < 1 << 32


def test_launches_change_nothing():
    device = NullDevice()
    x, y = np.ones((2, 100), np.float32)
    with piblas.use(device):
        assert (piblas.saxpy(x, y, a=3.0) == 1).all() and device.launches == 1
        assert piblas.sdot(x, y) == 0
        home = piblas.array(x)
        assert home.on_device is device and (home == 1).all()
    report = device.execute(device.load([1, 2]), [[1], [2]])
    assert (report.n_qpus, report.seconds, report.cycles) == (2, 0.0, None)
