"""How a model takes to losing channels."""

from itertools import chain, repeat

import pytest

from joulewise.curves.curve import Curve
from joulewise.training.choices import Choice, Recipe
from joulewise.training.cutting import cut, take
from joulewise.training.ladder import climb, judge
from joulewise.training.spending import Spending
from joulewise.training.trainer import Trainer
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")
nn = torch.nn
LOSS = nn.functional.cross_entropy
KNOBS = {
    "threads": 1,
    "memory_format": "contiguous",
    "precision": "fp32",
    "compile": False,
    "batch_size": 32,
    "optimiser": "wsd",
    "learning_rate": 0.02,
    "transform": "always",
    "workers": 0,
}
RECIPE = Recipe(tuple(Choice(k, v, "") for k, v in KNOBS.items()), "cpu", None, 0, 0, 0, "")
X = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] * X[:, 1] > 0).long()
DATA, HELD = (X[:800], Y[:800]), (X[800:], Y[800:])


class Steps:
    """A meter of which every look costs a joule."""

    def __init__(self) -> None:
        self.looks = 0

    def spending(self):
        def read():
            self.looks += 1
            return float(self.looks)

        return Spending(read, Basis.MEASURED, "looks")


def network(width):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
    )


def trained(width, steps=200):
    own = Trainer(network(width), RECIPE, LOSS, steps=steps)
    take(own, own.batches(DATA), steps)
    return own


class TestCut:
    def test_before_and_after(self):
        """A wide network that needs few of its channels keeps its answers; the model itself stays as it is."""
        model = trained(64).model.eval()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        found = cut(
            model,
            RECIPE,
            lambda t: t.batches(DATA),
            HELD,
            loss=LOSS,
            steps=200,
            ratio=0.5,
            counter=Steps().spending(),
        )

        assert found.why == ""
        assert found.fewer_macs > 2
        assert found.before.error < 0.1
        assert found.after.error < 0.1
        assert found.after.loss != found.before.loss
        assert found.finetune_j > 0
        assert found.error_ratio == found.after.error / found.before.error
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    def test_fine_tuning_is_what_saves_it(self):
        """The cut copy without a step of training is worse than the fine-tuned one."""
        from joulewise.compressing.pruning import prune
        from joulewise.training.asking import ask

        model, counter = trained(64).model.eval(), Steps().spending()
        raw = prune(model, X[:2], lambda _small: None, ratio=0.75).module
        found = cut(
            model, RECIPE, lambda t: t.batches(DATA), HELD, loss=LOSS, steps=200, ratio=0.75, counter=counter
        )

        assert found.after.loss < ask(raw, HELD, LOSS, counter, "cpu").loss

    def test_nothing_to_cut(self):
        """A network without a block to spare says so, and its figures are the whole model's."""
        model = trained(8, steps=20).model.eval()
        found = cut(
            model,
            RECIPE,
            lambda t: t.batches(DATA),
            HELD,
            loss=LOSS,
            steps=20,
            ratio=0.5,
            counter=Steps().spending(),
        )

        assert found.why.startswith("nothing was cut: no layer has channels to spare in blocks of 16")
        assert found.after == found.before
        assert found.fewer_macs == 1

    def test_a_model_that_names_its_channels(self):
        """A network that reshapes by a number of its own cannot answer once cut: the reason is told, nothing is lost."""

        class Heads(nn.Module):  # type: ignore[name-defined, misc, unused-ignore] # torch comes by importorskip
            def __init__(self) -> None:
                super().__init__()
                self.inner, self.last = nn.Linear(2, 64), nn.Linear(64, 2)

            def forward(self, x):
                return self.last(self.inner(x).reshape(len(x), 4, 16).flatten(1))

        found = cut(
            Heads().eval(),
            RECIPE,
            lambda t: t.batches(DATA),
            HELD,
            loss=LOSS,
            steps=20,
            ratio=0.5,
            counter=Steps().spending(),
        )

        assert found.why.startswith("the module cannot answer once it is cut (shape '[2, 4, 16]' is invalid")


class TestThinned:
    def test_trains_on(self):
        """The thinned copy has half the channels, the steps that were left, the joules so far, and learns on."""
        own = Trainer(network(64), RECIPE, LOSS, steps=200)
        take(own, own.batches(DATA), 60)
        spent_j = own.spent_j
        thinned = own.thinned(X[:2])

        assert thinned.model[0].out_features == 32
        assert own.model[0].out_features == 64
        assert thinned.optimiser.steps_left == 140
        assert thinned.spent_j >= spent_j

        take(thinned, thinned.batches(DATA), 140)
        with thinned.evaluating() as judged, torch.inference_mode():
            assert (judged(HELD[0]).argmax(1) == HELD[1]).float().mean() > 0.9
        assert thinned.over

    def test_the_budget_goes_on(self):
        """A budget given before the cut ends the run after it, through the batches that were made before."""
        own = Trainer(network(64), RECIPE, LOSS, counter=Steps().spending())
        drawn = own.batches(DATA)
        own.land_within(120.0)
        take(own, drawn, 20)
        thinned = own.thinned(X[:2])
        taken = 0
        for x, y in chain.from_iterable(repeat(drawn, 8)):
            if thinned.over:
                break
            thinned.step(x, y)
            taken += 1

        assert 5 < taken < 100

    def test_a_transform_left_for_later(self):
        """Batches made before the cut are still woken by what the thinned run sees."""
        knobs = {**KNOBS, "transform": "later"}
        later = Recipe(tuple(Choice(k, v, "") for k, v in knobs.items()), "cpu", None, 0, 0, 0, "")
        own = Trainer(network(64), later, LOSS)
        drawn = own.batches(DATA, lambda x: x + 100)
        thinned = own.thinned(X[:2])

        assert thinned.look(Curve((1.0, 2.0, 3.0), (0.9, 0.8, 0.8), higher_is_better=True))
        assert all(float(x.min()) > 50 for x, _ in drawn)

    def test_refuses(self):
        """A run that has ended has nothing to thin for; a network too narrow says so."""
        own = Trainer(network(64), RECIPE, LOSS, steps=20)
        take(own, own.batches(DATA), 20)
        with pytest.raises(UsageError, match="has ended: nothing is left"):
            own.thinned(X[:2])
        with pytest.raises(UsageError, match="nothing was cut"):
            Trainer(network(8), RECIPE, LOSS).thinned(X[:2])


@pytest.fixture
def multiplications():
    """Return a meter of which a joule is a multiplication of a linear layer's forward pass."""
    done = [0.0]

    def count(layer, inputs, _output):
        if isinstance(layer, nn.Linear):
            done[0] += layer.weight.numel() * len(inputs[0])

    hook = nn.modules.module.register_module_forward_hook(count)
    yield Spending(lambda: done[0], Basis.MEASURED, "multiplications")
    hook.remove()


def test_a_ladder_that_looks_ahead(multiplications):
    """Each rung says what half of its channels are worth, the largest too; a thinned one stands beside each that can be."""
    models = {str(w): lambda w=w: network(w) for w in (64, 8)}
    rungs = climb(
        models, RECIPE, DATA, HELD, loss=LOSS, epochs=90, counter=multiplications, ratio=0.5, thin=0.5
    )
    ladder = judge(rungs, 0.05, 0.02)

    assert [r.name for r in rungs] == ["64", "64 thinned", "8"]
    assert rungs[1].weights < rungs[0].weights / 2
    assert rungs[1].training_j < rungs[0].training_j
    assert [o.rung.name for o in ladder.outlooks] == ["64", "8"]
    whole, narrow = ladder.outlooks
    assert whole.expected == pytest.approx(0.05 * whole.cut.error_ratio)
    assert whole.training_saved == pytest.approx(-1 / 3 / whole.cut.fewer_macs, abs=0.02)  # fine-tuning
    assert whole.request_saved == pytest.approx(1 - 1 / whole.cut.fewer_macs, abs=0.03)
    assert "64 with 50% of its channels cut: loss" in str(ladder)
    assert "8 with 50% of its channels cut: nothing was cut" in str(ladder)
    assert narrow.cut.why


@pytest.mark.parametrize(("share", "ratio", "thin"), [("ratio", 7.0, None), ("thin", None, 7.0)])
def test_a_share_that_is_none(share, ratio, thin):
    """Nothing is trained for a share of channels outside 0 to 1."""
    with pytest.raises(UsageError, match=f"{share} is 7, but must lie between 0 and 1"):
        climb({"64": lambda: network(64)}, RECIPE, DATA, HELD, loss=LOSS, epochs=9, ratio=ratio, thin=thin)


def test_nothing_is_trained_without_the_package(monkeypatch):
    """Where torch-pruning is missing, one line says so before any training."""
    monkeypatch.setattr("joulewise.training.ladder.find_spec", lambda _name: None)
    with pytest.raises(
        UsageError, match=r"cutting needs torch-pruning; pip install 'joulewise\[compress-torch\]'"
    ):
        climb({"64": lambda: network(64)}, RECIPE, DATA, HELD, loss=LOSS, epochs=9, thin=0.5)
