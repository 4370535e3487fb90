"""Matrix products in all the ways in which NumPy writes them."""

import numpy as np

rng = np.random.default_rng(1)
a = rng.standard_normal((120, 90), dtype=np.float32)
b = rng.standard_normal((90, 100), dtype=np.float32)
x = rng.standard_normal(90, dtype=np.float32)
stack = rng.standard_normal((4, 60, 90), dtype=np.float32)

results = {
    "a @ b": (a @ b, a.astype(float) @ b),
    "np.matmul of a stack": (np.matmul(stack, b), np.matmul(stack.astype(float), b)),
    "np.dot": (np.dot(a, b), np.dot(a.astype(float), b)),
    "a @ x": (a @ x, a.astype(float) @ x),
    "np.tensordot": (np.tensordot(stack, b, 1), np.tensordot(stack.astype(float), b, 1)),
    "np.linalg.multi_dot": (
        np.linalg.multi_dot([a, b, b.T]),
        np.linalg.multi_dot([x.astype(float) for x in (a, b, b.T)]),
    ),
    "a.T @ a": (a.T @ a, a.T.astype(float) @ a),
}
for name, (single, exact) in results.items():
    error = np.linalg.norm(single - exact) / np.linalg.norm(exact)
    assert single.dtype == np.float32
    print(f"{name:22} relative error {error:.1e}")
