"""Adapters beside full fine-tuning."""

import pytest

from joulewise.training.adapters import Comparison, Way, compare, lora, merged
from joulewise.training.choices import Recipe
from joulewise.training.ladder import Rung
from joulewise.vocabulary.errors import UsageError

torch = pytest.importorskip("torch")
nn = torch.nn
LOSS = nn.functional.cross_entropy
RECIPE = Recipe((), "cpu", None, 0.0, 0.0, 0, "")


def way(name, trained, error, training_j):
    return Way(name, trained, Rung(name, 100, error, training_j, 0.5), RECIPE)


class TestComparison:
    def test_says_itself(self):
        """A line for each way, what it saves beside full fine-tuning, and what to take."""
        full, few = way("full", 1000, 0.10, 0.004), way("lora 8", 50, 0.105, 0.003)
        said = str(Comparison((full, few), few, 0.01)).splitlines()

        assert said[0] == "full: 1000 weights trained, error 0.1, 4 mJ a sample"
        assert "saves 25% of the joules in training, 0% of a request's" in said[1]
        assert said[2].startswith("take lora 8: the cheapest in training that stays within 0.01")


class TestCompare:
    def test_a_way_that_cannot_learn_is_not_taken(self):
        """Training only the last layer of a random network costs less and errs more: full fine-tuning stays."""
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(1600, 6, generator=draw)
        y = (x[:, 0] * x[:, 1] > 0).long()

        def full():
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))

        def last():
            model = full()
            for p in model[0].parameters():
                p.requires_grad_(False)
            return model

        keep = {"threads": 1, "precision": "fp32", "optimiser": "wsd", "batch_size": 32}
        found = compare(
            {"full": full, "last layer": last},
            (x[:1200], y[:1200]),
            (x[1200:], y[1200:]),
            loss=LOSS,
            epochs=180,
            keep=keep,
        )

        assert [w.trained for w in found.ways] == [146, 34]
        assert found.ways[1].rung.error > found.ways[0].rung.error + 0.05
        assert found.taken.name == "full"

    def test_refuses(self):
        """One way is no comparison."""
        with pytest.raises(UsageError, match="1 ways are no comparison"):
            compare({"full": lambda: None}, None, (None, None), loss=LOSS, epochs=1)


class TestLora:
    def test_few_weights_and_none_after_merging(self):
        """Adapters train a few weights; merged, the model is what it was in size and says what it said with them."""
        pytest.importorskip("peft")
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        before = sum(p.numel() for p in model.parameters())
        adapted = lora(model, rank=2, targets=("2",), whole=("4",))
        trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        x = torch.randn(9, 6)
        with torch.inference_mode():
            said = adapted(x)
            plain = merged(adapted)
            same = torch.allclose(plain(x), said, atol=1e-5)

        assert trained == 2 * 2 * 64 + 130
        assert same
        assert sum(p.numel() for p in plain.parameters()) <= before + 130
        assert merged(model) is model

    def test_refuses(self):
        """Layers that are not there, or a rank of nothing: one line each."""
        pytest.importorskip("peft")
        with pytest.raises(UsageError, match="rank is 0"):
            lora(nn.Linear(3, 2), rank=0)
        with pytest.raises(UsageError, match="the adapters do not fit this model"):
            lora(nn.Sequential(nn.Linear(3, 2)), targets=("attention",))
