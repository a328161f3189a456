"""Train a small network on scikit-learn's handwritten digits, as one would write it on a Monday.

Needs scikit-learn. It knows nothing of joulewise: `joulewise run -- python examples/digits.py` records it.
"""

import random

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

EPOCHS = 60
BATCH = 32

random.seed(0)
np.random.seed(0)

images, labels = load_digits(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(
    images, labels, test_size=0.2, random_state=0, stratify=labels
)
scaler = StandardScaler().fit(train_x)
train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)

model = MLPClassifier(hidden_layer_sizes=(512, 256), learning_rate_init=3e-4, random_state=0)
best = 0.0
for epoch in range(1, EPOCHS + 1):
    order = np.random.permutation(len(train_x))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        model.partial_fit(train_x[batch], train_y[batch], classes=np.arange(10))
    accuracy = model.score(test_x, test_y)
    best = max(best, accuracy)
    if epoch % 10 == 0:
        print(f"epoch {epoch:3d}  loss {model.loss_:.4f}  test accuracy {accuracy:.3f}")

print(f"best test accuracy {best:.3f}")
