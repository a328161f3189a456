"""XGBoost, stopped by joulewise. Needs xgboost (or xgboost-cpu) and scikit-learn."""

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import joulewise
from joulewise.training.xgboost import xgboost_callback

x, y = load_breast_cancer(return_X_y=True)
train_x, held_x, train_y, held_y = train_test_split(x, y, random_state=0)
stopping = joulewise.stopping("logloss", horizon=500)
booster = xgboost.train(
    {"objective": "binary:logistic", "eta": 0.05, "nthread": 1},
    xgboost.DMatrix(train_x, train_y),
    500,
    evals=[(xgboost.DMatrix(held_x, held_y), "held")],
    verbose_eval=False,
    callbacks=[xgboost_callback(stopping)],
)
print(f"{booster.best_iteration + 1} rounds are used; {stopping.decision}")
