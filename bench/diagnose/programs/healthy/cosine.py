# healthy: a cosine schedule improves until its end
"""Cosine annealing, fixed budget."""
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


EPOCHS = 14  # vary: 14, 22

torch.manual_seed(1)
train = DataLoader(TensorDataset(*blobs(8000, 48, 1, 2.2)), batch_size=100, shuffle=True)
test = DataLoader(TensorDataset(*blobs(4000, 48, 2, 2.2)), batch_size=500)
net = nn.Sequential(nn.Linear(48, 128), nn.ReLU(), nn.Linear(128, 10))
opt = torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, EPOCHS)
for epoch in range(EPOCHS):
    for x, y in train:
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
    sched.step()
    acc = accuracy(net, test)
    print(epoch, acc)
print(f"accuracy {acc:.4f}")
