"""What the agent costs a step of 10 ms whose work leaves nothing of it in the caches: by kinds of steps, in CPU time.

    python bench/agent_cold.py [--blocks 100]

As in `agent_overhead.py` one process holds the loop plain and hooked, in blocks of 25 steps that alternate; each of a step's
parts comes after a sweep of 2.5 ms through 16 MB. Here the parts are timed by themselves, without the sweeps, and steps are
told apart: untimed ones, and what makes a sample (the step whose end wakes the agent, and the timed one behind it). Medians over
hundreds of steps show microseconds where a difference of whole blocks is lost in what the sweeps vary by. `per_step_us` is the cost of
an old loop: an untimed step's, and a sample's once in half a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time

import torch
from agent_overhead import _PLACES, Sweep
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from joulewise.measuring.agent.inside import timeline
from joulewise.measuring.agent.inside.timeline import Timeline
from joulewise.measuring.agent.inside.torch_hooks import attach

_BLOCK, _WARM = 25, 4
_EVERY = 12  # steps: the mean distance of samples here
_clock = time.thread_time


class Loop:
    """A loop of four parts; its steps' seconds by what the agent did in them: (asleep before, asleep after)."""

    def __init__(self, sweep_s: float) -> None:
        items = TensorDataset(torch.zeros(10_000, 1))
        self.loader = DataLoader(items, batch_size=1, sampler=range(777, 777 + _BLOCK))
        self.net = nn.Linear(1, 1)
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=0.0)
        self.sweep = Sweep(sweep_s)

    def block(self, line: Timeline) -> list[tuple[tuple[bool, bool], float]]:
        """Make a pass."""
        made = []
        batches = iter(self.loader)
        for number in range(_BLOCK):
            self.sweep.run()
            marks = [_clock()]
            (x,) = next(batches)
            marks.append(_clock())
            before = bool(line.skip)
            self.sweep.run()
            marks.append(_clock())
            loss = self.net(x).sum()
            marks.append(_clock())
            self.sweep.run()
            marks.append(_clock())
            loss.backward()
            marks.append(_clock())
            self.sweep.run()
            marks.append(_clock())
            self.optimiser.step()
            self.optimiser.zero_grad()
            marks.append(_clock())
            if number >= _WARM:
                took_s = sum(b - a for a, b in zip(marks[::2], marks[1::2], strict=True))
                made.append(((before, bool(line.skip)), took_s))
        return made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--sweep-s", type=float, default=2.5e-3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loop = Loop(options.sweep_s)
    registered = sys.modules["torch.optim.optimizer"]
    lists = (registered._global_optimizer_pre_hooks, registered._global_optimizer_post_hooks)
    plain_calls = [getattr(owner, name) for owner, name in _PLACES]
    took: dict[str, list[float]] = {"plain": [], "untimed": [], "timed": [], "woken": []}
    with tempfile.TemporaryDirectory() as folder:
        line = Timeline(folder)
        loop.block(line)
        attach(line, torch)
        hooked_calls = [getattr(owner, name) for owner, name in _PLACES]
        hooks = [dict(entries) for entries in lists]
        for number in range(2 + options.blocks):
            for hooked in (False, True) if number % 2 else (True, False):
                line.wake()
                for (owner, name), call in zip(_PLACES, hooked_calls if hooked else plain_calls, strict=True):
                    setattr(owner, name, call)
                for entries, ours in zip(lists, hooks, strict=True):
                    entries.clear()
                    entries.update(ours if hooked else {})
                if hooked:  # an old loop, whose samples are closer
                    line._loop_s, line._look_step = timeline.clock() - 60, line.step + 10**6
                    line.stride, line.step_s = _EVERY, 4.5 * options.sweep_s
                made = loop.block(line)
                if number >= 2:
                    for (before, after), seconds in made:
                        kind = (
                            "untimed" if before and after else "timed" if after else "woken" if before else ""
                        )
                        if kind or not hooked:
                            took[kind if hooked else "plain"].append(1e6 * seconds)
        line.wake()
        for (owner, name), call in zip(_PLACES, plain_calls, strict=True):
            setattr(owner, name, call)
    median = {kind: statistics.median(each) for kind, each in took.items()}
    untimed_us = median["untimed"] - median["plain"]
    sample_us = median["timed"] + median["woken"] - 2 * median["plain"]
    steps = timeline._TIMED_EVERY_S[1] / 10e-3
    print(
        json.dumps(
            {
                "plain_us": round(median["plain"], 1),
                "untimed_us": round(untimed_us, 1),
                "sample_us": round(sample_us, 1),
                "per_step_us": round(untimed_us + sample_us / steps, 1),
                "steps": {kind: len(each) for kind, each in took.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
