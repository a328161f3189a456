# healthy: the teacher runs on every batch of the student
"""A small network learns from a large one."""
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


TEACHER = 768  # vary: 768, 1536

torch.manual_seed(14)
train = DataLoader(TensorDataset(*blobs(12000, 64, 1)), batch_size=64, shuffle=True)
teacher = nn.Sequential(nn.Linear(64, TEACHER), nn.ReLU(), nn.Linear(TEACHER, 10)).eval()
student = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
opt = torch.optim.Adam(student.parameters(), lr=1e-3)
for epoch in range(8):
    for x, _ in train:
        with torch.no_grad():
            soft = torch.softmax(teacher(x), 1)
        loss = nn.functional.cross_entropy(student(x), soft)
        opt.zero_grad()
        loss.backward()
        opt.step()
print(f"loss {loss.item():.4f}")
