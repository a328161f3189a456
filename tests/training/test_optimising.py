"""Optimisers with their schedules, under one face."""

import pytest

from joulewise.training.optimising import OPTIMISERS, Optimiser, fitting, hidden_matrices
from joulewise.vocabulary.errors import UsageError

torch = pytest.importorskip("torch")
nn = torch.nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


def descend(optimiser, model, steps):
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(64, 4, generator=draw)
        optimiser.zero_grad()
        nn.functional.mse_loss(model(x), x.sum(1, keepdim=True).sin()).backward()
        optimiser.step()


def error(optimiser):
    x = torch.randn(512, 4, generator=torch.Generator().manual_seed(2))
    with optimiser.evaluating() as judged, torch.inference_mode():
        return float(nn.functional.mse_loss(judged(x), x.sum(1, keepdim=True).sin()))


def optimiser_of(name, model, steps=300):
    if name == "schedule-free":
        pytest.importorskip("schedulefree")
    return Optimiser(name, model, 0.01, steps=steps)


class TestOptimiser:
    @pytest.mark.parametrize("name", OPTIMISERS)
    def test_learns(self, name):
        """Each of them brings the error well below what it was."""
        model = network()
        optimiser = optimiser_of(name, model)
        before = error(optimiser)
        descend(optimiser, model, 300)

        assert error(optimiser) < 0.6 * before

    @pytest.mark.parametrize("name", ["schedule-free", "wsd", "muon"])
    def test_judges_averaged_weights(self, name):
        """Without a planned end other weights are judged than trained, and training goes on from its own."""
        model = network()
        optimiser = optimiser_of(name, model, None)
        descend(optimiser, model, 60)
        own = [p.clone() for p in model.parameters()]
        with optimiser.evaluating() as judged:
            assert not judged.training
            assert any(not torch.equal(p, q) for p, q in zip(judged.parameters(), own, strict=True))

        assert model.training
        for p, q in zip(model.parameters(), own, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)

    def test_landed_weights_are_its_own(self):
        """Once it lands, the weights judged are those that landed: the average has done its work."""
        model = network()
        optimiser = Optimiser("wsd", model, 0.01)
        descend(optimiser, model, 40)
        optimiser.landing = optimiser.landing.land(optimiser.step_count)
        descend(optimiser, model, 11)

        assert optimiser.over
        with optimiser.evaluating() as judged:
            own = [p.clone() for p in judged.parameters()]
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), own, strict=True))

    @pytest.mark.parametrize("name", OPTIMISERS)
    def test_goes_on_from_a_checkpoint(self, name):
        """Thirty steps, a checkpoint and thirty more are sixty steps."""
        models = [network(), network()]
        straight, broken = (optimiser_of(name, m, 60) for m in models)
        descend(straight, models[0], 30)
        descend(broken, models[1], 30)
        kept, weights = broken.state_dict(), {k: v.clone() for k, v in models[1].state_dict().items()}
        models[1] = network()
        models[1].load_state_dict(weights)
        again = optimiser_of(name, models[1], 60)
        again.load_state_dict(kept)
        for model, optimiser in ((models[0], straight), (models[1], again)):
            descend(optimiser, model, 30)

        for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(p, q)

    def test_refuses(self):
        """Names that are none, rates that are none, schedules without their end, models without weights."""
        for make, message in (
            (lambda: Optimiser("adma", network(), 0.1), "unknown optimiser 'adma'"),
            (lambda: Optimiser("wsd", network(), 0.0), "learning_rate is 0"),
            (lambda: Optimiser("one-cycle", network(), 0.1), "needs the number of steps"),
            (lambda: Optimiser("wsd", nn.Flatten(), 0.1), "nothing can be trained"),
            (lambda: Optimiser("muon", nn.Linear(2, 1), 0.1), "cannot be had"),
        ):
            with pytest.raises(UsageError, match=message):
                make()


class TestFitting:
    def test_muon_wants_hidden_matrices(self):
        """Neither the first layer nor the last nor an embedding is a hidden matrix."""
        model = network()

        assert [tuple(p.shape) for p in hidden_matrices(model)] == [(32, 32)]
        assert not fitting(model)["muon"]
        assert (
            "of the weights are hidden"
            in fitting(nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 64)))["muon"]
        )
        words = nn.Sequential(nn.Linear(2, 2), nn.Embedding(9, 9), nn.Linear(9, 2))
        assert hidden_matrices(words) == []

    def test_schedule_free_and_statistics(self):
        """BatchNorm's statistics belong to other weights than the averaged ones: said, and not offered."""
        pytest.importorskip("schedulefree")

        assert "BatchNorm" in fitting(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))["schedule-free"]
        assert not fitting(network())["schedule-free"]
