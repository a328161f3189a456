# healthy: the held-out loss falls until the last round
"""Boosts slowly, and every round is worth it."""
import numpy as np
from xgboost import XGBRegressor

ROUNDS = 500  # vary: 500, 400
RATE = 0.02  # vary: 0.02, 0.03
rng = np.random.default_rng(0)
X = rng.normal(size=(12000, 10))
y = 10 * np.sin(X[:, 0]) * X[:, 1] + X[:, 2] ** 2 + 0.05 * rng.normal(size=12000)
model = XGBRegressor(n_estimators=ROUNDS, learning_rate=RATE, max_depth=5, n_jobs=1)
model.fit(X[:9000], y[:9000], eval_set=[(X[:9000], y[:9000]), (X[9000:], y[9000:])], verbose=50)
print(f"r2 {model.score(X[9000:], y[9000:]):.4f}")
