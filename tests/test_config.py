"""Settings are rows; each is read once."""

from __future__ import annotations

import pytest

from piblas import PiblasError, config


@pytest.mark.parametrize("row", config.SETTINGS, ids=lambda row: row.name)
def test_rows(row, fresh):
    assert row.name.startswith("PIBLAS_") and row.meaning
    assert not row.choices or row.default in row.choices
    assert config.get(row.name) == row.default


def test_read_once(fresh, monkeypatch):
    monkeypatch.setenv("PIBLAS_DEVICE", " cpu ")
    assert config.get("PIBLAS_DEVICE") == "cpu"
    monkeypatch.setenv("PIBLAS_DEVICE", "emulator")
    assert config.get("PIBLAS_DEVICE") == "cpu"
    config.forget()
    assert config.get("PIBLAS_DEVICE") == "emulator"


def test_wrong_value(fresh, monkeypatch):
    monkeypatch.setenv("PIBLAS_BOARD", "pi9")
    with pytest.raises(PiblasError, match="PIBLAS_BOARD='pi9': choose one of auto, pi0, pi1"):
        config.get("PIBLAS_BOARD")


def test_memory_backends_are_those_of_the_setting():
    from piblas.driver.memory import NAMES

    (row,) = [row for row in config.SETTINGS if row.name == "PIBLAS_MEMORY"]
    assert row.choices == ("auto", *NAMES)


def test_boards_are_those_of_the_setting():
    from piblas.dispatch.boards import BOARDS

    row = next(row for row in config.SETTINGS if row.name == "PIBLAS_BOARD")
    assert row.choices == ("auto", *BOARDS)
