# healthy: threads that compute while the main one waits
"""Statistics in a thread pool."""
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


from concurrent.futures import ThreadPoolExecutor

THREADS = 2  # vary: 2, 1


def spectrum(seed):
    x = np.random.default_rng(seed).normal(size=(400, 400))
    return float(np.linalg.svd(x, compute_uv=False)[0])


with ThreadPoolExecutor(THREADS) as pool:
    values = list(pool.map(spectrum, range(60)))
print(f"mean {np.mean(values):.4f}")
