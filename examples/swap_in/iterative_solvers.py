"""Solving A x = b in float32 by conjugate gradients, and by lgmres where A is not symmetric."""

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg, lgmres

rng = np.random.default_rng(4)
n = 200
noise = rng.standard_normal((n, n), dtype=np.float32)
symmetric = (noise @ noise.T / n + np.eye(n, dtype=np.float32)).astype(np.float32)
general = (noise / np.sqrt(np.float32(4 * n)) + 2 * np.eye(n, dtype=np.float32)).astype(np.float32)
b = rng.standard_normal(n, dtype=np.float32)


def solve(name, solver, matrix, **options):
    calls = []
    operator = LinearOperator((n, n), lambda x: calls.append(1) or matrix @ x, dtype=np.float32)
    x, info = solver(operator, b, rtol=1e-4, **options)
    exact = np.linalg.solve(matrix.astype(float), b.astype(float))
    residual = np.linalg.norm(matrix.astype(float) @ x - b) / np.linalg.norm(b)
    error = np.linalg.norm(x - exact) / np.linalg.norm(exact)
    print(f"{name:8} ended with {info} after {len(calls)} products of matrix and vector")
    print(f"{name:8} relative residual {residual:.1e}")
    print(f"{name:8} relative error of x {error:.1e}")
    assert info == 0 and residual < 2e-4


solve("cg", cg, symmetric, maxiter=200)
solve("lgmres", lgmres, general, maxiter=50)
