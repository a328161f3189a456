# healthy: flat until the learning rate drops, then better
"""Step schedule: a long plateau before the drop."""
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


EPOCHS = 24  # vary: 24, 30

torch.manual_seed(2)
train = DataLoader(TensorDataset(*blobs(6000, 32, 1, 1.8)), batch_size=50, shuffle=True)
val = DataLoader(TensorDataset(*blobs(3000, 32, 2, 1.8)), batch_size=500)
net = nn.Sequential(nn.Linear(32, 96), nn.ReLU(), nn.Linear(96, 10))
opt = torch.optim.SGD(net.parameters(), lr=1.2)
sched = torch.optim.lr_scheduler.MultiStepLR(opt, [EPOCHS - 5], gamma=0.02)
for epoch in range(EPOCHS):
    for x, y in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
    sched.step()
    val_acc = accuracy(net, val)
print(f"accuracy {val_acc:.4f}")
