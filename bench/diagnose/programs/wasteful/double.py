# cause: precision_unused
"""Trains in double precision."""
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


WIDTH = 384  # vary: 384, 512, 640

torch.manual_seed(14)
kind = torch.float64  # fixed: kind = torch.float32
x, y = blobs(10000, 64, 1)
train = DataLoader(TensorDataset(x.to(kind), y), batch_size=100, shuffle=True)
net = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)).to(kind)
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(8):
    for x, y in train:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
print(f"loss {loss.item():.4f}")
