"""Signals: unlike kinds never meet, a gap is no zero, and nothing of the future is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.vocabulary.errors import UnlikeSignals, UsageError
from joulewise.vocabulary.signal import (
    Factors,
    Kind,
    Meaning,
    Scope,
    Signal,
    SignalPoint,
    newest_known,
    require_like,
    utc,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
VALUES = st.lists(st.one_of(st.none(), st.floats(0, 2000)), min_size=1, max_size=60)


def measured(*values, start=NOON, **others):
    return Signal.of("DE", values, start, **others)


def test_at():
    """A point holds from its start until just before the next; outside and in a gap there is none."""
    signal = measured(100, None, 300)

    assert signal.at(NOON).value == 100
    assert signal.at(NOON + HOUR - timedelta(microseconds=1)).value == 100
    assert signal.at(NOON + HOUR) is None
    assert signal.at(NOON + 2 * HOUR).value == 300
    assert signal.at(NOON + 3 * HOUR) is None
    assert signal.at(NOON - timedelta(microseconds=1)) is None


def test_at_follows_offsets():
    """The same moment in another offset finds the same point."""
    assert measured(100, 200).at((NOON + HOUR).astimezone(timezone(timedelta(hours=5.5)))).value == 200


def test_times_without_offset_are_refused():
    """A naive time is refused, wherever it is given."""
    naive = datetime(2026, 3, 1, 12)

    for use in (measured(1).at, measured(1).known_at, utc, lambda t: measured(1, start=t)):
        with pytest.raises(UsageError, match="has no offset"):
            use(naive)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number(value):
    """What is no number is refused: a gap is None."""
    with pytest.raises(ValueError, match="a gap is None"):
        SignalPoint(value)


def test_between():
    """All steps that touch the stretch are kept, and no more than there are."""
    signal = measured(1, 2, 3, 4)

    assert signal.between(NOON + HOUR, NOON + 3 * HOUR).values == (2, 3)
    assert signal.between(NOON + 0.5 * HOUR, NOON + 1.5 * HOUR).values == (1, 2)
    assert signal.between(NOON - 9 * HOUR, NOON + 99 * HOUR) == signal
    assert len(signal.between(NOON + 9 * HOUR, NOON + 12 * HOUR)) == 0
    assert len(signal.between(NOON + HOUR, NOON + HOUR)) == 0
    assert signal.between(NOON + HOUR, NOON + 2 * HOUR).start_utc == NOON + HOUR


def test_mean():
    """The mean weighs each step by the time that it covers, and is unknown where one step is."""
    signal = measured(100, 200, None)

    assert signal.mean(NOON + 0.5 * HOUR, NOON + 2 * HOUR) == pytest.approx((50 + 200) / 1.5)
    assert signal.mean(NOON + 0.5 * HOUR, NOON + 0.5 * HOUR) == 100
    assert signal.mean(NOON + HOUR, NOON + 3 * HOUR) is None
    assert signal.mean(NOON - HOUR, NOON + HOUR) is None
    assert signal.mean(NOON + 2 * HOUR, NOON + 4 * HOUR) is None


def test_a_measured_value_is_known_when_its_step_has_ended():
    """At noon the hour before noon is known, the hour from noon is not."""
    signal = measured(1, 2, 3, start=NOON - HOUR)

    assert signal.known_at(NOON).values == (1,)
    assert signal.known_at(NOON + HOUR - timedelta(seconds=1)).values == (1,)
    assert signal.known_at(NOON + HOUR).values == (1, 2)
    assert signal.known_at(NOON - HOUR).values == ()


def test_a_lag_delays_what_is_known():
    """A service that publishes a day late lets a replay see a day less."""
    signal = replace(measured(*range(1, 49)), lag_s=86400)

    assert signal.known_at(NOON + 24 * HOUR).values == ()
    assert signal.known_at(NOON + 30 * HOUR).values == tuple(range(1, 7))


def test_a_forecast_is_known_from_its_issue():
    """Before it was issued a forecast is not known, from then on it is whole."""
    forecast = measured(5, 6, issued_utc=NOON - 2 * HOUR)

    assert forecast.known_at(NOON - 3 * HOUR).values == ()
    assert forecast.known_at(NOON - 2 * HOUR) == forecast


TRAP = 666.0


@given(
    st.lists(st.tuples(st.floats(0, 500), st.one_of(st.none(), st.integers(-100, 100))), max_size=80),
    st.floats(-100, 100),
    st.sampled_from([None, 900, 7200, 10800]),
    st.integers(0, 7200),
)
def test_no_future(rows, when_h, step_s, lag_s):
    """Every value not known at that time is a trap, and no way of looking at what was known then falls into one."""
    when = NOON + when_h * HOUR
    points = []
    for hour, (value, issue_h) in enumerate(rows):
        known_utc = NOON + (hour + 1) * HOUR + timedelta(seconds=lag_s)
        issued_utc = None if issue_h is None else NOON + issue_h * HOUR
        known = (issued_utc or known_utc) <= when
        points.append(SignalPoint(value if known else TRAP, issued_utc))
    signal = Signal("DE", Meaning(), NOON, 3600, tuple(points), lag_s=lag_s)

    seen = signal.known_at(when) if step_s is None else signal.aligned(step_s).known_at(when)

    if step_s is None:
        assert TRAP not in seen.values
        assert sum(v is not None for v in seen.values) == sum(p.value != TRAP for p in points)
    else:
        traps = {i for i, p in enumerate(points) if p.value == TRAP}
        for begin, value in zip(seen.times(), seen.values, strict=True):
            if value is not None:
                first = (begin - NOON) // HOUR
                last = -((NOON - begin - timedelta(seconds=step_s)) // HOUR)
                assert not traps & set(range(first, last))


def test_newest_known():
    """Of several forecasts the newest issued by then is given, and none before the first."""
    issues = [measured(n, n, issued_utc=NOON + n * HOUR) for n in (2, 0, 1)]

    seen = [newest_known(issues, NOON + hours * HOUR) for hours in (-1, 0, 1.5, 9)]

    assert [None if s is None else s.values for s in seen] == [None, (0, 0), (1, 1), (2, 2)]
    assert newest_known([measured(1)], NOON + 9 * HOUR) is None


UNLIKE = [
    (Meaning(kind=Kind.MARGINAL), "kind (average and marginal)"),
    (Meaning(factors=Factors.DIRECT), "factors (lifecycle and direct)"),
    (Meaning(scope=Scope.PRODUCTION), "scope (consumption and production)"),
    (Meaning.price("EUR"), "unit (gCO2e/kWh and EUR/kWh)"),
]


@pytest.mark.parametrize(("meaning", "why"), UNLIKE)
def test_unlike_signals_refuse(meaning, why):
    """Signals of unlike meaning neither join nor compare, and the message names the difference."""
    one, other = measured(1), measured(2, meaning=meaning)

    for use in (lambda: require_like([one, one, other]), lambda: one.joined(other)):
        with pytest.raises(UnlikeSignals) as caught:
            use()
        assert why in str(caught.value)


def test_like_signals_of_two_zones():
    """Two zones compare, but do not join."""
    france = replace(measured(2), zone="FR")

    require_like([measured(1), france])
    with pytest.raises(UnlikeSignals, match="DE with one of FR"):
        measured(1).joined(france)


@pytest.mark.parametrize(
    ("kind", "factors", "unit"),
    [
        (Kind.PRICE, Factors.LIFECYCLE, "EUR/kWh"),
        (Kind.AVERAGE, Factors.NONE, "gCO2e/kWh"),
        (Kind.PRICE, Factors.NONE, "gCO2e/kWh"),
        (Kind.AVERAGE, Factors.DIRECT, "EUR/kWh"),
    ],
)
def test_meaningless(kind, factors, unit):
    """A price has no emission factors, and grams have some."""
    with pytest.raises(ValueError, match="has no meaning"):
        Meaning(kind, factors, Scope.MARKET, unit)


def test_joined():
    """A measured value stands before a forecast, a newer forecast before an older, and gaps are filled."""
    past = measured(1, 2, None, source="history")
    old = measured(20, 30, 40, 50, start=NOON + HOUR, issued_utc=NOON, source="old")
    new = measured(41, start=NOON + 3 * HOUR, issued_utc=NOON + HOUR, source="new")

    whole = past.joined(old).joined(new)

    assert whole.values == (1, 2, 30, 41, 50)
    assert new.joined(old).joined(past).points == whole.points
    assert whole.source == "history; old; new"
    assert [p.forecast for p in whole.points] == [False, False, True, True, True]


def test_joined_over_a_gap():
    """What lies between two signals is a gap."""
    assert measured(1).joined(measured(5, start=NOON + 3 * HOUR)).values == (1, None, None, 5)
    assert measured(5).joined(measured(1, start=NOON - 2 * HOUR)).values == (1, None, 5)
    assert measured().joined(measured(1)).values == (1,)
    assert measured(1).joined(measured()).values == (1,)


def test_a_correction_replaces():
    """Of two measured values the one given later is taken."""
    assert measured(1).joined(measured(2)).values == (2,)


def test_steps_that_do_not_meet():
    """Hourly steps from the full hour and from half past refuse to join."""
    with pytest.raises(UsageError, match="whose steps begin at"):
        measured(1).joined(measured(2, start=NOON + 0.5 * HOUR))


def test_aligned_coarser():
    """Quarters become an hour by their mean; one without all its quarters is a gap or left out."""
    start = NOON - timedelta(minutes=15)
    quarters = measured(9, 1, 2, 3, 4, 1, None, 1, 1, 7, start=start, step_s=900)

    hourly = quarters.aligned(3600)

    assert hourly.start_utc == NOON
    assert hourly.values == (2.5, None)


def test_aligned_finer():
    """An hour becomes four quarters of its value, and keeps its mean."""
    assert measured(8, 4).aligned(900).values == (8,) * 4 + (4,) * 4


@pytest.mark.parametrize("step_s", [0, -3600, 5400, 2000])
def test_aligned_refuses(step_s):
    """Steps of which neither holds the other whole are refused."""
    with pytest.raises(UsageError, match="cannot be put into steps"):
        measured(1, 2).aligned(step_s)


@given(VALUES, st.sampled_from([900, 1800, 1200]))
def test_finer_and_back(values, step_s):
    """Put into finer steps and back, a signal holds the same values."""
    signal = measured(*values)

    assert signal.aligned(step_s).aligned(3600).values == pytest.approx(signal.values)


def test_points_keep_what_is_known_of_them():
    """A coarser step is as estimated as its parts and has their interval."""
    parts = (SignalPoint(2, NOON, True, 1, 3), SignalPoint(4, NOON + HOUR, False, 3, 5))

    (hour,) = Signal("DE", Meaning(), NOON, 1800, parts).aligned(3600).points

    assert hour == SignalPoint(3, NOON + HOUR, True, 2, 4)


def test_estimated_share():
    """The share of values that the provider made up is told; gaps do not count."""
    points = (SignalPoint(1, estimated=True), SignalPoint(1), SignalPoint(None, estimated=True))

    assert Signal("SG", Meaning(), NOON, 3600, points).estimated_share == 0.5
    assert measured(None).estimated_share == 0


def test_cheapest():
    """The lowest steps are named in time order; of equals the earlier; never a gap."""
    assert measured(5, 1, None, 1, 3, 1).cheapest(2) == (1, 3)
    assert measured(5, 1, None).cheapest(9) == (0, 1)


@given(
    st.lists(
        st.builds(
            SignalPoint,
            st.one_of(st.none(), st.floats(-10, 10)),
            st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
            st.booleans(),
            st.one_of(st.none(), st.floats(-10, 10)),
            st.one_of(st.none(), st.floats(-10, 10)),
        ),
        max_size=20,
    ),
    st.sampled_from([Meaning(), Meaning.price("EUR"), *[m for m, _ in UNLIKE]]),
)
def test_json(points, meaning):
    """A signal comes back from a file as it was."""
    signal = Signal("DE", meaning, NOON, 900, tuple(points), "a; b", 60)

    assert Signal.from_json(json.loads(json.dumps(signal.as_json()))) == signal


@pytest.mark.parametrize(
    "fault", [{"values": None}, {"kind": "nice"}, {"issued": [3]}, {"start_utc": "soon"}, {"low": [1, 2]}]
)
def test_json_refused(fault):
    """What describes no signal is refused in one line."""
    told = {**measured(1).as_json(), **fault}

    with pytest.raises(UsageError, match="this is no signal"):
        Signal.from_json(told)


def test_gaps():
    """Gaps are counted."""
    assert measured(1, None, None).gaps == 2


def test_no_step():
    """A step of no length is refused."""
    with pytest.raises(ValueError, match="step is 0 s"):
        measured(1, step_s=0)
