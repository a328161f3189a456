# cause: exhaustive_search
"""Goes over a grid by hand, each setting with folds of its own, or lets workers do it."""
import itertools

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score

JOBS = 1  # vary: 1, 2
BY_HAND = True  # vary: True, False

rng = np.random.default_rng(0)
X = rng.normal(size=(900, 12))
y = X[:, 0] * X[:, 1] + X[:, 2] + 0.3 * rng.normal(size=900)
grid = {"max_depth": [2, 3, 5, 8, None], "min_samples_leaf": [1, 2, 4, 8, 16]}
base = RandomForestRegressor(15, random_state=0)
halving = HalvingGridSearchCV(base, grid, cv=3, factor=3, random_state=0, min_resources="exhaust", n_jobs=JOBS)
by_hand = BY_HAND  # fixed: by_hand = None
if by_hand is None:
    best = halving.fit(X, y).best_score_
elif by_hand:
    best = -9.0
    for depth, leaf in itertools.product(grid["max_depth"], grid["min_samples_leaf"]):
        model = RandomForestRegressor(15, max_depth=depth, min_samples_leaf=leaf, random_state=0)
        score = cross_val_score(model, X, y, cv=3, n_jobs=JOBS).mean()
        if score > best:
            best = score
            print(depth, leaf, round(best, 4))
else:
    best = GridSearchCV(base, grid, cv=3, n_jobs=JOBS).fit(X, y).best_score_
print(f"r2 {best:.4f}")
