"""What is at hand: the ladder down, each rung said, and grams by the hour."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from joulewise.catalogue.zones import find_zone
from joulewise.grid.at_hand import carbon_of, outlook, prices, recorded, renew
from joulewise.grid.history import History
from joulewise.grid.profile import shipped
from joulewise.vocabulary.errors import GridError, UsageError
from joulewise.vocabulary.figures import Basis
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.signal import Kind, Meaning, Signal, SignalPoint
from tests.grid.worlds import HOUR, START, signal, sunny

NOW = START + 240 * HOUR


def test_the_first_rung():
    """With history and a published forecast both are blended, and nothing is missing."""
    found = outlook(
        "DE", NOW, 24, past=sunny(240), published=[signal([300] * 48, NOW, issued_utc=NOW, source="service")]
    )

    assert "blend" in found.method
    assert found.notes == ()
    assert found.history_h == 240


def test_history_alone():
    """Without a published forecast history is used, and that is said."""
    found = outlook("DE", NOW, 24, past=sunny(240))

    assert "blend" in found.method
    assert "history alone" in found.notes[0]


def test_old_history_makes_typical_hours():
    """History that ended a month ago is used as typical hours only."""
    found = outlook("DE", NOW + timedelta(days=30), 24, past=sunny(40 * 24, START - 30 * 24 * HOUR))

    assert found.method == "typical month by hour"
    assert "no forecast can be made" in found.notes[0]
    assert found.signal.cheapest(1) == (13,)


def test_shipped():
    """California without anything of the user's takes the shipped profile."""
    found = outlook("US-CA", NOW, 24, shipped=shipped("US-CA"), notes=["the service was down"])

    assert found.method == "typical month by hour"
    assert found.notes[0] == "the service was down"
    assert "EIA-930" in found.signal.source


def test_the_last_rung():
    """Where nothing else is known, every hour is the yearly mean, with its wide interval, and is an estimate."""
    found = outlook("DE", NOW, 5, yearly=find_zone("DE"))

    assert found.method == "yearly mean"
    assert set(found.signal.values) == {find_zone("DE").g_per_kwh}
    assert found.signal.estimated_share == 1
    assert all(p.low < 0.5 * p.value for p in found.signal.points)
    assert len(found.notes) == 2


def test_no_zone():
    """A zone that nobody knows has the world's range."""
    assert "world" in outlook("XX", NOW, 2).signal.source


def test_no_future():
    """What comes later changes no outlook."""
    later = sunny(480)
    trap = signal([1.0] * 96, NOW, issued_utc=NOW + HOUR)
    poisoned = Signal("DE", later.meaning, START, 3600, later.points[:240] + (SignalPoint(9e9),) * 240)

    assert outlook("DE", NOW, 24, past=poisoned, published=[trap]) == outlook("DE", NOW, 24, past=later)


class Service:
    """A source in memory."""

    step_s = 3600

    def __init__(self, name, past=None, ahead=None, zones=("DE",), prices=None) -> None:
        self.name, self._past, self._ahead, self._zones = name, past, ahead, zones
        self._prices = prices
        self.asked: list[tuple[datetime, datetime]] = []

    def covers(self, zone):
        return zone in self._zones

    def past(self, zone, start, end):
        self.asked.append((start, end))
        return self._tell(self._past)

    def ahead(self, zone):
        return self._tell(self._ahead)

    def prices(self, zone, start, end):
        return self._tell(self._prices)

    def _tell(self, told):
        if isinstance(told, str):
            raise GridError(f"{self.name} {told}")
        return told


def test_renew_takes_the_first_that_answers(tmp_path):
    """A service that fails is noted and the next is asked; the one after a success is not; others' zones neither."""
    broken = Service("A", "is out of order", "is out of order")
    good = Service(
        "B", signal([1, 2], NOW - 2 * HOUR, source="B"), signal([3], NOW, issued_utc=NOW, source="B")
    )
    spare, foreign = Service("C", signal([9])), Service("D", zones=("FR",))
    history = History(tmp_path)

    notes = renew([broken, foreign, good, spare], history, "DE", NOW)

    assert notes == ["A is out of order (history)", "A is out of order (forecast)"]
    assert (len(good.asked), spare.asked, foreign.asked) == (1, [], [])
    past = history.past("DE")
    assert past is not None
    assert list(past.values) == [1, 2]
    assert len(history.issues("DE")) == 1


def test_renew_asks_only_what_is_new(tmp_path):
    """What was kept is not asked again, save for its last day."""
    service = Service("B", signal([1] * 200, NOW - 200 * HOUR, source="B"))
    history = History(tmp_path)
    renew([service], history, "DE", NOW)
    renew([service], history, "DE", NOW + 5 * HOUR)

    assert [end - start for start, end in service.asked] == [timedelta(days=28), timedelta(hours=29)]


def test_renew_with_nobody_to_ask(tmp_path):
    """Where no service knows the zone, that is said."""
    assert renew([], History(tmp_path), "DE", NOW) == ["no service that may be asked knows DE"]
    empty = Service("B")
    assert renew([empty], History(tmp_path), "DE", NOW) == []


def test_carbon_of_weighs_by_joules():
    """Nine tenths of a kWh in a clean hour and one in a dirty one are the grams of both."""
    grid = signal([100, 500])
    series = [(0.0, 0.0), (3600.0, 0.9 * JOULES_PER_KWH), (7200.0, JOULES_PER_KWH)]

    grams = carbon_of(series, grid, START)

    assert grams.value == pytest.approx(0.9 * 100 + 0.1 * 500)
    assert grams.low < grams.value < grams.high
    assert grams.basis is Basis.MODELLED


def test_better_data_make_a_better_figure():
    """The same joules over a forecast are assumed, over the actual values modelled: nothing of the run changes."""
    series = [(0.0, 0.0), (7200.0, JOULES_PER_KWH)]
    guess = signal([100, 100], issued_utc=START)

    before, after = (
        carbon_of(series, guess, START),
        carbon_of(series, guess.joined(signal([200, 300])), START),
    )

    assert (before.value, before.basis) == (100, Basis.ASSUMED)
    assert (after.value, after.basis) == (250, Basis.MODELLED)


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        (signal([100]), "knows 50% of the joules"),
        (signal([100, None]), "knows 50% of the joules"),
        (signal([100, 100], START - 50 * HOUR), "knows 0% of the joules"),
        (signal([100, 100], meaning=Meaning(kind=Kind.MARGINAL)), "marginal signal of DE"),
        (signal([0.1, 0.1], meaning=Meaning.price("EUR")), "price signal"),
    ],
)
def test_carbon_of_refuses_to_guess(grid, why):
    """Where hours are not known, or the signal is no average, there are no grams: no silent remainder."""
    with pytest.raises(UsageError, match=why):
        carbon_of([(0.0, 0.0), (7200.0, JOULES_PER_KWH)], grid, START)


def test_carbon_of_nothing():
    """A series that does not grow holds no joules."""
    for series in ([], [(0.0, 5.0), (10.0, 5.0)]):
        with pytest.raises(UsageError, match="no joules"):
            carbon_of(series, signal([1]), START)


def test_recorded(tmp_path):
    """Of hours that were, actual values are taken, else the newest forecast of them; marginal ones never."""
    history = History(tmp_path)
    assert recorded(history, "DE", START, START + 3 * HOUR) is None
    history.add(signal([1, 2], source="a"))
    history.add(signal([8, 8, 8, 8], START, issued_utc=START - 2 * HOUR, source="a"))
    history.add(signal([9, 9, 9, 9], START, issued_utc=START - HOUR, source="a"))

    found = recorded(history, "DE", START + HOUR, START + 4 * HOUR)

    assert found is not None
    assert list(found.values) == [2, 9, 9]
    assert recorded(history, "DE", START + 90 * HOUR, START + 95 * HOUR) is None


def test_prices(tmp_path):
    """Day-ahead prices are kept, known from when they were told, and never mixed with carbon."""
    told = Signal.of("DE", [0.1, -0.02, 0.3, 0.4], NOW - HOUR, meaning=Meaning.price("EUR"), source="B")
    history = History(tmp_path)

    notes = renew([Service("A", prices="is out of order"), Service("B", prices=told)], history, "DE", NOW)

    assert notes == ["A is out of order (prices)"]
    found = prices(history, "DE", NOW + 0.5 * HOUR, 24)
    assert found is not None
    assert list(found.values) == [-0.02, 0.3, 0.4]
    assert found.meaning.kind is Kind.PRICE
    assert prices(history, "DE", NOW - HOUR, 24) is None
    assert prices(history, "FR", NOW, 24) is None
    assert history.past("DE") is None
    assert history.issues("DE") == []
