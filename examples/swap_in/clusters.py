"""k-means (Lloyd's algorithm) in plain NumPy."""

import numpy as np

rng = np.random.default_rng(5)
centres = 6 * rng.standard_normal((5, 24), dtype=np.float32)
labels = rng.integers(0, 5, 800)
points = centres[labels] + rng.standard_normal((800, 24), dtype=np.float32)

means = np.stack([points[labels == k][0] for k in range(5)])  # one point of each
for step in range(20):
    # |p - m|^2 without |p|^2, which is the same for every mean
    distances = (means**2).sum(axis=1) - 2 * (points @ means.T)
    nearest = distances.argmin(axis=1)
    member = (nearest[:, None] == np.arange(5)).astype(np.float32)
    new = (member.T @ points) / member.sum(axis=0)[:, None]
    moved = np.abs(new - means).max()
    means = new
    if moved < 1e-4:
        break

print(f"steps {step + 1}")
print(f"points with the label of their centre {(nearest == labels).mean():.3f}")
exact = np.stack([points[nearest == k].astype(float).mean(axis=0) for k in range(5)])
print(f"means relative error {np.linalg.norm(means - exact) / np.linalg.norm(exact):.1e}")
