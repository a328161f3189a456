# healthy: one checkpoint an epoch, and the best
"""Last and best are saved each epoch."""
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


WIDTH = 256  # vary: 256, 1024

torch.manual_seed(7)
train = DataLoader(TensorDataset(*blobs(10000, 64, 1)), batch_size=100, shuffle=True)
val = DataLoader(TensorDataset(*blobs(1000, 64, 2)), batch_size=500)
net = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
opt = torch.optim.Adam(net.parameters(), lr=3e-4)
folder, best = tempfile.mkdtemp(), 0.0
for epoch in range(10):
    for x, y in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
    acc = accuracy(net, val)
    torch.save({"net": net.state_dict(), "opt": opt.state_dict()}, os.path.join(folder, "last.pt"))
    if acc > best:
        best = acc
        torch.save(net.state_dict(), os.path.join(folder, "best.pt"))
print(f"accuracy {acc:.4f}")
