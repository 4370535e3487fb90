"""Every code block of the documentation runs, and prints what the page says."""

from __future__ import annotations

import pathlib

import pytest
from pages import ROOT, Block, blocks, check, pages, run

LANGUAGES = {"python", "console", "sh", "text", "", "ini", "asm"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_page(page, tmp_path, monkeypatch, fresh):
    monkeypatch.chdir(tmp_path)
    run(page)


def test_languages():
    """No block is kept from being run by a name that nobody knows; braces are Sphinx's."""
    for page in (ROOT / "docs").rglob("*.md"):
        assert {block.language for block in blocks(page)} <= LANGUAGES, page


def test_blocks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n\n```python\nprint(1)\n```\n\n```text\n1\n```\nb\n```sh\nls\n```\n")
    assert blocks(page) == [
        Block("python", "print(1)\n", 4, False),
        Block("text", "1\n", 8, True),
        Block("sh", "ls\n", 12, False),
    ]


def test_check():
    check("a ... c\n", "a  b\nc\n", "here")
    with pytest.raises(AssertionError, match="here"):
        check("a ... c\n", "a b\n", "here")


@pytest.mark.parametrize(
    "text", ["```python\nprint(1)\n```\n```text\n2\n```\n", "```console\n$ false\n```\n"]
)
def test_a_wrong_page_fails(tmp_path, monkeypatch, text):
    monkeypatch.setattr("pages.ROOT", pathlib.Path(tmp_path))
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError):
        run(page)
