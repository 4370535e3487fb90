"""Simulated costs of the gemm family's tiles, by which sgemm chooses.

    python -m bench costs

Writes piblas/kernels/gemm_costs.json.  To be run when the kernel, the family or a timing set has
changed.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Mapping

from piblas.kernels.gemm_choice import PATH
from piblas.tune.gemm import table


def text(costs: Mapping[str, Any]) -> str:
    """The file's text: a member a line."""
    parts = []
    for name, members in costs.items():
        rows = [f'  "{member}": {json.dumps(row)}' for member, row in members.items()]
        parts.append(f' "{name}": {{\n' + ",\n".join(rows) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> int:
    PATH.write_text(text(table(lambda what: print(what, flush=True))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
