"""Shares of the data, or of the width, in place of epochs."""

from __future__ import annotations

import pytest

from joulewise.searching.deciding import Rules
from joulewise.searching.history import State
from joulewise.searching.journal import read, replay
from joulewise.searching.log import FileLog
from joulewise.searching.ordering import search
from joulewise.vocabulary.errors import UsageError
from tests.searching.doubles import SPACE, Meter

SHARES = (1 / 27, 1 / 9, 1 / 3, 1.0)


def objective_of(meter, seen=None):
    """Return a training on a share of the data: it costs that share, and knows less."""

    def objective(trial):
        meter.used_j += 27 * trial.share * trial["width"]
        if seen is not None:
            seen.append((trial.number, round(27 * trial.share)))
        return 1 - (trial["x"] - 0.3) ** 2 - 0.1 / (27 * trial.share) ** 0.5

    return objective


def test_search(tmp_path):
    """Most settings are seen on a small share only, the best on all; each share is trained once, and costs its share."""
    meter = Meter()
    seen: list[tuple[int, int]] = []
    study = search(objective_of(meter, seen), SPACE, "300J", measure=meter, shares=SHARES,
                   opened=lambda: FileLog(tmp_path / "s.jsonl"))  # fmt: skip

    assert len(set(seen)) == len(seen)
    assert (study.best_params or {})["x"] == pytest.approx(0.3, abs=0.1)
    assert study.best is not None
    assert study.best.state is State.COMPLETE
    counts = [sum(t.epoch >= level for t in study.trials) for level in (1, 2, 3, 4)]
    assert counts[0] > 2 * counts[3] > 0
    assert meter.used_j <= 300
    assert sum(t.spent_j for t in study.trials) < study.in_full / 2
    assert replay(read(tmp_path / "s.jsonl")).differing == ()


def test_going_on(tmp_path):
    """Another process goes on from the shares that were trained: none is trained twice."""
    seen: list[tuple[int, int]] = []
    for budget in ("80J", "160J"):
        meter = Meter()
        search(objective_of(meter, seen), SPACE, budget, measure=meter, shares=SHARES,
               opened=lambda: FileLog(tmp_path / "s.jsonl"))  # fmt: skip

    assert len(set(seen)) == len(seen) > 8


def test_costs():
    """What is missing to the end is the sum of the shares that lie ahead, of what the whole costs."""
    rules = Rules(4, shares=SHARES)

    assert rules.missing() == pytest.approx(sum(SHARES))
    assert [rules.position(e) for e in (1, 2, 3, 4)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("shares", [(0.5, 0.2, 1.0), (0.1, 0.5), (0.0, 1.0), (0.5, 2.0, 1.0)])
def test_refused(shares):
    """Shares that do not grow to the whole are refused."""
    with pytest.raises(UsageError, match="must grow from above 0 to 1"):
        Rules(len(shares), shares=shares)


def test_generator_refused():
    """With shares an objective that yields cannot be meant."""

    def objective(trial):
        yield 1.0

    with pytest.raises(UsageError, match="with shares the objective must return a value"):
        search(objective, SPACE, "1kJ", measure=Meter(), shares=SHARES)
