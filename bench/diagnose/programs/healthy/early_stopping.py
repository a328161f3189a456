# healthy: stops by itself after its patience
"""MLP with early stopping."""
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


PATIENCE = 3  # vary: 3, 8

torch.manual_seed(0)
train = DataLoader(TensorDataset(*blobs(9000, 64, 1)), batch_size=64, shuffle=True)
val = DataLoader(TensorDataset(*blobs(2000, 64, 2)), batch_size=500)
net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10))
opt = torch.optim.Adam(net.parameters(), lr=3e-4)
best, state, bad = 0.0, None, 0
for epoch in range(100):
    for x, y in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
    val_acc = accuracy(net, val)
    if val_acc > best:
        best, state, bad = val_acc, copy.deepcopy(net.state_dict()), 0
    else:
        bad += 1
        if bad == PATIENCE:
            break
net.load_state_dict(state)
print(f"accuracy {accuracy(net, val):.4f}")
