"""choose() is a pure function whose rules and prediction can be checked by hand."""

from __future__ import annotations

import pytest

import piblas
from piblas import BlasError, Choice, routines
from piblas.dispatch import boards, predictions
from piblas.dispatch.boards import BOARDS
from piblas.dispatch.choose import Call, Target, choose, predict

SMALL = Call("sgemm", {"m": 4, "n": 4, "k": 4})
LARGE = Call("sgemm", {"m": 512, "n": 512, "k": 512})
GPU = Target("qpu", demanded=False)


@pytest.mark.parametrize(
    "call, target, board, backend, reason",
    [
        (LARGE, Target("cpu"), "pi1", "cpu", "the CPU was asked for"),
        (SMALL, Target("emulator"), None, "emulator", "the emulator was asked for"),
        (SMALL, Target("qpu"), "pi1", "qpu", "the qpu was asked for"),
        (LARGE, GPU, "pi1", "qpu", "predicted faster on the QPUs"),
        (SMALL, GPU, "pi1", "cpu", "predicted faster on the CPU"),
        (LARGE, GPU, "pi3", "cpu", "predicted faster on the CPU"),
        (LARGE, GPU, None, "cpu", "no figures for this board to decide by"),
        (LARGE, Target("qpu", False, "no GPU here"), "pi1", "cpu", "no GPU here"),
        (
            Call("sgemm", {"m": 5, "n": 0, "k": 9}),
            Target("emulator"),
            None,
            "cpu",
            "nothing to multiply",
        ),
        (Call("sgemm", LARGE.sizes, bar="NaN"), Target("emulator"), None, "cpu", "NaN"),
    ],
)
def test_rules(call, target, board, backend, reason):
    choice = choose(call, target, BOARDS.get(board))
    assert (choice.backend, choice.reason) == (backend, reason)
    assert choice.kernel == (None if backend == "cpu" else "gemm")


def test_routines_without_a_kernel(monkeypatch):
    row = routines.ROUTINES["sgemm"]._replace(kernel=None)
    monkeypatch.setitem(routines.ROUTINES, "sgemm", row)
    choice = choose(LARGE, Target("qpu"), BOARDS["pi1"])
    assert (choice.backend, choice.reason) == ("cpu", "no QPU kernel for this routine")
    assert set(choice.seconds) == {"cpu"}


def simulated(monkeypatch, seconds):
    """Let the stored prediction of every kernel be so many seconds, at the board's clock."""
    asked = []

    def stored(routine, mhz, sizes):
        asked.append((routine, mhz, sizes))
        return seconds

    monkeypatch.setattr(predictions, "seconds", stored)
    return asked


def test_prediction_by_hand(monkeypatch):
    """pi1: 250 MHz, 134 MiB/s, 0.4 GFLOPS on the CPU."""
    asked = simulated(monkeypatch, 0.03)
    seconds = predict(LARGE, BOARDS["pi1"])
    flops, staged = 2 * 512**3, 4 * 4 * 512**2
    assert asked == [("sgemm", 250, LARGE.sizes)]
    assert seconds["cpu"] == pytest.approx(5e-6 + flops / 0.4e9)
    assert seconds["qpu"] == pytest.approx(100e-6 + staged / (134 * 2**20) + 0.03)
    resident = predict(Call("sgemm", LARGE.sizes, resident=True), BOARDS["pi1"])
    assert resident["qpu"] == pytest.approx(100e-6 + 0.03)
    assert predict(LARGE, None) == {}


def test_each_launch_of_a_call_counts(monkeypatch):
    simulated(monkeypatch, 0.01)
    call = Call("strsv", {"n": 1024}, resident=True)
    assert predict(call, BOARDS["pi1"])["qpu"] == pytest.approx(7 * 100e-6 + 0.01)


def test_a_kernel_without_a_prediction(monkeypatch):
    simulated(monkeypatch, None)
    choice = choose(LARGE, GPU, BOARDS["pi1"])
    assert (choice.backend, choice.reason) == ("cpu", "no prediction for this kernel")
    assert set(choice.seconds) == {"cpu"}
    assert choose(LARGE, Target("qpu"), BOARDS["pi1"]).backend == "qpu"


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())
def test_larger_products_never_go_back_to_the_cpu(board):
    """Along n x n x n there is one threshold, not several."""
    backends = [
        choose(Call("sgemm", {"m": n, "n": n, "k": n}), GPU, board).backend
        for n in range(1, 2000, 7)
    ]
    changes = sum(a != b for a, b in zip(backends, backends[1:]))
    assert backends[0] == "cpu" and changes <= 1


def test_kernels_named_in_the_rows_exist():
    from piblas.kernels import spec

    for row in routines.ROUTINES.values():
        if row.kernel is not None:
            assert row.name in spec.get(row.kernel).routines


# --- piblas.why ---------------------------------------------------------------------------------


def test_why(fresh, monkeypatch):
    monkeypatch.setenv("PIBLAS_DEVICE", "cpu")
    choice = piblas.why("sgemm", m=64, n=64, k=64)
    assert isinstance(choice, Choice)
    assert str(choice) == "cpu: the CPU was asked for"
    assert piblas.why("sgemm", m=1, n=2, k=3, device="emulator").backend == "emulator"
    assert piblas.why("sgemm", m=512, n=512, k=512, board="pi1").backend == "qpu"
    assert piblas.why("sgemm", m=512, n=512, k=512, board="pi1", device="cpu").backend == "cpu"
    assert piblas.why("sgemm", m=64, n=64, k=64, device="auto").reason.startswith("no VideoCore")


def test_why_reads(fresh, monkeypatch):
    simulated(monkeypatch, 0.2629)
    choice = piblas.why("sgemm", m=1024, n=1024, k=1024, board="pi1", resident=True)
    assert str(choice) == (
        "qpu (kernel gemm): predicted faster on the QPUs; predicted on pi1: cpu 5.37 s, qpu 263 ms"
    )
    simulated(monkeypatch, 4e-6)
    assert "cpu 5 us, qpu 104 us" in str(piblas.why("sgemm", m=1, n=1, k=1, board="pi3"))
    assert str(Choice("cpu", None, "so", {"cpu": 5e-9}, "x")) == "cpu: so; predicted on x: cpu 5 ns"


@pytest.mark.parametrize(
    "routine, options, message",
    [
        ("sgem", dict(m=1), "'sgem': not among the routines of BLAS, as are sgemv, sgemm"),
        ("sgemm", dict(m=1, n=1), "sgemm: argument k = None: a call has the sizes m, n, k"),
        ("sgemm", dict(m=1, n=1, k=1, p=4), "argument p = 4: a call has the sizes m, n, k"),
        ("sgemm", dict(m=1, n=-1, k=1), "argument n = -1: a size is an integer of at least 0"),
        ("sgemm", dict(m=1.5, n=1, k=1), "argument m = 1.5: a size is an integer"),
        ("sgemm", dict(m=1, n=1, k=1, board="pi4"), "argument board = 'pi4': not among the boards"),
        ("sgemm", dict(m=1, n=1, k=1, device="tpu"), "device = 'tpu': not among the devices auto"),
    ],
)
def test_why_refuses(fresh, routine, options, message):
    with pytest.raises(BlasError, match=message):
        piblas.why(routine, **options)


# --- boards -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, name",
    [
        ("Raspberry Pi Zero W Rev 1.1", "pi0"),
        ("Raspberry Pi Zero 2 W Rev 1.0", "zero2"),
        ("Raspberry Pi Model B Plus Rev 1.2", "pi1"),
        ("Raspberry Pi 2 Model B Rev 1.1", "pi2"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "pi3"),
        ("Raspberry Pi Compute Module 3 Rev 1.0", "pi3"),
        ("Raspberry Pi 4 Model B Rev 1.4", None),
        ("Raspberry Pi 5 Model B Rev 1.0", None),
        ("Some Other Board", None),
    ],
)
def test_detect(tmp_path, model, name):
    path = tmp_path / "model"
    path.write_bytes(model.encode() + b"\0")
    board = boards.detect(str(path))
    assert (board and board.name.replace("-32", "")) == name


def test_detect_elsewhere(tmp_path):
    assert boards.detect(str(tmp_path / "nothing")) is None


def test_detect_32_bit(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(b"Raspberry Pi 3 Model B\0")
    monkeypatch.setattr(boards.struct, "calcsize", lambda kind: 4)
    assert boards.detect(str(path)) == BOARDS["pi3-32"]
