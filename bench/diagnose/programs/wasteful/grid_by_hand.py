# cause: exhaustive_search
"""Goes over a grid by hand, each setting with folds of its own, or lets workers do it."""
import itertools

import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - it lets the next import be
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score
from sklearn.svm import SVR

JOBS = 1  # vary: 1, 2
BY_HAND = True  # vary: True, False

rng = np.random.default_rng(0)
X = rng.normal(size=(1800, 12))
y = X[:, 0] * X[:, 1] + X[:, 2] + 0.3 * rng.normal(size=1800)
grid = {"C": [0.1, 0.3, 1, 3, 10], "gamma": [0.01, 0.03, 0.1, 0.3, 1]}
base = SVR()
halving = HalvingGridSearchCV(base, grid, cv=3, factor=3, random_state=0, min_resources="exhaust", n_jobs=JOBS)
by_hand = BY_HAND  # fixed: by_hand = None
if by_hand is None:
    best = halving.fit(X, y).best_score_
elif by_hand:
    best = -9.0
    for c, gamma in itertools.product(grid["C"], grid["gamma"]):
        model = SVR(C=c, gamma=gamma)
        score = cross_val_score(model, X, y, cv=3, n_jobs=JOBS).mean()
        if score > best:
            best = score
            print(c, gamma, round(best, 4))
else:
    best = GridSearchCV(base, grid, cv=3, n_jobs=JOBS).fit(X, y).best_score_
print(f"r2 {best:.4f}")
