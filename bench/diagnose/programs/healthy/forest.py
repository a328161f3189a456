# healthy: cross-validation fits on other folds
"""A cross-validated forest."""
import numpy as np


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


TREES = 60  # vary: 60, 90

from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

x, y = blobs(4000, 40, 0)
print(f"accuracy {cross_val_score(RandomForestClassifier(TREES, random_state=0), x, y, cv=5).mean():.4f}")
