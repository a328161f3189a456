# cause: thread_oversubscription
"""Asks for many more threads than there are CPUs."""
import numpy as np
import torch
from torch import nn

THREADS = 16  # vary: 16, 8
WIDTH = 256  # vary: 256, 128

torch.set_num_threads(THREADS)  # fixed: torch.set_num_threads(1)
torch.manual_seed(17)
rng = np.random.default_rng(0)
x = torch.tensor(rng.normal(size=(20000, 64)), dtype=torch.float32)
y = (x[:, :8].sum(1) > 0).long()
net = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2))
opt = torch.optim.SGD(net.parameters(), lr=0.05)
for epoch in range(8):
    for i in range(0, len(x), 250):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x[i:i + 250]), y[i:i + 250])
        loss.backward()
        opt.step()
print(f"loss {loss.item():.4f}")
