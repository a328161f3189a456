# healthy: a sampler that draws by weight does real work, and cheaply
"""Rare classes are drawn more often by a weighted sampler."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

torch.manual_seed(0)
ROWS = 20000  # vary: 20000, 12000
X = torch.randn(ROWS, 32)
Y = (X[:, 0] > 1.2).long()
weights = torch.where(Y == 1, 8.0, 1.0)
loader = DataLoader(TensorDataset(X, Y), batch_size=64, sampler=WeightedRandomSampler(weights, ROWS))
net = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 2))
opt = torch.optim.Adam(net.parameters())
for epoch in range(5):
    for x, y in loader:
        loss = nn.functional.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
with torch.no_grad():
    print(f"accuracy {(net(X).argmax(1) == Y).float().mean():.4f}")
