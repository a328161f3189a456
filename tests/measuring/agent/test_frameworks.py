"""Lightning, Transformers and Keras, run as they are, with remedies where they have settings of their own."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from joulewise.vocabulary.observed import Phase, ProcessView
from joulewise.wiring import remedied
from tests.measuring.agent.running import run


def needs(*names: str) -> list[pytest.MarkDecorator]:
    """Mark a test that needs these packages, which are in no extra of ours."""
    missing = [n for n in names if importlib.util.find_spec(n) is None]
    return [
        pytest.mark.slow,
        pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed here"),
    ]


BF16 = remedied(
    {"precision": "bf16", "trial": "steps=1000 passes=0 batches=0"}
)  # a trial asks no processor for its instructions
LIGHTNING = """
import warnings; warnings.filterwarnings("ignore")
import logging; logging.disable(logging.WARNING)
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(8, 3)
    def forward(self, x): return self.net(x)
    def training_step(self, batch, _):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss
    def validation_step(self, batch, _):
        out = self(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(out, batch[1]))
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.1)
L.seed_everything(0)
x, y = torch.randn(128, 8), torch.randint(0, 3, (128,))
data = TensorDataset(x, y)
trainer = L.Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
                    callbacks=[CALLBACKS], val_check_interval=EVERY, default_root_dir=".")
trainer.fit(Net(), DataLoader(data, batch_size=16, shuffle=True), DataLoader(data, batch_size=64))
print([type(c).__name__ for c in trainer.callbacks])
"""
TRANSFORMERS = """
import warnings; warnings.filterwarnings("ignore")
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
torch.manual_seed(0)
config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=2)
class Data(torch.utils.data.Dataset):
    def __len__(self): return 64
    def __getitem__(self, i):
        return {"input_ids": torch.full((8,), i % 50), "attention_mask": torch.ones(8, dtype=torch.long), "labels": torch.tensor(i % 2)}
arguments = TrainingArguments("out", num_train_epochs=2, per_device_train_batch_size=8, per_device_eval_batch_size=32, use_cpu=True,
    report_to="none", disable_tqdm=True, logging_steps=4, eval_strategy="steps", eval_steps=4, save_strategy="steps", save_steps=8)
trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=Data(), eval_dataset=Data())
trainer.train()
"""
KERAS = """
import numpy as np, keras
keras.utils.set_random_seed(0)
x, y = np.random.normal(size=(128, 8)).astype("float32"), np.random.randint(0, 3, 128)
model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=EPOCHS, validation_data=(x[:64], y[:64]), verbose=0, callbacks=[CALLBACKS])
print(model.predict(x, verbose=0).shape)
"""


def seen(
    code: str, folder: Path, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> tuple[ProcessView, str]:
    ran = run(code, folder, options=options, environment=environment)
    assert ran.code == 0, ran.err[-2000:]
    view = next(v for v in ran.views if v.kind == "main")
    assert view.faults == ()
    return view, ran.out


class TestLightning:
    pytestmark = needs("torch", "lightning")

    def test_seen(self, tmp_path: Path):
        """Epochs, steps, batches, metrics by Lightning's own names, checkpoints and its early stopping are known."""
        code = LIGHTNING.replace("CALLBACKS", "EarlyStopping('val_loss', patience=5)").replace(
            "EVERY", "None"
        )
        view, _ = seen(code, tmp_path)

        assert (view.epochs, view.steps, view.batch_sizes, view.dataset_items) == (3, 24, {16: 24}, 128)
        assert view.early_stop == "Lightning (patience 5)"
        epochs = [p.epoch for p in view.curve if "val_acc" in p.values]
        assert set(epochs) == {0.0, 1.0, 2.0}
        assert view.evaluation_calls == 4  # the sanity check is one
        assert view.phase(Phase.CHECKPOINT).bytes > 0
        assert all(view.phase(p).calls == 24 for p in (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER))
        assert view.accounted_share > 0.95

    def test_remedies(self, tmp_path: Path):
        """Validation once per epoch and early stopping are Lightning's own settings."""
        code = LIGHTNING.replace("CALLBACKS", "").replace("EVERY", "0.25")
        view, out = seen(code, tmp_path, ["--with", "validate,early-stop"])

        assert view.evaluation_calls == 4
        assert "EarlyStopping" in out
        assert "validate: Trainer(val_check_interval=1.0) instead of 0.25" in view.changed
        assert any(text.startswith("early-stop: Lightning stops after 6") for text in view.changed)

    def test_precision(self, tmp_path: Path):
        """Mixed precision is Lightning's own setting, once: nothing is cast around it again."""
        view, _ = seen(
            LIGHTNING.replace("CALLBACKS", "").replace("EVERY", "None"),
            tmp_path,
            ["--with", "precision=bf16"],
        )

        assert view.changed == ("precision: Lightning: Trainer(precision='bf16-mixed')",)
        assert view.precision == "bfloat16 (autocast)"


class TestTransformers:
    pytestmark = needs("torch", "transformers", "accelerate")

    def test_seen(self, tmp_path: Path):
        """Epochs, steps, batches, what the Trainer logs, and its checkpoints with their bytes are known."""
        view, _ = seen(TRANSFORMERS, tmp_path)

        assert (view.epochs, view.steps, view.batch_sizes, view.dataset_items) == (2, 16, {8: 16}, 64)
        assert len([p for p in view.curve if "eval_loss" in p.values]) == 4
        assert view.phase(Phase.CHECKPOINT).calls >= 2
        assert view.phase(Phase.CHECKPOINT).bytes > 10_000
        assert view.accounted_share > 0.95

    def test_remedies(self, tmp_path: Path):
        """Evaluation once per epoch and twice the batch, set once; early stopping needs a best model to go back to."""
        view, _ = seen(TRANSFORMERS, tmp_path, ["--with", "validate,batch=x2,early-stop"])

        assert view.evaluation_calls == 2
        assert view.batch_sizes == {16: 8}
        assert "validate: eval_strategy='epoch' instead of every 4 steps" in view.changed
        assert any("load_best_model_at_end is off" in text for text in view.left)

    def test_precision(self, tmp_path: Path):
        """Mixed precision is the Trainer's own setting."""
        view, _ = seen(TRANSFORMERS, tmp_path, environment=BF16)

        assert "precision: Transformers: TrainingArguments(bf16=True)" in view.changed
        assert view.steps == 16


class TestKeras:
    pytestmark = needs("torch", "keras")

    def test_seen(self, tmp_path: Path):
        """Steps with their parts, epochs, batches, metrics and evaluations are known on the backend torch."""
        code = KERAS.replace("EPOCHS", "3").replace("CALLBACKS", "keras.callbacks.EarlyStopping(patience=4)")
        view, out = seen(code, tmp_path, environment={"KERAS_BACKEND": "torch"})

        assert out == "(128, 3)\n"
        assert (view.epochs, view.steps, view.samples) == (3, 24, 384)
        assert view.batch_sizes == {16: 24}
        assert view.early_stop == "Keras (patience 4)"
        assert [p.epoch for p in view.curve if "val_accuracy" in p.values] == [0.0, 1.0, 2.0]
        assert [(e.step, e.items) for e in view.evaluations if e.step] == [
            (8, 64),
            (16, 64),
            (24, 64),
            (24, 128),
        ]  # and a prediction
        assert all(view.phase(p).calls == 24 for p in (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER))
        assert view.accounted_share > 0.95

    def test_early_stop(self, tmp_path: Path):
        """Keras stops by its own callback and restores the best weights."""
        code = (
            KERAS.replace("EPOCHS", "200").replace("CALLBACKS", "").replace("y[:64]", "y[64:]")
        )  # others' labels
        view, _ = seen(code, tmp_path, ["--with", "early-stop=2"], {"KERAS_BACKEND": "torch"})

        assert view.epochs is not None
        assert view.epochs < 200
        assert view.changed == (
            "early-stop: Keras stops after 2 epochs without a better val_loss, and restores the best weights",
        )

    def test_precision(self, tmp_path: Path):
        """Mixed precision is Keras' own policy; the weights stay float32."""
        code = KERAS.replace("EPOCHS", "2").replace("CALLBACKS", "")
        code += "\nprint(keras.config.dtype_policy().name)"
        view, out = seen(code, tmp_path, environment={**BF16, "KERAS_BACKEND": "torch"})

        assert view.changed == (
            "precision: Keras: set_dtype_policy('mixed_bfloat16'), its weights stay float32",
        )
        assert out.endswith("mixed_bfloat16\n")
