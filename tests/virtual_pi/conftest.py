"""Fixtures: set-ups that boot, and raw programs that run on them."""

from __future__ import annotations

import json
import platform
import signal
import sys

import pytest

pytest.importorskip("numba")

from .pi import VirtualPi, compiler

PRELUDE = """
import errno, json, os, sys
from tests.virtual_pi.raw import *
mailbox = lambda: Mailbox(pointer=int(os.environ["VPI_POINTER"]) or None)
def number(function, *args):
    try:
        function(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""
def tell(*values):
    print(json.dumps(values[0] if len(values) == 1 else values), flush=True)
"""


def pytest_collection_modifyitems(items):
    if sys.platform != "linux" or compiler() is None:
        reason = "the virtual Pi needs Linux and a C compiler (on Debian: apt install gcc)"
        for item in items:
            if "virtual_pi" in str(item.path):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Programs on the virtual Pi take Ctrl-C, even if a shell started the tests in the background
    and therefore had them ignore it."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


needs_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="register accesses are caught on x86-64 only"
)


@pytest.fixture
def boot():
    """``boot(name, **changes)`` gives a virtual Pi, off again after the test."""
    running = []

    def start(*args, **kwargs):
        running.append(VirtualPi(*args, **kwargs))
        return running[-1]

    yield start
    for pi in running:
        pi.close()


@pytest.fixture
def raw():
    """``raw(pi, code, *args)`` runs code on a Pi and gives what it told: a list of values."""

    def run(pi, code, *args, **kwargs):
        done = pi.python(PRELUDE + code, *map(str, args), **kwargs)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run
