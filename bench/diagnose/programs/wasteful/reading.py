# cause: rereading_input; also: slow_transforms
"""Opens each item's file whenever it is asked for."""
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


EPOCHS = 6  # vary: 6, 10


class Files(Dataset):
    def __init__(self, n):
        self.folder = tempfile.mkdtemp()
        rng = np.random.default_rng(0)
        for i in range(n):
            np.savetxt(os.path.join(self.folder, f"{i}.csv"), rng.random((8, 16)), delimiter=",")
        self.ready = None  # fixed: self.ready = [self.read(i) for i in range(n)]
        self.n = n

    def __len__(self):
        return self.n

    def read(self, i):
        table = np.loadtxt(os.path.join(self.folder, f"{i}.csv"), delimiter=",")
        return torch.tensor(table, dtype=torch.float32).flatten()

    def __getitem__(self, i):
        return (self.ready[i] if self.ready else self.read(i)), i % 2


torch.manual_seed(2)
train = DataLoader(Files(3000), batch_size=50, shuffle=True)
net = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2))
opt = torch.optim.Adam(net.parameters())
for epoch in range(EPOCHS):
    for x, y in train:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
print(f"loss {loss.item():.4f}")
