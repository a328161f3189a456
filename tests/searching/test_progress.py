"""How a study is watched."""

from __future__ import annotations

from joulewise.searching.ordering import search
from joulewise.searching.progress import bars, status
from joulewise.vocabulary.budget import Budget
from tests.searching.doubles import SPACE, Meter, valley


def test_status():
    """One line tells trials, the best and its growth, joules of the budget, rungs, and what was saved."""
    meter = Meter()
    seen: list[str] = []
    limits = Budget.parse("60J")
    study = search(
        valley(meter), SPACE, limits, measure=meter, minimise=True, epochs=9,
        shown=lambda s: seen.append(status(s, limits)),
    )  # fmt: skip

    assert len(seen) == sum(line["kind"] == "epoch" for line in study.lines)
    assert "1 trials, 1 epochs" in seen[0]
    assert f"best {study.best_value:.5g} (trial {study.best.number})" in seen[-1]
    assert "J of 60.0 J" in seen[-1]
    assert f"epoch:trials 1:{sum(t.epoch >= 1 for t in study.trials)} 2:" in seen[-1]
    assert "% saved" in seen[-1]
    drawn = bars(study)
    assert len(drawn) == 12
    assert drawn[-1] == "█"
    assert list(drawn) == sorted(drawn)
