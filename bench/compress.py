"""What compressing reaches on two real models: which variants pass both gates, what pruning with fine-tuning saves, what is refused.

    compress.py cnn [--seed N] [--epochs N]    a CNN on Fashion-MNIST (Debian's dataset-fashion-mnist): trained (4 epochs), pruned to half
                                               its channels, distilled (3 epochs); every variant through both gates
    compress.py minilm MINILM.onnx TEXTS.npz   a sentence encoder: by recall@10 and by a probe's accuracy

Needs torch and torch-pruning for `cnn`. CPU time is the process's own; run it with OMP_NUM_THREADS=1.
"""

import argparse
import gzip
import tempfile
import time
from pathlib import Path

import numpy as np

import joulewise
from joulewise.compressing import card

HOME = Path("/usr/share/datasets/fashion-mnist")
BATCH = 256


def images(name):
    """Return an array of an IDX file."""
    raw = gzip.decompress((HOME / f"{name}.gz").read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def network():
    """Return two convolutions with 32 and 64 channels and a dense layer of 128: the reference's CNN."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
    )  # fmt: skip


def train(module, x, y, epochs, teacher=None):
    """Train with AdamW and one cycle; with a teacher, on its answers, too."""
    import torch
    from torch.nn import functional

    module.train()
    steps = int(epochs * len(x)) // BATCH
    optimiser = torch.optim.AdamW(module.parameters(), 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 4e-3 if teacher is None else 3e-3, total_steps=steps
    )
    for _ in range(steps):
        rows = torch.randint(0, len(x), (BATCH,))
        answers = module(x[rows])
        loss = functional.cross_entropy(answers, y[rows])
        if teacher is not None:
            with torch.no_grad():
                told = (teacher(x[rows]) / 2).softmax(1)
            apart = functional.kl_div((answers / 2).log_softmax(1), told, reduction="batchmean")
            loss = 0.5 * loss + 2 * apart
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    module.eval()


def cnn(seed, epochs):
    """Train, prune, distil, and let both gates judge."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    x = torch.tensor(images("train-images-idx3-ubyte")).float().div(255).unsqueeze(1)
    y = torch.tensor(images("train-labels-idx1-ubyte")).long()
    held_x = images("t10k-images-idx3-ubyte").astype(np.float32)[:, None] / 255
    held_y = images("t10k-labels-idx1-ubyte").astype(np.int64)
    module = network()
    began_s = time.process_time()
    with joulewise.track("train-cnn") as run:
        train(module, x, y, 4)
    training_j, trained_s = run.energy_j, time.process_time() - began_s
    began_s = time.process_time()
    with joulewise.track("prune-cnn") as run:
        pruned = joulewise.compressing.prune(
            module,
            torch.from_numpy(held_x[:1]),
            lambda small, whole: train(small, x, y, epochs, whole.eval()),
        )
    print(
        f"seed {seed}: trained in {trained_s:.0f} CPU-s, pruned and distilled in {time.process_time() - began_s:.0f}; "
        f"{pruned.fewer_macs:.2f}x fewer MACs, {pruned.parameters_before / pruned.parameters:.2f}x fewer parameters"
    )
    with tempfile.TemporaryDirectory() as folder:
        told = joulewise.compress(
            module, {"input": held_x, "y": held_y}, name="fashion", out=Path(folder) / "fashion",
            candidates={"pruned-50": pruned.module}, tuning_j=run.energy_j, training_j=training_j, zone="DE",
        )  # fmt: skip
    print(card.markdown(told), flush=True)


def probed(embeddings, labels):
    """Return whether a ridge probe is right on each row: it learns on the other half."""
    right = np.zeros(len(labels))
    wanted = np.eye(labels.max() + 1)[labels]
    for half in (0, 1):
        mine, other = np.arange(len(labels)) % 2 == half, np.arange(len(labels)) % 2 != half
        one = embeddings[other]
        weights = np.linalg.solve(one.T @ one + np.eye(one.shape[1]), one.T @ wanted[other])
        right[mine] = (embeddings[mine] @ weights).argmax(1) == labels[mine]
    return right


def minilm(model, texts):
    """Judge a sentence encoder by its neighbours, then by what a probe makes of it."""
    with np.load(texts) as file:
        data = {"input_ids": file["ids"], "attention_mask": file["mask"], "y": file["y"]}
    for metric in ("recall@10", "recall@1", probed):
        with tempfile.TemporaryDirectory() as folder:
            told = joulewise.compress(
                model,
                data,
                metric=metric,
                max_drop="2%",
                out=Path(folder) / "minilm",
                zone="DE",
                batch_sizes=(1, 8),
            )
        print(card.markdown(told), flush=True)


def main():
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("cnn")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--epochs", type=float, default=3)
    two = kinds.add_parser("minilm")
    two.add_argument("model")
    two.add_argument("texts")
    asked = parser.parse_args()
    if asked.kind == "cnn":
        cnn(asked.seed, asked.epochs)
    else:
        minilm(asked.model, asked.texts)


if __name__ == "__main__":
    main()
