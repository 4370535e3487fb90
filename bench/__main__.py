"""``python -m bench COMMAND``; without a command it lists them."""

from __future__ import annotations

import sys

from . import (
    accuracy,
    boards,
    build,
    calibrate,
    compare,
    costs,
    cpu_overhead,
    emulator,
    host,
    in_place,
    level1,
    level2,
    level3,
    levels,
    pack,
    predict,
    programs,
    report,
    scipy_suite,
    sgemm,
)

MODULES = {
    "accuracy": accuracy,
    "boards": boards,
    "build": build,
    "calibrate": calibrate,
    "compare": compare,
    "costs": costs,
    "cpu_overhead": cpu_overhead,
    "emulator": emulator,
    "host": host,
    "in_place": in_place,
    "level1": level1,
    "level2": level2,
    "level3": level3,
    "levels": levels,
    "pack": pack,
    "predict": predict,
    "programs": programs,
    "report": report,
    "scipy_suite": scipy_suite,
    "sgemm": sgemm,
}


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in MODULES:
        print("usage: python -m bench COMMAND")
        for command, module in MODULES.items():
            print(f"  {command:12} {(module.__doc__ or '').splitlines()[0]}")
        return 2
    del sys.argv[1]
    return MODULES[name].main()


if __name__ == "__main__":
    sys.exit(main())
