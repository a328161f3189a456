# healthy: the policy acts step by step in its world
"""Policy gradient on a little walk."""
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


ROUNDS = 60  # vary: 60, 90


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))

    def forward(self, state):
        return self.body(state)


def rollout(policy, rng):
    state, states, actions, reward = np.zeros(4, np.float32), [], [], 0.0
    for _ in range(200):
        with torch.no_grad():
            p = torch.softmax(policy(torch.from_numpy(state)[None]), 1)[0, 1].item()
        action = int(rng.random() < p)
        states.append(state)
        actions.append(action)
        state = np.clip(state + rng.normal(0.1 * action - 0.05, 0.1, 4), -2, 2).astype(np.float32)
        reward += float(state.sum())
    return states, actions, reward


torch.manual_seed(12)
rng, policy = np.random.default_rng(0), Policy()
opt, mean = torch.optim.Adam(policy.parameters(), lr=1e-2), 0.0
for round_ in range(ROUNDS):
    states, actions, reward = rollout(policy, rng)
    mean = 0.9 * mean + 0.1 * reward
    logits = policy(torch.from_numpy(np.array(states)))
    loss = (reward - mean) * nn.functional.cross_entropy(logits, torch.tensor(actions)) * 0.001
    opt.zero_grad()
    loss.backward()
    opt.step()
print(f"reward {mean:.2f}")
