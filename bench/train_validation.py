"""What planned validation costs beside validating too often, with the same model (goal: at most 5 %, same model chosen).

    python bench/train_validation.py PROGRAM      # PROGRAM: shared/workloads/w08/train.py, needs torch and Fashion-MNIST

Runs the program's own trainer twice with one seed: as written (it validates on 10,000 images every 20 steps), and with
the step between validations and the subset from `joulewise.training.validating.plan`, whose costs are CPU seconds
measured over a few dozen steps of this machine; measuring is counted. CPU seconds of the process, one thread, both in
this run. As written, the model of the best validation is kept; planned, the last one unless the paired answers settle
for the best. Both are then scored on all the images.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulewise.training.validating import plan, settled

EPOCHS = 3
PROBED_STEPS, PROBED_SAMPLES = 40, 1000
IMAGES = 10_000


@dataclass
class Candidate:
    """A model that could be kept: its step, its answers, its weights."""

    step: int
    right: list[bool]
    weights: Any


class Loop:
    """The program's trainer, driven step by step with a validation that can be planned."""

    def __init__(self, program: Any) -> None:
        import torch

        self.torch = torch
        self.trainer = program.Trainer()
        self.validating_s = 0.0

    def step(self, x: Any, y: Any) -> None:
        """Take one training step, as the program does."""
        self.trainer.opt.zero_grad()
        self.torch.nn.functional.cross_entropy(self.trainer.net(x), y).backward()
        self.trainer.opt.step()

    def validate(self, samples: int) -> list[bool]:
        """Return for each of the first samples whether the net is right."""
        started = time.process_time()
        net, right = self.trainer.net, []
        net.eval()
        # a DataLoader draws a random number whenever it starts: without the fork, validating would reshuffle training
        with self.torch.inference_mode(), self.torch.random.fork_rng():
            for x, y in self.trainer.val:
                wanted = samples - len(right)
                right += (net(x[:wanted]).argmax(1) == y[:wanted]).tolist()
                if len(right) >= samples:
                    break
        net.train()
        self.validating_s += time.process_time() - started
        return right

    def fit(self, every: int, samples: int) -> tuple[Candidate, Candidate]:
        """Train; return the best evaluation and the last."""
        best = last = Candidate(0, [], None)
        step = 0
        for _ in range(EPOCHS):
            for x, y in self.trainer.train:
                self.step(x, y)
                step += 1
                if step % every == 0:
                    last = Candidate(
                        step, self.validate(samples), copy.deepcopy(self.trainer.net.state_dict())
                    )
                    if sum(last.right) > sum(best.right):
                        best = last
        return best, last


def probe(program: Any) -> tuple[float, float]:
    """Return CPU seconds of a training step and of a validated sample, on a trainer that is thrown away."""
    loop = Loop(program)
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


def run(name: str, program: Any, *, planned: bool) -> None:
    """Train once and print one line of the table."""
    started = time.process_time()
    every, samples, note = program.VAL_EVERY, IMAGES, ""
    if planned:
        step_s, sample_s = probe(program)
        chosen = plan(EPOCHS * len(program.Trainer().train), samples, step_s, sample_s)
        every, samples, note = chosen.every_steps, chosen.samples, str(chosen)
    loop = Loop(program)
    kept, last = loop.fit(every, samples)
    spent, validating = time.process_time() - started, loop.validating_s
    if planned and settled(zip(last.right, kept.right, strict=True)).favours >= 0:
        kept = last
    loop.trainer.net.load_state_dict(kept.weights)
    accuracy = sum(loop.validate(IMAGES)) / IMAGES
    print(
        f"{name:27} {spent:6.1f} {validating:11.2f} {validating / spent:6.1%} {kept.step:9} {accuracy:9.4f}",
        flush=True,
    )
    if note:
        print(note)


def main() -> None:
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        sys.exit(f"give the training program of workload w08, not {sys.argv[1:]}")
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("w08", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    print(f"{'validation':27} {'CPU s':>6} {'validating':>11} {'share':>6} {'kept step':>9} {'accuracy':>9}")
    run("every 20 steps, all images", program, planned=False)
    run("planned", program, planned=True)


if __name__ == "__main__":
    main()
