# healthy: the rate drops late, and the error with it
"""Descent in numpy whose rate is lowered near the end."""
import numpy as np

EPOCHS = 60  # vary: 60, 50
FEATURES = 40  # vary: 40, 80

rng = np.random.default_rng(0)
true = rng.normal(size=FEATURES)
X = rng.normal(size=(9000, FEATURES))
y = X @ true + 2.0 * rng.normal(size=9000)
X_val, y_val, X, y = X[8000:], y[8000:], X[:8000], y[:8000]
w, lr = np.zeros(FEATURES), 0.02
for epoch in range(EPOCHS):
    if epoch == EPOCHS - 8:
        lr /= 20
    for i in rng.permutation(8000):
        w -= lr * (X[i] @ w - y[i]) * X[i]
    val_loss = float(np.mean((X_val @ w - y_val) ** 2))
    print(f"epoch {epoch} lr {lr} val_loss {val_loss:.4f}")
