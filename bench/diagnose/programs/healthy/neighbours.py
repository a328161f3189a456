# healthy: nearest neighbours of queries, all at once
"""Nearest neighbours."""
import numpy as np


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


ROWS = 15000  # vary: 15000, 20000

from sklearn.neighbors import KNeighborsClassifier

x, y = blobs(ROWS, 40, 0)
model = KNeighborsClassifier(7).fit(x[:-4000], y[:-4000])
print(f"accuracy {model.score(x[-4000:], y[-4000:]):.4f}")
