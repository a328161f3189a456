"""Place and grid: the zone of a recording, the services that may be asked, what a plan rests on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulewise import settings as settings_room
from joulewise.settings import Settings
from joulewise.vocabulary.clock import SystemClock
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.recording import Machine, Recording
from joulewise.wiring.chosen import settings

if TYPE_CHECKING:
    from datetime import datetime

    from joulewise.catalogue.cloud import CloudAnswer
    from joulewise.catalogue.place import Place
    from joulewise.grid.at_hand import Outlook
    from joulewise.grid.sources.port import Source
    from joulewise.scheduling.plan import Grid
    from joulewise.vocabulary.signal import Meaning, Signal


def place(
    recording: Recording | None = None, zone: str | None = None, chosen: Settings | None = None
) -> Place:
    """Return the place of a recording, or of this machine: its zone unless told otherwise, the settings' PUE and tariff."""
    from joulewise.catalogue.place import place as place_of

    chosen = chosen or settings()
    facts: Mapping[str, Any] = (recording.machine if recording else _this_machine()).facts
    told: Mapping[str, Any] = recording.metadata if recording else {}
    here = place_of(
        zone or str(told.get("zone", "")) or ("" if chosen.zone == "auto" else chosen.zone) or None,
        kind=str(told["cloud"]) if told.get("cloud") else None,
        chassis=str(facts.get("chassis", "unknown")),
        tariff=chosen.tariff or None,
        pue_value=chosen.pue or None,
        wall_calibration=chosen.wall_factor or None,
        cloud=_cloud(zone),
    )
    hourly = _hourly(here, recording, chosen) if recording is not None else None
    return here if hourly is None else replace(here, hourly=hourly)


def _hourly(here: Place, recording: Recording, chosen: Settings) -> Signal | None:
    """Return the intensity of the recording's hours where any was kept: actual values, and forecasts of the rest."""
    if here.zone is None or not chosen.grid or not os.path.isdir(os.path.join(chosen.grid, here.zone.code)):
        return None
    from datetime import timedelta

    from joulewise.grid.at_hand import recorded
    from joulewise.grid.history import History

    end_utc = recording.started_utc + timedelta(seconds=recording.duration_s)
    return recorded(History(Path(chosen.grid)), here.zone.code, recording.started_utc, end_utc)


def grid_zone(text: str) -> str:
    """Return the code under which the grid room keeps a zone: the catalogue's where it knows it, else as given."""
    from joulewise.catalogue.zones import find_zone

    try:
        return find_zone(text).code
    except UnknownName:
        # services know more zones than the catalogue: CAISO_NORTH, US-TEX-ERCO, GB-13
        if re.fullmatch(r"[A-Z][A-Z0-9]+([-_][A-Z0-9]+)+", text):
            return text
        raise


def grid_sources(chosen: Settings, keys: Mapping[str, str] | None = None) -> list[Source]:
    """Return the services that may be asked, best first: those that need no key, and those whose key is there."""
    from joulewise.grid.fetching import Fetcher
    from joulewise.grid.keys import read_keys
    from joulewise.grid.sources.carbon_aware_sdk import CarbonAwareSdk
    from joulewise.grid.sources.eia import Eia
    from joulewise.grid.sources.electricity_maps import ElectricityMaps
    from joulewise.grid.sources.energy_charts import EnergyCharts
    from joulewise.grid.sources.entsoe import Entsoe
    from joulewise.grid.sources.uk_carbon_intensity import UkCarbonIntensity
    from joulewise.grid.sources.watttime import WattTime

    user = settings_room.user_file()
    if keys is None:
        keys = read_keys(user.with_name("keys.toml") if user else None)
    fetcher = Fetcher(Path(chosen.grid) / "answers" if chosen.grid else None)
    found: list[Source] = []
    if keys.get("electricitymaps"):
        found.append(ElectricityMaps(fetcher, keys["electricitymaps"]))
    found += [UkCarbonIntensity(fetcher), EnergyCharts(fetcher)]
    if keys.get("entsoe"):
        found.append(Entsoe(fetcher, keys["entsoe"]))
    if keys.get("eia"):
        found.append(Eia(fetcher, keys["eia"]))
    if chosen.carbon_aware_sdk:
        found.append(CarbonAwareSdk(fetcher, *_sdk(chosen.carbon_aware_sdk)))
    if keys.get("watttime"):
        found.append(WattTime(fetcher, keys["watttime"]))
    return found


def prices(zone: str, hours: int = 24, now: datetime | None = None) -> Signal | None:
    """Return the day-ahead prices that were kept of a zone's coming hours (`outlook(online=True)` fetches them); None without."""
    from joulewise.grid.at_hand import prices as prices_of
    from joulewise.grid.history import History

    chosen = settings()
    if not chosen.grid:
        return None
    return prices_of(History(Path(chosen.grid)), grid_zone(zone), now or SystemClock().now_utc(), hours)


def _sdk(text: str) -> tuple[str, Meaning]:
    """Return address and meaning of the carbon-aware-sdk from its setting: `http://host:port average`."""
    from joulewise.vocabulary.signal import Factors, Kind, Meaning, Scope

    address, _, kind = text.partition(" ")
    kinds = {
        "average": Meaning(),
        "marginal": Meaning(Kind.MARGINAL, Factors.DIRECT, Scope.PRODUCTION),
    }
    if kind.strip() not in kinds:
        raise UsageError(
            f"carbon_aware_sdk is {text!r}, but must be its address and what it serves: 'http://localhost:8080 average' or 'marginal'"
        )
    return address, kinds[kind.strip()]


def outlook(
    zone: str,
    hours: int = 24,
    *,
    online: bool = False,
    history_file: Path | None = None,
    sources: Sequence[Source] | None = None,
    now: datetime | None = None,
) -> Outlook:
    """Return the coming hours of a zone by the best that is at hand; services are asked only with `online`.

    `history_file` stands before what was kept. What a service answers is kept for the next time.
    """
    from joulewise.catalogue.zones import find_zone
    from joulewise.grid.at_hand import outlook as outlook_of
    from joulewise.grid.at_hand import renew
    from joulewise.grid.history import History, read_file
    from joulewise.grid.profile import shipped

    chosen = settings()
    code = grid_zone(zone)
    now = now or SystemClock().now_utc()
    history = History(Path(chosen.grid)) if chosen.grid else None
    notes: list[str] = []
    if online or chosen.online:
        if history is None:
            raise UsageError(
                "there is no place to keep what services answer: no home folder is known; set JOULEWISE_HOME"
            )
        notes += renew(grid_sources(chosen) if sources is None else sources, history, code, now)
    past = read_file(history_file, code) if history_file else (history.past(code) if history else None)
    published = history.issues(code, past.meaning if past else None) if history else []
    try:
        yearly = find_zone(code)
    except UnknownName:
        yearly = None
    typical = shipped(code)
    if past is None and not published and typical is None and yearly is None:
        notes.append(f"nothing is known of {code}: the world's mean is used")
    return outlook_of(
        code, now, hours, past=past, published=published, shipped=typical, yearly=yearly, notes=notes
    )


def planning_grid(
    zones: Sequence[str],
    at_utc: datetime,
    until_utc: datetime,
    histories: Mapping[str, str],
    *,
    online: bool = False,
    priced: bool = False,
) -> Grid:
    """Return the signals that a plan rests on: for each zone the best outlook at hand, and the tariff's prices.

    `histories` names a file of measured intensities by zone. What an outlook had to do without stands in its source.
    `priced` says that prices are needed: without a tariff the day-ahead prices that were kept stand in.
    """
    from math import ceil

    from joulewise.catalogue.tariffs import Tariff
    from joulewise.scheduling.plan import Grid
    from joulewise.scheduling.prices import tariff_signal

    hour = at_utc.replace(minute=0, second=0, microsecond=0)
    hours = ceil((until_utc - hour).total_seconds() / 3600)
    carbon, trust = {}, {}
    for zone in zones:
        file = histories.get(zone)
        told = outlook(zone, hours, online=online, history_file=Path(file) if file else None, now=at_utc)
        origin = told.signal.source or told.method
        head = origin if told.method in origin else f"{told.method}: {origin}"
        source = "; ".join(dict.fromkeys((head, *told.notes)))
        carbon[zone], trust[zone] = replace(told.signal, source=source), told.kept
    chosen = settings()
    if chosen.tariff:
        tariff = Tariff.parse(chosen.tariff)
        return Grid(carbon, {zone: tariff_signal(tariff, zone, at_utc, until_utc) for zone in zones}, trust)
    kept = {zone: price for zone in zones if (price := prices(zone, hours, at_utc))} if priced else {}
    return Grid(
        carbon,
        {zone: replace(s, source=f"day-ahead of {s.source or 'a service'}") for zone, s in kept.items()},
        trust,
    )


def actual(zone: str, start: datetime, end: datetime) -> Signal | None:
    """Return what the grid really did in these hours, from what was kept; None where an hour is not known yet."""
    from joulewise.grid.history import History

    chosen = settings()
    past = History(Path(chosen.grid)).past(zone) if chosen.grid else None
    if past is None or past.start_utc > start or past.end_utc < end:
        return None
    part = past.between(start, end)
    return None if part.gaps else part


def _this_machine() -> Machine:
    from joulewise.measuring.machine import machine

    return machine()


def _cloud(zone: str | None) -> CloudAnswer | None:
    if zone != "auto":
        return None
    from joulewise.catalogue.cloud import ask_cloud

    return ask_cloud()
