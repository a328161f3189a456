# cause: unbatched_inference; also: small_batch
"""Scores a table row by row."""
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


ROWS = 50000  # vary: 50000, 80000, 40000, 60000
WIDTH = 64  # vary: 64, 128, 256, 32

torch.manual_seed(6)
x, y = blobs(ROWS, 64, 1)
net = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for i in range(0, 8000, 100):
    opt.zero_grad()
    nn.functional.cross_entropy(net(x[i:i + 100]), y[i:i + 100]).backward()
    opt.step()
net.eval()
right, size = 0, 1  # fixed: right, size = 0, 256
with torch.no_grad():
    for i in range(0, len(x), size):
        right += (net(x[i:i + size]).argmax(1) == y[i:i + size]).sum().item()
print(f"accuracy {right / len(x):.4f}")
