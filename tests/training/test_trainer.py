"""Carrying a recipe out."""

import pickle

import pytest

from joulewise.curves.curve import Curve
from joulewise.training.choices import Choice, Recipe
from joulewise.training.spending import Spending
from joulewise.training.trainer import Trainer
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis

torch = pytest.importorskip("torch")

DATA = (torch.randn(256, 3, generator=torch.Generator().manual_seed(0)), torch.arange(256) % 2)


def recipe(steps=None, **changed):
    knobs = {
        "threads": 1,
        "memory_format": "contiguous",
        "precision": "fp32",
        "compile": False,
        "batch_size": 32,
        "optimiser": "wsd",
        "learning_rate": 0.05,
        "transform": "always",
        "workers": 0,
        **changed,
    }
    return Recipe(tuple(Choice(k, v, "") for k, v in knobs.items()), "cpu", steps, 0.0, 0.0, 0, "")


class Meter:
    """Counts two joules a look."""

    def __init__(self) -> None:
        self.joules = 0.0

    def read(self):
        self.joules += 2
        return self.joules


def trainer(chosen=None, counter=None):
    torch.manual_seed(1)
    return Trainer(
        torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)),
        chosen or recipe(),
        torch.nn.functional.cross_entropy,
        counter=counter,
    )


def epochs(own, count):
    batches = own.batches((DATA[0], (DATA[0].sum(1) > 0).long()))
    return [float(own.step(x, y)) for _ in range(count) for x, y in batches]


class TestTrainer:
    def test_learns(self):
        """The loss falls, and the weights judged are better than chance."""
        own = trainer()
        losses = epochs(own, 20)
        with own.evaluating() as judged, torch.inference_mode():
            right = (judged(DATA[0]).argmax(1) == (DATA[0].sum(1) > 0)).float().mean()

        assert losses[-1] < 0.5 * losses[0]
        assert right > 0.95

    def test_lands_inside_a_budget(self):
        """With joules for some sixty steps left, the run is over before they are, and its decay was not cut."""
        meter = Meter()
        own = trainer(counter=Spending(meter.read, Basis.MEASURED, "a meter"))
        own.land_within(300.0)
        rates = []
        for _ in range(100):
            if own.over:
                break
            epochs_left = own.batches(DATA)
            for x, y in epochs_left:
                if own.over:
                    break
                own.step(x, y)
                rates.append(own.optimiser.factor)

        assert own.spent_j <= 300 + 12
        assert rates[-1] == 0
        assert max(rates) == 1

    def test_live_joules(self):
        """Joules per step are those spent by the steps taken."""
        meter = Meter()
        own = trainer(counter=Spending(meter.read, Basis.MEASURED, "a meter"))
        assert own.joules_per_step == 0
        epochs(own, 1)

        assert own.joules_per_step == 2 / 8
        assert own.spent_j == 4

    def test_transform_comes_later(self):
        """A transform left for later comes in once two evaluations were no better than the best, and stays."""
        own = trainer(recipe(transform="later"))
        batches = own.batches(DATA, lambda x: x + 1000)
        means = lambda: float(torch.cat([x for x, _ in batches]).mean())  # noqa: E731
        assert means() < 10
        assert not own.look(Curve((1.0, 2.0, 3.0), (0.1, 0.3, 0.2), True))
        assert own.look(Curve((1.0, 2.0, 3.0, 4.0), (0.1, 0.3, 0.2, 0.2), True))

        assert means() > 900
        assert not own.look(Curve((1.0, 2.0, 3.0, 4.0), (0.1, 0.3, 0.2, 0.2), True))

    def test_after_each_step(self):
        """What is done to the weights after each step stays done, and a step that was not taken calls nothing."""
        seen = []

        def halve(step, model):
            seen.append(step)
            with torch.no_grad():
                next(model.parameters())[: len(next(model.parameters())) // 2] = 0

        torch.manual_seed(1)
        network = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        own = Trainer(network, recipe(), torch.nn.functional.cross_entropy, after_step=halve)
        inputs, targets = next(iter(own.batches(DATA)))
        own.step(inputs, targets)
        own.step(inputs * float("nan"), targets)
        own.step(inputs, targets)

        assert seen == [1, 2]
        first = next(own.model.parameters())
        assert not first[: len(first) // 2].any()

    def test_checkpoint(self, tmp_path):
        """A run goes on from its checkpoint as if it had never stopped."""
        own, other = trainer(), trainer()
        epochs(own, 2)
        own.save(str(tmp_path / "kept.pt"))
        other.load(str(tmp_path / "kept.pt"))

        assert epochs(own, 1) == epochs(other, 1)

    @pytest.mark.parametrize("content", [b"", b"no checkpoint at all", None])
    def test_a_checkpoint_that_cannot_be_read(self, tmp_path, content):
        """One clear line, and the weights are as they were."""
        own = trainer()
        before = [p.clone() for p in own.model.parameters()]
        path = tmp_path / "broken.pt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(
            UsageError, match=r"checkpoint .* (cannot be read|does not exist).*; nothing was changed"
        ):
            own.load(str(path))

        assert all(torch.equal(p, q) for p, q in zip(own.model.parameters(), before, strict=True))

    def test_no_checkpoint_of_ours_and_nowhere_to_write(self, tmp_path):
        """A file that torch can read and no trainer wrote, and a folder that is not there: one line each."""
        torch.save([1, 2], tmp_path / "list.pt")
        with pytest.raises(
            UsageError, match=r"list.pt is none that a trainer's save wrote; nothing was changed"
        ):
            trainer().load(str(tmp_path / "list.pt"))
        with pytest.raises(UsageError, match="cannot be written"):
            trainer().save(str(tmp_path / "none" / "a.pt"))

    def test_a_checkpoint_of_another_model(self, tmp_path):
        """Weights that do not fit change nothing."""
        own = trainer()
        torch.save({"model": {"0.weight": torch.ones(1)}, "optimiser": {}}, tmp_path / "other.pt")
        before = own.model[0].weight.clone()
        with pytest.raises(UsageError, match="nothing was changed"):
            own.load(str(tmp_path / "other.pt"))

        assert torch.equal(own.model[0].weight, before)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"no checkpoint at all", r"cannot be read \(it (is no file of torch's|holds more than weights)"),
            (
                pickle.dumps(print, protocol=2),
                r"cannot be read \(it holds more than weights, and nothing is unpickled\)",
            ),
        ],
    )
    def test_why_it_cannot_be_read(self, tmp_path, content, reason):
        """The reason is words, not the number that a library happened to raise."""
        (tmp_path / "broken.pt").write_bytes(content)
        with pytest.raises(UsageError, match=reason):
            trainer().load(str(tmp_path / "broken.pt"))

    def test_names_the_weights_that_do_not_fit(self, tmp_path):
        """Of a checkpoint of another model, the line says which weights differ."""
        other = Trainer(torch.nn.Linear(4, 2), recipe(), torch.nn.functional.cross_entropy)
        other.save(str(tmp_path / "other.pt"))
        own = Trainer(torch.nn.Linear(3, 2), recipe(), torch.nn.functional.cross_entropy)
        with pytest.raises(UsageError, match="size mismatch for weight"):
            own.load(str(tmp_path / "other.pt"))

    def test_batches_asked_for_again(self):
        """A loop that makes its batches anew for each epoch does not see one order again and again."""
        own = trainer()
        one = [y.tolist() for _, y in own.batches(DATA)]
        own.step(*DATA)
        other = [y.tolist() for _, y in own.batches(DATA)]

        assert one != other
        assert one == [y.tolist() for _, y in trainer().batches(DATA)]

    def test_a_loss_that_is_a_number(self):
        """A loss without a gradient is told in one line."""
        own = Trainer(torch.nn.Linear(3, 2), recipe(), lambda _scores, _targets: 1.0)
        with pytest.raises(UsageError, match="the loss is a float, but must be a tensor"):
            own.step(*DATA)

    def test_a_budget_of_nothing(self):
        """Is refused."""
        with pytest.raises(UsageError, match="a budget of 0 J"):
            trainer().land_within(0)
