"""Channels are cut in blocks, training makes good what that cost, and the gates judge what comes out."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.vocabulary.errors import UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

import joulewise  # noqa: E402
from joulewise.compressing import prune  # noqa: E402

pytestmark = pytest.mark.slow


class Residual(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A convolution with a residual around it, then classes: layers that depend on each other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 32, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(32)
        self.second = torch.nn.Conv2d(32, 32, 3, padding=1)
        self.last = torch.nn.Linear(32, 4)

    def forward(self, x):
        a = torch.relu(self.norm(self.first(x)))
        return self.last((a + self.second(a)).mean((2, 3)))


def test_prune_in_blocks():
    """Half the channels of each group go, the answer keeps its shape, the whole model is left as it was."""
    torch.manual_seed(0)
    model = Residual().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []
    told = prune(
        model, torch.rand(1, 1, 8, 8), lambda small, whole: seen.append((small.training, whole is model))
    )

    assert seen == [(True, True)]
    assert (told.module.first.out_channels, told.module.second.in_channels, told.module.last.in_features) == (
        16,
        16,
        16,
    )
    assert told.module(torch.rand(3, 1, 8, 8)).shape == (3, 4)
    assert told.fewer_macs > 3
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_blocks_and_what_is_kept():
    """A ratio between two blocks is rounded to a block; a layer that is named is not cut."""
    example = torch.rand(1, 1, 8, 8)
    told = prune(Residual(), example, lambda small: None, ratio=0.3, block=8)

    assert told.module.first.out_channels % 8 == 0
    with pytest.raises(UsageError, match="nothing was cut"):
        prune(Residual(), example, lambda small: None, keep=["first", "second"])
    with pytest.raises(UsageError, match="no layer 'third'"):
        prune(Residual(), example, lambda small: None, keep=["third"])
    with pytest.raises(UsageError, match="ratio is 1"):
        prune(Residual(), example, lambda small: None, ratio=1)


def test_pruned_through_the_gates(tmp_path, monkeypatch):
    """A pruned model that was trained passes both gates; one that was not is left out."""
    monkeypatch.setenv("JOULEWISE_HOME", str(tmp_path))
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    y = draw.integers(0, 4, 1200)
    x = draw.normal(size=(1200, 1, 16, 16)).astype(np.float32)
    x[np.arange(1200), 0, 4 * y] += 2.0  # a bright line whose place is the class
    rows, classes = torch.from_numpy(x[:600]), torch.from_numpy(y[:600])

    def train(module, _whole=None, steps=60):
        module.train()
        optimiser = torch.optim.Adam(module.parameters(), 5e-3)
        for _ in range(steps):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(module(rows), classes).backward()
            optimiser.step()
        module.eval()

    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(256, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 1024), torch.nn.ReLU(),
        torch.nn.Linear(1024, 4),
    )  # fmt: skip
    train(model, steps=12)
    tuned = prune(model, torch.rand(1, 1, 16, 16), lambda small: train(small, steps=12), ratio=0.75)
    raw = prune(model, torch.rand(1, 1, 16, 16), lambda small: small[1].weight.data.zero_(), ratio=0.75)
    told = joulewise.compress(
        model, (x[600:], y[600:]), out=tmp_path / "m", max_drop="5%", variants=["bf16"], tuning_j=3.0,
        candidates={"tuned": tuned.module, "raw": raw.module},
    )  # fmt: skip

    assert tuned.fewer_macs > 5
    assert [one.name for one in told.kept] == ["tuned", "fp32"]
    assert told.left_out["raw"].startswith("accuracy drops by")
    assert told.spent_j > 3.0
