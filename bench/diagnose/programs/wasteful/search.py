# cause: exhaustive_search
"""Tries every setting on all of the data."""
import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.svm import SVC


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


ROWS = 1800  # vary: 1800, 2400, 1400
COUNT = 6  # vary: 6, 5, 8

a, y = blobs(ROWS + 1000, 20, 0, 1.5)
grid = {"C": np.logspace(-2, 2, COUNT), "gamma": np.logspace(-4, 0, COUNT)}
search = GridSearchCV(SVC(), grid, cv=3)  # fixed: search = HalvingGridSearchCV(SVC(), grid, cv=3, factor=3, random_state=0, min_resources="exhaust")
search.fit(a[:ROWS], y[:ROWS])
print(f"accuracy {search.score(a[ROWS:], y[ROWS:]):.4f}")
