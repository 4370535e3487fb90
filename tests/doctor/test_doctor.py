"""``piblas doctor`` where there is no Pi, and what it prints to be installed.

What its checks find on boards is tested on virtual Pis (tests/virtual_pi).
"""

from __future__ import annotations

import json
import os

import pytest

from piblas.cli import main
from piblas.doctor import checks, config_txt, finding, fixes


def test_a_narrow_python_is_told(monkeypatch):
    wide = checks._python(checks.Examination())
    assert "64-bit Python" in wide.found and "0xC0046400" not in wide.found
    monkeypatch.setattr(checks.struct, "calcsize", lambda code: 4)
    narrow = checks._python(checks.Examination())
    assert narrow.status == finding.INFO and "0xC0046400" in narrow.found


@pytest.mark.skipif(os.path.exists("/proc/device-tree"), reason="this is a board")
def test_no_pi(capsys):
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  board: no Raspberry Pi Zero, 1, 2 or 3" in out
    assert "do: use the CPU" in out and "cannot be used" in out.splitlines()[-1]
    assert main(["doctor", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["usable"] is False and len(answer["findings"]) == 1


def test_fix_hints(capsys, monkeypatch, tmp_path):
    config = tmp_path / "config.txt"
    config.write_text("# old\ndtoverlay=vc4-kms-v3d\n gpu_mem=16\n#dtoverlay=vc4-kms-v3d\n")
    monkeypatch.setattr(config_txt, "CONFIGS", (str(config),))
    assert main(["doctor", "--fix-hints"]) == 0
    out = capsys.readouterr().out
    for line in fixes.UDEV_RULES.splitlines():
        assert line in out.splitlines()
    lines = out.splitlines()
    assert lines[lines.index("# line 2, to be commented out:") + 1] == "#dtoverlay=vc4-kms-v3d"
    assert lines[lines.index("# line 3, to be commented out:") + 1] == "#gpu_mem=16"
    assert "gpu_mem=32" in lines and "dtoverlay=cma,cma-128" in lines
    assert "as good as root" in out


def test_hints_leave_what_is_there(monkeypatch, tmp_path):
    config = tmp_path / "config.txt"
    config.write_text("dtoverlay=cma,cma-256\n")
    monkeypatch.setattr(config_txt, "CONFIGS", (str(config),))
    assert "dtoverlay=cma" not in fixes.hints()
