# healthy: every fit gets other rows
"""Bootstrap of a scaled regression."""
import numpy as np


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


ROUNDS = 40  # vary: 40, 60

from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

x, y = blobs(5000, 40, 0)
rng, scores = np.random.default_rng(1), []
for _ in range(ROUNDS):
    rows = rng.integers(0, len(x), len(x))
    a = StandardScaler().fit_transform(x[rows])
    scores.append(LogisticRegression(max_iter=200).fit(a, y[rows]).score(a, y[rows]))
print(f"accuracy {np.mean(scores):.4f}")
