# healthy: every answer is of a model of its own
"""Leaves one row out at a time."""
import numpy as np
from sklearn.linear_model import LinearRegression

ROWS = 1500  # vary: 1500, 2500
rng = np.random.default_rng(0)
X = rng.normal(size=(ROWS, 30))
y = X[:, 0] + 0.3 * rng.normal(size=ROWS)
errors = []
for i in range(ROWS):
    kept = np.arange(ROWS) != i
    errors.append(LinearRegression().fit(X[kept], y[kept]).predict(X[i:i + 1])[0] - y[i])
print(f"error {np.std(errors):.4f}")
