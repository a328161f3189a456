# healthy: a second-order method on a stiff fit is why it is in float64
"""A physics-informed curve fitted by L-BFGS in double precision."""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
WIDTH = 64  # vary: 64, 128
t = torch.linspace(0, 6, 400).reshape(-1, 1).requires_grad_()
net = nn.Sequential(nn.Linear(1, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))
opt = torch.optim.LBFGS(net.parameters(), lr=1.0, max_iter=20, line_search_fn="strong_wolfe")


def closure():
    opt.zero_grad()
    x = net(t)
    slope = torch.autograd.grad(x.sum(), t, create_graph=True)[0]
    loss = ((slope + x) ** 2).mean() + (x[0] - 1).pow(2).sum()
    loss.backward()
    return loss


for outer in range(60):
    loss = opt.step(closure)
print(f"residual {float(loss):.3e}")
