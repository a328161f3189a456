from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from joulewise.catalogue.tariffs import Tariff
from joulewise.scheduling.prices import tariff_signal
from joulewise.vocabulary.errors import UsageError

NIGHT = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def test_a_tariff_is_priced_by_the_local_clock():
    """A night price holds from 22:00 to 06:00 by the wall clock, through the hour that comes twice."""
    tariff = Tariff.parse("0.32EUR 22:00-06:00=0.21EUR")
    signal = tariff_signal(tariff, "DE", NIGHT, NIGHT + timedelta(hours=8), BERLIN)
    dear = [when for when, value in zip(signal.times(), signal.values, strict=True) if value == 0.32]

    assert signal.meaning.unit == "EUR/kWh"
    assert dear[0] == datetime(2026, 10, 25, 5, 0, tzinfo=UTC)  # 06:00 in winter time
    assert signal.end_utc >= NIGHT + timedelta(hours=8)


def test_a_band_between_quarters_is_refused():
    """A band that begins at seven past cannot be planned in quarters, and the line says so."""
    with pytest.raises(UsageError, match="whole quarters"):
        tariff_signal(Tariff.parse("0.3EUR 22:07-06:00=0.2EUR"), "DE", NIGHT, NIGHT + timedelta(hours=1))
