# healthy: the batch is larger than it looks
"""Gradients of eight micro-batches are added up."""
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


MICRO = 4  # vary: 4, 8

torch.manual_seed(16)
train = DataLoader(TensorDataset(*blobs(16000, 64, 1)), batch_size=MICRO, shuffle=True)
net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(2):
    for number, (x, y) in enumerate(train, 1):
        loss = nn.functional.cross_entropy(net(x), y) / 8
        loss.backward()
        if number % 8 == 0:
            opt.step()
            opt.zero_grad()
print(f"loss {loss.item():.4f}")
