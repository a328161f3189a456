# cause: over_training
"""Boosts for a thousand rounds and looks at the held-out loss of each."""
import numpy as np

ROWS = 6000  # vary: 6000, 8000, 5000
KIND = "xgboost"  # vary: "xgboost", "lightgbm", "booster"


def noisy(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 15))
    return x, (x[:, 0] + x[:, 1] + 1.5 * rng.normal(size=n) > 0).astype(int)


x, y = noisy(ROWS, 0)
held_x, held_y = noisy(2000, 1)
if KIND == "xgboost":
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=700, max_depth=4, learning_rate=0.1, n_jobs=1)  # fixed: model = XGBClassifier(n_estimators=700, max_depth=4, learning_rate=0.1, n_jobs=1, early_stopping_rounds=25)
    model.fit(x, y, eval_set=[(held_x, held_y)], verbose=False)
    score = model.score(held_x, held_y)
elif KIND == "lightgbm":
    import lightgbm as lgb

    stop = []  # fixed: stop = [lgb.early_stopping(25, verbose=False)]
    model = lgb.LGBMClassifier(n_estimators=900, learning_rate=0.1, n_jobs=1, verbose=-1)
    model.fit(x, y, eval_set=[(held_x, held_y)], callbacks=stop)
    score = model.score(held_x, held_y)
else:
    import xgboost as xgb

    held = xgb.DMatrix(held_x, held_y)
    params = {"objective": "binary:logistic", "eval_metric": "auc", "eta": 0.2, "nthread": 1}
    rounds = 700
    booster = xgb.train(params, xgb.DMatrix(x, y), rounds, evals=[(held, "held")], verbose_eval=100)  # fixed: booster = xgb.train(params, xgb.DMatrix(x, y), rounds, evals=[(held, "held")], verbose_eval=100, early_stopping_rounds=25)
    score = np.mean((booster.predict(held) > 0.5) == held_y)
print(f"accuracy {score:.4f}")
