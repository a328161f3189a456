# cause: unbatched_inference
"""Fits a model of customers and asks it about each of them."""
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

ROWS = 700  # vary: 700, 9000, 4000
KIND = "forest"  # vary: "forest", "linear", "boosted"
MODELS = {
    "forest": RandomForestClassifier(60, random_state=0),
    "linear": make_pipeline(StandardScaler(), LogisticRegression()),
    "boosted": XGBClassifier(n_estimators=80, n_jobs=1),
}


class Scorer:
    def __init__(self, model):
        self.model = model

    def score_customer(self, row):
        return int(self.model.predict(row.reshape(1, -1))[0])

    def run(self, table):
        return [self.score_customer(row) for row in table]

    def run_all(self, table):
        return list(self.model.predict(table))


rng = np.random.default_rng(0)
frame = pd.DataFrame(rng.normal(size=(2000 + ROWS, 25)), columns=[f"c{i}" for i in range(25)])
target = (frame.c0 + frame.c1 * frame.c2 + rng.normal(size=len(frame)) > 0).astype(int)
scorer = Scorer(MODELS[KIND].fit(frame.to_numpy()[:2000], target[:2000]))
told = scorer.run(frame.to_numpy()[2000:])  # fixed: told = scorer.run_all(frame.to_numpy()[2000:])
print(f"accuracy {np.mean(np.array(told) == target.to_numpy()[2000:]):.4f}")
