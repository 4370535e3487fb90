"""piblas.patch: what it redirects, that all is put back, nesting, threads, forks, bad arguments."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import threading
import types
import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg
from scipy.linalg import blas

import piblas
from piblas import PiblasError
from piblas.swap import patching

MODULES = [
    "numpy", "numpy.linalg", "numpy._core", "numpy._core.numeric", "numpy._core.multiarray",
    "numpy.linalg._linalg", "numpy.lib._function_base_impl", "scipy.linalg", "scipy.linalg.blas",
    "scipy.linalg._fblas", "scipy.linalg._matfuncs", "scipy.linalg._decomp_svd",
    "scipy.sparse.linalg",
]  # fmt: skip
RNG = np.random.default_rng(0)
A, B = RNG.integers(-8, 9, (2, 30, 30)).astype(np.float32)
X = A[0].copy()


@pytest.fixture(autouse=True)
def unpatched(fresh):
    assert not piblas.is_patched()
    yield
    piblas.unpatch()


def everything():
    """Every attribute of the modules by module and name."""
    found = {}
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:  # another NumPy's or SciPy's name
            continue
        found.update({(name, key): value for key, value in vars(module).items()})
    return found


def same(one, other):
    return one.keys() == other.keys() and all(one[key] is other[key] for key in one)


def counted(name):
    """Calls of a routine that were counted, by backend."""
    found = piblas.stats.by_routine().get(name, {})
    return {backend: sum(reasons.values()) for backend, reasons in found.items()}


CALLS = {
    "@": ("matmul", lambda: A @ B),
    "np.matmul": ("matmul", lambda: np.matmul(A, B)),
    "matrix @ vector": ("matmul", lambda: A @ X),
    "vector @ matrix": ("matmul", lambda: X @ A),
    "vector @ vector": ("matmul", lambda: X @ X),
    "stack @ matrix": ("matmul", lambda: A.reshape(3, 10, 30) @ B),
    "stack @ stack": ("matmul", lambda: A.reshape(3, 10, 30) @ B.reshape(3, 30, 10)),
    "broadcast": ("matmul", lambda: A.reshape(3, 1, 10, 30) @ B.reshape(1, 2, 30, 15)),
    "transposes": ("matmul", lambda: A.T @ B.T),
    "strides": ("matmul", lambda: A[::2, ::-3] @ B[::-3, 1::2]),
    "stride 0": ("matmul", lambda: np.broadcast_to(X, (30, 30)) @ B),
    "out=": ("matmul", lambda: np.matmul(A, B, out=np.full((30, 60), 7, np.float32)[:, ::2])),
    "out= turned": ("matmul", lambda: np.matmul(A, B, out=np.empty((30, 30), np.float32).T)),
    "out= is an operand": ("matmul", lambda: (lambda c: np.matmul(c, B, out=c))(A.copy())),
    "@=": ("matmul", lambda: _in_place()),
    "einsum": ("matmul", lambda: np.einsum("ij,jk->ik", A, B, optimize=True)),
    "np.dot": ("dot", lambda: np.dot(A, B)),
    "np.dot, vectors": ("dot", lambda: np.dot(X, X)),
    "np.dot, vector first": ("dot", lambda: np.dot(X, A)),
    "np.dot, vector last": ("dot", lambda: np.dot(A, X)),
    "np.tensordot": ("dot", lambda: np.tensordot(A.reshape(3, 10, 30), B, 1)),
    "multi_dot": ("dot", lambda: np.linalg.multi_dot([A, B, X[:, None]])),
    "blas.sgemm": ("sgemm", lambda: blas.sgemm(1.0, A, B)),
    "get_blas_funcs": ("sgemv", lambda: scipy.linalg.get_blas_funcs("gemv", (A,))(1.0, A, X)),
    "blas.sdot": ("sdot", lambda: np.float32(blas.sdot(X, X))),
}


def _in_place():
    c = A.copy()
    c @= B
    return c


@pytest.mark.parametrize("name", CALLS)
def test_redirected_and_put_back(name, device):
    """Operands and results are small integers, so that any order of sums gives the same."""
    routine, call = CALLS[name]
    before, want = everything(), call()
    for _ in range(2):
        with piblas.use(device), piblas.patch():
            got = call()
            assert counted(routine).get("emulator", 0) >= 1, piblas.stats.by_routine()
        np.testing.assert_array_equal(got, want)
        assert type(got) is type(want) and got.dtype == want.dtype and got.shape == want.shape
        assert got.strides == want.strides
        assert same(before, everything())
        np.testing.assert_array_equal(call(), want)
    total = counted(routine)["emulator"]
    call()
    assert counted(routine)["emulator"] == total


LEFT_ALONE = {
    "float64": lambda: A.astype(float) @ B.astype(float),
    "mixed": lambda: A @ B.astype(float),
    "ints": lambda: A.astype(int) @ B.astype(int),
    "complex": lambda: np.dot(A.astype("F"), B.astype("F")),
    "empty": lambda: A[:, :0] @ B[:0],
    "empty result": lambda: np.dot(A[:0], B),
    "numbers": lambda: np.dot(A, 2.0),
    "lists": lambda: np.dot([[1.0]], [[2.0]]),
    "three axes": lambda: np.dot(A.reshape(3, 10, 30), B),
    "dot(out=)": lambda: np.dot(A, B, out=np.empty((30, 30), np.float32)),
    "objects": lambda: np.array([[1, 2]], object) @ np.array([[3], [4]], object),
    "subclass": lambda: np.dot(A.view(np.matrix), B),
    "keywords": lambda: np.dot(a=A.astype(float), b=B),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_left_alone(name, device):
    call = LEFT_ALONE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        want = call()
        with piblas.use(device), piblas.patch():
            got = call()
    np.testing.assert_array_equal(got, want)
    assert type(got) is type(want) and "emulator" not in piblas.stats()


WRONG = {
    "@": lambda: A @ B[:7],
    "np.dot": lambda: np.dot(A, B[:7]),
    "np.dot()": lambda: np.dot(A),
    "dot(out=)": lambda: np.dot(A, B, out=np.empty((30, 30))),
    "casting": lambda: np.matmul(A, B, out=np.empty((30, 30), int)),
    "blas.sgemm": lambda: blas.sgemm(1.0, A, B[:7]),
    "blas.saxpy": lambda: blas.saxpy(X, X, n=1000),
    "blas.sgemm()": lambda: blas.sgemm(1.0),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_the_originals(name, device):
    """SciPy's come as BlasError with SciPy's words, which is caught as SciPy's own error."""
    with pytest.raises(Exception) as before:
        WRONG[name]()
    with piblas.use(device), piblas.patch(), pytest.raises(before.type) as patched:
        WRONG[name]()
    if name != "blas.sgemm()":  # Python's words for too few arguments are others
        assert str(before.value) in str(patched.value)


def test_accidents_that_scipy_takes_are_taken(device):
    """piblas.sgemm refuses text as a number; whoever calls SciPy's gets what SciPy makes of it."""
    want = blas.sgemm("2", A, B)
    with piblas.use(device), piblas.patch():
        np.testing.assert_array_equal(blas.sgemm("2", A, B), want)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e38])
def test_special_values(value, device):
    """Not the QPUs' business; NumPy's warnings are NumPy's."""
    bad = A.copy()
    bad[3, 4] = value
    for call in (lambda: bad @ B, lambda: np.dot(bad, B), lambda: blas.sgemm(1.0, bad, B)):
        with warnings.catch_warnings(record=True) as before:
            warnings.simplefilter("always")
            want = call()
        with piblas.use(device), piblas.patch(), warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            np.testing.assert_array_equal(call(), want)
        assert [str(w.message) for w in seen] == [str(w.message) for w in before]


def test_a_device_that_fails(device, monkeypatch, caplog):
    """Even one that was asked for: whoever calls NumPy knows nothing of it."""
    def fails(*args, **kwargs):
        raise piblas.DeviceTimeout("no end")

    want = A @ B
    with piblas.use(device), piblas.patch():
        monkeypatch.setattr(device, "execute_list", fails)
        for _ in range(3):
            for call in (lambda: A @ B, lambda: np.dot(A, B), lambda: blas.sgemm(1.0, A, B)):
                np.testing.assert_array_equal(call(), want)
    assert list(piblas.stats()["cpu"]) == ["the GPU failed: DeviceTimeout"]
    assert 1 <= len([r for r in caplog.records if "no end" in r.getMessage()]) <= 2


def test_a_device_that_is_missing():
    want = A @ B
    with piblas.use("qpu"), piblas.patch():
        for call in (lambda: A @ B, lambda: np.dot(A, B), lambda: blas.sgemm(1.0, A, B)):
            np.testing.assert_array_equal(call(), want)
    ((reason, calls),) = piblas.stats()["cpu"].items()
    assert reason.startswith("no VideoCore IV GPU") and calls == 3


def test_min_size(device):
    """2 m n k = 54000 operations are too few, then enough; the newest patch says so."""
    with piblas.use(device), piblas.patch(min_size=54001) as outer:
        A @ B, np.dot(A, B), blas.sgemm(1.0, A, B)
        assert piblas.stats() == {"cpu": {"smaller than piblas.patch was told to look at": 3}}
        piblas.reset_stats()
        with piblas.patch(min_size=54000):
            A @ B, np.dot(A, B), blas.sgemm(1.0, A, B)
            assert list(piblas.stats()) == ["emulator"]
        piblas.reset_stats()
        A @ B, np.dot(A, B), blas.sgemm(1.0, A, B)
        assert list(piblas.stats()) == ["cpu"] and outer.min_size == 54001
    with piblas.use(device):  # piblas's own functions do not know of it
        piblas.sgemm(1.0, A, B)
    assert counted("sgemm")["emulator"] == 1


def test_the_target_may_change(device):
    with piblas.patch("numpy.matmul"):
        for wanted, backend in (("cpu", "cpu"), (device, "emulator"), ("cpu", "cpu")):
            with piblas.use(wanted):
                piblas.reset_stats()
                A @ B
                assert list(counted("matmul")) == [backend]


# --- nesting, order, other code -------------------------------------------------------------------


def test_nested_in_any_order():
    before = everything()
    first, second = piblas.patch("numpy.dot"), piblas.patch(["numpy.dot", "numpy.matmul"])
    with first:
        second.__enter__()
        assert piblas.is_patched("numpy.dot") and piblas.is_patched("numpy.matmul")
    assert piblas.is_patched("numpy.dot")
    second.__exit__()
    assert not piblas.is_patched() and same(before, everything())


def test_lasting():
    before = everything()
    piblas.patch()
    piblas.patch("numpy.dot")
    assert piblas.is_patched() and not same(before, everything())
    piblas.unpatch("numpy.dot")
    assert not piblas.is_patched("numpy.dot") and piblas.is_patched("numpy.matmul")
    piblas.unpatch()
    piblas.unpatch()
    assert not piblas.is_patched() and same(before, everything())


def test_unpatch_within_a_block():
    before = everything()
    with piblas.patch() as block:
        piblas.unpatch()
        assert same(before, everything())
    with block:
        assert piblas.is_patched("numpy.dot")
    assert same(before, everything())


def test_decorator(device):
    @piblas.use(device)
    @piblas.patch("numpy.matmul")
    def product(n=1):
        return A @ B if n == 0 else product(n - 1)

    @piblas.use(device)
    @piblas.patch("numpy.matmul")
    async def awaited():
        return A @ B

    assert not piblas.is_patched()
    np.testing.assert_array_equal(product(2), A @ B)
    np.testing.assert_array_equal(asyncio.run(awaited()), A @ B)
    assert counted("matmul") == {"emulator": 2} and not piblas.is_patched()
    with pytest.raises(PiblasError, match="cannot decorate the generator"):
        piblas.patch()(lambda: (yield))
    assert not piblas.is_patched()


def test_names_taken_before_and_meanwhile(device, monkeypatch):
    """A module that did ``from numpy import dot``, before or while NumPy was patched."""
    module = types.ModuleType("somebodys")
    module.product = np.dot
    module.axpy = blas.saxpy
    monkeypatch.setitem(sys.modules, "somebodys", module)
    original, axpy = np.dot, blas.saxpy
    with piblas.use(device), piblas.patch():
        assert module.product is np.dot is not original and module.axpy is blas.saxpy is not axpy
        module.later = np.dot
        module.mine = piblas.saxpy
        module.product(A, B)
        assert "somebodys.product" in piblas.patch_map()["numpy.dot"]
    assert counted("dot") == {"emulator": 1}
    assert module.product is module.later is np.dot is original
    assert module.axpy is axpy and module.mine is piblas.saxpy


def test_what_others_replaced_stays(monkeypatch):
    # So that NumPy's own function is what monkeypatch puts back, and not ours.
    monkeypatch.setattr(np, "dot", np.dot)
    original, theirs = np.dot, lambda a, b: "theirs"
    piblas.patch("numpy.dot")
    monkeypatch.setattr(np, "dot", theirs)
    with pytest.warns(RuntimeWarning, match="unpatch leaves numpy.dot as it is"):
        piblas.unpatch()
    assert np.dot is theirs and importlib.import_module("numpy.linalg._linalg").dot is original
    assert not piblas.is_patched()


def test_a_loop_that_others_replaced_stays():
    from piblas.swap import matmul

    piblas.patch("numpy.matmul")
    ours = matmul._address()
    other = matmul._Loop(lambda *args: matmul._original(*args))
    theirs = matmul.ctypes.cast(other, matmul._pointer).value
    was = patching._installed["numpy.matmul"]._was
    assert matmul._replace(theirs) == ours
    with pytest.warns(RuntimeWarning, match="leaves numpy.matmul"):
        piblas.unpatch()
    assert matmul._replace(was) == theirs
    np.testing.assert_array_equal(A @ B, blas.sgemm(1.0, A, B))


def test_wide_integers(device, monkeypatch):
    """Functions of a SciPy that has them for 64-bit integers too."""
    wide = types.ModuleType("scipy.linalg._fblas_64")
    wide.sgemv = type("fortran", (), {"__call__": lambda self, *args: "wide"})()
    original = wide.sgemv
    monkeypatch.setitem(sys.modules, wide.__name__, wide)
    monkeypatch.setattr(scipy.linalg, "_fblas_64", wide, raising=False)
    with piblas.patch("scipy.blas"):
        assert wide.sgemv is not original
        with piblas.use("cpu"):
            assert wide.sgemv(1.0, A, X) == "wide"
        with piblas.use(device):
            np.testing.assert_array_equal(wide.sgemv(1.0, A, X), A @ X)
    assert wide.sgemv is original


def test_only_routines_with_a_kernel():
    before = blas.dgemm, blas.sgemm, blas.srotg
    with piblas.patch("scipy.blas"):
        assert blas.dgemm is before[0] and blas.srotg is before[2]
        assert blas.sgemm is not before[1]
    with piblas.patch("scipy.blas.all"):
        assert blas.dgemm is not before[0] and blas.dgemm([[2.0]], [[3.0]], [[1.0]]) == 6
    assert (blas.dgemm, blas.sgemm, blas.srotg) == before


def test_map():
    assert set(piblas.patch_map()) == set(patching.TARGETS)
    assert not any(piblas.patch_map().values())
    with piblas.patch(["numpy.dot", "scipy.blas"]):
        found = piblas.patch_map()
        assert "numpy.dot" in found["numpy.dot"] and found["numpy.matmul"] == []
        assert {"scipy.linalg.blas.sgemm", "scipy.linalg._fblas.sgemm"} <= set(found["scipy.blas"])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: piblas.patch("numpy.dott"), "target 'numpy.dott': choose of scipy.blas, "),
        (lambda: piblas.patch([3]), "target 3: choose of"),
        (lambda: piblas.patch(min_size=-1), "min_size = -1: wants an integer of at least 0"),
        (lambda: piblas.patch(min_size=1.5), "min_size = 1.5: wants"),
        (lambda: piblas.unpatch("x"), "piblas.unpatch: target 'x'"),
        (lambda: piblas.is_patched("x"), "piblas.is_patched: target 'x'"),
        (lambda: piblas.patch()(3), "piblas.patch decorates functions, not 3"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(PiblasError, match=words):
        call()
    assert not piblas.is_patched()


def test_a_target_that_cannot_be_replaced(monkeypatch):
    """Nothing is left half done."""
    before = everything()

    def fails(least):
        raise PiblasError("not with this NumPy")

    monkeypatch.setitem(patching.TARGETS, "numpy.matmul", fails)
    with pytest.raises(PiblasError, match="not with this NumPy"):
        piblas.patch(["numpy.dot", "numpy.matmul"])
    assert not piblas.is_patched() and same(before, everything())


# --- piblas within patched functions, threads, processes ------------------------------------------


def test_products_of_piblas_itself(device):
    """What a call of piblas computes in NumPy does not come back to the device that it holds."""
    triangle = np.asfortranarray(np.tril(A) + 40 * np.eye(30, dtype=np.float32))
    with piblas.use(device):
        want = piblas.strsm(1.0, triangle, B, lower=1)
        with piblas.patch():
            np.testing.assert_array_equal(piblas.strsm(1.0, triangle, B, lower=1), want)
            x = piblas.array(A)
            np.testing.assert_array_equal(piblas.sgemm(1.0, x, x), A @ A)


def test_threads(device):
    """Each thread has its own results; patching while others compute changes none."""
    wrong, stop = [], threading.Event()
    operands = [np.full((20, 20), i, np.float32) for i in range(1, 4)]

    def work(i):
        while not stop.is_set():
            if not (operands[i] @ operands[i] == 20 * (i + 1) ** 2).all():
                wrong.append(i)
            if not (np.dot(operands[i], operands[i]) == 20 * (i + 1) ** 2).all():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    with piblas.use(device):
        for thread in threads:
            thread.start()
        for _ in range(10):
            with piblas.patch(["numpy.dot", "numpy.matmul"]):
                operands[0] @ operands[0]
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork(device):
    """The child goes on with what was replaced, and can put it back."""
    with piblas.use(device), piblas.patch():
        want = A @ B
        child = os.fork()
        if not child:
            good = (A @ B == want).all() and (np.dot(A, B) == want).all()
            piblas.unpatch()
            os._exit(0 if good and not piblas.is_patched() else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_another_thread_is_in_a_call(device):
    """The child is not kept waiting by a thread that it does not have."""
    stop = threading.Event()

    def work():
        while not stop.is_set():
            A @ B, np.dot(A, B), blas.sgemm(1.0, A, B), piblas.stats()

    with piblas.use(device), piblas.patch():
        want = A @ B
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                child = os.fork()
                if not child:
                    signal.alarm(60)  # which ends the child if it hangs
                    good = (A @ B == want).all() and (np.dot(A, B) == want).all()
                    good = good and (blas.sgemm(1.0, A, B) == want).all()
                    piblas.use("cpu")
                    good = good and (A @ B == want).all() and piblas.stats()
                    piblas.unpatch()
                    os._exit(0 if good else 1)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code], capture_output=True,
        text=True, env={**os.environ, **environment},
    )  # fmt: skip


def test_exit():
    """Put back before the device is closed, whoever runs later; no noise."""
    done = run(
        "import atexit, numpy as np\n"
        "a = np.ones((20, 20), np.float32)\n"
        "atexit.register(lambda: print((a @ a).sum(), np.dot is original[0]))\n"
        "original = [np.dot]\n"
        "import piblas\n"
        "piblas.use('emulator')\n"
        "piblas.patch()\n"
        "kept = piblas.array(a)\n"
        "print((a @ a).sum(), np.dot is original[0], piblas.stats()['emulator'])\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, last = done.stdout.splitlines()
    assert first == "8000.0 False {'the emulator was asked for': 1}" and last == "8000.0 True"


def test_setting():
    code = "import piblas, numpy\nprint(piblas.is_patched(), numpy.dot.__module__)"
    assert run(code, PIBLAS_PATCH="1").stdout == "True numpy\n"
    assert run(code, PIBLAS_PATCH="0").stdout == "False numpy\n"
    assert "PIBLAS_PATCH='yes': choose one of 0, 1" in run(code, PIBLAS_PATCH="yes").stderr
