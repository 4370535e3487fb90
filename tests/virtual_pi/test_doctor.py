"""``piblas doctor`` on virtual Pis: each check where it fires and where it does not."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from piblas.doctor import checks
from piblas.doctor.trial import TRIAL

from .faults import Fault
from .pi import VirtualPi
from .setups import BOARDS, SETUPS, setup

# What the firmware may be asked for, whoever finds what.
FINE = {"ok", "info", "skip"}
DOCTOR = "import sys\nfrom piblas.cli import main\nsys.exit(main(['doctor', '--json']))"


def doctor(pi, *rules, before=""):
    """Exit code and the findings by check: (status, text with the remedy)."""
    pi.faults.rules += list(rules)
    done = pi.python(before + "\n" + DOCTOR)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    report = pi.report()
    assert report.clean, report
    rows = told["findings"] if isinstance(told, dict) else told
    return done.returncode, {
        row["check"]: (row["status"], f"{row['found']} {row['remedy']}") for row in rows
    }


def examine(name, *rules, before="", **changes):
    with VirtualPi(setup(name, **changes)) as pi:
        return doctor(pi, *rules, before=before)


# Set-ups of the issue's list: the checks that fire, and words that their findings must hold.
LISTED = {
    "bookworm64": {},
    "bookworm32": {},
    "bullseye": {},
    "udev2026": {
        "vcio access": ("fail", "/dev/vcio", "root root", "raspberrypi-sys-mods",
                        "/etc/udev/rules.d/99-piblas.rules"),
    },
    "kms": {
        "enable QPUs": ("fail", "0x80000000"),
        "V3D node": ("fail", "dtoverlay=vc4-kms-v3d", "/boot/firmware/config.txt", "line"),
    },
    "gpu_mem16": {
        "firmware": ("fail", "start_cd", "gpu_mem=32", "16 MiB"),
        "enable QPUs": ("fail", "refuses"),
        "vcsm-cma": ("fail", "modprobe vc-sm-cma", "gpu_mem"),
    },
    "no-vcsm-cma": {
        "vcsm-cma": ("warn", "modprobe vc-sm-cma"),
        "dma-heap": ("warn", "uncached", "3 to 5 times"),
    },
    "pi4": {"board": ("fail", "BCM2711", "VideoCore VI", "py-videocore6")},
}  # fmt: skip
OTHERS = {
    "pi5": {"board": ("fail", "BCM2712", "VideoCore VII", "py-videocore7")},
    "no-vcio": {"vcio node": ("fail", "no /dev/vcio", "Raspberry Pi kernel"),
                "vcsm-cma": ("fail",)},
    "container": {"vcio node": ("fail", "--device /dev/vcio"), "vcsm-cma": ("fail",),
                  "dma-heap": ("warn",)},
    "not-in-video": {"vcio access": ("fail", "usermod -aG video guest"),
                     "vcsm-cma": ("fail", "/dev/vcsm-cma"), "dma-heap": ("warn", "udev rule")},
    "not-logged-in-anew": {"vcio access": ("fail", "log out and in"), "vcsm-cma": ("fail",),
                           "dma-heap": ("warn",)},
    "udev2026-gencmd": {"vcio access": ("fail", "udev rule")},
    "kms-refuses": {"enable QPUs": ("fail", "refuses"), "V3D node": ("fail",)},
    "no-heap": {"dma-heap": ("warn", "no heap")},
    "no-vcsm-cma-user": {"vcsm-cma": ("fail", "only root"), "dma-heap": ("warn",),
                         "memory": ("fail", "/dev/mem")},
    "small-cma": {"CMA pool": ("warn", "too small", "dtoverlay=cma,cma-128")},
    "locked-mmio": {"registers": ("warn", "iomem=relaxed", "STRICT_DEVMEM=y")},
    "under-voltage": {"power, clock": ("warn", "under-voltage", "200 MHz", "power supply")},
    "root": {}, "zero": {}, "pi1": {}, "pi3": {}, "zero2": {}, "new-heap-name": {},
    "udev2026-root": {}, "bullseye64": {}, "no-vcsm-cma-zero": {"vcsm-cma": ("warn",),
                                                               "dma-heap": ("warn",)},
    "u-dma-buf": {"vcsm-cma": ("warn",), "dma-heap": ("warn",)},
    "old-vcsm": {"dma-heap": ("warn", "5.10 or later")},
}  # fmt: skip


def check(name, expected):
    code, found = examine(name)
    fired = {check for check, (status, _) in found.items() if status not in FINE}
    assert fired == set(expected), (name, found)
    for check, (status, *words) in expected.items():
        assert found[check][0] == status, (name, check, found[check])
        for word in words:
            assert word in found[check][1], (name, check, word, found[check])
    failing = any(row[0] == "fail" for row in expected.values())
    assert code == (1 if failing else 0)
    # The last check multiplies matrices; it runs wherever nothing stands in its way.
    if not failing:
        assert found["a program"][0] == "ok" and "sgemm" in found["a program"][1]
    elif "board" not in expected:
        assert found["a program"][0] == "skip"


QUICK = ("bookworm64", "udev2026", "kms", "pi4")


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LISTED],
)
def test_listed(name):
    check(name, LISTED[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_others(name):
    check(name, OTHERS[name])


def test_all_set_ups_are_examined():
    # A process of 64 bits cannot pass for one of 32 in everything: see test_python.
    assert set(LISTED) | set(OTHERS) | {"bookworm32on64", "pi2"} == set(SETUPS)


def test_every_check_fires_somewhere():
    """In the lists above or in a test of its own below."""
    fired = {check for rows in (LISTED, OTHERS) for row in rows.values() for check in row}
    own = {
        "other users": test_other_users, "kernel": test_kernel_tells_its_limit,
        "Python": test_python, "a program": test_a_program_that_computes_nothing,
    }  # fmt: skip
    assert fired | set(own) == {row.name for row in (*checks.CHECKS, TRIAL)}


@pytest.mark.slow
def test_a_driver_that_the_firmware_puts_up_with():
    """fkms: the node is on, the QPUs are lent all the same."""
    code, found = examine("kms", enable_reply=0, overlays=("vc4-fkms-v3d",))
    assert code == 0 and found["V3D node"][0] == "warn"
    assert "dtoverlay=vc4-fkms-v3d" in found["V3D node"][1] and found["a program"][0] == "ok"


def test_sections_of_config_txt():
    """The remedies name lines in force on this board, and hints begin outside any section."""
    sections = (
        "[pi4]\ndtoverlay=vc4-kms-v3d\n[pi3]\n[0xcafe0001]\ndtoverlay=vc4-fkms-v3d\n"
        "[0xcafe0002]\ndtoverlay=vc4-kms-v3d,x\n[gpio4=1]\n[all]\n[gpio4=1]\ngpu_mem=16\n"
    )
    with VirtualPi(setup("kms", overlays=(), config=sections)) as pi:
        found = doctor(pi)[1]["V3D node"][1]
        hints = pi.python(DOCTOR.replace("'--json'", "'--fix-hints'")).stdout
    assert '"dtoverlay=vc4-fkms-v3d"' in found and '"dtoverlay=vc4-kms-v3d' not in found
    lines = hints.splitlines()
    assert lines[lines.index("# --- /boot/firmware/config.txt (then reboot)") + 1] == "[all]"
    assert "#dtoverlay=vc4-fkms-v3d" in lines and "#dtoverlay=vc4-kms-v3d" not in lines
    assert lines[lines.index("#gpu_mem=16") - 1].endswith("(under [gpio4=1]), to be commented out:")


@pytest.mark.slow
def test_other_users():
    hold = "import piblas, sys\nd = piblas.driver.open_device('qpu')\nprint(1, flush=True)\ninput()"
    with VirtualPi("bookworm64") as pi:
        other = pi.popen(
            [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        other.stdout.readline()
        done = pi.python(DOCTOR)
        told = json.loads(done.stdout)
        rows = {row["check"]: row for row in (told["findings"] if isinstance(told, dict) else told)}
        assert rows["other users"]["status"] == "fail"
        assert f"process {other.pid}" in rows["other users"]["found"]
        other.communicate("\n")
        assert doctor(pi)[1]["other users"][0] == "ok"


@pytest.mark.slow
def test_memory_with_a_wrong_alias():
    wrong = dataclasses.replace(BOARDS["pi3"], dma_alias=0x40000000)
    code, found = examine("bookworm64", board=wrong, window=0xC0000000)
    assert code == 1 and found["memory"][0] == "fail"
    assert "dma-ranges" in found["memory"][1] and "0x78000000" in found["memory"][1]


@pytest.mark.slow
def test_kernel_tells_its_limit():
    assert "waits 1 s" in examine("bullseye")[1]["kernel"][1]
    assert "waits 3 s" in examine("udev2026-root")[1]["kernel"][1]


@pytest.mark.slow
def test_python():
    """A 32-bit Python on a 64-bit kernel, played by the size of a pointer alone."""
    pretend = (
        "import ctypes, struct\n"
        "calcsize = struct.calcsize\n"
        "struct.calcsize = lambda text: 4 if text == 'P' else calcsize(text)\n"
        "from piblas.driver import abi, mailbox\n"
        "mailbox.MAILBOX = abi.MAILBOX = abi.mailbox_request(ctypes.c_uint32)\n"
    )
    code, found = examine("bookworm32on64", before=pretend)
    assert code == 0 and "32-bit Python on aarch64" in found["Python"][1]
    assert "0xC0046400" in found["Python"][1]
    assert "64-bit Python" in examine("bookworm64")[1]["Python"][1]


@pytest.mark.slow
def test_a_program_that_computes_nothing():
    code, found = examine("bookworm64", Fault("EXECUTE_QPU", 0, launch="nothing"))
    assert code == 1 and found["a program"][0] == "fail"
    assert "did not arrive" in found["a program"][1]


@pytest.mark.slow
def test_every_call_of_the_doctor_may_fail():
    """It never crashes and leaves nothing behind, whichever call fails first."""
    import errno

    with VirtualPi("bookworm64") as pi:
        doctor(pi)
        calls = pi.calls
        for at in range(0, len(calls), 3):
            if calls[at].startswith("munmap"):
                continue
            pi.faults.clear()
            if "SET_ENABLE_QPU 0" in calls[at]:
                continue  # nobody else could hand the QPUs back then
            code, found = doctor(pi, Fault(at=at, error=errno.EIO))
            assert code in (0, 1) and found, calls[at]
