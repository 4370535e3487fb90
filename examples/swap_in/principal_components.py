"""Principal components in plain NumPy: the covariance by a product, its eigenvectors in float64."""

import numpy as np

rng = np.random.default_rng(6)
factors = rng.standard_normal((1500, 3), dtype=np.float32) * np.float32([9, 6, 4])
loadings = np.linalg.qr(rng.standard_normal((30, 3)))[0].astype(np.float32)
data = factors @ loadings.T + rng.standard_normal((1500, 30), dtype=np.float32)
data -= data.mean(axis=0)

covariance = (data.T @ data) / (len(data) - 1)
values, vectors = np.linalg.eigh(covariance.astype(float))
components = vectors[:, :-4:-1].astype(np.float32)
scores = data @ components

exact = np.linalg.svd(data.astype(float), full_matrices=False)
variances = exact[1][:3] ** 2 / (len(data) - 1)
error = np.linalg.norm(values[:-4:-1] - variances) / np.linalg.norm(variances)
print(f"variances  relative error {error:.1e}")
error = np.linalg.norm(np.abs(scores) - np.abs(data.astype(float) @ exact[2][:3].T))
print(f"scores     relative error {error / np.linalg.norm(scores):.1e}")
