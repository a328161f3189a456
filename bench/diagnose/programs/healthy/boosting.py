# healthy: early stopping inside the library
"""Gradient boosting that stops by itself."""
import numpy as np


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


RATE = 0.1  # vary: 0.1, 0.2

from sklearn.ensemble import HistGradientBoostingClassifier

x, y = blobs(20000, 40, 0)
model = HistGradientBoostingClassifier(max_iter=500, learning_rate=RATE, early_stopping=True, random_state=0)
model.fit(x[:15000], y[:15000])
print(f"accuracy {model.score(x[15000:], y[15000:]):.4f}")
