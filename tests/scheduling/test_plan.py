import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulewise.scheduling.plan import Grid, Terms, front, paces_of_workers, place, plan, replan
from joulewise.vocabulary.errors import UnlikeSignals, UsageError
from joulewise.vocabulary.job import (
    UNKNOWN,
    Checkpoint,
    Duration,
    Objective,
    Pace,
    Place,
    Placement,
    Stretch,
    Unplaced,
)
from joulewise.vocabulary.signal import Factors, Meaning, Signal
from tests.scheduling.conftest import NOW, WATTS, grid, job, placed_of, signal

HOUR = timedelta(hours=1)
DAY = [400, 300, 200, 100, 100, 200, 300, 400]
intensities = st.lists(st.integers(1, 900), min_size=12, max_size=48)


def hours(placement: Placement) -> list[tuple[float, float]]:
    return [((s.start_utc - NOW) / HOUR, (s.end_utc - NOW) / HOUR) for s in placement.stretches]


def test_the_cleanest_hours_are_chosen():
    """A two-hour job waits for the two cleanest hours, and the plan says what that saves, its bound and its delay."""
    placed = placed_of(job(), grid(DAY), NOW)

    assert hours(placed) == [(3, 5)]
    assert placed.predicted.carbon_g == pytest.approx(200.0)  # 1 kW for two hours at 100 g/kWh
    assert placed.run_now.carbon_g == pytest.approx(700.0)
    assert placed.predicted.energy_j == pytest.approx(2 * 3.6e6)
    assert placed.predicted.delay_s == 3 * 3600
    assert placed.bound == pytest.approx(200.0)
    assert placed.gap == pytest.approx(0.0)
    assert placed.saving == pytest.approx(5 / 7)


def test_a_pause_is_taken_where_it_pays():
    """An interruptible job runs in both clean hours with a pause between them, and its joules are shown."""
    pause = Checkpoint(0.0, 3600.0)
    placed = placed_of(job(interruptible=pause), grid([400, 100, 400, 100]), NOW)

    assert hours(placed) == [(1, 2), (3, 4)]
    assert placed.energy_bought_j == pytest.approx(3600.0)


@settings(max_examples=60, deadline=None)
@given(
    intensities,
    st.floats(0.5, 8),
    st.floats(0.0, 20),
    st.floats(0.0, 0.5),
    st.floats(0.5, 1.5),
    st.sampled_from([None, Checkpoint(), Checkpoint(120.0, 3e4)]),
)
def test_no_accepted_deadline_is_missed(values, length_h, slack_h, margin, luck, pause):
    """Run to its true length, a job that was accepted without a risk is done in time while its margin holds."""
    deadline_h = min(length_h + slack_h, len(values))
    if deadline_h < length_h:
        return
    work = job(length_h, deadline_h, duration=Duration.of(length_h * 3600, margin), interruptible=pause)
    placed = placed_of(work, grid(values), NOW)

    assert placed.end_utc <= work.deadline_utc + timedelta(seconds=1)
    true_s = length_h * 3600 * min(luck, 1 + margin)
    finished = placed.end_utc + timedelta(seconds=max(0.0, true_s - length_h * 3600))
    if not placed.risk:
        assert finished <= work.deadline_utc + timedelta(seconds=1)


@settings(max_examples=60, deadline=None)
@given(intensities, st.floats(0.5, 8), st.floats(0, 12), st.booleans(), st.floats(0, 0.3))
def test_never_worse_than_running_now_on_the_forecast(values, length_h, slack_h, may_pause, least):
    """Bound <= plan <= running now, for every job and series."""
    deadline_h = min(length_h + slack_h, len(values))
    if deadline_h < length_h:
        return
    work = job(length_h, deadline_h, interruptible=Checkpoint(60.0, 1e3) if may_pause else None)
    placed = placed_of(work, grid(values), NOW, Terms(least_saving=least))

    assert placed.bound <= placed.value * (1 + 1e-9) + 1e-6
    assert placed.value <= placed.value_now * (1 + 1e-9) + 1e-6
    assert placed.rung == "run now" or placed.saving >= least - 1e-9


def test_what_cannot_be_done_is_left_out_with_the_reason():
    """Too late, of unknown length or without a signal: each job is left out with a line that says what to do."""
    jobs = [
        job(9, 8, name="late"),
        job(name="unknown", duration=UNKNOWN),
        job(name="nowhere", zones=("FR",)),
        job(name="good"),
    ]
    made = plan(jobs, grid(DAY), NOW)

    assert [p.job.name for p in made.placements] == ["good"]
    assert {u.job.name: u.reason.split()[0] for u in made.unplaced} == {
        "late": "it",
        "unknown": "its",
        "nowhere": "no",
    }
    assert "give it until 2026-01-05 09:00 UTC" in made.unplaced[0].reason


def test_a_tight_window_runs_at_once_and_says_the_risk():
    """Where the reserve does not fit, the job is accepted, runs at once, and the plan says when it would be late."""
    placed = placed_of(job(6, 7, duration=Duration.of(6 * 3600, 0.5)), grid(DAY), NOW)

    assert placed.rung == "run now"
    assert placed.risk.startswith("if it takes over 7h 00m it misses its deadline")


def test_only_more_workers_meet_a_near_deadline():
    """A job that is too long for its first pace is accepted at a faster one, and the energy bought is shown."""
    paces = paces_of_workers(WATTS, 4, 0.9)
    placed = placed_of(job(10, 8, paces=paces), grid(DAY), NOW)

    assert placed.end_utc <= NOW + 8 * HOUR
    assert placed.energy_bought_j > 0


def test_another_zone_must_pay_for_its_move():
    """A cleaner zone is taken where the saving exceeds the transfer, and not where the data are too many."""
    far = grid([400] * 8, NO=[50] * 8)
    near, heavy = (job(zones=("DE", "NO"), data_bytes=b) for b in (1e9, 2e12))

    assert placed_of(near, far, NOW).zone == "NO"
    assert placed_of(near, far, NOW).predicted.energy_j > 2 * 3.6e6
    assert placed_of(heavy, far, NOW).zone == "DE"


def test_data_arrive_before_the_work_begins():
    """A job runs elsewhere only once its data have been moved there at the place's bandwidth."""
    slow = {"NO": Place("NO", bandwidth_bytes_per_s=1e9 / 3600)}
    placed = placed_of(
        job(zones=("DE", "NO"), data_bytes=1e9), grid([400] * 8, NO=[50] * 8), NOW, places=slow
    )

    assert hours(placed)[0][0] >= 1


def test_residency_keeps_data_in():
    """Data that may not leave their zone keep the job there, and the plan says what it did not consider."""
    placed = placed_of(job(zones=("DE", "NO"), residency=("DE",)), grid([400] * 8, NO=[50] * 8), NOW)

    assert placed.zone == "DE"
    assert "data may not enter NO: not considered" in placed.notes


def test_unlike_signals_are_refused():
    """A plan never compares a lifecycle mean with a direct one."""
    direct = signal([1.0], "NO", meaning=Meaning(factors=Factors.DIRECT))
    with pytest.raises(UnlikeSignals):
        Grid({"DE": signal([1.0]), "NO": direct})


def priced(carbon, prices) -> Grid:
    return Grid({"DE": signal(carbon)}, {"DE": signal(prices, meaning=Meaning.price("EUR"))})


def test_each_objective_makes_its_own_figure_small():
    """Carbon takes the clean hours, cost the cheap ones, joules the leanest pace at once."""
    both = priced([400, 100, 100, 400], [0.4, 0.4, 0.4, 0.1])
    work = job(1, 4, paces=(Pace("full", 1, WATTS), Pace("capped", 0.8, WATTS / 2)))
    clean, cheap, lean = (
        placed_of(work, both, NOW, Terms(objective=o))
        for o in (Objective.CARBON, Objective.COST, Objective.JOULES)
    )

    assert clean.predicted.carbon_g < min(cheap.predicted.carbon_g, lean.predicted.carbon_g)
    assert (cheap.predicted.cost or 9.0) < min(clean.predicted.cost or 0.0, lean.predicted.cost or 0.0)
    assert lean.predicted.energy_j == pytest.approx(WATTS / 2 * 3600 / 0.8)
    assert lean.predicted.delay_s == pytest.approx(900)


def test_the_front_holds_only_what_is_not_beaten():
    """Along the front carbon grows while the cost falls."""
    both = priced([100, 200, 300, 400], [0.4, 0.3, 0.2, 0.1])
    kept = front(job(1, 4), both, NOW)

    assert len(kept) >= 2
    assert [p.predicted.carbon_g for p in kept] == sorted(p.predicted.carbon_g for p in kept)
    costs = [p.predicted.cost or 0.0 for p in kept]
    assert costs == sorted(costs, reverse=True)


def test_money_needs_a_tariff():
    """The objective cost without prices is refused with what to do."""
    with pytest.raises(UsageError, match="set a tariff"):
        plan([job()], grid(DAY), NOW, Terms(objective=Objective.COST))


@settings(max_examples=40, deadline=None)
@given(intensities, st.permutations(range(4)))
def test_the_same_values_give_the_same_plan(values, order):
    """A decision is a function of its arguments: neither a second call nor the order of jobs changes it."""
    jobs = [job(h, 8, name=str(h)) for h in (1, 2, 3, 4)]
    one, two = (plan(js, grid(values), NOW) for js in (jobs, [jobs[i] for i in order]))

    assert one == plan(jobs, grid(values), NOW)
    assert {p.job.name: p for p in one.placements} == {p.job.name: p for p in two.placements}


def test_a_small_change_does_not_move_a_job():
    """A new forecast that is better by less than the requeue costs leaves the plan as it is."""
    work = job(2, 8, interruptible=Checkpoint(120.0, 1e4))
    placed = placed_of(work, grid(DAY), NOW)
    slightly = grid([400, 300, 200, 100, 100, 99, 300, 400])

    assert replan(placed, slightly, NOW + HOUR, Checkpoint(120.0)) == placed


def test_a_large_change_moves_what_is_left():
    """A job in the middle of its run goes on where the new forecast is far cleaner, and keeps what it has done."""
    work = job(2, 8, interruptible=Checkpoint())
    placed = placed_of(work, grid(DAY), NOW)
    now = NOW + 4 * HOUR
    moved = replan(placed, grid([400, 300, 200, 100, 900, 900, 10, 400]), now, Checkpoint(120.0))

    assert hours(moved) == [(3, 4), (6, 7)]
    assert "planned anew" in moved.notes[-1]


def test_a_running_job_of_one_start_is_left_alone():
    """What must run in one go is not touched once it runs."""
    placed = placed_of(job(), grid(DAY), NOW)

    assert replan(placed, grid([1] * 3 + [900] * 2 + [1] * 3), NOW + 4 * HOUR) is placed


@settings(max_examples=40, deadline=None)
@given(st.lists(intensities, min_size=3, max_size=3), st.integers(1, 6), st.integers(0, 5))
def test_re_planning_every_hour_keeps_the_deadline_and_the_work(forecasts, length_h, slack_h):
    """However the forecast changes from hour to hour, the job is done in time and runs exactly its work."""
    work = job(length_h, length_h + slack_h, interruptible=Checkpoint())
    placed = placed_of(work, grid(forecasts[0]), NOW)
    for hour in range(1, length_h + slack_h):
        placed = replan(placed, grid(forecasts[hour % 3]), NOW + hour * HOUR, Checkpoint(120.0))

    assert placed.end_utc <= work.deadline_utc
    assert sum(s.duration_s for s in placed.stretches) == pytest.approx(length_h * 3600, abs=1)
    assert placed.predicted.energy_j == pytest.approx(WATTS * length_h * 3600, rel=1e-3)
    assert placed.predicted.delay_s == pytest.approx(
        (placed.end_utc - NOW).total_seconds() - length_h * 3600, abs=1
    )


def test_a_shut_zone_is_said():
    """A zone without a signal is not considered, and the plan says so."""
    placed = placed_of(job(zones=("DE", "FR")), grid(DAY), NOW)

    assert "no signal for FR: not considered" in placed.notes


def test_a_stretch_of_a_plan_is_a_value():
    """Stretches compare by what they hold."""
    assert replace(Stretch(NOW, NOW + HOUR), zone="DE").zone == "DE"
    assert isinstance(place(job(9, 8), grid(DAY), NOW), Unplaced)


def test_a_faster_plan_is_done_earlier():
    """More workers may finish before running now would: the delay is then below zero."""
    paces = (Pace("one", 1.0, WATTS), Pace("two", 2.0, 1.5 * WATTS))

    assert placed_of(job(4, 8, paces=paces), grid([100] * 8), NOW).predicted.delay_s == pytest.approx(-7200)


def test_a_paused_job_that_goes_on_pays_its_dead_time():
    """Planned anew while it rests, a job's remaining stretches hold the work and the dead time of going on."""
    work = job(2, 8, interruptible=Checkpoint(120.0, 1e3))
    placed = placed_of(work, grid([100, 900, 900, 900, 900, 900, 900, 50]), NOW)
    moved = replan(placed, grid([100, 900, 900, 10, 900, 900, 900, 900]), NOW + 2 * HOUR, Checkpoint(120.0))

    assert hours(moved)[-1][0] == 3
    run_s = sum(s.duration_s for s in moved.stretches)
    assert run_s == pytest.approx(7200 + 120 * moved.pauses, abs=1)


def test_a_capacity_without_numpy_says_what_to_install(monkeypatch):
    """Where the extra is missing, a plan under a capacity is refused with the line to type."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    for name in ("joulewise.scheduling.fleet", "joulewise.scheduling.fleet_plan"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    with pytest.raises(UsageError, match=r"pip install 'joulewise\[schedule\]'"):
        plan([job()], grid(DAY), NOW, places=[Place("DE", 1)])


def test_the_prices_used_are_said():
    """A plan names beside its signal where its prices come from; where they end is a note."""
    price = Signal.of("DE", [0.3, 0.1], NOW, meaning=Meaning.price("EUR"), source="day-ahead of a service")
    made = plan([job()], Grid(grid([100] * 8).carbon, {"DE": price}), NOW, Terms(Objective.COST))

    assert "prices: day-ahead of a service; price, market (EUR/kWh)" in made.signals["DE"]
    assert any("the price signal ends" in note for note in made.placements[0].notes)
