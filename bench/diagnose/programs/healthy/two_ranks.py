# healthy: two processes that are worth their exchange: each step computes far more than it sends
"""Data-parallel training over gloo: a small convolution over large pictures."""
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

SIDE = 64  # vary: 64, 56


def work(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29533")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    x, y = torch.randn(128, 3, SIDE, SIDE), torch.randint(0, 4, (128,))
    net = nn.Sequential(nn.Conv2d(3, 24, 5, padding=2), nn.ReLU(), nn.Conv2d(24, 24, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4))
    net = nn.parallel.DistributedDataParallel(net)
    opt = torch.optim.SGD(net.parameters(), lr=0.01)
    for epoch in range(3):
        for i in range(0, 128, 16):
            loss = nn.functional.cross_entropy(net(x[i:i + 16]), y[i:i + 16])
            opt.zero_grad()
            loss.backward()
            opt.step()
    if rank == 0:
        print(f"loss {loss.item():.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, nprocs=2)
