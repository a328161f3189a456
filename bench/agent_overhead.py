"""What the agent costs a training step, with and without it, interleaved, in CPU time.

    python bench/agent_overhead.py [--steps 100000] [--slow-steps 10000]

One process holds the loop twice: in blocks that alternate (and swap their order), the hooks are in place or taken out again,
so that neighbours on the machine meet both alike. A block is one pass of a `Linear(1, 1)` over single numbers from a
DataLoader, with backward and SGD. What counts is the median over pairs of blocks of the difference in the thread's own CPU
time, with its quartiles: wall time on a busy machine is that of its neighbours; their caches cost CPU time, too, so the
difference of the 10th percentiles stands beside it. Rows: the cheapest step there is, every one timed; the same, some timed;
a step of 10 ms, early and late (the default's 1,000 of them on each side take 40 s); the agent's own calls without torch.

A step of 10 ms finds the caches full of the work's own data. So its four parts each sweep through 16 MB for 2.5 ms before
the hooks' turn comes. The sweeps are timed by themselves, within the loop, on both sides: what they take varies by more than
all hooks cost, and is left out of the difference (`whole` has it in).
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

from joulewise.measuring.agent.inside import layout as at
from joulewise.measuring.agent.inside import timeline
from joulewise.measuring.agent.inside.timeline import Timeline
from joulewise.measuring.agent.inside.torch_hooks import attach

_PLACES = (
    (nn.Module, "__call__"), (nn.Module, "train"), (torch.autograd, "backward"), (torch, "save"), (torch, "manual_seed"),
    (DataLoader, "__iter__"), (dataloader._BaseDataLoaderIter, "__next__"), (fetch._MapDatasetFetcher, "fetch"),
)  # fmt: skip


def block_s(loader: DataLoader[Any], net: nn.Module, optimiser: torch.optim.Optimizer) -> float:
    """Return the thread's CPU seconds of one pass."""
    before = time.thread_time()
    for (x,) in loader:
        loss = net(x).sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return time.thread_time() - before


class Sweep:
    """Work that fills the caches: `spent_s` is the thread's CPU seconds of it since they were last asked."""

    def __init__(self, seconds: float) -> None:
        self._data = torch.zeros(4_000_000)
        self._seconds = seconds
        self.spent_s = 0.0

    def run(self) -> None:
        """Sweep through the data."""
        began = time.thread_time()
        while time.thread_time() - began < self._seconds:
            self._data.add_(1.0)
        self.spent_s += time.thread_time() - began


def slow_block_s(
    loader: DataLoader[Any], net: nn.Module, optimiser: torch.optim.Optimizer, sweep: Sweep
) -> float:
    """Return the thread's CPU seconds of one pass with a sweep in each part of a step."""
    before = time.thread_time()
    for (x,) in loader:
        sweep.run()
        loss = net(x).sum()
        sweep.run()
        loss.backward()
        sweep.run()
        optimiser.step()
        optimiser.zero_grad()
        sweep.run()
    return time.thread_time() - before


def compare(
    count: int, block: int, *, every: bool = False, sweep: Sweep | None = None, age_s: float = 0.0
) -> dict[str, float | list[float]]:
    """Return what plain and hooked steps cost in CPU time, in microseconds; `every`: all of them are timed.

    `age_s`: how old the loop says it is: the samples of an old one are rarer.
    """
    timeline._LOOK_EVERY = 10**9 if every else 32
    loader = DataLoader(TensorDataset(torch.zeros(block, 1)), batch_size=1)
    net = nn.Linear(1, 1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.0)
    registered = sys.modules["torch.optim.optimizer"]
    plain_calls = [getattr(owner, name) for owner, name in _PLACES]
    with tempfile.TemporaryDirectory() as folder:
        line = Timeline(folder)
        attach(line, torch)
        hooked_calls = [getattr(owner, name) for owner, name in _PLACES]
        hooked_before, hooked_after = (
            dict(registered._global_optimizer_pre_hooks),
            dict(registered._global_optimizer_post_hooks),
        )
        pairs: list[tuple[float, float]] = []
        whole: list[float] = []
        for number in range(count // block):
            took, swept = {}, {False: 0.0, True: 0.0}
            for hooked in (False, True) if number % 2 else (True, False):
                for (owner, name), call in zip(_PLACES, hooked_calls if hooked else plain_calls, strict=True):
                    setattr(owner, name, call)
                registered._global_optimizer_pre_hooks.clear()
                registered._global_optimizer_post_hooks.clear()
                if hooked:
                    line.wake()  # the plain block was no time of these steps
                    line._look_s, line._look_step = timeline.clock(), line.step
                    if age_s and line._loop_s:
                        line._loop_s = timeline.clock() - age_s
                    registered._global_optimizer_pre_hooks.update(hooked_before)
                    registered._global_optimizer_post_hooks.update(hooked_after)
                if sweep is None:
                    took[hooked] = 1e6 * block_s(loader, net, optimiser) / block
                else:
                    sweep.spent_s = 0.0
                    took[hooked] = 1e6 * slow_block_s(loader, net, optimiser, sweep) / block
                    swept[hooked] = 1e6 * sweep.spent_s / block
            whole.append(took[True] - took[False])
            pairs.append((took[False] - swept[False], took[True] - swept[True]))
        for (owner, name), call in zip(_PLACES, plain_calls, strict=True):
            setattr(owner, name, call)
        registered._global_optimizer_pre_hooks.clear()
        registered._global_optimizer_post_hooks.clear()
    quiet = [statistics.quantiles(side, n=10)[0] for side in zip(*pairs, strict=True)]
    costs = [hooked - plain for plain, hooked in pairs]
    quartiles = statistics.quantiles(costs, n=4)
    return {
        "plain_us": round(statistics.median(plain for plain, _ in pairs), 2),
        "hooked_us": round(statistics.median(hooked for _, hooked in pairs), 2),
        "cost_us": round(quartiles[1], 2),
        "cost_quartiles_us": [round(quartiles[0], 2), round(quartiles[2], 2)],
        "cost_quiet_us": round(quiet[1] - quiet[0], 2),
        "pairs": len(pairs),
        "whole_us": [round(q, 1) for q in statistics.quantiles(whole, n=4)],
        "steps": line.so_far(),
        "untimed_steps": int(line.page[at.UNSAMPLED_STEPS]),
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
    parser.add_argument("--slow-steps", type=int, default=1000)
    parser.add_argument("--block", type=int, default=250)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "every step timed": compare(options.steps // 5, options.block, every=True),
        "some steps timed": compare(options.steps, options.block),
        "steps of 10 ms, of a young loop": compare(options.slow_steps, 50, sweep=Sweep(2.5e-3)),
        "steps of 10 ms, after a minute": compare(options.slow_steps, 50, sweep=Sweep(2.5e-3), age_s=60.0),
        "enter and leave, us": own_calls(options.steps),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
