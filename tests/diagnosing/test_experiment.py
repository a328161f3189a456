from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing.experiment import RunLine, ended_runs, identity, look_over
from joulewise.diagnosing.quality import Quality
from joulewise.vocabulary.recording import End, EndState
from tests.diagnosing.views import case, view

SEEN = {"code": "c", "arguments": "a", "data": "d", "seeds": ("torch 0",)}


def run(name, energy_j, score=None, state=EndState.FINISHED, same=None):
    rated = None if score is None else Quality("acc", score, 1.0)
    return RunLine(name, energy_j, state, rated, same)


def test_repeated():
    """A run of the same code, arguments, data and seeds as an earlier one bought nothing."""
    seen = look_over([run("a", 10, same=("x",)), run("b", 20, same=("x",)), run("c", 30, same=("y",))])

    assert seen.repeated == (("b", "a"),)
    assert seen.wasted_j == 20
    assert seen.total_j == 60


def test_grams_and_money():
    """What bought nothing has grams and money, where every run's are known, and in one currency."""

    def priced(name, grams, cost, currency="EUR"):
        return replace(run(name, 10, same=("x",)), carbon_g=grams, cost=cost, currency=currency)

    seen = look_over([priced("a", 1.0, 0.1), priced("b", 2.0, 0.3)])
    assert (seen.total.carbon_g, seen.total.currency) == (3.0, "EUR")
    assert seen.total.cost == pytest.approx(0.4)
    assert (seen.wasted.energy_j, seen.wasted.carbon_g, seen.wasted.cost) == (10, 2.0, 0.3)

    partly = look_over([priced("a", 1.0, None), priced("b", None, 0.3)])
    assert (partly.total.carbon_g, partly.total.cost) == (None, None)
    assert look_over([priced("a", 1.0, 0.1), priced("b", 1.0, 0.1, "USD")]).total.cost is None


def test_failed():
    """Failed runs bought nothing; one that its budget stopped did, and a failed run makes no later one a repetition."""
    seen = look_over(
        [
            run("a", 10, state=EndState.FAILED, same=("x",)),
            run("b", 20, state=EndState.STOPPED),
            run("c", 30, same=("x",)),
        ]
    )
    assert seen.failed == ("a",)
    assert seen.wasted_j == 10
    assert seen.repeated == ()


def test_front():
    """The front holds the runs that no cheaper run matched; the others are dominated, which is not waste."""
    seen = look_over(
        [run("a", 30, 0.9), run("b", 10, 0.7), run("c", 20, 0.6), run("d", 40, 0.9), run("e", 50, 0.95)]
    )

    assert [p.run_id for p in seen.front] == ["b", "a", "e"]
    assert seen.dominated == ("c", "d")
    assert seen.dominated_j == 60
    assert seen.wasted_j == 0


def test_front_is_whole():
    """Twins of equal energy and quality are both on the front; of equal energy alone, only the better one is."""
    seen = look_over([run("a", 10, 0.7), run("b", 10, 0.8), run("c", 10, 0.8), run("d", 12, 0.8)])

    assert [p.run_id for p in seen.front] == ["b", "c"]
    assert seen.dominated == ("a", "d")


def test_front_of_stopped_runs():
    """What a run had reached when its budget stopped it counts; what a failed one had does not, nor another metric."""
    other = RunLine("e", 1, EndState.FINISHED, Quality("val_loss", 0.1, -1.0), None)
    seen = look_over(
        [
            run("a", 10, 0.7, state=EndState.STOPPED),
            run("b", 20, 0.9),
            run("c", 5, 0.95, state=EndState.FAILED),
            run("d", 30),
            other,
        ]
    )

    assert [p.run_id for p in seen.front] == ["a", "b"]
    assert seen.unrated == 2


@pytest.mark.parametrize("missing", ["code", "arguments", "seeds"])
def test_identity_is_whole(missing):
    """A run whose fingerprints are not whole is never called a repetition."""
    assert identity([view(**SEEN)]) == ("c", "a", "d", "torch 0")
    assert identity([view(**{**SEEN, missing: ""})]) is None


def test_only_ended_runs():
    """A run that is still going on is left out."""
    account = case().account
    going = replace(account, recording=replace(account.recording, end=End(EndState.RUNNING, 5.0)))

    assert len(ended_runs([(account, [view(**SEEN)]), (going, [])])) == 1
