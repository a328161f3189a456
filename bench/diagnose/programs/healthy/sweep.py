# healthy: features are made once for all fits
"""A sweep over ready features."""
import numpy as np


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


ROWS = 8000  # vary: 8000, 12000

from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

x, y = blobs(ROWS, 60, 0)
features = np.array([np.concatenate([np.sort(r), np.abs(np.fft.rfft(r))]) for r in x])
a = StandardScaler().fit_transform(features)
scores = {}
for c in (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0):
    scores[c] = LogisticRegression(C=c, max_iter=300).fit(a[:6000], y[:6000]).score(a[6000:], y[6000:])
print(f"accuracy {max(scores.values()):.4f}")
