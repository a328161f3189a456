# cause: slow_transforms; also: repeated_preprocessing
"""Prepares each item whenever it is asked for."""
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


ITEMS = 3000  # vary: 3000, 2000, 4000, 2500
EPOCHS = 5  # vary: 5, 8, 4, 10


class Pictures(Dataset):
    def __init__(self, n):
        self.images = np.random.default_rng(0).random((n, 24, 24))
        self.ready = None  # fixed: self.ready = [self.prepare(i) for i in range(n)]

    def __len__(self):
        return len(self.images)

    def prepare(self, i):
        img = self.images[i]
        lo, hi = np.percentile(img, (2, 98))
        img = np.pad(np.clip((img - lo) / (hi - lo), 0, 1), 4, mode="reflect")
        gy, gx = np.gradient(img)
        return torch.tensor(np.hypot(gx, gy), dtype=torch.float32).flatten()

    def __getitem__(self, i):
        return (self.ready[i] if self.ready else self.prepare(i)), int(i % 2)


torch.manual_seed(1)
train = DataLoader(Pictures(ITEMS), batch_size=50, shuffle=True)
net = nn.Sequential(nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 2))
opt = torch.optim.Adam(net.parameters())
for epoch in range(EPOCHS):
    for x, y in train:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
print(f"loss {loss.item():.4f}")
