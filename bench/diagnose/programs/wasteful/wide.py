# cause: oversized_model
"""A wide network for an easy task."""
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


WIDTH = 1024  # vary: 1024, 768, 1280
WIDTH = WIDTH // 1  # fixed: WIDTH = WIDTH // 4

torch.manual_seed(13)
train = DataLoader(TensorDataset(*blobs(8000, 64, 1, 1.2)), batch_size=64, shuffle=True)
val = DataLoader(TensorDataset(*blobs(2000, 64, 2, 1.2)), batch_size=500)
net = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(5):
    for x, y in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
    val_acc = accuracy(net, val)
    print(f"epoch {epoch} val_acc {val_acc:.4f}")
print(f"accuracy {val_acc:.4f}")
