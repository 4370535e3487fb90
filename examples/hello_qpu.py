"""py-videocore's first example in our assembler: add two vectors of 16 numbers.

    python examples/hello_qpu.py --device emulator
"""

import common
import numpy as np

from piblas.codegen import Assembler, macros
from piblas.driver import open_device


def add_vectors():
    """Uniforms: the addresses of a, b and the result."""
    asm = Assembler("add_vectors")
    a, b, at = asm.regs("x", 3)
    macros.lane_addresses(asm, at, asm.unif)
    macros.tmu_request(asm, 0, at)
    macros.lane_addresses(asm, at, asm.unif)
    macros.tmu_request(asm, 1, at)
    asm.ldtmu(0, a)
    asm.ldtmu(1, b)
    macros.vpm_write_setup(asm)
    asm.fadd(asm.vpm, a, b)
    macros.dma_store(asm, asm.unif, rows=1, row_length=16)
    asm.end()
    return asm.finish()


def main():
    args = common.arguments(__doc__)
    a, b = np.random.default_rng(0).standard_normal((2, 16), dtype=np.float32)
    with open_device("qpu" if args.device in ("auto", "qpu") else "emulator") as device:
        buffers = [device.alloc(64) for _ in range(3)]
        for buffer, values in zip(buffers, (a, b)):
            buffer.array(np.float32, 16)[...] = values
            buffer.clean()
        report = device.execute(device.load(add_vectors()), [[x.bus_address for x in buffers]])
        buffers[2].invalidate()
        c = buffers[2].array(np.float32, 16).copy()
    print("a    ", a)
    print("b    ", b)
    print("a + b", c)
    print("error", abs(c - (a.astype(np.float64) + b)).max())
    print(f"{1e6 * report.seconds:.2f} us on one QPU")
    return a, b, c


if __name__ == "__main__":
    main()
