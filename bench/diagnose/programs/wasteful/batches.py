# cause: small_batch
"""A small network with a tiny batch."""
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


BATCH = 4  # vary: 4, 2, 4, 8
ITEMS = 9000  # vary: 9000, 5000, 12000, 24000

torch.manual_seed(4)
train = DataLoader(TensorDataset(*blobs(ITEMS, 64, 1)), batch_size=BATCH, shuffle=True)  # fixed: train = DataLoader(TensorDataset(*blobs(ITEMS, 64, 1)), batch_size=32, shuffle=True)
test = DataLoader(TensorDataset(*blobs(4000, 64, 2)), batch_size=500)
net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
opt = torch.optim.SGD(net.parameters(), lr=0.003, momentum=0.9)  # fixed: opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
for epoch in range(4):
    for x, y in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
    acc = accuracy(net, test)
print(f"accuracy {acc:.4f}")
