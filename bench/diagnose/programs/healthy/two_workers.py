# healthy: two persistent workers for real work
"""Heavy random augmentation in workers."""
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


WORKERS = 2  # vary: 2, 1


class Noisy(Dataset):
    def __init__(self, n):
        self.images = np.random.default_rng(0).random((n, 48, 48))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        img = np.rot90(self.images[i], np.random.randint(4)) + np.random.normal(0, 0.1, (48, 48))
        img = np.fft.irfft2(np.fft.rfft2(img) * np.random.uniform(0.8, 1.2), s=(48, 48))
        lo, hi = np.percentile(img, (2, 98))
        return torch.tensor((img - lo) / (hi - lo), dtype=torch.float32).flatten(), int(i % 2)


def main():
    torch.manual_seed(10)
    train = DataLoader(Noisy(3000), batch_size=50, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    net = nn.Sequential(nn.Linear(2304, 128), nn.ReLU(), nn.Linear(128, 2))
    opt = torch.optim.Adam(net.parameters())
    for epoch in range(6):
        for x, y in train:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            opt.step()
    print(f"loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
