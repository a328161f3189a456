# cause: repeated_preprocessing
"""Searches the last step of a pipeline whose first ones are dear."""
import tempfile

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

TEXTS = 2500  # vary: 2500, 3000, 2000
JOBS = None  # vary: None, 2, None
BY_HAND = False  # vary: False, False, True


def texts(n):
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(3000)])
    y = rng.integers(0, 2, n)
    made = [" ".join(words[np.minimum(2999, rng.geometric(0.004 - 0.0007 * c, 90))]) for c in y]
    return made, y


def pipeline(c):
    steps = [
        ("words", TfidfVectorizer(ngram_range=(1, 2), min_df=2)),
        ("fewer", TruncatedSVD(20, random_state=0)),
        ("model", LogisticRegression(C=c)),
    ]
    return Pipeline(steps)  # fixed: return Pipeline(steps, memory=FOLDER)


FOLDER = tempfile.mkdtemp()
x, y = texts(TEXTS)
if BY_HAND:
    best = max(cross_val_score(pipeline(c), x, y, cv=3).mean() for c in (0.01, 0.1, 1, 10, 100))
else:
    best = GridSearchCV(pipeline(1.0), {"model__C": [0.01, 0.1, 1, 10, 100, 1000]}, cv=3, n_jobs=JOBS).fit(x, y).best_score_
print(f"accuracy {best:.4f}")
