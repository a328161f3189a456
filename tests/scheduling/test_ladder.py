from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulewise.scheduling import ladder
from joulewise.scheduling.ladder import FREE, Choice, State, pauses_of
from joulewise.scheduling.slots import Prices, Slot, Weights
from joulewise.vocabulary.job import Checkpoint, Pace

ONE = Pace("one", 1.0, 1.0)
SLOT_S = 10.0
QUANTUM_S = 5.0

series = st.lists(st.integers(1, 20), min_size=2, max_size=5)
pauses = st.builds(
    Checkpoint,
    st.sampled_from([0.0, 5.0]),
    st.sampled_from([0.0, 1.0, 7.0, 40.0]),
    st.sampled_from([0.0, 0.1, 0.6]),
)


def found(choice: Choice | None) -> Choice:
    assert choice is not None
    return choice


def best_start(*args, **kwargs) -> Choice:
    return found(ladder.best_start(*args, **kwargs))


def best_stretches(*args) -> Choice:
    return found(ladder.best_stretches(*args))


def best_paces(*args) -> Choice:
    return found(ladder.best_paces(*args))


def prices_of(values) -> Prices:
    return Prices([Slot(SLOT_S * i, SLOT_S * (i + 1), float(v)) for i, v in enumerate(values)], Weights())


def brute_force(prices, work_s, pause):
    """Return the least cost over all patterns of running in quanta."""
    count = round(prices.end_s / QUANTUM_S)
    best = float("inf")
    for bits in range(1 << count):
        on = [n for n in range(count) if bits >> n & 1]
        resumed = [b for a, b in pairwise(on) if b > a + 1]
        if len(on) * QUANTUM_S - pause.dead_s * len(resumed) < work_s:
            continue
        run = sum(prices.between(n * QUANTUM_S, (n + 1) * QUANTUM_S) for n in on)
        idle = prices.between(on[0] * QUANTUM_S, (on[-1] + 1) * QUANTUM_S) - run if on else 0.0
        rest = sum(pause.energy_j * prices.at(n * QUANTUM_S) for n in resumed)
        best = min(best, run + idle * pause.idle_w + rest)
    return best


@given(series, st.floats(0.05, 1.0))
def test_the_best_start_is_no_dearer_than_any_other(values, share):
    """No start on a fine raster is cheaper than the one chosen."""
    prices = prices_of(values)
    work = share * prices.end_s
    chosen = best_start(prices, work, ONE, prices.end_s)

    raster = (n * (prices.end_s - work) / 97 for n in range(98))
    assert chosen.cost <= min(prices.between(s, s + work) for s in raster) + 1e-6
    assert chosen.pieces[0].end_s <= prices.end_s + 1e-6


@settings(max_examples=30, deadline=None)
@given(series, st.integers(1, 10), pauses)
def test_stretches_hold_the_work_and_respect_the_bound(values, quanta, pause):
    """The stretches hold exactly the work and the dead time; bound <= optimum (brute force) <= chosen."""
    prices = prices_of(values)
    work = min(quanta * QUANTUM_S, prices.end_s)
    chosen = best_stretches(prices, work, ONE, prices.end_s, pause)

    run_s = sum(p.length_s for p in chosen.pieces)
    assert run_s - pause.dead_s * len(pauses_of(chosen.pieces)) == pytest.approx(work, abs=0.01)
    optimum = brute_force(prices, work, pause)
    assert chosen.bound <= optimum + 1e-6
    assert chosen.cost >= chosen.bound - 1e-9
    if pause == FREE:
        assert chosen.cost == pytest.approx(optimum)
        assert chosen.bound == pytest.approx(optimum)


@settings(max_examples=30, deadline=None)
@given(series, st.integers(1, 10), pauses)
def test_pausing_is_never_dearer_than_running_at_once(values, quanta, pause):
    """Who may pause is at least as well off as who runs in one go."""
    prices = prices_of(values)
    work = min(quanta * QUANTUM_S, prices.end_s)

    assert (
        best_stretches(prices, work, ONE, prices.end_s, pause).cost
        <= best_start(prices, work, ONE, prices.end_s).cost + 1e-6
    )


def test_a_dear_pause_is_not_taken():
    """Where a pause costs more than the dirty hour between two clean ones, the job runs through."""
    prices = prices_of([1, 3, 1, 50])
    cheap, dear = (best_stretches(prices, 20.0, ONE, 40.0, Checkpoint(0.0, j)) for j in (1.0, 100.0))

    assert len(cheap.pieces) == 2
    assert len(dear.pieces) == 1


def test_a_running_job_pays_for_stopping_and_a_paused_one_for_going_on():
    """The first stretch is free for a job that runs on, and costs a resumption for one that was paused."""
    prices = prices_of([5, 5, 4, 4])
    pause = Checkpoint(0.0, 30.0)

    running = best_stretches(prices, 20.0, ONE, 40.0, pause, State.RUNNING)
    paused = best_stretches(prices, 20.0, ONE, 40.0, pause, State.PAUSED)
    assert running.pieces[0].begin_s == 0.0
    assert paused.pieces[0].begin_s == 20.0
    assert paused.cost == pytest.approx(20 * 4 + 30 * 4)


def test_what_does_not_fit_is_none():
    """Work that is longer than its window has no choice at all."""
    prices = prices_of([1, 1])

    assert ladder.best_start(prices, 21.0, ONE, 20.0) is None
    assert ladder.best_stretches(prices, 21.0, ONE, 20.0) is None
    assert ladder.best_paces(prices, 41.0, (ONE, Pace("two", 2.0, 3.0)), 20.0) is None


def test_more_workers_run_in_the_clean_hour():
    """An elastic job takes the dear second worker only where the hour is clean enough to pay for it."""
    paces = (ONE, Pace("two", 1.8, 2.0))
    chosen = best_paces(prices_of([1, 10, 10]), 18.0, paces, 30.0)

    assert [(p.pace.name, p.begin_s, p.end_s) for p in chosen.pieces] == [("two", 0.0, 10.0)]
    assert chosen.cost == pytest.approx(20.0)


def test_a_slower_pace_is_taken_where_there_is_time():
    """The slack of a deadline buys a power cap: half the watts at four fifths of the speed."""
    paces = (Pace("full", 1.0, 300.0), Pace("capped", 0.8, 150.0))
    chosen = best_paces(prices_of([1, 1, 1]), 20.0, paces, 30.0)

    assert {p.pace.name for p in chosen.pieces} == {"capped"}


@settings(deadline=None)
@given(series, st.floats(0.1, 1.0))
def test_elastic_is_never_dearer_than_one_pace(values, share):
    """Mixing paces costs at most what the best single pace costs with free pauses."""
    prices = prices_of(values)
    paces = tuple(Pace(str(n), n**0.9, float(n)) for n in range(1, 5))
    work = share * prices.end_s
    mixed = best_paces(prices, work, paces, prices.end_s)

    single = [best_stretches(prices, work, p, prices.end_s) for p in paces]
    assert mixed.cost <= min(c.cost for c in single) + 1e-6
    assert sum(p.length_s * p.pace.speed for p in mixed.pieces) == pytest.approx(work, abs=0.01)


def test_starts_may_be_kept_to_borders():
    """With `on_steps` a run begins at a border, though a later start would be cheaper."""
    prices = prices_of([9, 1, 9])

    assert best_start(prices, 15.0, ONE, 30.0, on_steps=True).pieces[0].begin_s == 10.0
    assert best_start(prices, 15.0, ONE, 30.0).pieces[0].begin_s in (5.0, 10.0)


def test_idle_power_is_paid_for():
    """Suspended work that draws as much as it does running never pauses; one that draws nothing does."""
    prices = prices_of([1, 5, 1, 9])

    def pieces(idle_w: float) -> int:
        return len(best_stretches(prices, 2 * SLOT_S, ONE, prices.end_s, Checkpoint(0.0, 0.0, idle_w)).pieces)

    assert [pieces(idle_w) for idle_w in (0.0, 0.5, 0.79, 0.81, 1.0)] == [2, 2, 2, 1, 1]


def test_idle_power_in_the_cost():
    """The price of a pause is the idle power over the hours that it lasts."""
    prices = prices_of([1, 5, 1, 9])
    chosen = best_stretches(prices, 2 * SLOT_S, ONE, prices.end_s, Checkpoint(0.0, 0.0, 0.5))

    assert chosen.cost == pytest.approx(20 + 0.5 * 50)
    assert chosen.bound <= chosen.cost
