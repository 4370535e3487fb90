"""``python -m piblas SCRIPT`` and ``-m MODULE``: programs that know nothing of piblas."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "swap_in").glob("*.py"))
SCRIPT = """
import sys, numpy as np, helper
if __name__ == "__main__":
    a = np.ones((30, 30), np.float32)
    print(sys.argv, (a @ a).sum(), np.dot(a, a).sum(), helper.value)
    sys.exit(3)
"""


def run(*argv, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "piblas", *map(str, argv)], capture_output=True, text=True, cwd=cwd
    )


@pytest.fixture
def script(tmp_path):
    (tmp_path / "helper.py").write_text("value = 5\n")
    path = tmp_path / "program.py"
    path.write_text(SCRIPT)
    return path


def test_a_script(script):
    done = run("--device=emulator", "--stats", script, "x", "--stats")
    assert done.returncode == 3
    assert done.stdout == f"{[str(script), 'x', '--stats']} 27000.0 27000.0 5\n"
    head, *rows = done.stderr.splitlines()
    assert head.split() == ["routine", "backend", "calls", "host", "ms", "QPU", "ms", "reason"]
    assert [row.split()[:3] for row in rows] == [
        ["dot", "emulator", "1"],
        ["matmul", "emulator", "1"],
    ]
    assert all(float(row.split()[3]) > 0 and float(row.split()[4]) > 0 for row in rows)


def test_a_module(script):
    done = run("--device", "cpu", "-m", "program", "x", cwd=script.parent)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == f"{[str(script), 'x']} 27000.0 27000.0 5\n"


def test_without_options(script):
    done = run(script)
    assert done.returncode == 3 and "27000.0" in done.stdout and not done.stderr


def test_targets_and_size(script):
    done = run("--device", "emulator", "--targets", "numpy.dot", "--stats", script)
    assert "dot " in done.stderr and "matmul" not in done.stderr
    done = run("--device", "emulator", "--min-size", "100000", "--stats", script)
    assert "emulator" not in done.stderr and "smaller than" in done.stderr


def test_an_exception_is_the_programs_own(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("import numpy as np\nnp.ones((2, 3), 'f4') @ np.ones((2, 3), 'f4')\n")
    done = run("--device", "cpu", "--stats", path)
    assert done.returncode == 1 and "ValueError: matmul: Input operand 1 has" in done.stderr
    assert "piblas: no calls" in done.stderr


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--device", "gpu", "x.py"], "--device gpu: choose one of auto, qpu, emulator, cpu"),
        (["--device"], "--device wants a value"),
        (["--targets", "numpy.dot,numpy", "x.py"], "--targets numpy: choose one of scipy.blas, "),
        (["--min-size", "-3", "x.py"], "--min-size -3: wants an integer of at least 0"),
        (["--stats"], "--stats: of which program?"),
        (["--stats", "demo"], "--stats: of which program?"),
        (["--stats", "nowhere.py"], "nowhere.py: there is no such file"),
        (["nowhere.py"], "nowhere.py: there is no such file"),
        (["--stats", "-m"], "-m wants the name of a module"),
    ],
)
def test_wrong_arguments(argv, message):
    done = run(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_commands_come_first(tmp_path):
    (tmp_path / "dis").write_text("print('a script')\n")
    done = run("dis", "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: piblas dis")


# Norm-wise; of a sum of k terms, sgemm's own bound is about k * 2**-23, of which normally
# distributed terms reach a tenth (k = 2000 in least_squares, 1500 in principal_components).
BOUND = {"least_squares": 5e-5, "principal_components": 5e-5, "iterative_solvers": 2e-4}


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path):
    """They run unchanged, on the QPUs, with results within the bound and as without piblas."""
    if path.stem == "scikit_learn":
        assert importlib.util.find_spec("sklearn"), "this one needs pip install '.[examples]'"
    assert "piblas" not in path.read_text()
    alone = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    done = run("--device", "emulator", "--stats", path)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    rows = [row.split() for row in done.stderr.splitlines()]
    assert sum(int(row[2]) for row in rows if row[1:2] == ["emulator"]) >= 2
    errors = [float(each) for each in re.findall(r"(?:error|residual)[a-z ]* (\S+)", done.stdout)]
    assert errors and max(errors) <= BOUND.get(path.stem, 8e-6)

    def words(text):
        return re.sub(r"[\d.]+e-\d+", "", text)

    assert words(done.stdout) == words(alone.stdout)


def test_there_are_examples():
    assert len(EXAMPLES) >= 7 and os.path.basename(EXAMPLES[0]) == "clusters.py"
