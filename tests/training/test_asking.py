"""What a model answers to held samples."""

import pytest

from joulewise.training.asking import ask
from joulewise.training.spending import Spending
from joulewise.vocabulary.figures import Basis

torch = pytest.importorskip("torch")


def test_error_loss_and_joules():
    """The error is the share of wrong answers, the loss a mean over samples, the joules one request's; a warm-up is none."""
    asked = []

    class Scores(torch.nn.Module):  # type: ignore[name-defined, misc, unused-ignore] # torch comes by importorskip
        def forward(self, x):
            asked.append(len(x))
            return torch.nn.functional.one_hot((x[:, 0] > 0).long(), 2).float()

    x = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]).repeat(100, 1)
    y = torch.tensor([1, 0, 0, 0]).repeat(100)
    counter = Spending(lambda: float(sum(asked)), Basis.MEASURED, "samples asked")
    answers = ask(Scores(), (x, y), lambda s, t: (s.argmax(1) != t).float().mean(), counter, "cpu")

    assert (answers.error, answers.request_j) == (0.25, 1.0)
    assert answers.loss == pytest.approx(0.25)
    assert asked == [256, 256, 144]


def test_never_without_error():
    """Not one wrong answer is no proof of none: one counts."""
    x = torch.eye(2).repeat(5, 1)
    answers = ask(
        torch.nn.Identity(),
        (x, x.argmax(1)),
        torch.nn.functional.cross_entropy,
        Spending(lambda: 0.0, Basis.ASSUMED, ""),
        "cpu",
    )

    assert answers.error == 0.1
