# cause: repeated_preprocessing; also: repeated_experiment_setup
"""A sweep that makes its features for every fit."""
import numpy as np


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


ROWS = 4000  # vary: 4000, 3000, 6000, 5000
VALUES = 5  # vary: 5, 8, 4, 6

from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


def features():
    x, y = blobs(ROWS, 60, 0)
    rows = []
    for r in x:
        h, _ = np.histogram(r, bins=12, range=(-9, 9))
        rows.append(np.concatenate([np.sort(r), np.abs(np.fft.rfft(r)), h, np.percentile(r, (5, 25, 50, 75, 95))]))
    return StandardScaler().fit_transform(np.array(rows)), y


best, ready = 0.0, None  # fixed: best, ready = 0.0, features()
for c in np.logspace(-4, 1, VALUES):
    a, y = ready or features()
    half = len(a) // 2
    best = max(best, LogisticRegression(C=c, max_iter=100).fit(a[:half], y[:half]).score(a[half:], y[half:]))
print(f"accuracy {best:.4f}")
