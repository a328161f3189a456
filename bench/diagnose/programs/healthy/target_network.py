# healthy: the target network is part of the algorithm
"""Q-learning with a target network."""
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


STEPS = 5000  # vary: 5000, 8000

torch.manual_seed(13)
q = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4))
target = copy.deepcopy(q)
states, rewards = torch.randn(20000, 8), torch.randn(20000)
opt = torch.optim.Adam(q.parameters(), lr=1e-3)
for step in range(STEPS):
    i = torch.randint(0, 19999, (64,))
    with torch.no_grad():
        best = target(states[i + 1]).max(1).values
    loss = nn.functional.mse_loss(q(states[i]).max(1).values, rewards[i] + 0.9 * best)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 200 == 0:
        target.load_state_dict(q.state_dict())
print(f"loss {loss.item():.4f}")
