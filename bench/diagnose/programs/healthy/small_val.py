# healthy: validated every 40 steps, but on 200 items
"""A dense but cheap validation curve."""
import copy
import os
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


def blobs(n, dim, seed, noise=3.0, classes=10):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    y = rng.integers(0, classes, n)
    x = centres[y] + noise * rng.normal(size=(n, dim))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def accuracy(net, loader):
    net.eval()
    with torch.no_grad():
        hits = sum((net(x).argmax(1) == y).sum().item() for x, y in loader)
    net.train()
    return hits / len(loader.dataset)


EVERY = 40  # vary: 40, 80

torch.manual_seed(6)
train = DataLoader(TensorDataset(*blobs(20000, 64, 1)), batch_size=64, shuffle=True)
val = DataLoader(TensorDataset(*blobs(200, 64, 2)), batch_size=200)
net = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
step = 0
for epoch in range(5):
    for x, y in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
        step += 1
        if step % EVERY == 0:
            val_acc = accuracy(net, val)
print(f"accuracy {val_acc:.4f}")
