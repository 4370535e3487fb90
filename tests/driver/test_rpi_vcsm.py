"""The backend over the package rpi-vcsm, with a stand-in for that package (it is on no index)."""

from __future__ import annotations

import mmap
import sys
import types

import pytest

from piblas.driver import soc, vcsm
from piblas.errors import DeviceError

PI2 = soc.Board("Raspberry Pi 2 Model B", "BCM2836", 0x3F000000, 0xC0000000)


class Package:
    """``VCSM`` as the package has it: keyword-only arguments; a mapping that free() closes."""

    bus = 0xC1000000

    def __init__(self):
        self.live, self.closed = {}, False

    def malloc_cache(self, *, size, cached, name):
        assert (cached, name) == (0, "piblas") and size % 4096 == 0
        buffer = mmap.mmap(-1, size)
        handle = len(self.live) + 1
        self.live[handle] = buffer
        return handle, self.bus, 0, buffer

    def free(self, *, handle, usr_buf):
        usr_buf.close()
        del self.live[handle]

    def close(self):
        self.closed = True


@pytest.fixture
def package(monkeypatch):
    module = types.ModuleType("rpi_vcsm.VCSM")
    module.VCSM, module.CACHE_NONE = Package, 0
    monkeypatch.setitem(sys.modules, "rpi_vcsm", types.ModuleType("rpi_vcsm"))
    monkeypatch.setitem(sys.modules, "rpi_vcsm.VCSM", module)


def test_without_the_package():
    with pytest.raises(DeviceError, match="rpi-vcsm: the package is not installed"):
        vcsm.RpiVcsm(PI2)


def test_memory(package):
    backend = vcsm.RpiVcsm(PI2)
    block = backend.take(5000)
    assert (block.bus, block.nbytes, block.bytes.size) == (0xC1000000, 8192, 8192)
    block.bytes[:] = 3
    block.begin()
    block.end()
    assert block.release() and block.release()
    assert not backend.api.live
    backend.close()
    assert backend.api.closed


def test_views_keep_memory(package):
    backend = vcsm.RpiVcsm(PI2)
    block = backend.take(4096)
    view = block.bytes[:4]
    assert not block.release()
    view[:] = 1


def test_a_wrong_alias_gives_the_memory_back(package, monkeypatch):
    monkeypatch.setattr(Package, "bus", 0x41000000)
    backend = vcsm.RpiVcsm(PI2)
    with pytest.raises(DeviceError, match="results would be stale"):
        backend.take(4096)
    assert not backend.api.live
