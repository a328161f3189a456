# cause: repeated_experiments
"""Fits the same model again for each figure of a report."""
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


ROWS = 12000  # vary: 12000, 8000, 20000
COUNT = 5  # vary: 5, 4, 3

x, y = blobs(ROWS + 4000, 80, 0)

def fit():
    return LogisticRegression(C=0.1, max_iter=400, tol=1e-9).fit(x[:ROWS], y[:ROWS])


fitted = None  # fixed: fitted = fit()
told = y[ROWS:]
report = {
    "f1": lambda m: f1_score(told, m.predict(x[ROWS:]), average="macro"),
    "precision": lambda m: precision_score(told, m.predict(x[ROWS:]), average="macro"),
    "recall": lambda m: recall_score(told, m.predict(x[ROWS:]), average="macro"),
    "loss": lambda m: -log_loss(told, m.predict_proba(x[ROWS:])),
    "accuracy": lambda m: accuracy_score(told, m.predict(x[ROWS:])),
}
for name in list(report)[-COUNT:]:
    value = report[name](fitted or fit())
    print(f"{name} {value:.4f}")
