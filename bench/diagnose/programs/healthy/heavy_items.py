# healthy: small batch, but each item is heavy
"""Convolutions on large images, few at a time."""
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


BATCH = 4  # vary: 4, 8

torch.manual_seed(3)
x = torch.randn(360, 3, 96, 96)
y = (x.mean((1, 2, 3)) > 0).long()
train = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
test = DataLoader(TensorDataset(x[:160], y[:160]), batch_size=40)
net = nn.Sequential(nn.Conv2d(3, 24, 5, padding=2), nn.ReLU(), nn.Conv2d(24, 24, 5, padding=2, stride=2), nn.ReLU(),
                    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 2))
opt = torch.optim.SGD(net.parameters(), lr=0.01)
for epoch in range(3):
    for a, b in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(a), b).backward()
        opt.step()
    acc = accuracy(net, test)
print(f"accuracy {acc:.4f}")
