# healthy: as many threads as there are processors, each with work
"""Large products in as many threads as the machine has processors."""
import os

import torch
from torch import nn

torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))
torch.manual_seed(0)
WIDTH = 1024  # vary: 1024, 768
net = nn.Sequential(nn.Linear(256, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
opt = torch.optim.SGD(net.parameters(), lr=0.05)
X = torch.randn(8000, 256)
Y = (X[:, :10]).argmax(1)
for epoch in range(3):
    for i in range(0, 8000, 250):
        loss = nn.functional.cross_entropy(net(X[i:i + 250]), Y[i:i + 250])
        opt.zero_grad()
        loss.backward()
        opt.step()
print(f"loss {loss.item():.4f}")
