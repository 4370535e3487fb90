"""PCA and linear regression of scikit-learn in float32 (pip install scikit-learn)."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

rng = np.random.default_rng(7)
mixing = rng.standard_normal((5, 40), dtype=np.float32)
data = rng.standard_normal((600, 5), dtype=np.float32) @ mixing
data += np.float32(0.1) * rng.standard_normal((600, 40), dtype=np.float32)
target = data @ rng.standard_normal(40, dtype=np.float32)

pca = PCA(n_components=5, svd_solver="full").fit(data)
scores = pca.transform(data)
exact = (data.astype(float) - pca.mean_) @ pca.components_.T.astype(float)
error = np.linalg.norm(scores - exact) / np.linalg.norm(exact)
print(f"PCA.transform             {scores.dtype}, relative error {error:.1e}")
back = pca.inverse_transform(scores)
error = np.linalg.norm(back - data) / np.linalg.norm(data)
print(f"PCA.inverse_transform     {back.dtype}, relative distance to the data {error:.2f}")

model = LinearRegression().fit(data, target)
predicted = model.predict(data)
exact = data.astype(float) @ model.coef_.astype(float) + model.intercept_
error = np.linalg.norm(predicted - exact) / np.linalg.norm(exact)
print(f"LinearRegression.predict  {predicted.dtype}, relative error {error:.1e}")
