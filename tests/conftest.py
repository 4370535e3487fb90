"""Fixtures for all tests: the emulated device, golden texts, a clean default device."""

from __future__ import annotations

import difflib
import os
import pathlib
import tempfile

import pytest

from piblas import config, record
from piblas.dispatch import devices, host_calls

GOLDEN = pathlib.Path(__file__).parent / "golden"


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the golden texts with what the tests produce",
    )
    parser.addoption(
        "--device",
        choices=("emulator", "qpu"),
        default="emulator",
        help="what the fixture `device` opens: on a Pi, the sgemm tests run on its QPUs by "
        "--device qpu tests/blas/test_sgemm.py tests/blas/test_sgemm_random.py",
    )


@pytest.fixture(scope="session", autouse=True)
def no_profiles():
    """Figures that piblas tune has measured for this user decide nothing in a test."""
    before = os.environ.get("XDG_CONFIG_HOME")
    with tempfile.TemporaryDirectory() as empty:
        os.environ["XDG_CONFIG_HOME"] = empty
        yield
    if before is None:
        del os.environ["XDG_CONFIG_HOME"]
    else:
        os.environ["XDG_CONFIG_HOME"] = before


@pytest.fixture(scope="session")
def device(request):
    """One strict emulator with noise-filled memory, or the QPUs, for the whole session."""
    from piblas.driver import Emulator, open_device

    if request.config.getoption("--device") == "qpu":
        with open_device("qpu") as qpus:
            yield qpus
        return

    with Emulator(memory=64 << 20, strict=True, seed=1) as emulator:
        yield emulator


@pytest.fixture
def golden(request):
    """``golden(name, text)`` compares a text with tests/golden/name, or rewrites that file."""
    update = request.config.getoption("--update-golden")

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        if not path.exists():
            pytest.fail(f"no {path}: run pytest --update-golden and look at what it writes")
        kept = path.read_text()
        if text != kept:
            diff = difflib.unified_diff(
                kept.splitlines(), text.splitlines(), str(path), "now", lineterm="", n=2
            )
            pytest.fail("\n".join(list(diff)[:60]))

    return check


@pytest.fixture
def fresh(monkeypatch):
    """No PIBLAS_ setting, no earlier ``use``, no counts; afterwards as before."""
    for row in config.SETTINGS:
        monkeypatch.delenv(row.name, raising=False)
    monkeypatch.setattr(devices, "_base", None)
    monkeypatch.setattr(devices, "_base_accuracy", None)
    monkeypatch.setattr(devices, "_patched", False)
    monkeypatch.setattr(devices, "_blocks", [])
    monkeypatch.setattr(devices, "_missing", {})
    config.forget()
    record.reset_stats()
    yield
    config.forget()
    record.reset_stats()


@pytest.fixture
def quick_host(monkeypatch):
    """Python takes no time, so that "auto" sends to the QPUs what copies and kernels are worth."""
    monkeypatch.setattr(host_calls, "calls", lambda routine, sizes, resident: 0)
    monkeypatch.setattr(host_calls, "on_cpu", lambda routine: 0)
    monkeypatch.setattr(host_calls, "per_launch", lambda: 0)
