"""The probe: what it chooses, why, and that it leaves the model alone."""

import pytest

from joulewise.training import recipe
from joulewise.training.choices import KNOBS
from joulewise.training.spending import Spending
from joulewise.training.trainer import Trainer
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis

torch = pytest.importorskip("torch")
nn = torch.nn
LOSS = nn.functional.cross_entropy


def task(samples=600):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 6, generator=draw)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))


class Dear:
    """A meter on which samples of one kind are dear: joules are what the test says, so the choice is known."""

    def __init__(self, price) -> None:
        self.price, self.joules = price, 0.0

    def read(self):
        return self.joules

    def spending(self):
        return Spending(self.read, Basis.MEASURED, "a scripted meter")


class Counted(nn.Module):  # type: ignore[name-defined, misc, unused-ignore] # torch comes by importorskip
    """Charges its meter for each pass, by what it is passed through as."""

    def __init__(self, inner, meter) -> None:
        super().__init__()
        self.inner, self.meter = inner, [meter]  # in a list: not copied as a part of the model

    def __deepcopy__(self, memo):  # noqa: ANN204 - a test's
        import copy

        return Counted(copy.deepcopy(self.inner, memo), self.meter[0])

    def forward(self, x):
        out = self.inner(x)
        self.meter[0].joules += self.meter[0].price(x, out)
        return out


class TestRecipe:
    def test_every_knob_is_explained(self):
        """Each knob has a value and a reason, the probe's joules are counted, and the model is as it was."""
        model = network()
        before = [p.clone() for p in model.parameters()]
        state = torch.get_rng_state()
        found = recipe(model, task(), loss=LOSS)

        assert [c.knob for c in found.choices] == list(KNOBS)
        assert all(c.reason for c in found.choices)
        assert found.probe_j > 0
        assert found.steps is None
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
        assert torch.equal(torch.get_rng_state(), state)

    def test_kept_knobs(self):
        """What the user keeps is not touched, and with everything kept nothing is raced."""
        keep = {
            "threads": 1,
            "memory_format": "contiguous",
            "precision": "fp32",
            "compile": False,
            "batch_size": 50,
            "optimiser": "wsd",
            "learning_rate": 0.01,
            "transform": "always",
            "workers": 0,
        }
        found = recipe(network(), task(), loss=LOSS, keep=keep)

        assert {c.knob: c.taken for c in found.choices} == keep
        assert all(c.reason == "kept, as you said" for c in found.choices)

    def test_precision_by_joules(self):
        """Where half precision costs more joules here, it is not taken, whatever is said of it; and the other way."""
        for dear, taken in ((torch.bfloat16, "fp32"), (torch.float32, "bf16")):
            meter = Dear(lambda x, out, dear=dear: len(x) * (2.0 if out.dtype == dear else 1.0))
            found = recipe(
                Counted(network(), meter), task(), loss=LOSS, keep={"threads": 1}, counter=meter.spending()
            )

            assert found["precision"] == taken

    def test_batch_size_by_loss_per_joule(self):
        """Where a sample costs the same in any batch, small batches learn more per joule; where a step costs, large ones."""
        for price, sizes in ((lambda x, _: float(len(x)), (32, 64)), (lambda _x, _: 1.0, (64, 128, 256))):
            meter = Dear(price)
            keep = {"threads": 1, "precision": "fp32", "optimiser": "wsd"}
            found = recipe(
                Counted(network(), meter), task(3000), loss=LOSS, keep=keep, counter=meter.spending()
            )

            assert found["batch_size"] in sizes
            dear = {o.value for o in found.choices[4].options if o.why == "too dear a sample"}
            assert dear == ({32, 128} if len(sizes) == 3 else set()) - {found["batch_size"]}

    def test_it_trains(self):
        """The recipe carried out learns the task, with the learning rate that it found."""
        model = network()
        data = task(2000)
        found = recipe(model, data, loss=LOSS, epochs=30, keep={"threads": 1})
        own = Trainer(model, found, LOSS)
        for x, y in (b for _ in range(30) for b in own.batches(data)):
            own.step(x, y)
        with own.evaluating() as judged, torch.inference_mode():
            right = (judged(data[0]).argmax(1) == data[1]).float().mean()

        assert found.steps == 30 * 2000 // found["batch_size"]
        assert right > 0.9

    def test_transforms(self):
        """A transform that varies samples may wait; one that is a part of the data never does."""
        kept = {"threads": 1, "precision": "fp32", "optimiser": "wsd", "batch_size": 64}
        noisy = recipe(
            network(), task(), loss=LOSS, transform=lambda x: x + 0.5 * torch.randn_like(x), keep=kept
        )
        fixed = recipe(network(), task(), loss=LOSS, transform=lambda x: x * 1.0, keep=kept)
        scaled = recipe(network(), task(), loss=LOSS, transform=lambda x: 3 * torch.randn_like(x), keep=kept)

        assert {o.value for o in noisy.choices[7].options} == {"always", "later"}
        assert fixed["transform"] == scaled["transform"] == "always"
        assert "part of the data" in fixed.choices[7].reason
        assert "scale" in scaled.choices[7].reason

    def test_datasets(self):
        """A map-style dataset is probed through its loader, its workers chosen by joules."""
        data = torch.utils.data.TensorDataset(*task())
        found = recipe(network(), data, loss=LOSS, keep={"threads": 1, "optimiser": "wsd"})

        assert {o.value for o in found.choices[8].options} >= {0, 1}

    def test_compiling_must_pay(self):
        """A run too short to earn a compile back is not compiled, nor is one of unknown length, and both say so."""
        short = recipe(network(), task(), loss=LOSS, epochs=1, keep={"threads": 1, "optimiser": "wsd"})
        open_end = recipe(network(), task(), loss=LOSS, keep={"threads": 1, "optimiser": "wsd"})

        assert not short["compile"]
        assert "does not pay a compile" in short.choices[3].reason
        assert "no end is planned" in open_end.choices[3].reason

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"epochs": 0.0}, "epochs is 0"),
            ({"data": (torch.ones(4, 6), torch.ones(4))}, "4 samples are too few"),
            ({"data": (torch.ones(9, 6),)}, "must be a pair"),
            ({"keep": {"optimiser": "sgd"}}, "unknown optimiser 'sgd'"),
        ],
    )
    def test_refuses(self, more, message):
        """One line for what cannot be probed."""
        with pytest.raises(UsageError, match=message):
            recipe(network(), more.pop("data", task()), loss=LOSS, **more)

    def test_a_loss_that_is_not_finite(self):
        """A loss that is never finite ends in one line, not in a recipe."""
        with pytest.raises(UsageError, match="cannot be trained as it is: the loss is nan in fp32"):
            recipe(network(), task(), loss=lambda out, _: out.sum() * float("nan"), keep={"threads": 1})

    def test_what_is_no_model(self):
        """A name in place of a model is refused in one line."""
        with pytest.raises(UsageError, match="model is a str, but must be a torch module"):
            recipe("resnet18", task(), loss=LOSS)
