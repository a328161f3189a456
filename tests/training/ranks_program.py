"""Run by `torchrun` on two processes: a recipe, a training and a stop, of which each rank writes down what it saw."""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import joulewise
from joulewise.training import ranks

torch.distributed.init_process_group("gloo")
rank, size = ranks.world()
torch.manual_seed(rank)  # rank 0's weights must become everybody's
draw = torch.Generator().manual_seed(7)
x = torch.randn(2000, 6, generator=draw)
y = (x[:, 0] * x[:, 1] > 0).long()
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
keep = {"threads": 1, "precision": "fp32", "optimiser": "wsd", "batch_size": 64}
recipe = joulewise.training.recipe(model, (x[:1500], y[:1500]), loss=cross_entropy, keep=keep)
trainer = joulewise.training.Trainer(model, recipe, cross_entropy)
batches = trainer.batches((x[:1500], y[:1500]))
first = next(iter(batches))
scaling = trainer.scaling(*first, steps=3)
stopping = joulewise.stopping("accuracy", horizon=12, samples=500)
held = slice(1500 + rank * 250, 1750 + rank * 250)
for epoch in range(1, 13):
    for step, (inputs, targets) in enumerate(batches):
        spoilt = inputs * float("nan") if (epoch, step, rank) == (2, 3, 1) else inputs  # on one rank only
        trainer.step(spoilt, targets)
    with trainer.evaluating() as judged, torch.inference_mode():
        mine = float((judged(x[held]).argmax(1) == y[held]).float().mean())
    decision = stopping.update(epoch, ranks.mean(mine))
    if epoch == 8:
        trainer.land_within(trainer.spent_j * (1.2 if rank == 0 else 99))  # rank 0's budget counts
    if decision.stops or trainer.over:
        break
try:
    ranks.once(lambda: trainer.land_within(-1))
    refused = ""
except joulewise.training.ranks.JoulewiseError as error:
    refused = str(error)
seen = {
    "size": size,
    "share": len(first[0]),
    "rate": recipe["learning_rate"],
    "epochs": epoch,
    "steps": trainer.optimiser.step_count,
    "curve": stopping.curve.values,
    "weights": [round(float(p.detach().double().sum()), 9) for p in model.parameters()],
    "landing": str(trainer.optimiser.landing),
    "scaling": scaling.values,
    "refused": refused,
}
Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(seen))
torch.distributed.destroy_process_group()
