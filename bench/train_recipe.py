"""CPU seconds to the naive recipe's accuracy on Fashion-MNIST, by the recipe that a probe chose (goal: 1/6 of naive).

    python bench/train_recipe.py [PROGRAM] [--first-seed S] [--seeds N] [--arms recipe naive] [--results FILE]

Needs torch, schedulefree, Pillow and Debian's `dataset-fashion-mnist`. Naive is PROGRAM (shared/bench/train/fmnist.py) as
it stands: the tutorial's network, Adam at 1e-3, batches of 64, 30 epochs, fp32, transforms one item at a time in Python.
The recipe gets the same network, images and transforms and nothing else; `joulewise.training.recipe` chooses how to
train on 50,000 images, and validation on the other 10,000 says when to stop: as soon as their answers show with 95 % that
the target is reached. The target, .9155, was declared beforehand: the mean of the naive recipe's last five epochs.
Test images choose nothing. The claim is on seeds 11, 12 and 13, never run before they were declared here (rules were
changed after runs with seeds 0 to 5). CPU seconds of one process on one thread: the recipe's include its probe and its
validation, naive's no evaluation at all. Runs that RESULTS holds already are not run again; delete the file to start anew.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import numpy as np

TARGET, MARGIN = 0.9155, 0.003
DECLARED = datetime(2026, 11, 29, 18, 30, tzinfo=UTC)
SEEDS = (11, 3)  # the first, and how many
FAILED = (  # what else was spent on the way, in CPU seconds, and why it failed; counted in the claim
    (
        "seed 4, before optimisers had to differ surely",
        180.1,
        "Muon by 4 % on 1,024 samples; stood still below the target",
    ),
    ("seed 11, first try", 62.6, "ended by a time limit of ours after seven epochs, target not reached"),
)
HORIZON, HELD = 30, 10_000
IMAGES = Path(os.environ.get("FMNIST", "/usr/share/datasets/fashion-mnist"))
SHARED = Path(__file__).resolve().parents[2] / "shared" / "bench" / "train" / "fmnist.py"
MEAN, DEVIATION = 0.2860, 0.3530


def naive(program: Path, seed: int) -> dict[str, object]:
    """Run the naive recipe; return its CPU seconds, and its test accuracy after each of the last five epochs."""
    began = datetime.now(UTC)
    command = [
        sys.executable,
        program,
        "curve",
        "--name",
        "naive",
        "--seed",
        str(seed),
        "--epochs",
        str(HORIZON),
    ]
    done = subprocess.run(
        [*command, "--w", "16", "--h", "64", "--pipe", "item"], capture_output=True, text=True, check=True
    )
    run = json.loads(done.stdout)
    return {
        "arm": "naive",
        "seed": seed,
        "cpu_s": run["cpu"][-1],
        "accuracy": fmean(run["acc"][-5:]),
        "began": began.isoformat(),
    }


def network():
    """Return the tutorial's network: two convolutions, two dense layers, 105,866 weights."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 49, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def read(kind: str):
    """Return images as normalised tensors, and their labels."""
    import torch

    raw = gzip.decompress((IMAGES / f"{kind}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((IMAGES / f"{kind}-labels-idx1-ubyte.gz").read_bytes())[8:]
    pixels = np.frombuffer(raw, np.uint8).reshape(-1, 1, 28, 28).astype(np.float32)
    return (
        torch.from_numpy((pixels / 255 - MEAN) / DEVIATION),
        torch.from_numpy(np.frombuffer(labels, np.uint8).astype(np.int64)),
    )


def lean(seed: int) -> dict[str, object]:
    """Probe, train until validation shows the target, and return what it cost and the test accuracy."""
    import torch
    from torch.nn.functional import cross_entropy

    import joulewise
    from joulewise.training.vectorising import Compose, RandomCrop, RandomFlip

    began = datetime.now(UTC)
    images, labels = read("train")
    test = read("t10k")
    started = time.process_time()
    torch.manual_seed(seed)
    order = torch.randperm(len(images))
    held, rest = order[:HELD], order[HELD:]
    validation, data = (images[held], labels[held]), (images[rest], labels[rest])
    augment = Compose(RandomCrop(padding=2, fill=-MEAN / DEVIATION), RandomFlip())
    model = network()
    recipe = joulewise.training.recipe(model, data, loss=cross_entropy, transform=augment, seed=seed)
    probed = time.process_time()
    print(recipe, file=sys.stderr, flush=True)
    trainer = joulewise.training.Trainer(model, recipe, cross_entropy)
    stopping = joulewise.stopping("val_accuracy", horizon=HORIZON, samples=HELD, target=TARGET)
    batches = trainer.batches(data, augment, seed=seed)
    curve, validating_s = [], 0.0

    def accuracy(samples) -> float:
        with trainer.evaluating() as judged, torch.inference_mode():
            right = sum(
                int((judged(x).argmax(1) == y).sum())
                for x, y in zip(samples[0].split(500), samples[1].split(500), strict=True)
            )
        return right / len(samples[0])

    for epoch in range(1, HORIZON + 1):
        for x, y in batches:
            trainer.step(x, y)
        before = time.process_time()
        curve.append(accuracy(validation))
        validating_s += time.process_time() - before
        decision = stopping.update(epoch, curve[-1])
        print(epoch, curve[-1], f"{before - started:.1f}", file=sys.stderr, flush=True)
        if decision.stops or trainer.over:
            break
        trainer.look(stopping.curve)
    cpu_s = time.process_time() - started
    return {
        "arm": "recipe",
        "seed": seed,
        "cpu_s": cpu_s,
        "probe_s": probed - started,
        "validating_s": validating_s,
        "epochs": epoch,
        "accuracy": accuracy(test),
        "validation": curve,
        "why": str(decision),
        "recipe": str(recipe),
        "began": began.isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?", type=Path, default=SHARED)
    parser.add_argument("--seeds", type=int, default=SEEDS[1])
    parser.add_argument("--first-seed", type=int, default=SEEDS[0])
    parser.add_argument(
        "--arms", nargs="+", choices=["recipe", "naive"], default=["recipe", "naive"], help="run only these"
    )
    parser.add_argument("--results", type=Path, default=Path("build/train_recipe.jsonl"))
    parser.add_argument("--one", choices=["naive", "recipe"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        run = naive(args.program, args.first_seed) if args.one == "naive" else lean(args.first_seed)
        print(json.dumps(run))
        return
    if not args.program.is_file() or not IMAGES.is_dir():
        sys.exit(f"needs {args.program} and {IMAGES} (Debian's dataset-fashion-mnist, or FMNIST=DIR)")
    args.results.parent.mkdir(parents=True, exist_ok=True)
    runs = (
        [json.loads(line) for line in args.results.read_text().splitlines()] if args.results.exists() else []
    )
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for arm in args.arms:
            if any(r["arm"] == arm and r["seed"] == seed for r in runs):
                continue
            command = [sys.executable, __file__, str(args.program), "--one", arm, "--first-seed", str(seed)]
            done = subprocess.run(
                command,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(f"{arm} of seed {seed} failed")
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            with args.results.open("a") as file:
                file.write(json.dumps(runs[-1]) + "\n")
            print(
                f"{arm} of seed {seed}: {runs[-1]['cpu_s']:.1f} CPU s, {runs[-1]['accuracy']:.4f}", flush=True
            )
    report(runs)


def report(runs: list[dict]) -> None:
    """Print the table, and what may be claimed."""
    from joulewise.training.claim import Attempt, Declaration, Outcome, judge

    print(
        f"{'run':8} {'seed':>4} {'CPU s':>7} {'probe':>6} {'validating':>10} {'epochs':>6} {'test accuracy':>13}"
    )
    by_arm = {
        arm: sorted((r for r in runs if r["arm"] == arm), key=lambda r: r["seed"])
        for arm in ("naive", "recipe")
    }
    for run in (*by_arm["naive"], *by_arm["recipe"]):
        probe, validating = run.get("probe_s", 0.0), run.get("validating_s", 0.0)
        print(
            f"{run['arm']:8} {run['seed']:4} {run['cpu_s']:7.1f} {probe:6.1f} {validating:10.1f} "
            f"{run.get('epochs', HORIZON):6} {run['accuracy']:13.4f}"
        )
    if not by_arm["naive"] or not by_arm["recipe"]:
        return
    old, new = (fmean(r["cpu_s"] for r in by_arm[arm]) for arm in ("naive", "recipe"))
    reached = fmean(r["accuracy"] for r in by_arm["recipe"])
    print(
        f"naive {old:.1f}, recipe {new:.1f} CPU seconds: 1/{old / new:.1f} (goal 1/6); mean test accuracy {reached:.4f} for "
        f"{fmean(r['accuracy'] for r in by_arm['naive']):.4f}, target {TARGET}"
    )
    declared = Declaration("accuracy", MARGIN, True, DECLARED, TARGET)
    outcomes = {
        arm: [
            Outcome(r["seed"], r["accuracy"], r["cpu_s"], datetime.fromisoformat(r["began"]))
            for r in by_arm[arm]
        ]
        for arm in by_arm
    }
    paired = {o.seed for o in outcomes["naive"]} & {o.seed for o in outcomes["recipe"]}
    claim = judge(
        declared,
        [o for o in outcomes["naive"] if o.seed in paired],
        [o for o in outcomes["recipe"] if o.seed in paired],
        finding_j=0.0,
        failed=[Attempt(*attempt) for attempt in FAILED],
    )
    print(claim, "(joules are CPU seconds here; each run's own probe is in them)")
    for recipe, spent_s, why in FAILED:
        print(f"failed: {recipe}, {spent_s:g} CPU s: {why}")
    print(f"finding it cost {sum(a[1] for a in FAILED):.1f} CPU s besides; a run saves {old - new:.1f}")
    print(by_arm["recipe"][0]["recipe"])
    print(
        f"= CPU seconds to {TARGET} on Fashion-MNIST, {len(paired)} paired seeds | at most 1/6 of naive | "
        f"{new:.1f} of {old:.1f}: 1/{old / new:.1f}, to {reached:.4f}; {'the same' if claim.same else 'not shown to be the same'}"
    )


if __name__ == "__main__":
    main()
