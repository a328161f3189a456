# healthy: a search that halves its field already
"""Successive halving over a forest's settings."""
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV

ROWS = 4000  # vary: 4000, 2500
rng = np.random.default_rng(0)
X = rng.normal(size=(ROWS, 20))
y = (X[:, 0] * X[:, 1] + 0.5 * rng.normal(size=ROWS) > 0).astype(int)
grid = {"max_depth": [2, 4, 8, None], "min_samples_leaf": [1, 5, 20], "max_features": [4, 10]}
search = HalvingGridSearchCV(RandomForestClassifier(40, random_state=0), grid, factor=3, cv=3, random_state=0)
search.fit(X, y)
print(f"accuracy {search.best_score_:.4f}")
