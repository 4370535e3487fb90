"""The reference has every public name, and the site builds without a warning."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pages import ROOT

import piblas
from piblas.config import SETTINGS
from piblas.routines import EXTENSIONS, HELPERS, ROUTINES

TEXT = "\n".join(page.read_text() for page in sorted((ROOT / "docs" / "reference").glob("*.md")))
DIRECTIVE = re.compile(r"^\.\. (?:auto\w+|py:function):: (?:piblas\.)?(\w+)", re.M)


def test_every_public_name():
    """The directive for routines writes those of single precision from their table."""
    assert "```{piblas-routines} 1" in TEXT and "```{piblas-routines} 3" in TEXT
    written = set(DIRECTIVE.findall(TEXT)) | {n for n, row in ROUTINES.items() if row.type == "s"}
    wanted = {*piblas.__all__, *HELPERS, *EXTENSIONS} - {"driver", "vector"}
    assert sorted(wanted - written) == []


def test_settings():
    assert "```{piblas-table} settings" in TEXT and SETTINGS


@pytest.mark.slow
def test_site(tmp_path):
    """Every warning counts, as of a link to a page or name that is not there."""
    pytest.importorskip("sphinx", reason='needs pip install ".[docs]"')
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    routines = (tmp_path / "reference" / "routines.html").read_text()
    assert all(f'id="piblas.{name}"' in routines for name in ("saxpy", "sgemv", "strsm"))
