"""A driver that cannot be imported: calls go to the CPU, and who asks is told why."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

BROKEN = {
    "TypeError: this type has no size": "raise TypeError('this type has no size')",
    "ModuleNotFoundError: No module named 'ioctl_opt'": (
        "raise ModuleNotFoundError(\"No module named 'ioctl_opt'\")"
    ),
    "ImportError: cannot import name 'IOR'": "",
}
REMEDY = "pip install --force-reinstall 'ioctl-opt>=1.3'"
MODEL = "Raspberry Pi 3 Model B Rev 1.2"


@pytest.fixture(params=BROKEN)
def python(request, tmp_path):
    """(what is wrong, a function that runs code on a Pi 3 with such an ioctl-opt)."""
    (tmp_path / "ioctl_opt.py").write_text(BROKEN[request.param] + "\n")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "model").write_text(MODEL + "\0")
    (tree / "compatible").write_text("raspberrypi,3-model-b\0brcm,bcm2837\0")

    def run(code, on_a_pi=True):
        place = str(tree) if on_a_pi else str(tmp_path / "nowhere")
        head = f"from piblas.driver import soc\nsoc.TREE = {place!r}\n"
        paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
        env = {k: v for k, v in os.environ.items() if not k.startswith("PIBLAS_")}
        return subprocess.run(
            [sys.executable, "-c", head + code],
            capture_output=True,
            text=True,
            env=dict(env, PYTHONPATH=os.pathsep.join(paths)),
        )

    return request.param, run


CALLS = (
    "import piblas\n"
    "print(piblas.saxpy([1.0], [2.0]), piblas.sgemm(1, [[3]], [[2]]))\n"
    "print(piblas.sgemv(1, [[1]], [4]))\n"
    "print(piblas.array([5.0]), piblas.ddot([1.0], [2.0]))\n"
    "print(sum(piblas.stats()['cpu'].values()), list(piblas.stats()))\n"
    "print([reason for reason in piblas.stats()['cpu'] if 'driver' in reason])\n"
)


def test_auto_computes_on_the_cpu(python):
    """And says so once."""
    wrong, run = python
    done = run(CALLS)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:4] == ["[3.] [[6.]]", "[4.]", "[5.] 2.0", "4 ['cpu']"]
    assert f"cannot be imported: {wrong}" in lines[4].replace("\\", "")
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("calls go to the CPU: the driver of the QPUs cannot be imported")
    assert wrong in warning and REMEDY in warning


def test_a_demanded_gpu_is_an_error(python):
    wrong, run = python
    done = run(
        "import piblas\npiblas.use('qpu')\n"
        "try:\n    piblas.saxpy([1.0], [2.0])\n"
        "except piblas.DeviceError as error:\n    print(error)\n"
    )
    assert wrong in done.stdout and REMEDY in done.stdout


def test_the_commands_say_it(python):
    wrong, run = python
    command = "import sys\nfrom piblas.cli import main\nsys.exit(main({!r}))\n"
    told = run(command.format(["info"]))
    assert told.returncode == 0
    assert re.search(rf"qpu +the driver of the QPUs.*{re.escape(wrong)}", told.stdout)
    told = run(command.format(["doctor"]))
    assert told.returncode == 1 and "Traceback" not in told.stderr
    text = " ".join(told.stdout.split())
    assert text.startswith("FAIL driver: ") and wrong in text and f"do: {REMEDY}" in text
    (finding,) = json.loads(run(command.format(["doctor", "--json"])).stdout)["findings"]
    assert (finding["status"], finding["remedy"]) == ("fail", REMEDY)
    told = run(command.format(["doctor", "--fix-hints"]))
    assert told.returncode == 1 and wrong in told.stderr


def test_other_computers_need_no_driver(python):
    done = python[1](CALLS, on_a_pi=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[4] == "[]"


def test_the_oldest_version_that_works_is_asked_for():
    """1.2.2 takes no struct.Struct for an argument's type."""
    root = os.path.join(os.path.dirname(__file__), "..", "..", "pyproject.toml")
    with open(root) as file:
        assert '"ioctl-opt>=1.3"' in file.read()
