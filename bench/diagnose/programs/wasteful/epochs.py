# cause: over_training
"""Trains for a fixed number of epochs and keeps the best."""
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


EPOCHS = 40  # vary: 40, 55, 35, 60
NOISE = 3.0  # vary: 3.0, 2.5, 3.5, 3.0

torch.manual_seed(0)
train = DataLoader(TensorDataset(*blobs(6000, 64, 1, NOISE)), batch_size=64, shuffle=True)
val = DataLoader(TensorDataset(*blobs(2000, 64, 2, NOISE)), batch_size=500)
net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
best, state, since = 0.0, None, 0
for epoch in range(EPOCHS):
    for x, y in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
    val_acc = accuracy(net, val)
    if val_acc > best:
        best, state, since = val_acc, copy.deepcopy(net.state_dict()), 0
    else:
        since += 1
    if since < 0:  # fixed: if since >= 6:
        break
net.load_state_dict(state)
print(f"accuracy {accuracy(net, val):.4f}")
