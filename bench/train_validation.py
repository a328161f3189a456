"""What planned validation costs beside validating too often, with the same model (goal: at most 5 %, same model chosen).

    python bench/train_validation.py PROGRAM [--seeds N]      # PROGRAM: shared/workloads/w08/train.py, needs torch and Fashion-MNIST

Runs the program's own trainer twice with one seed, for each of --seeds (the program's own, 5, first): as written (it
validates on 10,000 images every 20 steps and keeps the best), and planned: a quarter of the share goes into the curve
(`joulewise.training.validating.plan`), the rest into settling at the end which of the last 16 checkpoints, 20 steps apart,
is the best (`joulewise.training.finalists`). Validation images are gathered once as tensors. Costs are CPU seconds measured
over a few dozen steps of this machine; measuring is counted. One thread. Both models are then scored on all the images.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joulewise.training.finalists import Finalists
from joulewise.training.validating import SHARE, plan

EPOCHS = 3
PROBED_STEPS, PROBED_SAMPLES = 40, 1000
IMAGES = 10_000
CHECKED = 20  # steps between the checkpoints, as in the program
PROGRAM_SEED = 5


class Loop:
    """The program's trainer, driven step by step with a validation that can be planned."""

    def __init__(self, program: Any, seed: int, *, gathered: bool) -> None:
        import torch

        self.torch = torch
        self.trainer = program.Trainer()
        if seed != PROGRAM_SEED:  # the same network and order of samples, drawn anew
            torch.manual_seed(seed)
            for module in self.trainer.net:
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
        self.validating_s = 0.0
        self.curve: list[tuple[int, float]] = []
        self.held: Any = None
        if gathered:
            with self.timed():
                self.held = self.trainer.val.dataset.tensors

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count what happens here as validating."""
        started = time.process_time()
        # a DataLoader draws a random number whenever it starts: without the fork, validating would reshuffle training
        with self.torch.inference_mode(), self.torch.random.fork_rng():
            yield
        self.validating_s += time.process_time() - started

    def step(self, x: Any, y: Any) -> None:
        """Take one training step, as the program does."""
        self.trainer.opt.zero_grad()
        self.torch.nn.functional.cross_entropy(self.trainer.net(x), y).backward()
        self.trainer.opt.step()

    def validate(self, samples: int) -> float:
        """Return the share of right answers on the first samples."""
        with self.timed():
            net, right = self.trainer.net, 0
            net.eval()
            batches = self.trainer.val
            if self.held is not None:
                batches = zip(*(t[:samples].split(250) for t in self.held), strict=True)
            for x, y in batches:
                right += int((net(x).argmax(1) == y).sum())
            net.train()
        return right / samples

    def fit(self, every: int, samples: int, look: Callable[[int], None]) -> None:
        """Train, validate as planned, and call `look` every 20 steps."""
        step = 0
        for _ in range(EPOCHS):
            for x, y in self.trainer.train:
                self.step(x, y)
                step += 1
                if step % every == 0:
                    self.curve.append((step, self.validate(samples)))
                if step % CHECKED == 0:
                    look(step)


def probe(program: Any, seed: int) -> tuple[float, float]:
    """Return CPU seconds of a training step and of a validated sample, on a trainer that is thrown away."""
    loop = Loop(program, seed, gathered=True)
    batches = iter(loop.trainer.train)
    loop.step(*next(batches))  # the first step also sets up
    started = time.process_time()
    for _ in range(PROBED_STEPS):
        loop.step(*next(batches))
    step_s = (time.process_time() - started) / PROBED_STEPS
    loop.validate(PROBED_SAMPLES)
    loop.validating_s = 0.0
    loop.validate(PROBED_SAMPLES)
    return step_s, loop.validating_s / PROBED_SAMPLES


def as_written(program: Any, seed: int) -> tuple[int, float, str]:
    """Train as the program does; return the step of the model that is kept, its accuracy, and its row."""
    started = time.process_time()
    loop = Loop(program, seed, gathered=False)
    loop.fit(program.VAL_EVERY, IMAGES, lambda _step: None)
    spent = time.process_time() - started
    step, accuracy = max(loop.curve, key=lambda point: (point[1], point[0]))
    return step, accuracy, f"{spent:6.1f} {loop.validating_s:11.2f} {loop.validating_s / spent:6.1%}"


def planned(program: Any, seed: int) -> tuple[int, float, str, str]:
    """Train with what the share pays for; return as above, and what was planned and settled."""
    started = time.process_time()
    step_s, sample_s = probe(program, seed)
    horizon = EPOCHS * len(program.Trainer().train)
    chosen = plan(horizon, IMAGES, step_s, sample_s, share=SHARE / 4)
    afford = int(0.75 * SHARE * horizon * step_s / sample_s)
    loop, finalists = Loop(program, seed, gathered=True), Finalists()
    net = loop.trainer.net
    loop.fit(chosen.every_steps, chosen.samples, lambda step: finalists.add(step, net))
    with loop.timed():
        settled = finalists.settle(net, *loop.held, afford=afford)
    spent, validating = time.process_time() - started, loop.validating_s
    row = f"{spent:6.1f} {validating:11.2f} {validating / spent:6.1%}"
    return int(settled.step), loop.validate(IMAGES), row, f"{chosen}; {settled}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if not args.program.is_file():
        sys.exit(f"{args.program} is no file; give the training program of workload w08")
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("w08", args.program)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    print(
        f"{'validation':27} {'seed':>4} {'CPU s':>6} {'validating':>11} {'share':>6} {'kept step':>9} {'accuracy':>9}"
    )
    same, shares = 0, []
    for seed in range(PROGRAM_SEED, PROGRAM_SEED + args.seeds):
        step, accuracy, row = as_written(program, seed)
        print(f"{'every 20 steps, all images':27} {seed:4} {row} {step:9} {accuracy:9.4f}", flush=True)
        ours, accuracy, row, note = planned(program, seed)
        shares.append(float(row.split()[-1].rstrip("%")))
        print(f"{'planned and settled':27} {seed:4} {row} {ours:9} {accuracy:9.4f}\n  {note}", flush=True)
        same += ours == step
    print(
        f"= validation's share on a loop that validates too often, largest | at most 5 %, same model | "
        f"{max(shares):.1f} %, the very same model with {same} of {args.seeds} seeds"
    )


if __name__ == "__main__":
    main()
