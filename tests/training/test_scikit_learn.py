"""scikit-learn: an estimator that learns by partial_fit stops early and comes back at its best."""

from __future__ import annotations

from typing import Any

import pytest

import joulewise
from joulewise.training.scikit_learn import fit_partial
from joulewise.vocabulary.errors import UsageError


class Climber:
    """Learns a little from each batch until epoch 10, and forgets a little afterwards."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.options: list[dict[str, object]] = []

    def partial_fit(self, x, y, **more):
        self.seen.extend(y)
        self.options.append(more)
        return self

    def score(self, x, y):
        epochs = len(self.seen) / 10
        return 0.9 - 0.7 * 0.5**epochs if epochs <= 10 else 0.899 - 0.0001 * epochs


class Rows(list[int]):
    """Takes a list of rows, as an array does."""

    def __getitem__(self, rows: Any) -> Any:
        return [list.__getitem__(self, r) for r in rows]


def test_stops_at_the_best():
    """Training ends before its last epoch and returns a copy of the best state, after whole epochs."""
    data, climber = Rows(range(10)), Climber()
    fitted = fit_partial(
        climber, data, data, (data, data), joulewise.stopping("accuracy", horizon=60), epochs=60, batch_size=4
    )

    assert fitted.decision.stops
    assert len(fitted.curve) < 60
    assert fitted.decision.best_step == 10
    assert len(fitted.estimator.seen) == 100
    assert len(climber.seen) == 10 * len(fitted.curve)
    assert sorted(climber.seen[:10]) == list(range(10))
    assert climber.seen[:10] != climber.seen[10:20]


def test_first_call_options():
    """Options such as classes go to the first partial_fit only."""
    data, climber = Rows(range(10)), Climber()
    fit_partial(
        climber,
        data,
        data,
        (data, data),
        joulewise.stopping("accuracy"),
        epochs=1,
        batch_size=5,
        classes=[0, 1],
    )

    assert climber.options == [{"classes": [0, 1]}, {}]


def test_bad_input():
    """An estimator without partial_fit, and no epochs, are refused."""
    data = Rows(range(4))
    with pytest.raises(UsageError, match="object has no partial_fit"):
        fit_partial(object(), data, data, (data, data), joulewise.stopping("accuracy"), epochs=3)  # type: ignore[type-var]
    with pytest.raises(UsageError, match="epochs is 0"):
        fit_partial(Climber(), data, data, (data, data), joulewise.stopping("accuracy"), epochs=0)


def test_on_digits():
    """A real classifier on the digits stops before 60 epochs, within half a point of its full run."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.datasets import load_digits
    from sklearn.linear_model import SGDClassifier

    x, y = load_digits(return_X_y=True)
    x = x / 16
    held_out = (x[:500], y[:500])

    def train(stopping):
        model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, random_state=0)
        return fit_partial(model, x[500:], y[500:], held_out, stopping, epochs=60, classes=list(range(10)))

    lean = train(joulewise.stopping("accuracy", horizon=60, least_gain=0.005))
    full = train(joulewise.stopping("accuracy", horizon=60, doubt=1e-9))

    assert len(full.curve) == 60
    assert len(lean.curve) < 60
    assert lean.estimator.score(*held_out) >= full.estimator.score(*held_out) - 0.005
