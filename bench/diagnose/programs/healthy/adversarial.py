# healthy: two networks in turn
"""A generator against a discriminator."""
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


STEPS = 1500  # vary: 1500, 2500

torch.manual_seed(15)
real = blobs(8000, 32, 1)[0]
gen = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 32))
dis = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 1))
og, od = torch.optim.Adam(gen.parameters(), lr=2e-4), torch.optim.Adam(dis.parameters(), lr=2e-4)
for step in range(STEPS):
    x = real[torch.randint(0, len(real), (64,))]
    with torch.no_grad():
        fake = gen(torch.randn(64, 16))
    loss_d = nn.functional.softplus(-dis(x)).mean() + nn.functional.softplus(dis(fake)).mean()
    od.zero_grad()
    loss_d.backward()
    od.step()
    loss_g = nn.functional.softplus(-dis(gen(torch.randn(64, 16)))).mean()
    og.zero_grad()
    loss_g.backward()
    og.step()
print(f"loss {loss_g.item():.4f}")
