"""choose() is a pure function whose rules and prediction can be checked by hand."""

from __future__ import annotations

import itertools

import pytest

import piblas
from piblas import BlasError, Choice, routines
from piblas.dispatch import boards, host_calls, predictions
from piblas.dispatch.boards import BOARDS
from piblas.dispatch.choose import (
    Call,
    Target,
    any_staged_pays,
    choose,
    costs,
    predict,
    staging_pays,
)

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
def test_rules(monkeypatch, call, target, board, backend, reason):
    simulated(monkeypatch, 0.03 if call.sizes == LARGE.sizes else 1e-5)
    choice = choose(call, target, BOARDS.get(board))
    assert (choice.backend, choice.reason) == (backend, reason)
    assert choice.kernel == (None if backend == "cpu" else "gemm")


def test_routines_without_a_kernel(monkeypatch):
    row = routines.ROUTINES["sgemm"]._replace(kernel=None)
    monkeypatch.setitem(routines.ROUTINES._made, "sgemm", row)
    choice = choose(LARGE, Target("qpu"), BOARDS["pi1"])
    assert (choice.backend, choice.reason) == ("cpu", "no QPU kernel for this routine")
    assert set(choice.seconds) == {"cpu"}


def simulated(monkeypatch, seconds):
    """Let the stored prediction of every kernel be so many seconds, at the board's clock, and let
    Python make 30 function calls in a call on ordinary memory, 20 on device memory, 5 where the CPU
    computes, and 10 a launch."""
    asked = []

    def stored(routine, mhz, sizes, resident=False):
        asked.append((routine, mhz, sizes))
        return seconds

    monkeypatch.setattr(predictions, "seconds", stored)
    monkeypatch.setattr(predictions, "launches", lambda *args: 7 if args[0] == "strsv" else 1)
    monkeypatch.setattr(host_calls, "calls", lambda routine, sizes, resident: 30 - 10 * resident)
    monkeypatch.setattr(host_calls, "on_cpu", lambda routine: 5)
    monkeypatch.setattr(host_calls, "per_launch", lambda: 10)
    return asked


PYTHON = 14e-6  # a function call on a Pi 1


def test_prediction_by_hand(monkeypatch):
    """pi1: 250 MHz, 134 MiB/s, 0.4 GFLOPS on the CPU."""
    asked = simulated(monkeypatch, 0.03)
    seconds = predict(LARGE, BOARDS["pi1"])
    flops, staged = 2 * 512**3, 4 * 4 * 512**2
    assert asked == [("sgemm", 250, LARGE.sizes)]
    assert seconds["cpu"] == pytest.approx(5e-6 + 5 * PYTHON + flops / 0.4e9)
    assert seconds["qpu"] == pytest.approx(
        40 * PYTHON + 100e-6 + staged / (134 * 2**20) + 0.03
    )
    resident = predict(Call("sgemm", LARGE.sizes, resident=True), BOARDS["pi1"])
    assert resident["qpu"] == pytest.approx(30 * PYTHON + 100e-6 + 0.03)
    assert predict(LARGE, None) == {}


def test_parts_by_hand(monkeypatch):
    simulated(monkeypatch, 0.03)
    factors = {"sgemm": boards.Factors(kernel=2, staging=3, cpu=5, host=7)}
    parts = costs(LARGE, BOARDS["pi1"]._replace(factors=factors))
    assert parts["qpu"]._asdict() == pytest.approx(
        {"host": 7 * 40 * PYTHON, "launch": 1e-4, "copy": 3 * 2**22 / (134 * 2**20), "kernel": 0.06}
    )
    assert parts["cpu"]._asdict() == pytest.approx(
        {"host": 5e-6 + 5 * PYTHON, "launch": 0, "copy": 0, "kernel": 5 * 2**28 / 0.4e9}
    )
    choice = choose(LARGE, GPU, BOARDS["pi1"])
    assert choice.parts == costs(LARGE, BOARDS["pi1"])
    assert choice.seconds == {name: cost.seconds for name, cost in choice.parts.items()}


def test_each_launch_of_a_call_counts(monkeypatch):
    simulated(monkeypatch, 0.01)
    call = Call("strsv", {"n": 1024}, resident=True)
    expected = (20 + 7 * 10) * PYTHON + 7 * 100e-6 + 0.01
    assert predict(call, BOARDS["pi1"])["qpu"] == pytest.approx(expected)


def test_resident_operands_may_take_another_way(monkeypatch):
    asked = []
    monkeypatch.setattr(predictions, "seconds", lambda *args: asked.append(args[3]) or 0.01)
    monkeypatch.setattr(predictions, "launches", lambda *args: 2 if args[2] else 1)
    for resident in (False, True):
        cost = costs(Call("sgemm", LARGE.sizes, resident), BOARDS["pi1"])["qpu"]
        assert cost.launch == pytest.approx((1 + resident) * 100e-6)
    assert asked == [False, True]


def test_what_is_always_copied():
    for name in routines.KERNELS:
        row = routines.ROUTINES[name]
        call = Call(name, dict.fromkeys(row.sizes, 300), resident=True)
        copied = costs(call, BOARDS["pi1"])["qpu"].copy
        assert bool(copied) == (row.level == 3 and name != "sgemm")


NEAR = 1.1


def _grid(row):
    points = {1: (1, 16, 1000, 10**5, 10**7), 2: (1, 16, 150, 1000, 4000), 3: (1, 40, 200, 1000)}
    for sizes in itertools.product(points[row.level], repeat=len(row.sizes)):
        yield dict(zip(row.sizes, sizes))


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())
@pytest.mark.parametrize("asked", [False, True])
def test_the_chosen_one_is_within_ten_percent_of_the_better(board, asked):
    """On the model of every board, end to end: what is summed here from the figures themselves."""
    kinds = set()
    for name in routines.KERNELS:
        row = routines.ROUTINES[name]
        for sizes in _grid(row):
            choice = choose(Call(name, sizes, asked), GPU, board)
            resident = asked and not (row.level == 3 and name != "sgemm")
            moved, flops = row.staged(**sizes), row.flops(**sizes)
            kernel = predictions.seconds(name, board.clock, sizes, resident)
            launches = predictions.launches(name, sizes, resident)
            calls = host_calls.calls(name, sizes, resident) + launches * host_calls.per_launch()
            qpu = board.python * calls + launches * board.launch + kernel
            qpu += 0 if resident else moved / (board.copy * 2**20)
            cpu = flops / (board.cpu * 1e9)
            if row.level < 3:
                cpu = max(cpu, moved / (2 * 3 * board.copy * 2**20))
            cpu += board.call + board.python * host_calls.on_cpu(name)
            taken = {"qpu": qpu, "cpu": cpu}[choice.backend]
            assert taken <= NEAR * min(qpu, cpu), (name, sizes)
            kinds.add(choice.backend)
    assert "cpu" in kinds


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())
def test_vectors_in_ordinary_memory_never_pay(board):
    """A call under "auto" is not even looked at where this holds."""
    assert not staging_pays(1, board) and not any_staged_pays(1, board)
    for name, row in routines.ROUTINES.items():
        if row.level == 1 and row.kernel:
            for n in (1, 100, 10**4, 10**6, 1 << 26):
                assert choose(Call(name, {"n": n}), GPU, board).backend == "cpu"
    # Whatever Python takes, and whatever the kernels: it is the copies that take too long.
    free = board._replace(python=0.0, launch=0.0, call=0.0)
    assert not any_staged_pays(1, free)


def test_a_profile_may_make_staging_pay():
    factors = {"saxpy": boards.Factors(cpu=100.0)}
    assert staging_pays(1, BOARDS["pi1"]._replace(factors=factors, tuned=True))
    assert not staging_pays(1, None)


def test_products_in_ordinary_memory_may_pay(monkeypatch):
    simulated(monkeypatch, 1e-3)
    assert staging_pays(3, BOARDS["pi1"])


def test_host_calls_decide(monkeypatch):
    """What the QPUs compute faster may take longer from end to end."""
    simulated(monkeypatch, 1e-3)
    assert choose(LARGE, GPU, BOARDS["pi1"]).backend == "qpu"
    monkeypatch.setattr(host_calls, "calls", lambda *args: 86000)
    assert choose(LARGE, GPU, BOARDS["pi1"]).backend == "cpu"


@pytest.mark.parametrize("name", BOARDS)
def test_each_speed_of_python_has_a_source(name):
    (speed,) = {each for each in boards.PYTHON.values() if each.seconds == BOARDS[name].python}
    assert "derived" in speed.confidence and len(speed.source) > 20


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
    simulated(monkeypatch, 0.03)
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
        "qpu (kernel gemm): predicted faster on the QPUs; predicted on pi1: "
        "cpu 5.37 s (host 75 us, kernel 5.37 s), "
        "qpu 263 ms (host 420 us, launch 100 us, kernel 263 ms)"
    )
    simulated(monkeypatch, 4e-6)
    text = str(piblas.why("sgemm", m=1, n=1, k=1, board="pi3"))
    assert "cpu 18 us (host 18 us, kernel 0.0952 ns)" in text
    assert "qpu 208 us (host 104 us, launch 100 us, copy 56.9 ns, kernel 4 us)" in text
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
