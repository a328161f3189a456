# healthy: each candidate prepares in its own way
"""Searches the settings of the preparation itself."""
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

ROWS = 2500  # vary: 2500, 1800
rng = np.random.default_rng(0)
X = rng.normal(size=(ROWS, 20))
y = (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)
pipeline = make_pipeline(StandardScaler(), PolynomialFeatures(), PCA(10, svd_solver="full"), LogisticRegression(max_iter=200))
grid = {"polynomialfeatures__degree": [1, 2], "polynomialfeatures__interaction_only": [True, False], "polynomialfeatures__include_bias": [True, False]}
search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
print(f"accuracy {search.best_score_:.4f}")
