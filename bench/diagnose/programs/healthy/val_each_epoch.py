# healthy: one validation an epoch, of a large set
"""Validation once per epoch."""
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


VAL = 12000  # vary: 12000, 30000

torch.manual_seed(5)
train = DataLoader(TensorDataset(*blobs(12000, 64, 1)), batch_size=64, shuffle=True)
val = DataLoader(TensorDataset(*blobs(VAL, 64, 2)), batch_size=1000)
net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(6):
    for x, y in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
    val_acc = accuracy(net, val)
    print(epoch, val_acc)
print(f"accuracy {val_acc:.4f}")
