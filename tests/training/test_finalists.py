"""Finalists: the best of the last checkpoints, for a few passes."""

import random

import pytest

from joulewise.training.finalists import Finalists, halve
from joulewise.vocabulary.errors import UsageError


class TestHalve:
    def test_the_best_is_found_where_the_telling_samples_come_first(self):
        """Candidates that differ on a tenth of the samples are told apart by a fifth of a full comparison."""
        draw = random.Random(1)
        telling = [[draw.random() < 0.5 + 0.01 * c for _ in range(500)] for c in (0, 3, 9, 20, 6, 1, 2, 0)]
        answers = [row + [True] * 4500 for row in telling]
        best = max(range(8), key=lambda c: sum(answers[c]))

        found, asked = halve(8, lambda c, i: sum(answers[c][j] for j in i), range(5000), 8000)

        assert found == best == 3
        assert asked <= 8000 < 8 * 5000 / 4

    def test_ties_and_poverty(self):
        """Of equals the later one is kept, as it is where not one answer can be paid."""
        assert halve(5, lambda _c, i: len(i), range(100), 100)[0] == 4
        assert halve(5, lambda _c, _i: 0, range(100), 3) == (4, 0)
        assert halve(1, lambda _c, _i: 0, range(100), 1000) == (0, 0)
        with pytest.raises(UsageError, match="no finalists"):
            halve(0, lambda _c, _i: 0, range(100), 3)


class TestFinalists:
    def test_the_model_gets_the_best_weights(self):
        """The weights that answer best come back, the model's mode stays, and no more is asked than may be."""
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        x = torch.randn(2000, 3)
        y = (x[:, 0] > 0).long()
        model = torch.nn.Linear(3, 2)
        finalists = Finalists(keep=4)
        for step, tilt in enumerate((0.0, 0.9, 0.05, 0.8, 1.5)):  # the first falls out
            with torch.no_grad():
                model.weight.copy_(torch.tensor([[-1.0, tilt, 0.0], [1.0, 0.0, 0.0]]))
                model.bias.zero_()
            finalists.add(step, model)

        settled = finalists.settle(model, x, y, afford=5000)

        assert (settled.step, settled.finalists, len(finalists)) == (2, 4, 4)
        assert settled.asked <= 5000
        assert model.training
        assert float((model(x).argmax(1) == y).float().mean()) > 0.97
        assert "step 2 is the best of 4 checkpoints" in str(settled)

    def test_less_than_a_pass(self):
        """Where not one pass can be paid the newest is kept, and nothing is asked."""
        torch = pytest.importorskip("torch")
        model = torch.nn.Linear(3, 2)
        finalists = Finalists()
        finalists.add(1, model)
        finalists.add(2, model)

        assert finalists.settle(model, torch.randn(50, 3), torch.zeros(50).long(), afford=50).asked == 0

    def test_refuses(self):
        """One finalist to keep, or none added, is refused in one line."""
        with pytest.raises(UsageError, match="keep is 1"):
            Finalists(keep=1)
        with pytest.raises(UsageError, match="no finalists"):
            Finalists().settle(None, [], [], afford=3)
