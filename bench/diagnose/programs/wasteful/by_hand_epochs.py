# cause: over_training
"""A network written in numpy, trained on and on."""
import numpy as np

EPOCHS = 300  # vary: 300, 240
HIDDEN = 64  # vary: 64, 96

rng = np.random.default_rng(0)
X = rng.normal(size=(6000, 20))
Y = (np.sin(X[:, 0]) + X[:, 1] + 0.8 * rng.normal(size=6000) > 0).astype(int)
Xv, Yv, X, Y = X[4000:], Y[4000:], X[:4000], Y[:4000]


class Net:
    def __init__(self, hidden):
        self.w1, self.b1 = rng.normal(size=(20, hidden)) * 0.2, np.zeros(hidden)
        self.w2, self.b2 = rng.normal(size=(hidden, 2)) * 0.2, np.zeros(2)

    def forward(self, x):
        self.h = np.maximum(0, x @ self.w1 + self.b1)
        z = self.h @ self.w2 + self.b2
        z = np.exp(z - z.max(1, keepdims=True))
        return z / z.sum(1, keepdims=True)

    def step(self, x, y, lr):
        p = self.forward(x)
        p[np.arange(len(y)), y] -= 1
        p /= len(y)
        dh = (p @ self.w2.T) * (self.h > 0)
        self.w2 -= lr * self.h.T @ p
        self.b2 -= lr * p.sum(0)
        self.w1 -= lr * x.T @ dh
        self.b1 -= lr * dh.sum(0)


def train(epochs, lr=0.3, batch=50):
    net, best, since = Net(HIDDEN), 0.0, 0
    for epoch in range(epochs):
        order = rng.permutation(len(X))
        for i in range(0, len(X), batch):
            net.step(X[order[i:i + batch]], Y[order[i:i + batch]], lr)
        val_acc = (net.forward(Xv).argmax(1) == Yv).mean()
        print(f"epoch {epoch:3d} val_acc {val_acc:.4f}")
        best, since = (val_acc, 0) if val_acc > best else (best, since + 1)
        pass  # fixed: if since >= 6: break
    return best


print(f"accuracy {train(EPOCHS):.4f}")
