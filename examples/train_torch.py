"""A plain PyTorch loop: a recipe measured here, stopped by validation. Needs torch, schedulefree and scikit-learn."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import joulewise

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
order = torch.randperm(len(x))
train, held = order[:1400], order[1400:]
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
loss = nn.functional.cross_entropy

recipe = joulewise.training.recipe(model, (x[train], y[train]), loss=loss)
print(recipe)
trainer = joulewise.training.Trainer(model, recipe, loss)
stopping = joulewise.stopping("accuracy", horizon=60, samples=len(held), least_gain=0.005)
batches = trainer.batches((x[train], y[train]))
for epoch in range(1, 61):
    for inputs, targets in batches:
        trainer.step(inputs, targets)
    with trainer.evaluating() as judged, torch.inference_mode():
        accuracy = float((judged(x[held]).argmax(1) == y[held]).float().mean())
    if stopping.update(epoch, accuracy).stops:
        break
print(stopping.decision)
print(f"{trainer.spent_j:.3g} J, {trainer.joules_per_step:.2g} J a step")
