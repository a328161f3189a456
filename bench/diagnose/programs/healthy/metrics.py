# healthy: one large prediction, looked at in many ways
"""A model's predictions under many thresholds."""
import numpy as np


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


TRIES = 400  # vary: 400, 600

from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

x, y = blobs(30000, 40, 0, classes=2)
p = LogisticRegression(max_iter=300).fit(x[:20000], y[:20000]).predict_proba(x[20000:])[:, 1]
best = max(f1_score(y[20000:], p > t) for t in np.linspace(0.01, 0.99, TRIES))
print(f"f1 {best:.4f}")
