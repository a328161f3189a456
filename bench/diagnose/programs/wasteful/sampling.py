# cause: costly_shuffle
"""Draws each item by its weight, one at a time."""
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


from torch.utils.data import Sampler

ITEMS = 12000  # vary: 12000, 20000, 8000


class Weighted(Sampler):
    def __init__(self, n):
        self.weights = np.full(n, 1.0 / n)

    def __len__(self):
        return len(self.weights)

    def __iter__(self):
        rng, n = np.random.default_rng(0), len(self.weights)
        order = (int(rng.choice(n, p=self.weights)) for _ in range(n))  # fixed: order = rng.choice(n, n, p=self.weights).tolist()
        return iter(order)


torch.manual_seed(12)
train = DataLoader(TensorDataset(*blobs(ITEMS, 64, 1)), batch_size=64, sampler=Weighted(ITEMS))
net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(4):
    for x, y in train:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
print(f"loss {loss.item():.4f}")
