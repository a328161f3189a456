"""Batches are bounded by latency and energy, nobody is overtaken, and who cannot be answered in time is told so."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.serving.batching import (
    Bounds,
    Line,
    LineFit,
    Load,
    Waiting,
    admit,
    expected_s,
    most_rows,
    next_batch,
    rows_now,
    thrifty_rows,
    worth_a_thread,
)

queues = st.lists(st.builds(Waiting, st.integers(1, 20), st.sampled_from("abc")), max_size=40)
lines = st.builds(Line, st.floats(0, 1), st.floats(0, 1), st.booleans())


@given(queues, st.integers(1, 64))
def test_batch_properties(queue, most):
    """The first always goes; all are of its signature, in order, within the bound unless the first alone is above it."""
    chosen = next_batch(queue, most)

    assert bool(chosen) == bool(queue)
    if queue:
        assert chosen[0] == 0
        assert list(chosen) == sorted(set(chosen))
        assert {queue[i].signature for i in chosen} == {queue[0].signature}
        assert sum(queue[i].rows for i in chosen) <= max(most, queue[0].rows)


@given(queues, st.integers(1, 64))
def test_greedy_and_fair(queue, most):
    """Of the same signature exactly the first so many go: none is overtaken, and the next one would not fit."""
    chosen = next_batch(queue, most)

    if queue:
        same = [i for i, one in enumerate(queue) if one.signature == queue[0].signature]
        assert list(chosen) == same[: len(chosen)]
        if len(chosen) < len(same):
            assert sum(queue[i].rows for i in same[: len(chosen) + 1]) > most


@given(queues, st.integers(1, 64))
def test_every_queue_ends(queue, most):
    """Batch by batch every request is answered, once."""
    answered = 0
    total = len(queue)
    while queue:
        chosen = next_batch(queue, most)
        queue = [one for i, one in enumerate(queue) if i not in chosen]
        answered += len(chosen)
    assert answered == total


@given(st.integers(1, 500), st.floats(1e-3, 10), lines, lines)
def test_bounded_by_the_target(limit, target_s, seconds, energy):
    """A batch takes at most half of the latency target, unless one row alone takes longer (two, while it is a guess)."""
    most = most_rows(limit, target_s, seconds, energy)

    assert 1 <= most <= limit
    assert most <= (1 if seconds.fitted else 2) or seconds.at(most) <= target_s / 2 * (1 + 1e-9)


def test_bounded_by_energy():
    """A batch stops growing where the fixed cost is 2 % of it; no fixed cost keeps eight, a guess bounds nothing."""
    assert most_rows(10_000, 1e9, None, Line(1.0, 10.0)) == 490
    assert most_rows(10_000, 1e9, None, Line(1.0, 0.0)) == 8
    assert most_rows(10_000, 1e9, None, Line(1.0, 0.0, fitted=False)) == 10_000
    assert most_rows(10_000, 1e9, None, Line(0.0, 1.0)) == 10_000
    assert most_rows(10_000, 1e9, None, None) == 10_000


def test_fit_finds_the_line():
    """Costs on a line with noise give the line back; before there are enough sizes it is a guess through the mean."""
    draw = random.Random(3)
    fit = LineFit()
    assert fit.line() is None
    for _ in range(20):
        fit.add(4, 0.03)
    guess = fit.line()
    assert (guess.a, guess.b, guess.fitted) == (pytest.approx(0.03 / 4), 0.0, False)
    for _ in range(500):
        n = draw.randint(1, 32)
        fit.add(n, (0.002 * n + 0.01) * draw.uniform(0.95, 1.05))

    line = fit.line()

    assert line.fitted
    assert line.a == pytest.approx(0.002, rel=0.1)
    assert line.b == pytest.approx(0.01, rel=0.2)


def test_fit_follows():
    """A machine that got three times slower is believed after some hundred batches."""
    fit = LineFit()
    for slow in (1, 3):
        for k in range(300):
            fit.add(1 + k % 16, slow * (0.001 * (1 + k % 16) + 0.004))
    assert fit.line().a == pytest.approx(0.003, rel=0.02)
    assert fit.line().b == pytest.approx(0.012, rel=0.02)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 10)), min_size=1, max_size=60))
def test_fit_is_never_negative(seen):
    """Whatever was measured, neither a row nor a call costs less than nothing."""
    fit = LineFit()
    for rows, cost in seen:
        fit.add(rows, cost)
    assert fit.line().a >= 0
    assert fit.line().b >= 0


def test_rows_within():
    """Rows within a cost: what is left above the call, divided by a row; none if the call alone is above it."""
    assert Line(2.0, 1.0).rows_within(9.0) == 4
    assert Line(2.0, 10.0).rows_within(9.0) == 0
    assert Line(0.0, 1.0).rows_within(9.0) == float("inf")


def test_falling_behind():
    """Where small batches would answer nobody in time, the thriftiest size runs; while they do, the latency bound holds."""
    seconds = Line(0.01, 0.02)  # 3 rows take half of 100 ms
    assert most_rows(64, 0.1, seconds, Line(0.01, 0.005)) == 3
    thrifty = thrifty_rows(64, Line(0.01, 0.005))
    assert thrifty == 24
    assert rows_now(5, 3, thrifty, 0.1, seconds) == 3
    assert rows_now(32, 3, thrifty, 0.1, seconds) == 24
    assert rows_now(32, 3, thrifty, 0.1, None) == 3
    assert thrifty_rows(64, Line(0.01, 0.0, fitted=False)) == 64


def test_thread():
    """What nobody knows and what takes more than a tenth of the target goes to a thread."""
    assert worth_a_thread(1, 0.1, None)
    assert worth_a_thread(11, 0.1, Line(0.001, 0.0))
    assert not worth_a_thread(4, 0.1, Line(0.001, 0.0))


def test_admission():
    """An empty server takes anything; a full queue, full memory or a deadline that cannot be met is refused with a time."""
    seconds, bounds = Line(0.1, 0.0), Bounds(most_waiting=10, most_held_bytes=100)

    assert admit(Load(), bounds, 1000, 1.0, 8, seconds) is None
    assert admit(Load(5, 5), bounds, 1, 1.0, 8, seconds) is None
    assert admit(Load(5, 50), bounds, 1, 1.0, 8, None) is None  # nothing is known yet
    late = admit(Load(5, 50), bounds, 1, 1.0, 8, seconds)
    assert late.retry_after_s == 5  # 5.1 s of work against 1 s, rounded up
    assert "50 rows are ahead" in late.reason
    assert "waiting" in admit(Load(10, 1), bounds, 1, 1.0, 8, seconds).reason
    assert "bytes" in admit(Load(0, 0, 101), bounds, 1, 1.0, 8, seconds).reason


@given(st.integers(0, 2000), st.integers(0, 10**6), st.floats(1e-3, 600), lines)
def test_retry_after_is_usable(waiting, rows, deadline_s, seconds):
    """Who is turned away is told 1 to 60 whole seconds."""
    refusal = admit(Load(waiting, rows), Bounds(), 1, deadline_s, 8, seconds)
    assert refusal is None or 1 <= refusal.retry_after_s <= 60


def test_expected():
    """Rows cost each, calls cost once a batch."""
    assert expected_s(10, 4, Line(1.0, 0.5)) == pytest.approx(10 + 3 * 0.5)
    assert expected_s(10, 4, None) == 0
    assert expected_s(0, 4, Line(1.0, 0.5)) == 0
