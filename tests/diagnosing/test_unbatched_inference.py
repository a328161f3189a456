from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.vocabulary.library_calls import RowCalls
from joulewise.vocabulary.observed import Evaluation, Preparation
from tests.diagnosing.views import causes, found, phases, view

ONE_BY_ONE = Evaluation(20.0, 120, 70_000, 70_000, 70.0, 70.0, "score.py:main")


def scorer(row=ONE_BY_ONE, **fields):
    told = {
        "steps": 120,
        "samples": 12_000,
        "batch_sizes": {100: 120},
        "phases": phases(setup=20.0, forward=0.6, backward=1.0, optimiser=0.4, validation=70.0),
        "evaluations": (row,),
        "evaluation_calls": 1,
    }
    return view(**{**told, **fields})


def test_what_a_batch_leaves():
    """Saved is what the items would not cost in a large batch, known from the training's own passes."""
    finding = found(scorer())[0]
    left = 1.1 * 70_000 * 0.6 / 12_000 / 1.75

    assert finding.cause == "unbatched_inference"
    assert finding.saving.cpu_s.value == pytest.approx(
        70.0 - 5e-6 * 70_000 - left
    )  # the agent took 5 µs a pass itself
    assert "70000 forward passes of 1 item" in finding.evidence


def test_least_is_claimed():
    """Without any large batch, only what a call costs at least is claimed."""
    row = replace(ONE_BY_ONE, step=0, wall_s=7.0, cpu_s=7.0)
    alone = scorer(
        row, steps=0, samples=0, batch_sizes={}, cpu_s=10.0, duration_s=10.0, phases=phases(forward=7.0)
    )

    assert found(alone, seconds=10)[0].saving.cpu_s.value == pytest.approx(70_000 * 40e-6 * 63 / 64)


@pytest.mark.parametrize(
    "change",
    [
        {"where": "write.py:generate"},
        {"where": "play.py:rollout"},
        {"thread": "Thread-1"},
        {"step": 60},  # between training steps
        {"batches": 100, "items": 100},
        {"batches": 1000},  # 70 a batch
    ],
)
def test_cannot_be_batched(change):
    """Generation, play, requests and passes between training steps are left alone."""
    assert causes(scorer(replace(ONE_BY_ONE, **change))) == []


def test_items_arrive():
    """A process that waits between its items takes them as they come."""
    assert causes(scorer(phases=phases(forward=1.0, validation=40.0, waiting=50.0))) == []


def test_heavy_items():
    """Items that cost as much in a large batch accuse nobody."""
    assert causes(scorer(phases=phases(forward=12_000 * 1.25e-3, validation=70.0))) == []


FOREST = RowCalls("RandomForest", "predict", True, 5000, 5000, 50.0, 50.0, 0.0, "score.py:main")


def asker(*calls, **fields):
    told = {"phases": phases(setup=20.0, optimiser=(1, 5.0), validation=(5000, 50.0)), "row_calls": calls}
    return view(**{**told, **fields})


def test_rows_of_an_estimator():
    """What rows cost in a call with many is left of them; the rest was the calls' own."""
    many = RowCalls("RandomForest", "predict", False, 1, 1000, 0.02, 0.02, 0.0)
    finding = found(asker(FOREST, many))[0]

    assert finding.cause == "unbatched_inference"
    assert finding.saving.cpu_s.value == pytest.approx(50 - 2 * 5e-6 * 5000 - 1.1 * 5000 * 20e-6)
    assert "called 5000 times with 1 row" in finding.evidence


def test_rows_bounded_by_the_fit_or_the_size():
    """Without a call of many rows, the fit and the model's size bound what a row costs; a quarter of the bound is usual."""
    fitted = (Preparation("RandomForest", "fit", "f", "s", 2000, 1, 2.0, 2.0, 0.0, 0.0),)
    by_fit = found(asker(FOREST, preparations=fitted))[0].saving.cpu_s
    by_size = found(asker(replace(FOREST, row_ns=100_000.0), preparations=fitted))[0].saving.cpu_s

    assert by_fit.value == pytest.approx(50 - 0.05 - 0.25 * 5000 * 1e-3)
    assert by_size.value == pytest.approx(50 - 0.05 - 0.25 * 5000 * 1e-4)


def test_neighbours_keep_their_rows():
    """A fit that only keeps its rows bounds nothing: the least that a call takes is claimed."""
    fitted = (Preparation("KNeighbors", "fit", "f", "s", 2000, 1, 0.001, 0.001, 0.0, 0.0),)
    asked = replace(FOREST, estimator="KNeighbors", cpu_s=1.0, wall_s=1.0, calls=20_000, rows=20_000)
    seen = asker(asked, preparations=fitted, cpu_s=5.0, duration_s=5.0)

    assert found(seen, seconds=5)[0].saving.cpu_s.value == pytest.approx(20_000 * 30e-6)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"fed": 40}, {}),  # each input holds the answer before it
        ({"under": "scipy"}, {}),  # an optimiser asks
        ({"where": "play.py:rollout"}, {}),
        ({"calls": 150}, {}),
        ({}, {"requests": 5000}),
        ({}, {"phases": phases(optimiser=(5000, 20.0), validation=(5000, 50.0))}),  # it learns in between
        ({}, {"phases": phases(waiting=60.0, validation=(5000, 50.0))}),  # items arrive one by one
    ],
)
def test_rows_that_cannot_be_batched(change, fields):
    """Forecasts, optimisers, requests and models that learn between their answers are left alone."""
    assert causes(asker(replace(FOREST, **change), **fields)) == []
