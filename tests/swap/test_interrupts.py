"""A signal that arrives during ``@``: the product is computed, and the exception is raised."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

import piblas
from piblas.swap import interrupts, matmul

A = np.arange(16, dtype=np.float32).reshape(4, 4)


class Rung(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


@pytest.fixture
def alarm(fresh):
    """SIGALRM raises, as time-outs do."""
    def ring(number, frame):
        raise Rung("no time", 7)

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    piblas.unpatch()


def test_no_product_is_left_out(alarm):
    """The first step of the function that C calls is one at which Python may look at signals: with
    an ordinary function most of these end with a result that nobody wrote."""
    want, out = A @ A, np.empty_like(A)
    caught = 0
    with piblas.use("cpu"), piblas.patch("numpy.matmul"):
        for i in range(60):
            late = time.monotonic() + 30
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-5 + 1e-6 * i)
                while time.monotonic() < late:
                    out[:] = -1
                    np.matmul(A, A, out=out)
                    assert out.tolist() == want.tolist()
            except Rung as error:
                assert error.args == ("no time", 7)
                caught += 1
    assert caught == 60


@pytest.mark.filterwarnings("error")
def test_interrupt_during_a_call_of_the_device(alarm, device, monkeypatch):
    want = A @ A
    real = device.execute_list

    def interrupted(*args, **kwargs):
        result = real(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(device, "execute_list", interrupted)
    out = np.full_like(A, -1)
    with piblas.use(device), piblas.patch("numpy.matmul"):
        with pytest.raises(KeyboardInterrupt):
            np.matmul(A, A, out=out)
            time.sleep(30)
    np.testing.assert_array_equal(out, want)


def test_an_error_of_ours_is_raised(alarm, monkeypatch):
    """It is no reason to go on with a wrong result, nor to hide it."""
    def wrong(*args):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(matmul, "_large", wrong)
    big = np.ones((100, 100), np.float32)
    out = np.full_like(big, -1)
    with piblas.use("cpu"), piblas.patch("numpy.matmul"):
        with pytest.raises(ZeroDivisionError, match="ours"):
            np.matmul(big, big, out=out)
            time.sleep(30)
    assert (out == 100).all()


def test_unknown_beginnings_are_refused(monkeypatch):
    def function():
        yield  # begins with another instruction

    if interrupts.sys.version_info >= (3, 11):
        with pytest.raises(piblas.PiblasError, match="cannot be redirected safely"):
            interrupts.catches_all(function)
    monkeypatch.setattr(interrupts.sys.implementation, "name", "pypy")
    with pytest.raises(piblas.PiblasError, match="only be redirected under CPython"):
        interrupts.catches_all(function)
