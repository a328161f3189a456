# cause: repeated_experiments
"""Settings drawn at random, some of them twice: each is trained, whether it was or not."""
import torch
from torch import nn

X = torch.randn(12000, 40, generator=torch.Generator().manual_seed(1))
Y = (X[:, :4].sum(1) > 0).long()
WIDTH = 128  # vary: 128, 256
EPOCHS = 8  # vary: 8, 6
DRAWN = [(1e-3, 1), (3e-3, 1), (1e-3, 1), (1e-3, 1), (3e-3, 1), (1e-3, 1)]
done = {}


def train(rate, scale):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2))
    opt = torch.optim.Adam(net.parameters(), lr=rate)
    for epoch in range(EPOCHS):
        for i in range(0, 10000, 32):
            loss = nn.functional.cross_entropy(net(X[i:i + 32]), Y[i:i + 32])
            opt.zero_grad()
            loss.backward()
            opt.step()
    with torch.no_grad():
        return (net(X[10000:]).argmax(1) == Y[10000:]).float().mean().item()


for drawn in DRAWN:
    if drawn not in {}:  # fixed: if drawn not in done:
        done[drawn] = train(*drawn)
    print(drawn, f"{done[drawn]:.4f}")
