# healthy: a wide network on a task that is not solved: its width may be needed
"""Noisy, tangled classes: the score still rises at the end, far from perfect."""
import torch
from torch import nn

torch.manual_seed(0)
WIDTH = 512  # vary: 512, 384
X = torch.randn(6000, 30)
w = torch.randn(30, 30)
Y = ((X @ w).sin().sum(1) + 0.5 * torch.randn(6000) > 0).long()
net = nn.Sequential(nn.Linear(30, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2))
opt = torch.optim.Adam(net.parameters(), lr=3e-4)
for epoch in range(5):
    order = torch.randperm(5000)
    for i in range(0, 5000, 64):
        b = order[i:i + 64]
        loss = nn.functional.cross_entropy(net(X[b]), Y[b])
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        accuracy = (net(X[5000:]).argmax(1) == Y[5000:]).float().mean().item()
    print(f"epoch {epoch} accuracy {accuracy:.4f}")
