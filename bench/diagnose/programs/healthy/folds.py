# healthy: the same settings and seed on every fold are no repetition
"""Cross-validation of a network: equal settings, equal seed, other rows."""
import torch
from torch import nn

X = torch.randn(10000, 40, generator=torch.Generator().manual_seed(1))
Y = (X[:, :4].sum(1) + torch.randn(10000, generator=torch.Generator().manual_seed(2)) > 0).long()
WIDTH = 128  # vary: 128, 64
scores = []
for fold in range(5):
    held = torch.arange(10000) % 5 == fold
    x, y = X[~held], Y[~held]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2))
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(5):
        for i in range(0, len(x), 32):
            loss = nn.functional.cross_entropy(net(x[i:i + 32]), y[i:i + 32])
            opt.zero_grad()
            loss.backward()
            opt.step()
    with torch.no_grad():
        scores.append((net(X[held]).argmax(1) == Y[held]).float().mean().item())
print(f"accuracy {sum(scores) / 5:.4f}")
