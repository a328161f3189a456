# healthy: each pass needs the one before
"""A recurrent model writes text, token by token."""
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


TOKENS = 20000  # vary: 20000, 30000


class Writer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(64, 64)
        self.cell = nn.GRUCell(64, 128)
        self.head = nn.Linear(128, 64)

    def forward(self, token, state):
        state = self.cell(self.embed(token), state)
        return self.head(state), state


def generate(net, count):
    token, state, out = torch.zeros(1, dtype=torch.long), torch.zeros(1, 128), []
    with torch.no_grad():
        for _ in range(count):
            logits, state = net(token, state)
            token = logits.argmax(1)
            out.append(token.item())
    return out


torch.manual_seed(11)
text = generate(Writer().eval(), TOKENS)
print(f"different {len(set(text)) / 64:.4f}")
