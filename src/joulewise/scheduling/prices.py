"""Prices as a signal: a tariff by time of use in steps of a quarter of an hour, for the planner's objective `cost`.

Every zone's offset from UTC and every band that people write begin at a quarter; a band that does not is refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from math import ceil

from joulewise.catalogue.tariffs import Tariff
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.signal import Meaning, Scope, Signal, utc

STEP_S = 900


def tariff_signal(
    tariff: Tariff, zone: str, start: datetime, end: datetime, clock: tzinfo | None = None
) -> Signal:
    """Return what a kWh costs from `start` to `end`, by the wall clock of `clock` (None: this machine's)."""
    odd = [b for b in tariff.bands if b.start_minute % 15 or b.end_minute % 15]
    if odd:
        raise UsageError(
            f"tariff '{tariff}' has a band that begins or ends between two quarters of an hour; plans need whole quarters"
        )
    first = utc(start).replace(minute=0, second=0, microsecond=0)
    count = max(1, ceil((utc(end) - first).total_seconds() / STEP_S))
    times = (first + timedelta(seconds=STEP_S * n) for n in range(count))
    values = [tariff.price_at(when, clock) for when in times]
    meaning = Meaning.price(tariff.currency, Scope.TARIFF)
    return Signal.of(zone, values, first, step_s=STEP_S, meaning=meaning, source=f"tariff {tariff}")
