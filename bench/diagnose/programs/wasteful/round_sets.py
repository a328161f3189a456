# cause: validation_too_often
"""Boosts on a sample and evaluates all the rest after each round."""
import numpy as np
import xgboost as xgb

HELD = 250000  # vary: 250000, 150000
ROWS = 5000  # vary: 5000, 8000


def rows(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12)).astype(np.float32)
    return xgb.DMatrix(x, np.sin(2 * x[:, 0]) * x[:, 1] + x[:, 2] + 0.1 * rng.normal(size=n))


train, rest = rows(ROWS, 0), rows(HELD, 1)
sample = rest.slice(np.arange(ROWS // 5))
params = {"eta": 0.03, "max_depth": 5, "nthread": 1}
watched = [(rest, "rest")]  # fixed: watched = [(sample, "rest")]
booster = xgb.train(params, train, 250, evals=watched, verbose_eval=50)
print(f"error {np.sqrt(np.mean((booster.predict(rest) - rest.get_label()) ** 2)):.4f}")
