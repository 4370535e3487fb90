"""CONTRIBUTING.md names files that exist and commands that there are."""

from __future__ import annotations

import pathlib
import re

import pytest

from bench.__main__ import MODULES

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES = sorted(set(re.findall(r"[\w./]*\w/?\w*\.(?:py|json|bin|png|txt)\b", TEXT)))
FOLDERS = ("", "piblas", "tests", "tests/blas", "tests/clock", "tests/kernels", "tests/virtual_pi")


@pytest.mark.parametrize("name", [name for name in FILES if "NAME" not in name])
def test_files_exist(name):
    assert any((ROOT / folder / name).exists() for folder in FOLDERS)


def test_patterns_match_something():
    for pattern in re.findall(r"`((?:tests/\w+/)?test_\w+)\*", TEXT):
        folder, _, start = pattern.rpartition("/")
        places = [ROOT / folder] if folder else [ROOT / each for each in FOLDERS]
        assert any(list(place.glob(f"{start}*.py")) for place in places), pattern


def test_benchmarks_exist():
    found = set(re.findall(r"bench ([a-z]\w*)", TEXT))
    assert {"programs", "predict", "host"} <= found <= set(MODULES)


def test_the_readme_leads_here():
    assert "(CONTRIBUTING.md)" in (ROOT / "README.md").read_text()
