# cause: validation_too_often
"""A linear classifier learns batch by batch, and is scored on the whole held-out set every few of them."""
import numpy as np
from sklearn.linear_model import SGDClassifier

EVERY = 5  # vary: 5, 4
COLUMNS = 150  # vary: 150, 100
rng = np.random.default_rng(0)
w = rng.normal(size=COLUMNS)
X = rng.normal(size=(20000, COLUMNS))
y = (X @ w + 4 * rng.normal(size=20000) > 0).astype(int)
held = rng.normal(size=(20000, COLUMNS))
truth = (held @ w + 4 * rng.normal(size=20000) > 0).astype(int)
model = SGDClassifier(alpha=1e-3, random_state=0)
best = 0.0
for epoch in range(8):
    order = rng.permutation(20000)
    for n, i in enumerate(range(0, 20000, 64)):
        rows = order[i:i + 64]
        model.partial_fit(X[rows], y[rows], classes=[0, 1])
        if n % EVERY == 0:  # fixed: if n % 300 == 0:
            best = max(best, model.score(held, truth))
print(f"accuracy {best:.4f}")
