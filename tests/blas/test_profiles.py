"""Profiles of boards: kept in a file, by section, told apart by where they were measured."""

from __future__ import annotations

import json
import logging
import os

import pytest

from piblas import PiblasError, config
from piblas.dispatch import profiles


@pytest.fixture
def home(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def test_where(home, monkeypatch):
    assert profiles.path("pi3") == str(home / ".config/piblas/pi3.json")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert profiles.path("pi3") == str(home / ".config/piblas/pi3.json")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "x"))
    assert profiles.path("pi3") == str(home / "x/piblas/pi3.json")
    monkeypatch.setenv("PIBLAS_PROFILES", "~/mine")
    config.forget()
    assert profiles.path("pi3-32") == str(home / "mine/pi3-32.json")


@pytest.mark.parametrize("name", ["", "../pi3", "a/b", ".x"])
def test_names(home, name):
    with pytest.raises(PiblasError, match="is no name of a board"):
        profiles.path(name)


def test_sections_stay(home):
    assert profiles.load("pi2") == {}
    profiles.save("pi2", "gemm", {"rows": 12, "list": [1, 2.5]}, "qpu")
    file = profiles.save("pi2", "copy", {"mib_s": 173.0}, "emulator")
    assert profiles.load("pi2") == {"gemm": {"rows": 12, "list": [1, 2.5]}, "copy": {"mib_s": 173}}
    assert profiles.load("pi2", "qpu") == {"gemm": {"rows": 12, "list": [1, 2.5]}}
    assert profiles.load("pi2", "emulator") == {"copy": {"mib_s": 173.0}}
    profiles.save("pi2", "gemm", {"rows": 9}, "emulator")
    assert profiles.load("pi2")["gemm"]["rows"] == 12, "a simulation hides no measurement"
    assert profiles.load("pi2", "emulator")["gemm"] == {"rows": 9}
    profiles.save("pi2", "gemm", {"rows": 8}, "qpu")
    assert profiles.load("pi2")["gemm"] == {"rows": 8}
    assert profiles.load("pi2", "emulator")["gemm"] == {"rows": 9}
    assert profiles.load("pi3") == {}
    assert os.listdir(os.path.dirname(file)) == ["pi2.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "sections": 3}'])
def test_a_file_that_is_no_profile(home, caplog, text):
    file = profiles.save("pi1", "gemm", {"rows": 12}, "qpu")
    with open(file, "w") as target:
        target.write(text)
    with caplog.at_level(logging.WARNING, "piblas"):
        assert profiles.load("pi1") == {}
    assert "pi1.json is left out" in caplog.text


def test_what_cannot_be_written(home, monkeypatch):
    blocked = home / "file"
    blocked.write_text("")
    monkeypatch.setenv("PIBLAS_PROFILES", str(blocked))
    config.forget()
    with pytest.raises(PiblasError, match="pi1.json cannot be written: "):
        profiles.save("pi1", "gemm", {}, "qpu")


def test_a_failed_write_keeps_the_old(home):
    file = profiles.save("pi1", "gemm", {"rows": 12}, "qpu")
    with pytest.raises(TypeError):
        profiles.save("pi1", "gemm", {"rows": object()}, "qpu")
    assert profiles.load("pi1") == {"gemm": {"rows": 12}}
    assert json.loads(open(file).read())["board"] == "pi1"


def test_remove(home):
    assert profiles.remove("pi1") is None
    file = profiles.save("pi1", "gemm", {"rows": 12}, "qpu")
    assert profiles.remove("pi1") == file and profiles.load("pi1") == {}
    os.mkdir(file)
    with pytest.raises(PiblasError, match="pi1.json cannot be deleted: "):
        profiles.remove("pi1")
