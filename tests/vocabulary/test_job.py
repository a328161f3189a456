from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import (
    UNKNOWN,
    Checkpoint,
    Duration,
    Job,
    Pace,
    Place,
    Placement,
    Stretch,
    Toll,
    job_as_json,
    job_from_json,
    tolls,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(**changes) -> Job:
    fields: dict[str, Any] = {
        "name": "a",
        "duration": Duration.of(3600),
        "release_utc": NOW,
        "deadline_utc": NOW + timedelta(hours=8),
        "paces": (Pace("all", 1.0, 300.0),),
        **changes,
    }
    return Job(**fields)


def test_a_stated_duration_means_itself():
    """One number without a margin is both expected and reserved."""
    assert (Duration.of(3600).expected_s, Duration.of(3600).reserve_s) == (3600, 3600)


def test_a_margin_is_reserved():
    """Six hours give or take half reserve nine."""
    assert Duration.of(6 * 3600, margin=0.5).reserve_s == 9 * 3600


def test_unknown_stays_unknown():
    """A duration without samples has no expectation, which is not zero."""
    assert not UNKNOWN.known
    assert UNKNOWN.expected_s is None
    assert UNKNOWN.reserve_s is None


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=60))
def test_the_reserve_is_never_below_the_expectation(samples):
    """Whatever like runs took, what is kept free holds at least their median."""
    learnt = Duration.learnt(samples)

    reserve_s, expected_s = learnt.reserve_s or 0.0, learnt.expected_s or 0.0
    assert reserve_s >= expected_s > 0
    if len(samples) < 19:
        assert reserve_s >= max(samples)


def test_many_like_runs_give_an_order_statistic():
    """Of ninety-nine like runs the 95th longest is passed by the next one with a chance of 5 %."""
    assert Duration.learnt(range(1, 100)).reserve_s == 95


@pytest.mark.parametrize(
    "changes",
    [
        {"deadline_utc": NOW},
        {"paces": ()},
        {"zones": ()},
        {"units": 0},
        {"release_utc": datetime(2026, 1, 1)},
    ],
)
def test_a_job_that_cannot_be_is_refused(changes):
    """A job needs a pace, a place, at least one unit and a deadline after its release, with offsets."""
    with pytest.raises(UsageError):
        job(**changes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Duration.of(0),
        lambda: Duration.of(5, margin=-1),
        lambda: Checkpoint(-1),
        lambda: Pace("p", 0, 1),
        lambda: Place("DE", pue=0.9),
        lambda: Place("DE", capacity=0),
    ],
)
def test_parts_that_cannot_be_are_refused(make):
    """Negative costs, paces that do no work and buildings that give energy back are refused."""
    with pytest.raises(UsageError):
        make()


def test_a_job_survives_its_file():
    """What was written to a file is read back as the same job."""
    whole = job(
        interruptible=Checkpoint(120, 3e4), zones=("DE", "NO"), data_bytes=1e9, residency=("DE",), units=4
    )

    assert job_from_json(job_as_json(whole)) == whole


def test_a_foreign_file_is_refused():
    """Something else than a job is refused in one line."""
    with pytest.raises(UsageError, match="this is no job"):
        job_from_json({"name": "a"})


def placement(stretches, value=1.0, bound=1.0) -> Placement:
    return Placement(job(), "DE", stretches, "", Toll(5.0, 1), Toll(3.0, 2), value, 2.0, bound, 3600)


def test_a_placement_counts_its_pauses_and_its_gap():
    """Two stretches that touch are no pause; the gap is a share of the bound; bought joules are never below zero."""
    hours = [NOW + timedelta(hours=n) for n in range(5)]
    placed = placement(
        (Stretch(hours[0], hours[1]), Stretch(hours[1], hours[2], "b"), Stretch(hours[3], hours[4])), 1.2
    )

    assert placed.pauses == 1
    assert placed.gap == pytest.approx(0.2)
    assert placed.saving == pytest.approx(0.4)
    assert placed.energy_bought_j == 2.0
    assert placed.remaining_from(hours[3] + timedelta(minutes=30))[0].duration_s == 1800


def test_unknown_money_makes_the_sum_unknown():
    """A sum of tolls hides no part whose money is not known."""
    assert tolls([Toll(1, 1, 2.0), Toll(1, 1, None)]).cost is None
    assert tolls([Toll(1, 1, 2.0), Toll(1, 1, 3.0)]) == Toll(2, 2, 5.0)
