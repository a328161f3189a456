"""Would a smaller model do, and what would half of its channels? Needs torch, torch-pruning, schedulefree and scikit-learn."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import joulewise
from joulewise.training.ladder import climb, judge

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)
order = torch.randperm(len(x))
train, held = (x[order[:1400]], y[order[:1400]]), (x[order[1400:]], y[order[1400:]])
loss = nn.functional.cross_entropy


def network(width):
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(8 * width, 10)),
    )


models = {f"width {w}": lambda w=w: network(w) for w in (64, 32, 16)}
recipe = joulewise.training.recipe(network(64), train, loss=loss, epochs=30)
rungs = climb(models, recipe, train, held, loss=loss, epochs=30, ratio=0.5, thin=0.5)
print(judge(rungs, largest_error=0.015, tolerance=0.02))
