# healthy: a plain numpy training loop
"""Logistic regression by hand."""
import numpy as np


def blobs(n, dim, seed, noise=3.0, classes=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    return centres[y] + noise * rng.normal(size=(n, dim)), y


EPOCHS = 25  # vary: 25, 40

x, y = blobs(30000, 64, 0)
w, onehot = np.zeros((64, 5)), np.eye(5)[y]
for epoch in range(EPOCHS):
    for i in range(0, len(x), 100):
        z = x[i:i + 100] @ w
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        w -= 0.01 * x[i:i + 100].T @ (p - onehot[i:i + 100]) / 100
    acc = ((x @ w).argmax(1) == y).mean()
    print(epoch, acc)
print(f"accuracy {acc:.4f}")
