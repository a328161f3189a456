"""What the agent costs a training step: the cheapest step there is, with and without it, interleaved.

    python bench/agent_overhead.py [--steps 100000] [--block 2000]

One process holds the loop twice: in blocks that alternate, the hooks are in place or taken out again, so that
neighbours on the machine meet both alike. The step is a `Linear(1, 1)` on one number from a DataLoader, backward and SGD;
its median time is compared, and its 5th percentile: what it takes in moments without neighbours. Three rows: every step timed (what a step slower than a millisecond pays), one step in
eight timed (what faster ones get), and loops of the agent's own calls without torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, dataloader
from torch.utils.data._utils import fetch

from joulewise.measuring.agent.inside import timeline
from joulewise.measuring.agent.inside.timeline import Timeline
from joulewise.measuring.agent.inside.torch_hooks import attach

_PLACES = (
    (nn.Module, "__call__"), (nn.Module, "train"), (torch.Tensor, "backward"), (torch, "save"), (torch, "manual_seed"),
    (DataLoader, "__iter__"), (dataloader._BaseDataLoaderIter, "__next__"),
    (fetch._MapDatasetFetcher, "fetch"),
)  # fmt: skip


def steps(loader: DataLoader[Any], net: nn.Module, optimiser: torch.optim.Optimizer) -> list[float]:
    """Return the seconds of each step of one pass."""
    took = []
    clock = time.perf_counter
    before = clock()
    for (x,) in loader:
        loss = net(x).sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        now = clock()
        took.append(now - before)
        before = now
    return took


def compare(count: int, block: int, fast: float) -> dict[str, float]:
    """Return the medians of plain and hooked steps, in microseconds."""
    timeline._FAST_STEPS_PER_S = fast
    loader = DataLoader(TensorDataset(torch.zeros(block, 1)), batch_size=1)
    net = nn.Linear(1, 1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.0)
    registered = sys.modules["torch.optim.optimizer"]
    plain_calls = [getattr(owner, name) for owner, name in _PLACES]
    with tempfile.TemporaryDirectory() as folder:
        attach(Timeline(folder), torch)
        hooked_calls = [getattr(owner, name) for owner, name in _PLACES]
        hooked_before, hooked_after = (
            dict(registered._global_optimizer_pre_hooks),
            dict(registered._global_optimizer_post_hooks),
        )
        times: dict[bool, list[float]] = {False: [], True: []}
        while len(times[True]) < count:
            for hooked in (False, True):
                for (owner, name), call in zip(_PLACES, hooked_calls if hooked else plain_calls, strict=True):
                    setattr(owner, name, call)
                registered._global_optimizer_pre_hooks.clear()
                registered._global_optimizer_post_hooks.clear()
                if hooked:
                    registered._global_optimizer_pre_hooks.update(hooked_before)
                    registered._global_optimizer_post_hooks.update(hooked_after)
                times[hooked] += steps(loader, net, optimiser)
        for (owner, name), call in zip(_PLACES, plain_calls, strict=True):
            setattr(owner, name, call)
        registered._global_optimizer_pre_hooks.clear()
        registered._global_optimizer_post_hooks.clear()
    plain, hooked_us = (1e6 * statistics.median(times[k]) for k in (False, True))
    quiet = [1e6 * statistics.quantiles(times[k], n=20)[0] for k in (False, True)]
    mean = 1e6 * (statistics.fmean(times[True]) - statistics.fmean(times[False]))
    return {
        "plain_us": round(plain, 2),
        "hooked_us": round(hooked_us, 2),
        "cost_us": round(hooked_us - plain, 2),
        "mean_cost_us": round(mean, 2),
        "plain_quiet_us": round(quiet[0], 2),
        "cost_quiet_us": round(quiet[1] - quiet[0], 2),
    }


def own_calls(count: int) -> float:
    """Return the microseconds of one `enter` and `leave`, with nothing between."""
    with tempfile.TemporaryDirectory() as folder:
        line = Timeline(folder)
        began = time.perf_counter()
        for _ in range(count):
            line.leave(line.enter(3))
        return round(1e6 * (time.perf_counter() - began) / count, 3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--block", type=int, default=2_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "steps": options.steps,
        "every step timed": compare(options.steps, options.block, float("inf")),
        "one step in eight timed": compare(options.steps, options.block, 1000.0),
        "enter and leave, us": own_calls(options.steps),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
