# cause: too_many_loader_workers
"""Four workers, started anew each epoch, for ready tensors."""
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


EPOCHS = 8  # vary: 8, 12


class Ready(Dataset):
    def __init__(self, n):
        self.x, self.y = blobs(n, 64, 1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def main():
    torch.manual_seed(8)
    train = DataLoader(Ready(4000), batch_size=50, shuffle=True, num_workers=4)  # fixed: train = DataLoader(Ready(4000), batch_size=50, shuffle=True, num_workers=0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    opt = torch.optim.Adam(net.parameters())
    for epoch in range(EPOCHS):
        for x, y in train:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
    print(f"loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
