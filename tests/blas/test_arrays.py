"""Arrays in device memory: what they are to NumPy, and that calls use them where they lie."""

from __future__ import annotations

import gc
import pickle
import warnings

import numpy as np
import pytest
from scipy.linalg import blas

import piblas
from piblas import BlasError, DeviceError, DeviceTimeout, OutOfDeviceMemory
from piblas.blas import level3
from piblas.dispatch import choose, devices
from piblas.driver import Emulator
from piblas.host import arrays, matvec
from piblas.host.outcome import WATCHED
from piblas.host.runner import runner_of

F32 = np.float32
ASKED = "the emulator was asked for"
GUARD = np.uint32(0x7FA5A5A5)


@pytest.fixture(scope="module")
def chip():
    """A strict one with noise in memory, its caches apart from it."""
    with Emulator(memory=16 << 20, seed=9, timing="off", incoherent=True) as dev:
        yield dev


@pytest.fixture
def device(chip, fresh):
    with piblas.use(chip):
        yield chip


def values(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).uniform(-1, 1, shape).astype(F32)


# --- the arrays -----------------------------------------------------------------------------------


def test_what_they_are(device):
    x = piblas.array([[1, 2, 3], [4, 5, 6]])
    assert type(x) is piblas.DeviceArray and isinstance(x, np.ndarray)
    assert (x.dtype, x.shape, x.on_device) == (F32, (2, 3), device)
    np.testing.assert_array_equal(x, [[1, 2, 3], [4, 5, 6]])
    assert x[1:].on_device is device and x.T.on_device is device
    assert arrays.place(np.asarray(x)[1:, ::2], device).offset == 12
    assert piblas.zeros(5, order="F").sum() == 0 and piblas.empty((0, 3)).on_device is None
    f = piblas.array(np.asfortranarray(values(3, 4)))
    assert f.flags.f_contiguous and not f.flags.c_contiguous
    assert piblas.array(f, order="C").flags.c_contiguous
    assert piblas.array([1, 2], dtype=np.int32).dtype == np.int32
    whole = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(piblas.array(whole[::-1, ::2]), whole[::-1, ::2])


def test_what_numpy_makes_of_them(device):
    """Results are ordinary arrays and numbers; writing into one stays there."""
    x = piblas.array([1, 2, 3])
    assert type(x + 1) is np.ndarray and type(x.sum()) is F32 and type(x[0]) is F32
    same = np.add(x, 1, out=x)
    assert same is x
    x += 1
    assert x.on_device is device and x.tolist() == [3, 4, 5]
    back = pickle.loads(pickle.dumps(x))
    assert type(back) is np.ndarray and back.tolist() == [3, 4, 5]


def test_asarray(device):
    x = piblas.array(values(3, 4))
    assert piblas.asarray(x) is x and piblas.asarray(x, order="C") is x
    assert piblas.asarray(x, order="F").flags.f_contiguous
    assert piblas.asarray(x, dtype=np.float64).dtype == np.float64
    moved = piblas.asarray(np.asarray(x))
    assert moved is not x and moved.on_device is device
    with Emulator(memory=1 << 20, timing="off") as other:
        there = piblas.asarray(x, device=other)
        assert there.on_device is other and arrays.place(there, device) is None
        assert piblas.asarray(there).on_device is device


def test_memory_is_given_back(device):
    piblas.sasum(values(4))  # whose program stays
    runner_of(device).release()  # and nothing else
    gc.collect()
    arrays.collect()
    free = device._heap.free
    x = piblas.zeros(5000)
    row = np.asarray(x)[10:20]
    del x
    gc.collect()
    arrays.collect()
    assert device._heap.free < free, "a view is left"
    row[:] = 1
    del row
    gc.collect()
    piblas.sasum(values(4))  # a call frees it
    runner_of(device).release()
    assert device._heap.free == free


def test_too_large(device):
    with pytest.raises(OutOfDeviceMemory):
        piblas.zeros(1 << 30)


def test_a_closed_device_leaves_the_values(fresh):
    with Emulator(memory=1 << 20, timing="off") as dev:
        x = piblas.array([1, 2], device=dev)
    assert x.tolist() == [1, 2]
    del x
    gc.collect()
    arrays.collect()


@pytest.mark.parametrize("target", ("cpu", "auto"))
def test_without_a_device_they_are_ordinary(target, fresh):
    with piblas.use(target):
        x = piblas.array([[1, 2], [3, 4]])
        assert type(x) is piblas.DeviceArray and x.on_device is None
        np.testing.assert_array_equal(piblas.sgemm(1, x, x), [[7, 10], [15, 22]])
        assert piblas.asarray(x) is x


@pytest.mark.parametrize("call, name", (
    (lambda: piblas.empty(-1), "shape"), (lambda: piblas.zeros((2, "a")), "shape"),
    (lambda: piblas.empty(2.5), "shape"), (lambda: piblas.empty(3, order="Q"), "order"),
    (lambda: piblas.empty((2**33, 2**33)), "shape"), (lambda: piblas.zeros(2**70), "shape"),
    (lambda: piblas.empty((0, 2**62, 2**62)), "shape"), (lambda: piblas.empty(10**400), "shape"),
    (lambda: piblas.array([1], order="Z"), "order"), (lambda: piblas.empty(3, object), "dtype"),
    (lambda: piblas.array("text"), "object"), (lambda: piblas.array([[1], [2, 3]]), "object"),
))  # fmt: skip
def test_wrong_arguments(call, name, device):
    with pytest.raises(BlasError, match=f"argument {name}"):
        call()


@pytest.mark.parametrize("target", ("cpu", "emulator"))
def test_a_shape_beyond_any_memory(target, chip, fresh):
    """Whose size wraps around to 0 in 64 bits."""
    with piblas.use(chip if target == "emulator" else "cpu"):
        words = r"empty: argument shape = \(8589934592, 8589934592\): that is 2951479051793528258"
        with pytest.raises(BlasError, match=words):
            piblas.empty((2**33, 2**33))
    with pytest.raises(DeviceError, match="73786976294838206464 bytes at offset 0 does not fit"):
        chip.alloc(4096).array(np.uint8, (2**33, 2**33))


# --- calls ----------------------------------------------------------------------------------------


class Held:
    """An array in device memory between guard words, at any word, and its copy outside."""

    def __init__(self, device, source, before=5, ld=None):
        source = np.asarray(source)
        rows = source.shape[0]
        columns = source.size // rows
        ld = ld or rows
        self.raw = piblas.empty(before + ld * columns + 7, device=device)
        self.raw.view(np.uint32)[:] = GUARD
        table = self.raw[before : before + ld * columns].reshape(columns, ld)[:, :rows].T
        self.array = table if source.ndim == 2 else table[:, 0]
        self.array[...] = source
        self.inside = np.zeros(self.raw.size, bool)
        inside = self.inside[before : before + ld * columns].reshape(columns, ld)
        inside[:, :rows] = True
        self.plain = np.array(source, order="F")
        self.before = np.asarray(self.raw).copy()

    def check(self, changed=False):
        """Guard words are as before, and so is the operand unless it was to be changed."""
        now, was = (np.asarray(x).view(np.uint32) for x in (self.raw, self.before))
        outside = slice(None) if not changed else ~self.inside
        np.testing.assert_array_equal(now[outside], was[outside])


def large_buffers(device, monkeypatch):
    """A list that gets the size of every buffer that is made from now on."""
    real, sizes = type(device).alloc, []

    def alloc(self, nbytes):
        sizes.append(nbytes)
        return real(self, nbytes)

    monkeypatch.setattr(type(device), "alloc", alloc)
    return sizes


N = 3001
LEVEL_1 = {
    "sscal": lambda lib, x, y: lib.sscal(1.5, x),
    "saxpy": lambda lib, x, y: lib.saxpy(x, y, a=1.5),
    "saxpby": lambda lib, x, y: lib.saxpby(x, y, a=1.5, b=-0.5),
    "saxpby, b = 0": lambda lib, x, y: lib.saxpby(x, y, a=1.5, b=0),
    "saxpby, a = 0": lambda lib, x, y: lib.saxpby(x, y, a=0, b=-0.5),
    "scopy": lambda lib, x, y: lib.scopy(x, y),
    "sswap": lambda lib, x, y: lib.sswap(x, y)[1],
    "srot": lambda lib, x, y: lib.srot(x, y, 0.8, 0.6, overwrite_x=1, overwrite_y=1)[1],
    "sdot": lambda lib, x, y: lib.sdot(x, y),
    "sasum": lambda lib, x, y: lib.sasum(x),
    "snrm2": lambda lib, x, y: lib.snrm2(x),
    "isamax": lambda lib, x, y: lib.isamax(x),
}
CHANGED = {"sscal": "x", "sswap": "xy", "srot": "xy"}
CHANGED.update((name, "y") for name in LEVEL_1 if "axp" in name or name == "scopy")


@pytest.mark.parametrize("name", LEVEL_1)
def test_level_1_copies_nothing(name, device, monkeypatch):
    """The same bits as for ordinary arrays, no buffer as large as an operand."""
    x, y = Held(device, values(N)), Held(device, values(N, seed=1), before=9)
    wanted = LEVEL_1[name](piblas, x.plain, y.plain)
    sizes = large_buffers(device, monkeypatch)
    piblas.reset_stats()
    got = LEVEL_1[name](piblas, x.array, y.array)
    np.testing.assert_array_equal(np.asarray(got), wanted)
    assert max(sizes) <= 12 * 64 * 8 and piblas.stats() == {"emulator": {ASKED: 1}}
    for letter, held in (("x", x), ("y", y)):
        held.check(letter in CHANGED.get(name, ""))
        np.testing.assert_array_equal(held.array, held.plain)
    if name in CHANGED:
        assert arrays.place(got, device) is not None


def test_increments_and_mixed_operands(device):
    """What is not contiguous, or not there, is copied; results go where they belong."""
    x, y = Held(device, values(100)), Held(device, values(100, seed=1))
    ordinary = values(100, seed=2)
    for arguments in (dict(incx=2, incy=2, n=50), dict(incx=-1), dict(offx=3, n=90)):
        wanted = blas.saxpy(x.plain, y.plain.copy(), a=2, **arguments)
        got = piblas.saxpy(x.array, y.array, a=2, **arguments)
        np.testing.assert_allclose(got, wanted, rtol=3e-7, atol=3e-7)
        y.plain[...] = y.array
    wanted = blas.saxpy(ordinary, y.plain.copy(), a=2)
    np.testing.assert_allclose(piblas.saxpy(ordinary, y.array, a=2), wanted, atol=1e-6)
    y.plain[...] = y.array
    wanted = blas.saxpy(y.plain, ordinary.copy(), a=2)
    np.testing.assert_allclose(piblas.saxpy(y.array, ordinary, a=2), wanted, atol=1e-6)
    x.check()
    y.check(changed=True)


M = 130
SQUARE = values(M, M) / F32(M) + np.eye(M, dtype=F32)
PACKED = values(M * (M + 1) // 2) / F32(M) + 1
V, W = values(M), values(M, seed=1)
LEVEL_2 = {
    "sgemv": (SQUARE, lambda a: piblas.sgemv(1.5, a, V)),
    "sgemv of a part": (SQUARE, lambda a: piblas.sgemv(1.5, a[3:90, 7:], V[7:])),
    "sgemv transposed": (SQUARE, lambda a: piblas.sgemv(1.5, a.T, V, beta=2, y=W)),
    "sgbmv": (SQUARE[:6], lambda a: piblas.sgbmv(M, M, 3, 2, 1.5, a, V)),
    "ssymv": (SQUARE, lambda a: piblas.ssymv(1.5, a, V)),
    "ssbmv": (SQUARE[:6], lambda a: piblas.ssbmv(5, 1.5, a, V)),
    "sspmv": (PACKED, lambda a: piblas.sspmv(M, 1.5, a, V)),
    "strmv": (SQUARE, lambda a: piblas.strmv(a, V, lower=1, diag=1)),
    "stbmv": (SQUARE[:6], lambda a: piblas.stbmv(5, a, V, trans=1)),
    "stpmv": (PACKED, lambda a: piblas.stpmv(M, a, V)),
    "strsv": (SQUARE, lambda a: piblas.strsv(a, V, lower=1)),
    "strsv turned": (SQUARE, lambda a: piblas.strsv(a.T, V, trans=1)),
    "stpsv": (PACKED, lambda a: piblas.stpsv(M, a, V, lower=1)),
}
UPDATES = {
    "sger": (SQUARE, lambda a: piblas.sger(1.5, V, W, a=a, overwrite_a=1)),
    "ssyr": (SQUARE, lambda a: piblas.ssyr(1.5, V, a=a, lower=1, overwrite_a=1)),
    "ssyr2": (SQUARE, lambda a: piblas.ssyr2(1.5, V, W, a=a, overwrite_a=1)),
    "sspr": (PACKED, lambda a: piblas.sspr(M, 1.5, V, a, overwrite_ap=1)),
    "sspr2": (PACKED, lambda a: piblas.sspr2(M, 1.5, V, W, a, lower=1, overwrite_ap=1)),
}


@pytest.mark.parametrize("name, ld", [
    *((name, None) for name in (*LEVEL_2, *UPDATES)),
    *((name, M + 3) for name in LEVEL_2 if LEVEL_2[name][0].ndim == 2),
])  # fmt: skip
def test_level_2_reads_matrices_where_they_lie(name, ld, device, monkeypatch):
    source, call = LEVEL_2.get(name) or UPDATES[name]
    a = Held(device, source, ld=ld)
    wanted = call(a.plain.copy(order="F"))
    staged = []
    monkeypatch.setattr(matvec.Held, "image", lambda *given: staged.append(given))
    in_place = name in UPDATES
    got = call(a.array)
    np.testing.assert_array_equal(got, wanted)
    assert not staged
    a.check(changed=in_place)
    assert not in_place or (got is a.array and arrays.place(got, device) is not None)
    choice = {reason for reasons in piblas.stats().values() for reason in reasons}
    assert choice == {ASKED}


def test_updates_of_a_matrix_with_gaps(device):
    """Copied before it is changed, as SciPy does."""
    a = Held(device, SQUARE, ld=M + 3)
    got = piblas.sger(1.5, V, W, a=a.array, overwrite_a=1)
    np.testing.assert_array_equal(got, piblas.sger(1.5, V, W, a=a.plain))
    assert got is not a.array
    a.check()


@pytest.mark.parametrize("order_a", "CF")
@pytest.mark.parametrize("order_b", "CF")
def test_sgemm(device, order_a, order_b):
    a = piblas.array(values(70, 33), order=order_a)
    b = piblas.array(values(33, 90), order=order_b)
    c = piblas.array(np.asfortranarray(values(70, 90)))
    plain = [np.array(x, order="K") for x in (a, b, c)]
    with piblas.profile() as profile:
        got = piblas.sgemm(1.5, a, b)
    assert type(got) is piblas.DeviceArray and got.on_device is device
    assert got.flags.f_contiguous
    kernels = [report.kernel for report in profile.reports]
    assert kernels.count("gemm") == kernels.count("gemm_pack") == 1
    np.testing.assert_array_equal(got, piblas.sgemm(1.5, *plain[:2]))
    wanted = piblas.sgemm(1.5, *plain[:2], -0.5, plain[2])
    kept = piblas.sgemm(1.5, a, b, -0.5, c)
    np.testing.assert_array_equal(kept, wanted)
    np.testing.assert_array_equal(c, plain[2])
    assert piblas.sgemm(1.5, a, b, -0.5, c, overwrite_c=1) is c
    np.testing.assert_array_equal(c, wanted)
    turned = piblas.sgemm(1.5, b.T, a, trans_b=1)
    np.testing.assert_array_equal(turned, piblas.sgemm(1.5, plain[1].T, plain[0], trans_b=1))


def test_sgemm_with_a_vector_reads_the_matrix_where_it_lies(device, monkeypatch):
    a, column, row = values(70, 50), values(50, 1), values(1, 70)
    wanted = piblas.sgemm(1.5, a, column), piblas.sgemm(1.5, row, a)
    staged = []
    monkeypatch.setattr(matvec.Held, "image", lambda *given: staged.append(given))
    held = piblas.array(a)
    np.testing.assert_array_equal(piblas.sgemm(1.5, held, column), wanted[0])
    np.testing.assert_array_equal(piblas.sgemm(1.5, row, held), wanted[1])
    assert not staged and piblas.stats()["emulator"] == {ASKED: 4}


def test_other_routines_take_them(device):
    """As any array: copied."""
    a, b = piblas.array(SQUARE), piblas.array(values(M, 5))
    for call in (
        lambda a, b: piblas.ssymm(1, a, b), lambda a, b: piblas.strsm(1, a, b),
        lambda a, b: piblas.strmm(1, a, b), lambda a, b: piblas.ssyrk(1, b),
        lambda a, b: piblas.sgemm_batch(1, [a], [b])[0], lambda a, b: piblas.dgemm(1, a, b),
    ):  # fmt: skip
        np.testing.assert_array_equal(call(a, b), call(np.array(a), np.array(b)))


@pytest.mark.parametrize("trans", (0, 1))
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("m, n", ((1, 1), (1, 40), (40, 1), (5, 7), (16, 16), (33, 130), (200, 19)))
def test_somatcopy(device, m, n, order, trans):
    """In either order, transposed or not: every bit, on the QPUs."""
    a = piblas.array(values(m, n), order=order)
    a.view(np.uint32).flat[0] = 0x7FC12345
    with piblas.profile() as profile:
        got = piblas.somatcopy(1, a, trans)
    assert got.on_device is device and got.flags.f_contiguous
    wanted = np.array(a.T if trans else a, order="F")
    bits = [x.T.view(np.uint32) for x in (np.asarray(got), wanted)]
    np.testing.assert_array_equal(*bits)
    same = wanted.size == max(m, n) or (order == "F") != bool(trans)
    assert [report.kernel for report in profile.reports] == ["copy" if same else "gemm_pack"]
    a.flat[0] = 1
    got = piblas.somatcopy(-2, a, trans)
    np.testing.assert_array_equal(got, -2 * np.array(a.T if trans else a))
    assert got.on_device is device
    assert list(piblas.stats()) == ["emulator"]


def test_somatcopy_of_a_part(device, monkeypatch):
    a = Held(device, values(60, 50), ld=64)
    for part in (np.s_[3:40, ::2], np.s_[::-1, 7:], np.s_[:, ::-3]):
        for trans in (0, 1):
            wanted = a.plain[part].T if trans else a.plain[part]
            np.testing.assert_array_equal(piblas.somatcopy(1, a.array[part], trans), wanted)
            np.testing.assert_array_equal(piblas.somatcopy(2, a.array[part], trans), 2 * wanted)
            np.testing.assert_array_equal(piblas.somatcopy(0, a.array[part], trans), 0 * wanted)
    a.check()
    monkeypatch.setattr(device, "longest_launch", 1e-5, raising=False)
    with piblas.profile() as profile:
        np.testing.assert_array_equal(piblas.somatcopy(1, a.array, 1), a.plain.T)
    assert len(profile.reports) > 3


@pytest.mark.parametrize("bad", (np.nan, np.inf, 3e38))
def test_somatcopy_of_special_values(device, bad):
    a = piblas.array(values(20, 30))
    a[3, 4] = bad
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(piblas.somatcopy(2, a, 1), 2 * np.array(a).T)
    assert list(piblas.stats()) == ["cpu"]


def test_sgemm_in_short_launches(device, monkeypatch):
    monkeypatch.setattr(device, "longest_launch", 1e-4, raising=False)
    a, b = values(210, 40), values(40, 230)
    with piblas.profile() as profile:
        got = piblas.sgemm(1.0, piblas.array(a), piblas.array(b))
    assert [report.kernel for report in profile.reports].count("gemm") == 4
    np.testing.assert_array_equal(got, piblas.sgemm(1.0, a, b))


def test_an_operand_that_is_the_result(device):
    x = piblas.array(np.asfortranarray(values(40, 40)))
    wanted = piblas.sgemm(1.0, np.array(x), np.array(x).T)
    assert piblas.sgemm(1.0, x, x, trans_b=1, c=x, overwrite_c=1) is x
    np.testing.assert_array_equal(x, wanted)


# --- special values, failures ---------------------------------------------------------------------


@pytest.mark.parametrize("bad", (np.inf, np.nan))
@pytest.mark.parametrize("spoilt", "abc")
@pytest.mark.parametrize("gaps", (False, True))
def test_sgemm_with_special_values_is_as_on_the_cpu(device, bad, spoilt, gaps):
    shapes = {"a": (20, 30), "b": (30, 10), "c": (20, 10)}
    held = {
        name: Held(device, values(*shape), ld=shape[0] + (2 if gaps and name != "c" else 0))
        for name, shape in shapes.items()
    }
    held[spoilt].array[3, 4] = held[spoilt].plain[3, 4] = bad
    given, plain = ({n: getattr(h, k) for n, h in held.items()} for k in ("array", "plain"))
    wanted = blas.sgemm(1.5, beta=0.5, **plain)
    got = piblas.sgemm(1.5, beta=0.5, overwrite_c=1, **given)
    assert got is given["c"]
    np.testing.assert_array_equal(got, wanted)
    assert piblas.stats() == {"cpu": {level3.NOT_FINITE: 1}}
    for each in held.values():
        each.check(changed=True)


@pytest.mark.parametrize("beta", (0.0, 1.0))
def test_sgemm_that_overflows_is_as_on_the_cpu(device, beta):
    a, c = np.full((20, 20), 1e30, F32), np.asfortranarray(values(20, 20))
    wanted = blas.sgemm(1.0, a, a, beta, c)
    held = piblas.array(c)
    got = piblas.sgemm(1.0, piblas.array(a), piblas.array(a), beta, held, overwrite_c=1)
    assert got is held
    np.testing.assert_array_equal(got, wanted)
    assert piblas.stats() == {"cpu": {level3.OVERFLOW: 1}}


def test_special_values_in_place_warn(device):
    """The rule of levels 1 and 2 where the old value is gone: an Inf, and a warning."""
    x, y = piblas.array(values(100)), piblas.array(values(100, seed=1))
    wanted = blas.saxpy(np.array(x), np.array(y), a=2)
    y[7], y[8] = np.nan, np.inf
    with pytest.warns(RuntimeWarning, match="saxpy: Inf, NaN or an overflow in device memory"):
        piblas.saxpy(x, y, a=2)
    assert np.isinf(y[7]) and np.isinf(y[8])
    keep = np.arange(100) // 2 != 3
    keep[8] = False
    np.testing.assert_allclose(y[keep], wanted[keep], atol=1e-6)
    a = piblas.array(np.asfortranarray(SQUARE))
    a[5, 6] = np.nan
    with pytest.warns(RuntimeWarning, match="^sger: Inf, NaN"):
        piblas.sger(1.0, V, W, a=a, overwrite_a=1)
    assert np.isinf(a[5, 6]) and np.isinf(a).sum() == 1 and not np.isnan(a).any()


@pytest.mark.parametrize(
    "name, call",
    (
        ("sscal", lambda v, m: piblas.sscal(2.0, v)),
        ("srot", lambda v, m: piblas.srot(v[:M], V, 0.6, 0.8, overwrite_x=1)),
        ("srotm", lambda v, m: piblas.srotm(v[:M], V, [-1, 2, 3, 4, 5], overwrite_x=1)),
        ("ssyr", lambda v, m: piblas.ssyr(1.0, V, a=m, overwrite_a=1)),
        ("ssyr2", lambda v, m: piblas.ssyr2(1.0, V, W, a=m, overwrite_a=1)),
        ("sspr", lambda v, m: piblas.sspr(M, 1.0, V, v, overwrite_ap=1)),
        ("sspr2", lambda v, m: piblas.sspr2(M, 1.0, V, W, v, overwrite_ap=1)),
    ),
)
def test_the_warning_names_the_routine(name, call, device):
    vector, matrix = piblas.array(PACKED), piblas.array(np.asfortranarray(SQUARE))
    vector[5] = matrix[0, 5] = np.nan
    with pytest.warns(RuntimeWarning, match=f"^{name}: Inf, NaN"):
        call(vector, matrix)
    assert sum(piblas.stats()["emulator"].values()) == 1


@pytest.mark.parametrize("factor", (0.0, -0.0, 1e-40))
@pytest.mark.parametrize("part", (slice(None), slice(3, 90), slice(None, None, 2)))
def test_scaling_by_zero_in_place(device, factor, part, recwarn):
    """0 times Inf or NaN is 0 for a QPU, and neither is left to be found; so SciPy computes it."""
    given = values(100)
    given[[4, 5, 6, 7, 8]] = np.nan, np.inf, -np.inf, -1, 0
    x = piblas.array(given)
    wanted = given.copy()
    wanted[part] = blas.sscal(factor, given[part].copy())
    step = part.step or 1
    piblas.sscal(factor, x, n=wanted[part].size, offx=part.start or 0, incx=step)
    np.testing.assert_array_equal(np.array(x), wanted)
    np.testing.assert_array_equal(np.signbit(x), np.signbit(wanted))
    assert not recwarn and not any(piblas.stats().get("emulator", {}).values())
    assert piblas.sscal(2.0, x).on_device and piblas.stats()["emulator"]


def test_special_values_elsewhere_are_as_on_the_cpu(device):
    """Where the result does not replace what was read, SciPy computes it."""
    x, y = piblas.array(values(100)), piblas.array(values(100, seed=1))
    x[7] = np.nan
    a = piblas.array(np.asfortranarray(SQUARE))
    a[5, 6] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(piblas.sdot(x, y)) and np.isnan(piblas.sasum(x))
        np.testing.assert_array_equal(piblas.scopy(x, y), x)
        got = piblas.sgemv(1.0, a, V)
        np.testing.assert_allclose(got, blas.sgemv(1.0, np.array(a), V), rtol=1e-5)
        got = piblas.sger(1.0, V, W, a=a)  # not in place
        np.testing.assert_array_equal(got, blas.sger(1.0, V, W, a=np.array(a, order="F")))


@pytest.mark.parametrize("good", (0, 1))
def test_sgemm_that_fails_leaves_the_result(device, good, monkeypatch):
    """At packing, at the product."""
    a = piblas.array(values(20, 20))
    c = piblas.array(np.asfortranarray(values(20, 20, seed=3)))
    before, real, launches = np.array(c), type(device).execute_list, []

    def execute(self, *args, **kwargs):
        launches.append(1)
        if len(launches) > good:
            if good == 1:
                c[0, 0] = 77  # as far as the product came
            raise DeviceTimeout("too long")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(device), "execute_list", execute)
    with pytest.raises(DeviceTimeout):
        piblas.sgemm(1.0, a, a, 0.5, c, overwrite_c=1)
    np.testing.assert_array_equal(c, before)


# --- dispatch -------------------------------------------------------------------------------------


def test_dispatch_knows_where_operands_lie(device, monkeypatch):
    asked = []
    real = choose.choose

    def watched(call, *rest):
        asked.append((call.routine, call.resident))
        return real(call, *rest)

    monkeypatch.setattr(choose, "choose", watched)
    x, a = piblas.array(values(64)), piblas.array(values(64, 64))
    ordinary = values(64)
    piblas.sdot(x, x)
    piblas.sdot(x, ordinary)
    piblas.sdot(x, x, incx=2, n=32)
    piblas.sgemv(1.0, a, ordinary)
    piblas.sgemv(1.0, np.array(a), x)
    piblas.sgemm(1.0, a, a)
    piblas.sgemm(1.0, a, values(64, 64))
    assert asked == [
        ("sdot", True), ("sdot", False), ("sdot", False), ("sgemv", True), ("sgemv", False),
        ("sgemm", True), ("sgemm", False),
    ]  # fmt: skip


def test_auto_looks_at_vectors_once_some_are_on_a_device(fresh, quick_host, monkeypatch, chip):
    """Before, no vector can pay; afterwards each call is judged by its own operands."""
    monkeypatch.setattr(devices, "open_device", lambda which: chip)
    monkeypatch.setattr(devices, "_opened", {})
    monkeypatch.setattr(devices, "_arrays", False)
    monkeypatch.setenv("PIBLAS_BOARD", "pi1")
    ordinary = values(1 << 20)
    piblas.sasum(ordinary)
    assert piblas.stats() == {"cpu": {"predicted faster on the CPU": 1}}
    x = piblas.array(ordinary)
    assert x.on_device is chip
    assert piblas.sasum(x) == pytest.approx(np.abs(ordinary).sum(dtype=float), rel=1e-6)
    assert piblas.stats()["qpu"] == {"predicted faster on the QPUs": 1}
    piblas.sasum(ordinary)
    assert piblas.stats()["cpu"] == {"predicted faster on the CPU": 2}


def test_copies_are_counted_where_they_were_made(device):
    """By the QPUs; by the CPU because of a value; by the CPU because no kernel takes the matrix."""
    a = piblas.array(np.asfortranarray(SQUARE))
    piblas.somatcopy(2.0, a)
    a[3, 4] = np.nan
    np.testing.assert_array_equal(piblas.somatcopy(2.0, a), 2 * np.asarray(a))
    np.testing.assert_array_equal(piblas.somatcopy(np.inf, a), np.inf * np.asarray(a))
    piblas.somatcopy(2.0, a[::2])
    assert piblas.stats() == {
        "emulator": {"the operand lies in device memory": 1},
        "cpu": {WATCHED: 2, choose.NO_KERNEL: 1},
    }


def test_a_copy_whose_device_fails_is_counted_with_the_reason(fresh, monkeypatch, chip):
    monkeypatch.setattr(devices, "open_device", lambda which: chip)
    monkeypatch.setattr(devices, "_opened", {})
    a = piblas.array(SQUARE, device=chip)

    def execute(self, *args, **kwargs):
        raise DeviceTimeout("too long")

    monkeypatch.setattr(type(chip), "execute_list", execute)
    with piblas.profile() as profile:
        np.testing.assert_array_equal(piblas.somatcopy(2.0, a), 2 * SQUARE)
    assert piblas.stats() == {"cpu": {"the GPU failed: DeviceTimeout": 1}} and not profile.reports


def test_a_copy_whose_demanded_device_fails_raises(device, monkeypatch):
    a = piblas.array(SQUARE)

    def execute(self, *args, **kwargs):
        raise DeviceTimeout("too long")

    monkeypatch.setattr(type(device), "execute_list", execute)
    with pytest.raises(DeviceTimeout, match="too long"):
        piblas.somatcopy(2.0, a)
    np.testing.assert_array_equal(a, SQUARE)
    assert piblas.stats() == {}
