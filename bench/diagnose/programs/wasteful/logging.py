# cause: logging_overhead
"""Logs every step to a tracker's files."""
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


import logging

WIDTH = 64  # vary: 64, 128, 32
NAMES = 1  # vary: 1, 2, 4

torch.manual_seed(11)
log = logging.getLogger("train")
log.setLevel(logging.DEBUG)
handler = logging.FileHandler(os.path.join(tempfile.mkdtemp(), "train.log"))
handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
log.addHandler(handler)
log.propagate = False
train = DataLoader(TensorDataset(*blobs(16000, 64, 1)), batch_size=64, shuffle=True)
net = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
step = 0
for epoch in range(6):
    for x, y in train:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        step += 1
        if step % 1 == 0:  # fixed: if step % 250 == 0:
            for name, weight in list(net.named_parameters())[:NAMES]:
                log.debug("step %d loss %.6f gradient of %s %s", step, loss.item(), name, weight.grad)
print(f"loss {loss.item():.4f}")
