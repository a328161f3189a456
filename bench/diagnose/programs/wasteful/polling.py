# cause: busy_idle_service; also: always_on_low_traffic
"""A service that polls its queue."""
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


import queue
import threading

SECONDS = 12  # vary: 12, 16
GAP = 0.4  # vary: 0.4, 0.2

torch.manual_seed(5)
net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)).eval()
requests = queue.Queue()


def worker():
    while True:
        try:
            x, reply = requests.get_nowait()  # fixed: x, reply = requests.get(timeout=1.0)
        except queue.Empty:
            continue
        with torch.no_grad():
            reply.put(net(x).argmax(1).item())


threading.Thread(target=worker, daemon=True).start()
rng, end, n = np.random.default_rng(0), time.time() + SECONDS, 0
while time.time() < end:
    time.sleep(float(rng.exponential(GAP)))
    reply = queue.Queue()
    requests.put((torch.randn(1, 64), reply))
    n += reply.get() >= 0
print(f"answered {n / n:.4f}")
