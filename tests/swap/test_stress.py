"""Many threads, many calls, patched and not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scipy.linalg
from scipy.linalg import blas

import piblas

M = [np.full((12, 12), i, np.float32) for i in range(1, 5)]
V = [np.full(40, i, np.float32) for i in range(1, 5)]

# (a call with i = 0 to 3, its result): each is exact in any order of sums.
CALLS = [
    (lambda i: piblas.sgemm(1.0, M[i], M[i]), lambda i: 12.0 * (i + 1) ** 2),
    (lambda i: piblas.sdot(V[i], V[i]), lambda i: 40.0 * (i + 1) ** 2),
    (lambda i: piblas.saxpy(V[i], V[i].copy(), a=2.0), lambda i: 3.0 * (i + 1)),
    (lambda i: piblas.sgemv(1.0, M[i], V[i][:12]), lambda i: 12.0 * (i + 1) ** 2),
    (lambda i: M[i] @ M[i], lambda i: 12.0 * (i + 1) ** 2),
    (lambda i: np.dot(M[i], V[i][:12]), lambda i: 12.0 * (i + 1) ** 2),
    (lambda i: blas.sscal(2.0, V[i].copy()), lambda i: 2.0 * (i + 1)),
    (lambda i: scipy.linalg.get_blas_funcs("asum", (V[i],))(V[i]), lambda i: 40.0 * (i + 1)),
    (lambda i: piblas.dgemm(1.0, M[i], M[i]), lambda i: 12.0 * (i + 1) ** 2),
    (lambda i: piblas.array(V[i]).sum(), lambda i: 40.0 * (i + 1)),
]


def mixed(threads, calls):
    """Wrong results of so many calls by so many threads, and the seconds that they took."""
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(calls // threads):
            which, i = int(rng.integers(len(CALLS))), int(rng.integers(4))
            call, result = CALLS[which]
            try:
                if not np.all(call(i) == result(i)):
                    wrong.append((which, i))
            except Exception as error:
                wrong.append((which, i, repr(error)))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return wrong, time.perf_counter() - began


@pytest.mark.parametrize("patched", [False, True])
def test_a_few(device, fresh, patched):
    with piblas.use(device):
        if patched:
            with piblas.patch():
                wrong, _ = mixed(4, 200)
        else:
            wrong, _ = mixed(4, 200)
    assert not wrong
    assert piblas.stats()["emulator"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu", "emulator"])
@pytest.mark.parametrize("patched", [False, True])
def test_sixteen_threads(device, fresh, patched, target):
    """10,000 calls: right, and in no more time than one thread takes (half as much again is left
    for whatever else the machine does)."""
    with piblas.use("cpu" if target == "cpu" else device):
        if patched:
            piblas.patch()
        try:
            mixed(1, 200)
            alone, one = mixed(1, 10_000)
            wrong, many = mixed(16, 10_000)
        finally:
            piblas.unpatch()
    print(f"\n{target}, patched {patched}: 1 thread {one:.2f} s, 16 threads {many:.2f} s")
    assert not alone and not wrong
    assert many < 1.5 * one


def test_exit_while_arrays_live_and_threads_compute():
    code = (
        "import threading, numpy as np, piblas\n"
        "piblas.use('emulator')\n"
        "piblas.patch()\n"
        "kept = [piblas.array(np.ones((20, 20))) for _ in range(5)]\n"
        "a = np.ones((20, 20), np.float32)\n"
        "def work():\n"
        "    while True:\n"
        "        a @ a\n"
        "        np.dot(a, a)\n"
        "for _ in range(3):\n"
        "    threading.Thread(target=work, daemon=True).start()\n"
        "print((kept[0] @ kept[1]).sum(), (a @ a).sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", code],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "8000.0 8000.0\n")
    assert "ResourceWarning" not in done.stderr and "Traceback" not in done.stderr
