# healthy: rows are scored before they are learnt from: other rows each time
"""A stream: every batch is a test first and then a lesson; a small fixed set is looked at now and then."""
import numpy as np
from sklearn.linear_model import SGDClassifier

COLUMNS = 120  # vary: 120, 60
rng = np.random.default_rng(0)
w = rng.normal(size=COLUMNS)
fixed = rng.normal(size=(500, COLUMNS))
answers = (fixed @ w > 0).astype(int)
model = SGDClassifier(random_state=0)
right = seen = 0
for n in range(4000):
    x = rng.normal(size=(50, COLUMNS))
    y = (x @ w + rng.normal(size=50) > 0).astype(int)
    if n:
        right += (model.predict(x) == y).sum()
        seen += 50
    model.partial_fit(x, y, classes=[0, 1])
    if n % 100 == 0:
        score = model.score(fixed, answers)
print(f"accuracy {right / seen:.4f}, fixed set {score:.4f}")
