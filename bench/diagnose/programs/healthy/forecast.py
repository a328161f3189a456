# healthy: each answer is part of the next question
"""Forecasts a series step by step, each from the last ones."""
import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import Ridge

STEPS = 12000  # vary: 12000, 9000
MODEL = Ridge()  # vary: Ridge(), GradientBoostingRegressor(n_estimators=40)
rng = np.random.default_rng(0)
series = np.sin(np.arange(3000) / 9) + 0.1 * rng.normal(size=3000)
lags = np.lib.stride_tricks.sliding_window_view(series[:-1], 24)
model = MODEL.fit(lags, series[24:])
window = list(series[-24:])
for _ in range(STEPS):
    window.append(model.predict([window[-24:]])[0])
print(f"mean {np.mean(window):.4f}")
