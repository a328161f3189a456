# cause: checkpoint_too_often
"""Saves its state very often."""
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


EVERY = 2  # vary: 2, 1, 3, 1
WIDTH = 768  # vary: 768, 512, 1024, 640

torch.manual_seed(3)
train = DataLoader(TensorDataset(*blobs(8000, 64, 1)), batch_size=64, shuffle=True)
net = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 256), nn.ReLU(), nn.Linear(256, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
path, step = os.path.join(tempfile.mkdtemp(), "last.pt"), 0
for epoch in range(5):
    for x, y in train:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        step += 1
        if step % EVERY == 0:  # fixed: if step % 125 == 0:
            torch.save({"net": net.state_dict(), "opt": opt.state_dict()}, path)
print(f"loss {loss.item():.4f}")
