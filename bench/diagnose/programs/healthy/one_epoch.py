# healthy: one epoch, a curve of ten points
"""One pass over a stream with ten evaluations."""
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


VAL = 2000  # vary: 2000, 4000

torch.manual_seed(19)
x, y = blobs(60000, 64, 1)
val = DataLoader(TensorDataset(*blobs(VAL, 64, 2)), batch_size=500)
net = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for step, i in enumerate(range(0, len(x), 32), 1):
    opt.zero_grad()
    loss = nn.functional.cross_entropy(net(x[i:i + 32]), y[i:i + 32])
    loss.backward()
    opt.step()
    if step % 190 == 0:
        print(step, accuracy(net, val))
print(f"loss {loss.item():.4f}")
