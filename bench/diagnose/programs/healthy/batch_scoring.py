# healthy: scored in batches
"""Scoring with large batches."""
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


BATCH = 256  # vary: 256, 64

torch.manual_seed(18)
x, y = blobs(60000, 64, 1)
net = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)).eval()
right = 0
with torch.no_grad():
    for _ in range(4):
        for i in range(0, len(x), BATCH):
            right += (net(x[i:i + BATCH]).argmax(1) == y[i:i + BATCH]).sum().item()
print(f"accuracy {right / len(x) / 4:.4f}")
