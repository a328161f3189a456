"""Reduced precision with a guard."""

import pytest

from joulewise.training.optimising import Optimiser
from joulewise.training.precision import Guard, NotFinite
from joulewise.vocabulary.errors import UsageError

torch = pytest.importorskip("torch")


class Brittle(torch.nn.Module):  # type: ignore[name-defined, misc, unused-ignore] # torch comes by importorskip
    """Finite in fp32, and not once anything below it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(2, 1)

    def forward(self, x):
        out = self.line(x)
        return out if out.dtype == torch.float32 else out * float("inf")


def train(model, guard, steps):
    optimiser = Optimiser("wsd", model, 0.05, steps=100)
    taken = 0
    for _ in range(steps):
        x = torch.randn(16, 2)
        with guard.computing():
            loss = ((model(x).float() - x.sum(1, keepdim=True)) ** 2).mean()
        taken += guard.step(loss, optimiser)
    return taken


class TestGuard:
    @pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
    def test_learns(self, precision):
        """Where nothing overflows every step is taken in the precision asked for (fp16 may need to find its scale)."""
        torch.manual_seed(0)
        guard = Guard(precision)

        assert train(torch.nn.Linear(2, 1), guard, 40) >= (40 if precision != "fp16" else 30)
        assert guard.precision == precision
        assert not guard.fell_back

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_falls_back(self, precision):
        """What is not finite in half precision goes on in fp32, says so, and has harmed no weight."""
        torch.manual_seed(0)
        model, guard = Brittle(), Guard(precision)
        before = [p.clone() for p in model.parameters()]
        assert train(model, guard, 3 if precision == "bf16" else 8) == 0
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))

        assert guard.precision == "fp32"
        assert f"in {precision} for" in guard.fell_back
        assert train(model, guard, 10) == 10

    def test_no_remedy(self):
        """A model that fp32 cannot keep finite is refused in one line, its weights those of the last good step."""
        model, guard = torch.nn.Linear(2, 1), Guard("fp32")
        optimiser = Optimiser("wsd", model, 0.1)
        guard.step((model(torch.ones(4, 2)) ** 2).mean(), optimiser)
        before = [p.clone() for p in model.parameters()]
        broken = lambda: guard.step((model(torch.ones(4, 2)) * float("nan")).mean(), optimiser)  # noqa: E731
        assert [broken(), broken()] == [False, False]
        with pytest.raises(
            NotFinite, match="the loss is nan in fp32 for 3 steps in a row, after 1 good ones"
        ):
            broken()

        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))

    def test_gradients_count(self):
        """A finite loss with an infinite gradient is no step either."""
        model, guard = torch.nn.Linear(1, 1, bias=False), Guard("fp32")
        optimiser = Optimiser("wsd", model, 0.1)
        with torch.no_grad():
            model.weight.zero_()

        assert not guard.step(
            model(torch.zeros(1, 1)).abs().sqrt().sum() + model.weight.sqrt().sum(), optimiser
        )
        assert float(model.weight.detach()) == 0

    def test_refuses(self):
        """Unknown precisions, and those of other devices."""
        for precision in ("fp8", "tf32"):
            with pytest.raises(UsageError, match=precision):
                Guard(precision)
