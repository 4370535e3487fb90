"""Many Kalman filters at once: a batch of small products in one launch.

    python examples/kalman.py --device emulator

Follows 200 bodies in a plane from noisy positions.  A filter's matrices are 4 x 4, far too small
for a launch of their own; ``piblas.sgemm_batch_strided`` multiplies all of them at once.
"""

import common
import numpy as np

import piblas

STEP = 0.1
MOVE = np.eye(4, dtype=np.float32) + STEP * np.eye(4, k=2, dtype=np.float32)  # x, y, vx, vy
SEE = np.eye(2, 4, dtype=np.float32)
DRIFT = 1e-3 * np.eye(4, dtype=np.float32)
NOISE = 0.25


def product(a, b, **flags):
    """Of stacks of matrices, (n, i, k) and (n, k, j); results are (n, i, j)."""
    return np.asarray(piblas.sgemm_batch_strided(1.0, a, b, **flags))


def step(state, spread, seen):
    """One step of all filters: predict, then correct by what was seen."""
    move = np.broadcast_to(MOVE, spread.shape)
    state = product(move, state)
    spread = product(product(move, spread), np.swapaxes(move, 1, 2)) + DRIFT
    residual = spread[:, :2, :2] + NOISE * np.eye(2, dtype=np.float32)
    gain = product(spread[:, :, :2], np.linalg.inv(residual).astype(np.float32))
    state = state + product(gain, seen - state[:, :2])
    spread = spread - product(gain, spread[:, :2])
    return state, spread


def main():
    args = common.arguments(__doc__, bodies=200, steps=30)
    rng = np.random.default_rng(0)
    n = args.bodies
    truth = rng.standard_normal((n, 4, 1)).astype(np.float32)
    state = np.zeros((n, 4, 1), np.float32)
    spread = np.broadcast_to(10 * np.eye(4, dtype=np.float32), (n, 4, 4)).copy()
    errors = []
    with common.measured(args.device):
        for _ in range(args.steps):
            truth = MOVE @ truth
            seen = SEE @ truth + np.sqrt(NOISE) * rng.standard_normal((n, 2, 1), np.float32)
            state, spread = step(state, spread, seen.astype(np.float32))
            errors.append(float(np.sqrt(((state - truth)[:, :2] ** 2).mean())))
    print(f"error of positions: {errors[0]:.3f} after one step, {errors[-1]:.3f} at the end")
    print(f"(a single observation has {np.sqrt(NOISE):.3f})")
    return errors


if __name__ == "__main__":
    main()
