"""General memory lookups of the two TMUs (guide, p. 37, 39-41)."""

from __future__ import annotations

import random

import numpy as np
import pytest
from harness import END, store, store_uniforms


@pytest.fixture
def data(lab):
    buffer = lab.device.alloc(16384)
    buffer.array(np.uint32, (4096,))[:] = np.arange(4096) * 2654435761 % 2**32
    buffer.clean()
    yield buffer
    buffer.free()


def words(data):
    return data.array(np.uint32, (4096,)).copy()


def addresses(data, indices):
    return [data.bus_address + 4 * int(index) for index in indices]


@pytest.mark.parametrize("unit", [0, 1])
def test_each_element_has_an_address_of_its_own(lab, data, unit):
    rng = random.Random(unit)
    indices = [rng.randrange(4096) for _ in range(16 * 40)]
    body = [f"mov t{unit}s, r0", f"nop; ldtmu{unit}", "mov r1, r4"]
    got = lab.vectors(body, {"r0": addresses(data, indices)}, ["r1"])["r1"]
    assert np.array_equal(got.ravel(), words(data)[indices])


@pytest.mark.parametrize("unit", [0, 1])
@pytest.mark.parametrize("low", [1, 2, 3])
def test_the_two_low_address_bits_are_ignored(lab, data, unit, low):
    address = [value + low for value in addresses(data, range(16))]
    body = [f"mov t{unit}s, r0", f"nop; ldtmu{unit}", "mov r1, r4"]
    got = lab.vectors(body, {"r0": address}, ["r1"])["r1"]
    assert np.array_equal(got[0], words(data)[:16])


@pytest.mark.parametrize("unit", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_results_come_in_the_order_of_requests(lab, data, unit, count):
    inputs = {f"ra{n}": addresses(data, range(100 * n, 100 * n + 16)) for n in range(count)}
    body = [f"mov t{unit}s, ra{n}" for n in range(count)]
    for n in range(count):
        body += [f"nop; ldtmu{unit}", f"mov rb{n}, r4"]
    got = lab.vectors(body, inputs, [f"rb{n}" for n in range(count)])
    for n in range(count):
        assert np.array_equal(got[f"rb{n}"][0], words(data)[100 * n : 100 * n + 16])


@pytest.mark.parametrize("unit", [0, 1])
def test_eight_requests_fit(both, unit):
    data = both.device.alloc(4096)
    data.array(np.uint32, (1024,))[:] = np.arange(1024)
    data.clean()
    inputs = {f"ra{n}": [data.bus_address + 64 * n + 4 * e for e in range(16)] for n in range(8)}
    body = [f"mov t{unit}s, ra{n}" for n in range(8)]
    for n in range(8):
        body += [f"nop; ldtmu{unit}", f"mov rb{n}, r4"]
    got = both.vectors(body, inputs, [f"rb{n}" for n in range(8)])
    data.free()
    for n in range(8):
        assert got[f"rb{n}"][0].tolist() == list(range(16 * n, 16 * n + 16))


def test_the_two_units_have_queues_of_their_own(lab, data):
    inputs = {f"ra{n}": addresses(data, range(16 * n, 16 * n + 16)) for n in range(4)}
    body = ["mov t0s, ra0", "mov t1s, ra1", "mov t1s, ra2", "mov t0s, ra3"]
    body += ["nop; ldtmu1", "mov rb1, r4; ldtmu0", "mov rb0, r4; ldtmu0", "mov rb3, r4; ldtmu1"]
    body += ["mov rb2, r4"]
    got = lab.vectors(body, inputs, [f"rb{n}" for n in range(4)])
    for n in range(4):
        assert np.array_equal(got[f"rb{n}"][0], words(data)[16 * n : 16 * n + 16])


def test_requests_of_either_alu_and_with_arithmetic(lab, data):
    body = ["add t0s, ra1, rb1; m_mov r2, r0", "m_mov t1s, ra1", "nop; ldtmu0"]
    body += ["mov r0, r4; ldtmu1", "mov r1, r4"]
    inputs = {"ra1": addresses(data, range(16)), "rb1": 256}
    got = lab.vectors(body, inputs, ["r0", "r1"])
    assert np.array_equal(got["r0"][0], words(data)[64:80])
    assert np.array_equal(got["r1"][0], words(data)[:16])


def test_a_request_takes_no_uniform(lab, data):
    body = ["mov t0s, r0", "nop; ldtmu0", "mov r1, unif"]
    got = lab.vectors(body, {"r0": addresses(data, range(16))}, ["r1"], uniforms=[123])
    assert (got["r1"] == 123).all()


def test_the_word_with_the_signal_sees_the_r4_from_before(lab, data):
    body = ["mov t0s, ra0", "mov t0s, ra1", "nop; ldtmu0", "mov r0, r4; ldtmu0", "mov r1, r4"]
    inputs = {"ra0": addresses(data, range(16)), "ra1": addresses(data, range(16, 32))}
    got = lab.vectors(body, inputs, ["r0", "r1"])
    assert np.array_equal(got["r0"][0], words(data)[:16])
    assert np.array_equal(got["r1"][0], words(data)[16:32])


@pytest.mark.parametrize("noswap", [False, True])
def test_the_swap_of_units_does_not_show_on_any_qpu(lab, data, noswap):
    lines = ["mov tmu_noswap, 1"] if noswap else ["nop"]
    lines += ["mov r0, unif", "mov r1, elem_num", "shl r1, r1, 2", "add r0, r0, r1", "nop"]
    lines += ["mov t0s, r0", "ldi r2, -, 64", "add t1s, r0, r2"]
    lines += ["nop; ldtmu1", "mov r1, r4; ldtmu0", "sub r3, r1, r4"] + store("r3") + END
    out = lab.device.alloc(12 * 64)
    rows = [
        [data.bus_address + 128 * q] + store_uniforms(out.bus_address + 64 * q, q)
        for q in range(12)
    ]
    lab.run(lines, rows)
    got = out.array(np.uint32, (12, 16)).copy()
    out.free()
    want = words(data)[: 32 * 12].reshape(12, 2, 16)
    assert np.array_equal(got, want[:, 1] - want[:, 0])


def test_lookups_read_what_the_host_wrote_before_the_launch(lab, data):
    body = ["mov t0s, r0", "nop; ldtmu0", "mov r1, r4"]
    for value in (3, 4):
        data.array(np.uint32, (4096,))[:16] = value
        data.clean()
        got = lab.vectors(body, {"r0": addresses(data, range(16))}, ["r1"])
        assert (got["r1"] == value).all()
