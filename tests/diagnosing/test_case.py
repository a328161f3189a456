from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing.case import about, around, epochs_made, is_dependent, mean_batch, train_batch
from joulewise.vocabulary.observed import CurvePoint
from tests.diagnosing.test_slow_transforms import LOADER
from tests.diagnosing.views import case, view


def test_cpu_seconds():
    """A run used what its tree used, or what was seen inside where that is more (processes between two ticks)."""
    assert case(view(cpu_s=30.0)).cpu_s == 100.0
    assert case(view(cpu_s=90.0), view(cpu_s=60.0)).cpu_s == 150.0


def test_trainers():
    """Trainers are the processes that made steps."""
    seen = case(view(steps=3, process="a"), view(process="b"))
    assert [v.process for v in seen.trainers] == ["a"]


def test_intervals():
    """An interval holds its value, on both sides of zero."""
    assert about(5, 6, 7).low == 5
    assert (around(-10, 0.2).low, around(-10, 0.2).high) == (-12, -8)


def test_batches():
    """The batch that trained most samples, and the mean over all; None where none was seen."""
    seen = view(batch_sizes={64: 10, 16: 2})
    assert train_batch(seen) == 64
    assert mean_batch(seen) == pytest.approx(672 / 12)
    assert train_batch(view()) is mean_batch(view()) is None


@pytest.mark.parametrize(
    "where", ["a.py:generate", "rl.py:rollout", "api.py:handle_request", "gpt.py:decode"]
)
def test_dependent(where):
    """Names of generation, play and requests are known."""
    assert is_dependent(where)
    assert not is_dependent("train.py:evaluate")
    assert is_dependent("x.py:main", "PolicyNet")


def test_epochs_of_all_models():
    """Epochs are those of all models trained one after another: by loaders, or by a variable that begins again."""
    folds = tuple(CurvePoint(0.0, n, float(n % 5), {}) for n in range(15))
    loaders = (
        replace(LOADER, passes=5),
        replace(LOADER, passes=5),
        replace(LOADER, passes=9, evaluates=True),
    )

    assert epochs_made(view(epochs=5)) == 5
    assert epochs_made(view(epochs=5, curve=folds)) == 15
    assert epochs_made(view(epochs=5, loaders=loaders)) == 10
    assert epochs_made(view(curve=folds)) is None
