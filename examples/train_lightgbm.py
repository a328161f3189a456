"""LightGBM, stopped by joulewise. Needs lightgbm and scikit-learn."""

import lightgbm
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import joulewise
from joulewise.training.lightgbm import lightgbm_callback

x, y = load_breast_cancer(return_X_y=True)
train_x, held_x, train_y, held_y = train_test_split(x, y, random_state=0)
train = lightgbm.Dataset(train_x, train_y)
held = lightgbm.Dataset(held_x, held_y, reference=train)
stopping = joulewise.stopping("binary_logloss", horizon=500)
booster = lightgbm.train(
    {"objective": "binary", "learning_rate": 0.05, "verbosity": -1, "num_threads": 1},
    train,
    500,
    valid_sets=[held],
    callbacks=[lightgbm_callback(stopping)],
)
print(f"{booster.best_iteration} rounds are used; {stopping.decision}")
