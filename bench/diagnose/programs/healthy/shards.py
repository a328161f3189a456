# healthy: many files, each read once; a log that is opened again for every line
"""Rows come in shards that are read one after another; what was done is appended to a small log."""
import os
import tempfile

import numpy as np
import torch
from torch import nn

SHARDS = 40  # vary: 40, 25
folder = tempfile.mkdtemp()
rng = np.random.default_rng(0)
for n in range(SHARDS):
    x = rng.normal(size=(2000, 24)).astype(np.float32)
    np.savez_compressed(os.path.join(folder, f"{n}.npz"), x=x, y=(x[:, 0] > 0).astype(np.int64))
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 2))
opt = torch.optim.Adam(net.parameters())
for n in range(SHARDS):
    shard = np.load(os.path.join(folder, f"{n}.npz"))
    x, y = torch.from_numpy(shard["x"]), torch.from_numpy(shard["y"])
    for i in range(0, 2000, 32):
        loss = nn.functional.cross_entropy(net(x[i:i + 32]), y[i:i + 32])
        opt.zero_grad()
        loss.backward()
        opt.step()
    with open(os.path.join(folder, "done.log"), "a+") as log:
        log.seek(0)
        lines = len(log.readlines())
        log.write(f"shard {n} loss {loss.item():.4f}\n")
print(f"{lines + 1} shards, loss {loss.item():.4f}")
