"""A loop of Accelerate: every process asks with the same gathered metric, so all stop together. Needs accelerate, scikit-learn.

`accelerate launch examples/train_accelerate.py` runs it on several processes.
"""

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import joulewise

torch.manual_seed(0)
accelerator = Accelerator(cpu=True)
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
model, optimiser, train, held = accelerator.prepare(
    model,
    torch.optim.AdamW(model.parameters(), 1e-3),
    DataLoader(TensorDataset(x[:1400], y[:1400]), 64, shuffle=True),
    DataLoader(TensorDataset(x[1400:], y[1400:]), 256),
)
stopping = joulewise.stopping("accuracy", horizon=60, samples=len(x) - 1400, least_gain=0.005)
for epoch in range(1, 61):
    for inputs, targets in train:
        optimiser.zero_grad()
        accelerator.backward(torch.nn.functional.cross_entropy(model(inputs), targets))
        optimiser.step()
    right = []
    with torch.inference_mode():
        for inputs, targets in held:
            right.append(accelerator.gather_for_metrics(model(inputs).argmax(1) == targets))
    if stopping.update(epoch, float(torch.cat(right).float().mean())).stops:
        break
accelerator.print(stopping.decision)
