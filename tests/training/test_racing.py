"""Races: which option taught most from the same joules, and whether the held samples can tell."""

import pytest

from joulewise.training.racing import Ran, Track, surely_lowest
from joulewise.training.sampling import Samples
from joulewise.training.spending import Spending
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis


def ran(*losses):
    return Ran(losses, 1.0)


class TestSurelyLowest:
    def test_ties(self):
        """A loss that is lower by less than 3 % is no reason to leave the simpler option."""
        assert surely_lowest([ran(0.50), ran(0.49)]) == 0
        assert surely_lowest([ran(0.50), ran(0.45)]) == 1
        assert surely_lowest([ran(-0.9), ran(-1.0)]) == 1

    def test_what_the_held_samples_resolve(self):
        """A tenth lower on the mean is no reason where the parts disagree; it is where they agree."""
        assert surely_lowest([ran(0.5, 0.5, 0.5, 0.5), ran(0.2, 0.7, 0.3, 0.6)]) == 0
        assert surely_lowest([ran(0.5, 0.7, 0.3, 0.6), ran(0.45, 0.64, 0.25, 0.55)]) == 1

    def test_diverged(self):
        """What diverged is never taken; where all did, one line says what to do."""
        assert surely_lowest([ran(), ran(9.0)]) == 1
        with pytest.raises(UsageError, match="every learning rate that was tried diverged"):
            surely_lowest([ran(), ran()])


class TestTrack:
    def test_learning_is_seen(self):
        """A run of more steps ends lower, is judged on samples that trained nothing, and leaves the model alone."""
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        before = [p.clone() for p in model.parameters()]
        x = torch.randn(1000, 4)
        samples = Samples((x, (x[:, 0] > 0).long()), None, "cpu", 0)
        counter = Spending(lambda: 0.0, Basis.MEASURED, "a still meter")
        track = Track(model, torch.nn.functional.cross_entropy, samples, "cpu", counter)

        short, long = (track.race("wsd", 0.01, 32, n) for n in (4, 100))

        assert long.loss < 0.5 * short.loss
        assert len(long.losses) == 250 // 64
        assert track.trained == 104 * 32
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))

    def test_rates(self):
        """The range test returns three rates, below where the loss began to rise."""
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        x = torch.randn(1000, 4)
        samples = Samples((x, (x[:, 0] > 0).long()), None, "cpu", 0)
        counter = Spending(lambda: 0.0, Basis.MEASURED, "a still meter")
        track = Track(torch.nn.Linear(4, 2), torch.nn.functional.cross_entropy, samples, "cpu", counter)

        assert sorted(track.rates(32), reverse=True) == track.rates(32)
        assert all(1e-6 < r < 1 for r in track.rates(32))
