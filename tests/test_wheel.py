"""The wheel: no compiled part, any Python 3, everything that the package reads inside."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import piblas

ROOT = pathlib.Path(piblas.__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", minversion="77")
    place = tmp_path_factory.mktemp("wheel")
    copy = place / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "piblas", copy / "piblas", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    # The build backend itself, so that nothing is downloaded.
    code = f"from setuptools import build_meta\nprint(build_meta.build_wheel({str(place)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place / done.stdout.split()[-1]


def test_it_is_pure_python(wheel):
    assert re.fullmatch(r"piblas-[\d.]+-py3-none-any\.whl", wheel.name)
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.endswith((".so", ".pyd", ".c", ".dll"))]


def test_everything_is_inside(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in sorted((ROOT / "piblas").rglob("*")):
        if path.suffix in (".py", ".json", ".bin", ".typed"):
            assert str(path.relative_to(ROOT)) in names


def test_nothing_else_is_inside(wheel):
    """Sources and tables alone, and not more of them than a small board's card should hold."""
    names = zipfile.ZipFile(wheel).namelist()
    ours = [name for name in names if not re.match(r"piblas-[\d.]+\.dist-info/", name)]
    assert all(re.fullmatch(r"piblas/.+\.(py|json|bin|typed)", name) for name in ours)
    assert wheel.stat().st_size < 1.5e6


def test_one_version(wheel):
    """``piblas.__version__`` is the only place that it is written down in."""
    assert wheel.name.startswith(f"piblas-{piblas.__version__}-")
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[({re.escape(piblas.__version__)}|Unreleased)\]", changes, re.M)
    assert f"version: {piblas.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_what_it_needs_has_no_compiled_parts_of_its_own(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
    text = archive.read(metadata).decode()
    needed = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", text, re.M)
    assert sorted(needed) == ["ioctl-opt", "numpy", "platformdirs", "scipy"]
    assert "Requires-Python: >=3.9" in text


def test_the_installed_package_works(wheel, tmp_path):
    """From the archive alone: the import, the doctor, the selftest's stored data."""
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    code = (
        "import piblas, sys\n"
        "from piblas.selftest import conformance, fit\n"
        "assert piblas.__file__.startswith(sys.argv[1])\n"
        "print(len(conformance.expected()), len(fit.predictions(250e6)))\n"
        "from piblas.cli import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stderr == "" and done.returncode in (0, 1)
    assert int(done.stdout.split()[0]) > 100
