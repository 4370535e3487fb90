"""Contractions by np.einsum: with optimize=True NumPy makes products of matrices out of them."""

import numpy as np

rng = np.random.default_rng(2)
a = rng.standard_normal((40, 50), dtype=np.float32)
b = rng.standard_normal((50, 60), dtype=np.float32)
c = rng.standard_normal((60, 30), dtype=np.float32)
t = rng.standard_normal((6, 40, 50), dtype=np.float32)

for path, operands in (
    ("ij,jk->ik", (a, b)),
    ("ij,jk,kl->il", (a, b, c)),
    ("nij,jk->nik", (t, b)),
    ("nij,nkj->nik", (t, t)),
    ("ij,ik->jk", (a, a)),
):
    single = np.einsum(path, *operands, optimize=True)
    exact = np.einsum(path, *(x.astype(float) for x in operands), optimize=True)
    error = np.linalg.norm(single - exact) / np.linalg.norm(exact)
    print(f"{path:14} relative error {error:.1e}")
