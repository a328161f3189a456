from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

np = pytest.importorskip("numpy", reason="the fleet needs the extra `schedule`")

from joulewise.scheduling.plan import Grid, Terms, plan  # noqa: E402
from joulewise.vocabulary.errors import UsageError  # noqa: E402
from joulewise.vocabulary.job import Checkpoint, Duration, Objective, Place  # noqa: E402
from joulewise.vocabulary.signal import Meaning  # noqa: E402
from tests.scheduling.conftest import NOW, grid, job, signal  # noqa: E402

HOUR = timedelta(hours=1)
VALLEY = [400, 300, 200, 100, 100, 200, 300, 400]


def load(made):
    use: Counter[tuple[str, datetime]] = Counter()
    for placement in made.placements:
        for stretch in placement.stretches:
            when = stretch.start_utc
            while when < stretch.end_utc:
                use[stretch.zone or placement.zone, when] += placement.job.units
                when += HOUR
    return use


def test_capacity_is_held_and_the_loser_is_near():
    """Two jobs for one machine take the valley one after the other, neither of them at the same time."""
    made = plan([job(2, 8, name=n) for n in "ab"], grid(VALLEY), NOW, places=[Place("DE", 1)])

    assert len(made.placements) == 2
    assert max(load(made).values()) == 1
    assert made.bound <= made.value <= made.value_now


def test_who_found_no_room_is_told_why():
    """Of three eight-hour jobs for one machine and eight hours, one is placed; the others know why not."""
    jobs = [job(8, 8, name=n) for n in "abc"]
    made = plan([*jobs, job(1, 8, name="wide", units=3)], grid(VALLEY), NOW, places=[Place("DE", 1)])

    assert len(made.placements) == 1
    reasons = {u.job.name: u.reason for u in made.unplaced}
    assert "taken by other jobs" in next(r for n, r in reasons.items() if n != "wide")
    assert reasons["wide"] == "it takes 3 units, but DE have at most 1"


def test_times_are_within_the_window_for_any_release():
    """Released at twenty past and due at ten to, a job runs between; half hours are used in part."""
    odd = job(
        1.5, 1, release_utc=NOW + timedelta(minutes=20), deadline_utc=NOW + timedelta(hours=4, minutes=50)
    )
    made = plan([odd], grid(VALLEY), NOW, places=[Place("DE", 1)])
    placed = made.placements[0]

    assert placed.start_utc >= odd.release_utc
    assert placed.end_utc <= odd.deadline_utc
    assert sum(s.duration_s for s in placed.stretches) == pytest.approx(1.5 * 3600)
    assert placed.predicted.energy_j == pytest.approx(1.5 * 3.6e6)


def test_dead_time_of_pauses_is_given_room():
    """A job that loses two minutes at each resumption runs that much longer, and is still in time."""
    made = plan(
        [job(2, 8, interruptible=Checkpoint(120.0, 1e3))],
        grid([9, 1, 9, 1, 9, 9, 9, 9]),
        NOW,
        places=[Place("DE", 1)],
    )
    placed = made.placements[0]

    assert placed.pauses >= 1
    assert sum(s.duration_s for s in placed.stretches) == pytest.approx(7200 + 120 * placed.pauses)
    assert placed.energy_bought_j > 0
    assert placed.end_utc <= NOW + 8 * HOUR


def test_the_reserve_is_kept_free():
    """A job that may take half as long again ends that much before its deadline."""
    made = plan(
        [job(4, 8, duration=Duration.of(4 * 3600, 0.5))],
        grid([9] * 4 + [1] * 4),
        NOW,
        places=[Place("DE", 1)],
    )

    assert made.placements[0].end_utc <= NOW + 6 * HOUR


def test_cost_is_an_objective_here_too():
    """A fleet planned for money takes the cheap hours."""
    both = Grid(
        {"DE": signal(VALLEY)}, {"DE": signal([1, 1, 1, 1, 1, 1, 0.1, 0.1], meaning=Meaning.price("EUR"))}
    )
    made = plan([job(2, 8)], both, NOW, Terms(objective=Objective.COST), [Place("DE", 1)])

    assert made.placements[0].start_utc == NOW + 6 * HOUR
    assert made.predicted.cost == pytest.approx(0.2)
    assert made.currency == "EUR"


def test_jobs_spread_over_zones():
    """Where home is full, a job without data goes to the next zone it may enter."""
    jobs = [job(8, 8, name=n, zones=("DE", "NO")) for n in "ab"]
    made = plan(jobs, grid([100] * 8, NO=[200] * 8), NOW, places=[Place("DE", 1), Place("NO", 1)])

    assert sorted(p.zone for p in made.placements) == ["DE", "NO"]


def test_a_zone_without_a_price_is_not_free():
    """Where one zone has a price and the other none, the plan is refused: an unknown price is not zero."""
    some = Grid(
        {"DE": signal(VALLEY), "NO": signal(VALLEY, zone="NO")},
        {"DE": signal(VALLEY, meaning=Meaning.price("EUR"))},
    )
    with pytest.raises(UsageError, match="no price for NO"):
        plan([job(2, 8, zones=("DE", "NO"))], some, NOW, Terms(Objective.COST), [Place("DE", 1)])


class TestIdlePower:
    """Suspended work keeps its memory and its GPUs, and what they draw stands in the plan."""

    def plan(self, idle_w: float, **given):
        pausing = job(4, 8, interruptible=Checkpoint(0.0, 0.0, idle_w), **given)
        return plan([pausing], grid([100, 100, 400, 400, 100, 100, 400, 400]), NOW, places=[Place("DE", 1)])

    def test_is_counted(self):
        """A pause of two hours adds its joules and its grams."""
        (free,), (idle,) = self.plan(0.0).placements, self.plan(100.0).placements

        assert free.pauses == idle.pauses == 1
        assert idle.predicted.energy_j == pytest.approx(free.predicted.energy_j + 100 * 7200)
        assert idle.predicted.carbon_g == pytest.approx(free.predicted.carbon_g + 0.1 * 2 * 400)

    def test_may_not_be_worth_it(self):
        """Where standing still draws nearly what running does, the job runs in one go, where there is room for it."""
        (placed,) = self.plan(900.0).placements

        assert placed.pauses == 0
        assert placed.predicted.carbon_g <= placed.run_now.carbon_g

    def test_trust(self):
        """What such forecasts kept of late stands in the placement, and the promise is the prediction times it."""
        made = plan([job(2, 8)], replace(grid(VALLEY), trust={"DE": 0.5}), NOW, places=[Place("DE", 1)])
        (placed,) = made.placements

        assert placed.trust == 0.5
        assert placed.promised_g == pytest.approx((placed.run_now.carbon_g - placed.predicted.carbon_g) / 2)
