# healthy: random augmentation: nothing comes twice
"""Random shifts and noise per item."""
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


SIZE = 28  # vary: 28, 40


class Shifted(Dataset):
    def __init__(self, n):
        self.images = np.random.default_rng(0).random((n, SIZE, SIZE))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        img = np.roll(self.images[i], np.random.randint(-4, 5, 2), (0, 1))
        img = np.clip(img + np.random.normal(0, 0.1, img.shape), 0, 1)
        img = np.pad(img, 2, mode="reflect")
        lo, hi = np.percentile(img, (2, 98))
        return torch.tensor((img - lo) / (hi - lo), dtype=torch.float32).flatten(), int(i % 2)


torch.manual_seed(4)
train = DataLoader(Shifted(3000), batch_size=64, shuffle=True)
net = nn.Sequential(nn.Linear((SIZE + 4) ** 2, 64), nn.ReLU(), nn.Linear(64, 2))
opt = torch.optim.Adam(net.parameters())
for epoch in range(8):
    total = 0.0
    for x, y in train:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        total += loss.item()
print(f"loss {total / len(train):.4f}")
