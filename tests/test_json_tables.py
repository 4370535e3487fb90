"""JSON files of the package, read without importing json (piblas/tables.py)."""

import builtins
import json
import pathlib

import pytest

import piblas
from piblas import tables

FILES = sorted(pathlib.Path(piblas.__file__).parent.rglob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_as_json_reads_them(path):
    assert tables.load(str(path)) == json.loads(path.read_text())


def test_without_the_scanner_in_c(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "_json":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert tables.load(str(FILES[0])) == json.loads(FILES[0].read_text())


NO_JSON = ["", "{", '{"a": 1', "[1, 2", "{} {}", "nothing", "[NaN]", '{"a": }']


@pytest.mark.parametrize("text", NO_JSON)
def test_what_is_no_json(text, tmp_path):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        tables.load(str(path))


def test_values(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(' {"a": [1, -2.5e3, true, null, "x\\u00e9"], "b": {}}\n')
    assert tables.load(str(path)) == {"a": [1, -2500.0, True, None, "x\u00e9"], "b": {}}
