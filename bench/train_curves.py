"""Learning curves of our own, for judging a stopping rule on what nobody fitted it to: small networks on real data.

    python bench/train_curves.py [OUT.csv]      # default build/train_curves.csv; needs torch and scikit-learn, some CPU minutes

Perceptrons on four sets of scikit-learn (digits, breast cancer, wine, diabetes) and, where Debian's
dataset-fashion-mnist is, on 3,000 of its images: 60 epochs, SGD or AdamW, rate, width and batch drawn at random, a rate that
is constant, falls to 0 as a cosine, falls to 0 in the last quarter, or drops to a tenth at two thirds. After each epoch the
validation loss, and where it is a classification the accuracy, of a third of the data. Resumable: run by run.
"""

from __future__ import annotations

import csv
import sys
from math import cos, exp, log, pi
from pathlib import Path
from random import Random

RUNS, EPOCHS = 24, 60  # of each set
SCHEDULES = {
    "constant": lambda _done: 1.0,
    "cosine": lambda done: (1 + cos(pi * done)) / 2,
    "decay": lambda done: min(1.0, 4 * (1 - done)),
    "drop": lambda done: 1.0 if done < 2 / 3 else 0.1,
}


def sets():
    """Return each set as inputs and targets (classes, or numbers), shuffled."""
    import torch
    from sklearn import datasets
    from train_recipe import IMAGES, read

    found = {}
    for name in ("breast_cancer", "wine", "diabetes", "digits"):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
        x = (x - x.mean(0)) / (x.std(0) + 1e-6)
        found[name] = (
            x,
            (y.float() - y.float().mean()) / y.float().std() if name == "diabetes" else y.long(),
        )
    if IMAGES.is_dir():
        images, labels = read("train")
        found["fashion"] = (images[:4500].flatten(1), labels[:4500])
    order = torch.Generator().manual_seed(0)
    return {
        n: tuple(t[torch.randperm(len(x), generator=order.manual_seed(0))] for t in (x, y))
        for n, (x, y) in found.items()
    }


def train(x, y, seed: int) -> tuple[str, list[tuple[float, float | None]]]:
    """Return the schedule's name, and validation loss and accuracy after each epoch."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy, mse_loss

    draw = Random(seed)
    torch.manual_seed(seed)
    numbers = y.is_floating_point()
    held = len(x) // 3
    width, batch = round(exp(draw.uniform(log(8), log(256)))), draw.choice((32, 64, 128))
    adam, schedule = draw.random() < 0.5, draw.choice(list(SCHEDULES))
    rate = exp(draw.uniform(log(1e-4), log(1e-2)) if adam else draw.uniform(log(1e-3), log(0.3)))
    model = nn.Sequential(
        nn.Linear(x.shape[1], width),
        nn.ReLU(),
        nn.Dropout(draw.choice((0.0, 0.3))),
        nn.Linear(width, 1 if numbers else int(y.max()) + 1),
    )
    optimiser = (torch.optim.AdamW if adam else torch.optim.SGD)(model.parameters(), lr=rate)

    def loss(scores, targets):
        return mse_loss(scores[:, 0], targets) if numbers else cross_entropy(scores, targets)

    curve = []
    for epoch in range(EPOCHS):
        model.train()
        order = held + torch.randperm(len(x) - held)
        for at, index in enumerate(order.split(batch)):
            done = (epoch + at * batch / len(order)) / EPOCHS
            optimiser.param_groups[0]["lr"] = rate * SCHEDULES[schedule](done)
            optimiser.zero_grad()
            loss(model(x[index]), y[index]).backward()
            optimiser.step()
        model.eval()
        with torch.inference_mode():
            scores = model(x[:held])
            right = None if numbers else float((scores.argmax(1) == y[:held]).float().mean())
            curve.append((float(loss(scores, y[:held])), right))
    return schedule, curve


def main() -> None:
    import torch

    torch.set_num_threads(1)
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/train_curves.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = set()
    if path.exists():
        with path.open() as file:
            done = {(r["set"], int(r["seed"])) for r in csv.DictReader(file)}
    with path.open("a", newline="") as file:
        out = csv.writer(file)
        if not done:
            out.writerow(("set", "seed", "schedule", "epoch", "loss", "accuracy"))
        for name, (x, y) in sets().items():
            for seed in range(RUNS):
                if (name, seed) in done:
                    continue
                schedule, curve = train(x, y, seed)
                for epoch, (lost, right) in enumerate(curve, 1):
                    out.writerow(
                        (name, seed, schedule, epoch, f"{lost:.6g}", "" if right is None else f"{right:.6g}")
                    )
                file.flush()


if __name__ == "__main__":
    main()
