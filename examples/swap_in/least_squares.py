"""Least squares by the normal equations: the products in float32, the small system in float64."""

import numpy as np

rng = np.random.default_rng(3)
a = rng.standard_normal((2000, 40), dtype=np.float32)
truth = rng.standard_normal(40, dtype=np.float32)
y = a.astype(float) @ truth + 0.01 * rng.standard_normal(2000)
y = y.astype(np.float32)

gram, right = a.T @ a, a.T @ y
found = np.linalg.solve(gram.astype(float), right.astype(float))
best = np.linalg.lstsq(a.astype(float), y.astype(float), rcond=None)[0]
error = np.linalg.norm(found - best) / np.linalg.norm(best)
print(f"solution                relative error {error:.1e}")
print(f"coefficients            off by at most {np.abs(found - truth).max():.3f}")
