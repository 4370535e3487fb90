"""Scenarios with piblas's real driver, run in a child each: python -m tests.virtual_pi.worker.

Reads one JSON object a line and prints one.  The child is forked before any device is open, so that
each scenario starts as a fresh process does, without the time to import NumPy; its way out is that
of any Python program, handlers of atexit included.  A scenario that takes too long is killed and
reported as a hang.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import traceback
from typing import Any, Dict, List

from . import mutants

SECONDS = 120  # on a machine that others use as well


def matrices(n: int, seed: int) -> Any:
    import numpy as np

    rng = np.random.default_rng(seed)
    return [rng.integers(-9, 10, (n, n)).astype(np.float32, order="F") for _ in range(3)]


def soil(device: Any) -> None:
    """From now on every new buffer is as one that the CPU wrote to before somebody freed it."""
    import numpy as np

    alloc, noise = device.alloc, np.random.default_rng(9)

    def soiled(nbytes: int) -> Any:
        buffer = alloc(nbytes)
        buffer.array(np.uint8)[:] = noise.integers(0, 256, nbytes, np.uint8)
        return buffer

    device.alloc = soiled


class Scenarios:
    """What a child does; each gives whether every result was right.

    ``told`` takes what there is to tell beside that; it is there even if the scenario raises.
    """

    def __init__(self, options: Dict[str, Any], told: Dict[str, Any]) -> None:
        self.options, self.told = options, told

    def target(self) -> Any:
        """What calls are aimed at: a name, or a device opened with options."""
        import piblas

        if "open" not in self.options:
            return self.options.get("device", "qpu")
        device = piblas.driver.open_device("qpu", **self.options["open"])
        self.told["memory"] = device.memory
        if self.options.get("soiled"):
            soil(device)
        return device

    def product(self) -> bool:
        """sgemm with alpha, beta and a C in place; integers, so that right means equal."""
        import numpy as np

        import piblas

        target, right = self.target(), True
        for turn in range(self.options.get("times", 1)):
            a, b, c = matrices(self.options.get("n", 40), turn)
            kept = [x.copy() for x in (a, b, c)]
            want = 2 * a.astype(np.float64) @ b + 3 * c.astype(np.float64)
            self.told["kept"] = False
            try:
                with piblas.use(target):
                    piblas.sgemm(2.0, a, b, 3.0, c, overwrite_c=1)
                right = right and bool(np.array_equal(c, want))
            finally:
                self.told["kept"] = all(np.array_equal(x, y) for x, y in zip((a, b), kept)) and (
                    np.array_equal(c, want) or np.array_equal(c, kept[2])
                )
        if not isinstance(target, str):
            target.close()
        return right

    def limited(self) -> bool:
        """A product that has 0.3 s."""
        import numpy as np

        import piblas
        from piblas.host.gemm_staged import sgemm

        a, b, c = matrices(72, 0)
        kept = c.copy()
        device = piblas.driver.open_device("qpu")
        try:
            sgemm(device, 2.0, a, b, 3.0, c, timeout=0.3)
        finally:
            self.told["kept"] = bool(np.array_equal(c, kept))
            device.close()
        return True

    def vectors(self) -> bool:
        """Routines of levels 1 and 2, twice with different numbers, against SciPy."""
        import numpy as np
        from scipy.linalg import blas

        import piblas

        target, right, n = self.target(), True, 5000
        with piblas.use(target):
            for turn in range(2):
                rng = np.random.default_rng(turn)
                x, y = (rng.integers(-9, 10, n).astype(np.float32) for _ in range(2))
                a = rng.integers(-9, 10, (90, 70)).astype(np.float32, order="F")
                s = a[:70, :70].copy(order="F")
                calls = {
                    "saxpy": (x, y), "sscal": (2.0, x), "scopy": (x, y), "sswap": (x, y),
                    "sdot": (x, y), "sasum": (x,), "snrm2": (x,), "isamax": (x,),
                    "srot": (x, y, 0.0, 1.0), "sgemv": (2.0, a, x[:70]),
                    "sger": (1.0, x[:90], y[:70]), "ssymv": (1.0, s, x[:70]),
                    "strmv": (s, x[:70]),
                }  # fmt: skip
                for name, arguments in calls.items():
                    got, want = (
                        getattr(library, name)(
                            *(v.copy("F") if isinstance(v, np.ndarray) else v for v in arguments)
                        )
                        for library in (piblas, blas)
                    )
                    pairs = zip(got, want) if isinstance(got, tuple) else [(got, want)]
                    same = all(np.allclose(g, w, rtol=1e-4, atol=1e-3) for g, w in pairs)
                    if not same:
                        self.told.setdefault("wrong", []).append(name)
                    right = right and same
        if not isinstance(target, str):
            target.close()
        return right

    def updates(self) -> bool:
        """Routines of level 2 that store a matrix or solve for a vector, and level 3 beside sgemm,
        twice with different numbers, against SciPy."""
        import numpy as np
        from scipy.linalg import blas

        import piblas

        target, right, n = self.target(), True, 150
        with piblas.use(target):
            for turn in range(2):
                rng = np.random.default_rng(turn)
                x, y = (rng.integers(-9, 10, n).astype(np.float32) for _ in range(2))
                a, b, c = (rng.integers(-9, 10, (n, n)).astype(np.float32) for _ in range(3))
                t = np.tril(a, -1) / 32 + np.diag(2.0 ** rng.integers(-1, 2, n))
                t = t.astype(np.float32, order="F")
                calls = {
                    "sger": (2.0, x, y, 1, 1, c), "ssyr": (2.0, x, 1), "strsv": (t, x, 1, 0, 1),
                    "ssymm": (2.0, a, b, 3.0, c), "ssyrk": (2.0, a, 3.0, c),
                    "ssyr2k": (2.0, a, b, 3.0, c), "strmm": (2.0, t, b, 0, 1),
                    "strsm": (2.0, t, b, 0, 1),
                }  # fmt: skip
                pairs = []
                for name, given in calls.items():
                    made = [v.copy("F") if isinstance(v, np.ndarray) else v for v in given]
                    want = getattr(blas, name)(*made)
                    made = [v.copy("F") if isinstance(v, np.ndarray) else v for v in given]
                    pairs.append((name, getattr(piblas, name)(*made), want))
                batch = piblas.sgemm_batch(2.0, [a, b], [b, c], 3.0, [c, a])
                pairs += [("batch", batch[0], 2 * a @ b + 3 * c),
                          ("batch", batch[1], 2 * b @ c + 3 * a)]  # fmt: skip
                for name, got, want in pairs:
                    if not np.allclose(got, want, rtol=1e-4, atol=1e-2):
                        self.told.setdefault("wrong", []).append(name)
                        right = False
        if not isinstance(target, str):
            target.close()
        return right

    def arrays(self) -> bool:
        """Calls on ``piblas.array``, some in place, twice with different numbers in them."""
        import numpy as np
        from scipy.linalg import blas

        import piblas

        device, right, n = self.target(), True, 150
        with piblas.use(device):
            x, y = (piblas.empty(5000) for _ in range(2))
            u, v = (piblas.empty(n) for _ in range(2))
            a, b, c = (piblas.empty((n, n), order="F") for _ in range(3))
            rows = piblas.empty((n, n + 20))
            places = (x, y, u, v, a, b, c, rows)
            for turn in range(2):
                rng = np.random.default_rng(turn)
                for each in places:
                    each[...] = rng.integers(-9, 10, each.shape)
                plain = {id(each): np.array(each, order="A") for each in places}
                calls = [
                    ("scopy", x, y), ("saxpy", x, y), ("sswap", x, y), ("sscal", 2.0, x),
                    ("sdot", x, y), ("sasum", x), ("snrm2", y), ("isamax", x),
                    ("srot", x, y, 0.0, 1.0), ("sgemv", 2.0, a, u), ("ssymv", 1.0, a, u),
                    ("sger", 1.0, u, v, 1, 1, c, 1, 1, 1),
                ]  # fmt: skip
                pairs = []
                for name, *given in calls:
                    want = getattr(blas, name)(*(plain.get(id(each), each) for each in given))
                    pairs.append((name, getattr(piblas, name)(*given), want))
                pairs += [(f"operand {i}", each, plain[id(each)]) for i, each in enumerate(places)]
                pairs += [
                    ("sgemm", piblas.sgemm(2.0, a, b, 3.0, c), 2 * plain[id(a)] @ plain[id(b)]
                     + 3 * plain[id(c)]),
                    ("somatcopy", piblas.somatcopy(1.0, rows[:, :n]), plain[id(rows)][:, :n]),
                ]  # fmt: skip
                for name, got, want in pairs:
                    if not np.allclose(got, want, rtol=1e-4, atol=1e-2):
                        self.told.setdefault("wrong", []).append(name)
                        right = False
        device.close()
        return right

    def resident(self) -> bool:
        """Products of operands in device memory, twice with different numbers in the same place."""
        import numpy as np

        from piblas.host import arrays
        from piblas.host.gemm_resident import sgemm_resident
        from piblas.host.outcome import CpuNeeded

        device, right, n = self.target(), True, 72
        operands = [arrays.empty((n, n), device=device) for _ in range(3)]
        for turn in range(2):
            numbers = matrices(n, turn)
            for operand, each in zip(operands, numbers):
                operand[...] = each
            a, b, c = numbers
            try:
                sgemm_resident(device, 2.0, *operands[:2], 3.0, operands[2])
            except CpuNeeded:
                return False
            right = right and bool(np.array_equal(operands[2], 2 * a @ b + 3 * c))
        device.close()
        return right

    def alarms(self) -> bool:
        """Products that overflow, or whose Inf meets nothing but zeros, after fine ones in the same
        places: the launches tell, and what a result would have replaced comes back."""
        import numpy as np

        from piblas.host import arrays, batch
        from piblas.host.gemm_resident import sgemm_resident
        from piblas.host.gemm_staged import sgemm
        from piblas.host.outcome import NOT_FINITE, OVERFLOW, CpuNeeded
        from piblas.host.runner import runner_of

        def reason(multiply: Any, *given: Any, **options: Any) -> str:
            try:
                multiply(device, 1.0, *given, **options)
            except CpuNeeded as needed:
                return needed.reason
            return ""

        device, right = self.target(), True
        m, n, k = 96, 192, 36  # of which the resident b is read where it lies
        shapes = (m, k), (k, n), (m, n)
        there = [arrays.empty(shape, device=device) for shape in shapes]
        for turn, wanted in enumerate(("", OVERFLOW, "", NOT_FINITE, "", OVERFLOW, NOT_FINITE)):
            rng = np.random.default_rng(turn)
            a, b, c = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes)
            if wanted == OVERFLOW:
                a[:, turn] = b[turn] = 1e20
            elif wanted == NOT_FINITE:
                a[:, turn], b[turn, 2 * turn] = 0, np.inf
            for operand, each in zip(there, (a, b, c)):
                operand[...] = each
            told = reason(sgemm_resident, *there[:2], 0.0, there[2], given=True)
            right = right and told == wanted and np.array_equal(there[2], c) == (wanted != "")
            if wanted == NOT_FINITE:
                continue  # the CPU looks for these before it stages operands
            right = right and reason(sgemm, a, b, 0.0, c) == wanted
            try:
                with runner_of(device).call() as runner:
                    batch.products(runner, [batch.Each(1.0, a, b, 0.0, None)] * 2, [])
                right = right and wanted == ""
            except CpuNeeded as needed:
                right = right and needed.reason == wanted
        device.close()
        return right

    def solves(self) -> bool:
        """Solves whose diagonal blocks take each of the methods, twice with different numbers; then
        one whose right-hand side overflows on the way, though the result does not."""
        import numpy as np

        from piblas.host import triangles
        from piblas.host.outcome import OVERFLOW, CpuNeeded
        from piblas.host.runner import runner_of
        from piblas.kernels import triangle
        from piblas.kernels.triangle import Method

        device, right, n, m = self.target(), True, 300, 32
        block = triangle.block_of(triangle.choose(n, m))
        target = triangles.Target(True, False, (n, m))
        solve = triangles.Solve(n, m, True, False, False, False, target, device)
        for turn in range(3):
            rng = np.random.default_rng(turn)
            t = np.tril(rng.standard_normal((n, n))) / n + 2 * np.eye(n)
            for begin, growth in ((0, 8), (block, 16)) if turn < 2 else ():
                own = slice(begin, begin + block)
                t[own, own] = np.eye(block) - growth / block * np.tri(block, k=-1)
            x = rng.integers(-9, 10, (n, m)).astype(float)
            if turn == 2:
                t[2 * block :, 2 * block :] *= 1e20
                t[-1, 0], x[0] = 1e30, 1e10
            t, g = t.astype(np.float32), (t @ x).clip(-8e37, 8e37).astype(np.float32)
            found = triangle.methods(t, triangle.inverted(t, block), block)
            methods = {Method.MULTIPLY} if turn == 2 else set(Method)
            try:
                with runner_of(device).call() as runner:
                    got = solve(runner, (1.0, t, g))[0].astype(float)
                right = right and turn < 2 and bool(np.abs(t @ got - g).max() < 0.01)
            except CpuNeeded as needed:
                right = right and turn == 2 and needed.reason == OVERFLOW
            right = right and set(found) == methods
        device.close()
        return right

    def reload(self) -> bool:
        """A program in the place of another, and new numbers for one that asks for no clearing."""
        import numpy as np

        device = self.target()
        out = device.alloc(64)
        got = []
        for number in (5, 7):
            program = device.load(_store(number))
            self.run(device, program, [out.bus_address])
            out.invalidate()
            got.append(int(out.array(np.int32)[0]))
            program.free()
        source = device.alloc(64)
        program = device.load(_copy())
        for number in (5, 7):
            source.array(np.int32)[:] = number
            source.clean()
            device.clear_caches()
            self.run(device, program, [source.bus_address, out.bus_address])
            out.invalidate()
            got.append(int(out.array(np.int32)[0]))
        device.close()
        self.told["got"] = got
        return got == [5, 7, 5, 7]

    @staticmethod
    def run(device: Any, program: Any, uniforms: List[int]) -> None:
        device.execute(program, [uniforms], timeout=0.5, clear_caches=False)


def _store(number: int) -> List[int]:
    return _words([f"ldi r0, -, {number}"])


def _copy() -> List[int]:
    return _words(["mov t0s, unif", "nop", "nop; ldtmu0", "mov r0, r4"])


def _words(lines: List[str]) -> List[int]:
    """A program that computes 16 words in r0 and stores them at its last uniform."""
    from piblas.isa.source import assemble

    rest = ["ldi -, vpm_wr_setup, 0x00001a00", "mov vpm, r0", "ldi -, vpm_wr_setup, 0x80904000",
            "ldi -, vpm_wr_setup, 0xc0000000", "mov vdw_addr, unif", "mov -, vdw_wait",
            "mov host_int, 1", "nop; thrend", "nop", "nop"]  # fmt: skip
    return list(assemble("\n".join(lines + rest), "scenario").words)


def scenario(options: Dict[str, Any]) -> Dict[str, Any]:
    """Run one, with what came of it."""
    told: Dict[str, Any] = {"error": "", "right": False, "kept": True, "stats": {}}
    if "mutant" in options:
        finder = mutants.install(mutants.Site(*options["mutant"]))
    import piblas

    try:
        told["right"] = getattr(Scenarios(options, told), options.get("do", "product"))()
    except KeyboardInterrupt:
        told["error"] = "KeyboardInterrupt"
    except piblas.PiblasError as error:
        told["error"] = f"{type(error).__name__}: {error}"
    except MemoryError as error:
        told["error"] = f"MemoryError: {error}"
    told["stats"] = {where: sum(why.values()) for where, why in piblas.stats().items()}
    if "mutant" in options:
        told["mutated"] = finder.used
    return told


def run(options: Dict[str, Any]) -> Dict[str, Any]:
    """One scenario in a child: what it told, the lines it logged, how it ended."""
    out, into = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(out)
        lines: List[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(  # type: ignore[method-assign]
            f"{record.levelname}: {record.getMessage()}"
        )
        logging.getLogger().addHandler(handler)
        logging.getLogger("piblas").setLevel(logging.INFO)
        try:
            told = scenario(options)
        except BaseException:
            told = {"error": "", "crash": traceback.format_exc(), "right": False, "kept": False}
        told["log"] = lines
        os.write(into, json.dumps(told).encode())
        os.close(into)
        sys.exit(0)
    os.close(into)
    data = b""
    hang = False
    while True:
        if not select.select([out], [], [], SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
            hang = True
        part = os.read(out, 65536)
        if not part:
            break
        data += part
    os.close(out)
    status = os.waitpid(child, 0)[1]
    told = json.loads(data) if data else {"error": "", "right": False, "kept": False, "log": []}
    told.update(hang=hang, status=status)
    return told


def main() -> None:
    # So that no child has to import or build them.
    import numpy.random  # noqa: F401
    import scipy.linalg.blas  # noqa: F401

    import piblas.blas.level3
    import piblas.driver.cma
    import piblas.driver.opening
    import piblas.host.gemm  # noqa: F401
    from piblas.kernels import gemm

    for beta in (False, True):
        gemm.SPEC.program(gemm.SPEC.options(beta=beta))
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
