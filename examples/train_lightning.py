"""Lightning, stopped by joulewise. Needs lightning and scikit-learn."""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

import joulewise
from joulewise.training.lightning import lightning_callback


class Digits(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)


seed_everything(0)
images, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
train, held = random_split(data, [1400, len(data) - 1400])
stopping = joulewise.stopping("val_accuracy", horizon=60, samples=len(held), least_gain=0.005)
trainer = Trainer(
    max_epochs=60,
    callbacks=[lightning_callback(stopping)],
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
)
trainer.fit(Digits(), DataLoader(train, 64, shuffle=True), DataLoader(held, 256))
print(stopping.decision)
