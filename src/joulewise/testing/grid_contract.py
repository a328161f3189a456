# ruff: noqa: S101 - a contract is a test
"""What every source of grid signals promises, as a test class to inherit (pytest).

    class TestMySource(SourceContract):
        @pytest.fixture
        def rig(self, services, fetcher) -> SourceRig:
            return SourceRig(MySource(fetcher, KEY, services.base("mine")), "DE", secrets=(KEY,))

The fixtures give the doubles of `testing.grid` at a fixed time and a Fetcher that never really sleeps. A promise that a
source cannot be held to (no forecast, no prices) is skipped and says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from joulewise.grid.fetching import Fetcher
from joulewise.grid.sources.port import Source
from joulewise.testing.clock import FakeClock
from joulewise.testing.grid import GridServices
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Kind, Signal, require_like

NOW = datetime(2026, 3, 30, 9, 20, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_FAULTS = ("401", "403", "404", "429", "500", "503", "silent", "cut", "torn", "html", "empty", "redirect")


@dataclass(frozen=True, slots=True)
class SourceRig:
    """A source on its double: the zone to ask, what it promises to have, and how exactly it tells the truth.

    `lag` is how late measured values are; `secrets` are texts that must never be seen.
    """

    source: Source
    zone: str
    has_ahead: bool = True
    has_prices: bool = False
    exact_to: float = 0.6
    lag: timedelta = _HOUR
    secrets: tuple[str, ...] = ()


class SourceContract:
    """What every source keeps. Inherit, and give the fixture `rig`."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Return a clock at a fixed time, in the night after the clocks went forward in Europe."""
        return FakeClock(NOW)

    @pytest.fixture
    def services(self, clock: FakeClock) -> Iterator[GridServices]:
        """Yield the doubles."""
        with GridServices(clock) as services:
            yield services

    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        """Return where answers are kept."""
        return tmp_path / "kept"

    @pytest.fixture
    def fetcher(self, clock: FakeClock, cache: Path, request: pytest.FixtureRequest) -> Fetcher:
        """Return a fetcher whose pauses move the clock and take no time; only of a silent service it soon has enough."""
        return Fetcher(cache, clock, clock.sleep, timeout_s=0.2 if "silent" in request.node.name else 20.0)

    @pytest.fixture
    def rig(self) -> SourceRig:
        """Return the source under test."""
        raise NotImplementedError("give the fixture `rig`: a SourceRig with your source on its double")

    def test_knows_its_zone(self, rig: SourceRig) -> None:
        """The source knows its zone without being asked over the network, and no zone without a name."""
        assert rig.source.covers(rig.zone)
        assert not rig.source.covers("")

    def test_past_is_the_truth(self, rig: SourceRig, services: GridServices) -> None:
        """Every measured step of two days has the service's value at its time; nothing later than now is measured."""
        past = _past(rig, NOW - 48 * _HOUR)

        assert not any(p.forecast for p in past.points)
        assert past.end_utc <= NOW + _HOUR
        assert past.end_utc >= NOW - rig.lag - 2 * _HOUR
        assert past.start_utc <= NOW - 47 * _HOUR
        assert past.gaps == 0
        _is_truth(rig, services, past)

    def test_a_long_past(self, rig: SourceRig, services: GridServices) -> None:
        """Five weeks come whole, however many questions the service wants for them."""
        past = _past(rig, NOW - timedelta(days=35))

        assert past.gaps == 0
        assert past.start_utc <= NOW - timedelta(days=34, hours=23)
        _is_truth(rig, services, past)

    def test_ahead_is_its_forecast(self, rig: SourceRig, services: GridServices) -> None:
        """The forecast is the service's own, for at least 12 h from now, and issued by now."""
        services.forecast_error = 50.0
        ahead = _ahead(rig)

        assert all(p.issued_utc is not None and p.issued_utc <= NOW for p in ahead.points)
        assert ahead.end_utc >= NOW + 12 * _HOUR
        assert ahead.end_utc > NOW
        assert ahead.start_utc >= NOW - _HOUR
        _is_truth(rig, services, ahead, 50.0)

    def test_past_and_ahead_are_of_one_meaning(self, rig: SourceRig) -> None:
        """What was and what is to come may be joined, and mean carbon."""
        ahead = _ahead(rig)
        past = _past(rig, NOW - 24 * _HOUR)

        require_like((past, ahead))
        assert past.meaning.kind is not Kind.PRICE
        assert past.source == ahead.source == rig.source.name
        assert past.joined(ahead.aligned(past.step_s) if ahead.step_s != past.step_s else ahead).gaps < len(
            past
        )

    def test_prices(self, rig: SourceRig, services: GridServices) -> None:
        """Prices are told in money per kWh, those below zero as well; a source without them says None."""
        prices = rig.source.prices(rig.zone, NOW - 24 * _HOUR, NOW + 6 * _HOUR)
        if not rig.has_prices:
            assert prices is None
            return
        assert prices is not None
        assert prices.meaning.kind is Kind.PRICE
        assert prices.gaps == 0
        for when, point in zip(prices.times(), prices.points, strict=True):
            expected = (services.truth(when.replace(minute=0)) / 10 - 5) / 1000
            assert point.value == pytest.approx(expected, abs=1e-5)

    def test_nulls_are_gaps(self, rig: SourceRig, services: GridServices) -> None:
        """An hour without a value is a gap, never zero, and spoils no other hour."""
        hole = NOW.replace(minute=0) - 40 * _HOUR
        services.nulls = {hole}
        past = _past(rig, NOW - 48 * _HOUR)

        assert past.at(hole) is None
        assert past.gaps == 3600 // past.step_s
        _is_truth(rig, services, past)

    def test_missing_rows_are_gaps(self, rig: SourceRig, services: GridServices) -> None:
        """An hour that the service leaves out is a gap, and shifts no other hour."""
        hole = NOW.replace(minute=0) - 40 * _HOUR
        services.missing = {hole, hole + _HOUR}
        past = _past(rig, NOW - 48 * _HOUR)

        assert past.at(hole) is None
        assert past.gaps == 2 * 3600 // past.step_s
        _is_truth(rig, services, past)

    def test_doubled_rows_count_once(self, rig: SourceRig, services: GridServices) -> None:
        """Of an hour told twice the later telling counts, and no hour is shifted."""
        services.doubled = {NOW.replace(minute=0) - n * _HOUR for n in (30, 31, 40)}
        past = _past(rig, NOW - 48 * _HOUR)

        assert past.gaps == 0
        _is_truth(rig, services, past)

    @pytest.mark.parametrize("night", ["2026-03-29", "2025-10-26"])
    def test_nights_of_the_clock_change(
        self, rig: SourceRig, services: GridServices, clock: FakeClock, night: str
    ) -> None:
        """The days on which Europe changes its clocks have 24 hours in UTC, each with its own value."""
        start = datetime.fromisoformat(f"{night}T00:00+00:00")
        clock.set_utc(start + timedelta(days=3))
        past = rig.source.past(rig.zone, start, start + timedelta(days=1))

        assert past is not None
        day = past.between(start, start + timedelta(days=1))
        assert len(day) * day.step_s == 86400
        assert day.gaps == 0
        _is_truth(rig, services, day)

    @pytest.mark.parametrize("fault", _FAULTS)
    def test_faults(self, rig: SourceRig, services: GridServices, cache: Path, fault: str) -> None:
        """Whatever goes wrong is one GridError of one line that names the service and holds no key."""
        services.fault = fault
        with pytest.raises(GridError) as caught:
            rig.source.past(rig.zone, NOW - 20 * _HOUR, NOW)

        told = str(caught.value)
        assert rig.source.name in told
        assert "\n" not in told
        assert not any(secret in told for secret in rig.secrets)
        assert not any(secret in repr(caught.value.__cause__) for secret in rig.secrets)
        assert not _seen(cache, rig.secrets)

    def test_a_fault_that_passes(self, rig: SourceRig, services: GridServices) -> None:
        """After two answers of 503 the third is taken."""
        services.fault, services.fault_times = "503", 2

        assert _past(rig, NOW - 20 * _HOUR - rig.lag).gaps == 0

    def test_a_short_retry_after_is_waited_for(
        self, rig: SourceRig, services: GridServices, clock: FakeClock
    ) -> None:
        """A service that asks for five seconds gets them, and is asked again."""
        services.fault, services.fault_times, services.retry_after = "429", 1, "5"
        begun = clock.monotonic_s()

        assert _past(rig, NOW - 20 * _HOUR - rig.lag).gaps == 0
        assert clock.monotonic_s() - begun >= 5

    def test_a_long_retry_after_is_kept(
        self, rig: SourceRig, services: GridServices, clock: FakeClock
    ) -> None:
        """A service that asks for ten minutes is left alone so long, without a packet, and then asked again."""
        services.fault, services.fault_times, services.retry_after = "429", 1, "600"
        start = NOW - 20 * _HOUR - rig.lag
        with pytest.raises(GridError, match="429"):
            rig.source.past(rig.zone, start, NOW)
        asked = len(services.requests)
        clock.sleep(300)
        with pytest.raises(GridError, match="not to be asked"):
            rig.source.past(rig.zone, start, NOW)
        assert len(services.requests) == asked

        clock.sleep(301)
        assert _past(rig, start).gaps == 0

    def test_asked_no_more_often_than_its_step(
        self, rig: SourceRig, services: GridServices, clock: FakeClock
    ) -> None:
        """The same question within one step of the service is answered from what was kept, and after it is asked anew."""
        start = NOW - 20 * _HOUR - rig.lag
        first = rig.source.past(rig.zone, start, clock.now_utc())
        asked = len(services.requests)
        clock.sleep(rig.source.step_s / 10)

        assert rig.source.past(rig.zone, start, clock.now_utc()) == first
        assert len(services.requests) == asked

        clock.sleep(rig.source.step_s)
        rig.source.past(rig.zone, start, clock.now_utc())
        assert len(services.requests) > asked

    def test_keys_are_kept_nowhere(self, rig: SourceRig, services: GridServices, cache: Path) -> None:
        """No kept file holds a key, or a token made of one, and only the user can read what is kept."""
        _past(rig, NOW - 20 * _HOUR - rig.lag)
        if rig.has_ahead:
            _ahead(rig)

        files = [p for p in cache.rglob("*") if p.is_file()]
        assert files
        assert not _seen(cache, rig.secrets)
        assert all(p.stat().st_mode & 0o077 == 0 for p in files)
        assert services.requests


def _past(rig: SourceRig, start: datetime) -> Signal:
    past = rig.source.past(rig.zone, start, NOW)
    assert past is not None
    return past


def _ahead(rig: SourceRig) -> Signal:
    if not rig.has_ahead:
        pytest.skip(f"{rig.source.name} publishes no forecast")
    ahead = rig.source.ahead(rig.zone)
    assert ahead is not None
    return ahead


def _is_truth(rig: SourceRig, services: GridServices, signal: Signal, error: float = 0.0) -> None:
    for when, point in zip(signal.times(), signal.points, strict=True):
        if point.value is not None:
            expected = services.truth(when.replace(minute=0, second=0)) + error
            assert point.value == pytest.approx(expected, abs=rig.exact_to), when


def _seen(folder: Path, secrets: tuple[str, ...]) -> list[str]:
    texts = [p.read_text(encoding="utf-8") + p.name for p in folder.rglob("*") if p.is_file()]
    return [s for s in secrets if any(s in text for text in texts)]
