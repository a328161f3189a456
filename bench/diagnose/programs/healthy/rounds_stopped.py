# healthy: it stops by itself
"""Boosts until the held-out loss has not fallen for forty rounds."""
import lightgbm as lgb
import numpy as np

LEAVES = 15  # vary: 15, 31
rng = np.random.default_rng(0)
X = rng.normal(size=(20000, 20))
y = (X[:, 0] * X[:, 1] + X[:, 2] + rng.normal(size=20000) > 0).astype(int)
train = lgb.Dataset(X[:15000], y[:15000])
held = lgb.Dataset(X[15000:], y[15000:], reference=train)
params = {"objective": "binary", "num_leaves": LEAVES, "learning_rate": 0.05, "num_threads": 1, "verbose": -1}
booster = lgb.train(params, train, 2000, valid_sets=[held], callbacks=[lgb.early_stopping(40, verbose=False)])
print(f"accuracy {np.mean((booster.predict(X[15000:]) > 0.5) == y[15000:]):.4f}")
