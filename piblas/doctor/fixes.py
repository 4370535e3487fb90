"""The files that a board needs: a udev rule and lines of config.txt."""

from __future__ import annotations

from typing import List

from . import system
from .config_txt import config_lines, config_path

__all__ = ["CMA_MIB", "GROUP_WARNING", "RULES_PATH", "UDEV_COMMANDS", "UDEV_RULES", "hints"]

RULES_PATH = "/etc/udev/rules.d/99-piblas.rules"
UDEV_RULES = """\
KERNEL=="vcio", GROUP="video", MODE="0660"
KERNEL=="vcsm-cma", GROUP="video", MODE="0660"
SUBSYSTEM=="dma_heap", GROUP="video", MODE="0660"
"""
UDEV_COMMANDS = "sudo udevadm control --reload && sudo udevadm trigger"
GROUP_WARNING = (
    "This makes every member of the group video as good as root: the QPUs have no memory\n"
    "management unit, so whoever may launch a program on them reads and writes all of the memory."
)
CMA_MIB = 128
"""Pool of contiguous memory that a board should have: three matrices of 1024 x 1024 and room for
the camera and the display, which take theirs from it too."""


def hints() -> str:
    """What to install, as text to be read and pasted."""
    path = config_path()
    # Whatever section the file ends with, these lines are for every board.
    config: List[str] = ["[all]"]
    # Comments are on lines of their own: the firmware takes the rest of a line as the value.
    spoil = config_lines(r"dtoverlay=vc4-f?kms-v3d") + config_lines(r"gpu_mem(_\d+)?=16\b")
    for line in spoil:
        where = f"line {line.number}" + (f" of {line.path}" if line.path != path else "")
        under = f" (under {line.section})" if line.section else ""
        config += [f"# {where}{under}, to be commented out:", f"#{line.text}"]
    config += ["# anything but 16; 64 or more if mailbox memory is used", "gpu_mem=32"]
    if not config_lines(r"dtoverlay=cma,", sure=True):
        config += ["# memory for vcsm-cma and dma-heap", f"dtoverlay=cma,cma-{CMA_MIB}"]
    return "\n".join(
        [
            f"# --- {RULES_PATH}",
            UDEV_RULES.rstrip(),
            "",
            f"# Afterwards: {UDEV_COMMANDS}",
            f"# and, once: sudo usermod -aG video {system.user()}, then log in anew.",
            *("# " + line for line in GROUP_WARNING.splitlines()),
            "",
            f"# --- {path} (then reboot)",
            *config,
            "",
            "# To keep the desktop of vc4-kms-v3d instead, switch only its 3D core off by an",
            "# overlay behind it (no board is known to have tried this):",
            "#   /dts-v1/; /plugin/;",
            '#   / { compatible = "brcm,bcm2835";',
            '#       fragment@0 { target = <&v3d>; __overlay__ { status = "disabled"; }; }; };',
        ]
    )
