"""What is known of the past: the user's own file, and what was fetched before and kept.

    read_file("germany.csv", "DE")          a CSV or Parquet file as one Signal
    History(folder).add(signal)             keep what a source answered; forecasts by their issue time
    History(folder).past("DE")              the measured values kept
    History(folder).issues("DE")            the forecasts kept, each as it was issued (learning needs them)

A file's times may be in UTC, have offsets, or be local with a time zone named: then a doubled hour is read in its order,
and an hour that does not exist is refused. Of doubled rows the later counts, missing rows become gaps. Nothing secret
ever comes here: signals know no keys.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.signal import Factors, Kind, Meaning, Scope, Signal, SignalPoint, newest_known

_TIMES = (
    "datetime_utc",
    "datetime (utc)",
    "datetime",
    "time",
    "timestamp",
    "date",
    "from",
    "start",
    "period",
)
_ISSUE = "%Y%m%dT%H%M%SZ"
_ISSUES_KEPT, _ISSUES_WHOLE, _THINNED_S = timedelta(days=125), timedelta(days=3), 6 * 3600
_TRUE = ("1", "true", "yes", "t")
_PRICE = re.compile(r"price.*?([a-z]{3})[ _/]*(?:per[ _])?(k|m)wh", re.IGNORECASE)


def read_file(
    path: Path,
    zone: str,
    *,
    column: str | None = None,
    timezone: tzinfo | None = None,
    meaning: Meaning | None = None,
) -> Signal:
    """Return the measured signal in a CSV or Parquet file (first row: names of columns).

    The time column is the first of the usual names; the value column is `column`, or the first that speaks of
    lifecycle, then direct, intensity, carbon or price. Its name decides what the values mean unless `meaning` does.
    """
    rows = _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _csv(path)
    if not rows:
        raise UsageError(f"{path} has no rows")
    names = {name.strip().casefold(): name for name in rows[0]}
    time_name = next((names[n] for n in _TIMES if n in names), None)
    if time_name is None:
        raise UsageError(
            f"{path} has no column of times; name one of its columns ({', '.join(rows[0])}) datetime_utc"
        )
    value_name = _value_name(path, names, column)
    estimated = next(
        (
            original
            for folded, original in names.items()
            if folded in ("estimated", "is_estimated", "data estimated")
        ),
        None,
    )
    if timezone is None and "utc" in time_name.casefold():
        timezone = UTC
    read = _Times(path, timezone)
    points: dict[datetime, SignalPoint] = {}
    mean, scale = (meaning, 1.0) if meaning else _meaning(value_name)
    for line, row in enumerate(rows, 2):
        when = read.read(row[time_name], line)
        made_up = estimated is not None and str(row[estimated]).strip().casefold() in _TRUE
        points[when] = SignalPoint(_number(path, row[value_name], line, scale), estimated=made_up)
    return _series(path, zone, mean, points)


@dataclass(frozen=True, slots=True)
class History:
    """A folder of signals, one file for each zone, meaning and service, private to the user."""

    folder: Path

    def add(self, signal: Signal) -> None:
        """Keep a signal: measured values join those kept, forecasts are kept by their issue time."""
        actual = replace(signal, points=tuple(SignalPoint(None) if p.forecast else p for p in signal.points))
        if any(p.value is not None for p in actual.points):
            path = self._path(signal) / "actual.json"
            kept = _read(path)
            self._write(path, actual if kept is None else kept.joined(actual))
        issued = max((p.issued_utc for p in signal.points if p.issued_utc is not None), default=None)
        if issued is not None:
            self._write(self._path(signal) / f"{issued:{_ISSUE}}.json", signal)
            self._thin(self._path(signal), issued)

    def past(self, zone: str, meaning: Meaning | None = None) -> Signal | None:
        """Return the measured values of a zone; of several services and meanings the best that has any.

        Without `meaning` the best is: average before marginal, lifecycle before direct, consumption before
        production, then what reaches furthest; never a price.
        """
        found = list(self._actual(zone, meaning))
        return min(found, key=_rank) if found else None

    def issues(self, zone: str, meaning: Meaning | None = None, kind: Kind | None = None) -> list[Signal]:
        """Return the forecasts kept of a zone, oldest first: of one meaning, or of a kind such as prices.

        Without either, those that mean what `past` means, or else what the newest forecast of carbon means.
        """
        if meaning is None and kind is None and (best := self.past(zone)) is not None:
            meaning = best.meaning
        found = [
            signal
            for path in sorted(self.folder.glob(f"{_safe(zone)}/*/*T*Z.json"), key=lambda p: p.name)
            if (signal := _read(path)) is not None
        ]
        if meaning is not None:
            return [s for s in found if s.meaning == meaning]
        if kind is not None:
            return [s for s in found if s.meaning.kind is kind]
        carbon = [s for s in found if s.meaning.kind is not Kind.PRICE]
        return [s for s in carbon if s.meaning == carbon[-1].meaning]

    def published(self, zone: str, when: datetime, meaning: Meaning | None = None) -> Signal | None:
        """Return the newest forecast kept that was known at `when`."""
        return newest_known(self.issues(zone, meaning), when)

    def kept_until(self, zone: str, source: str) -> datetime | None:
        """Return the end of the measured values kept of a service; None where there are none."""
        ends = [
            s.end_utc
            for p in self.folder.glob(f"{_safe(zone)}/*/actual.json")
            if (s := _read(p)) and s.source == source
        ]
        return max(ends, default=None)

    def zones(self) -> list[str]:
        """Return the zones of which anything is kept."""
        return sorted(p.name for p in self.folder.iterdir() if p.is_dir()) if self.folder.is_dir() else []

    def _thin(self, folder: Path, newest: datetime) -> None:
        """Delete forecasts that no learning looks at, and of those of more than three days ago all but one in six hours."""
        seen: set[int] = set()
        for path in sorted(folder.glob("*T*Z.json")):
            try:
                issued = datetime.strptime(path.stem, _ISSUE).replace(tzinfo=UTC)
            except ValueError:
                continue
            part = int(issued.timestamp()) // _THINNED_S
            if newest - issued > _ISSUES_KEPT or (newest - issued > _ISSUES_WHOLE and part in seen):
                path.unlink(missing_ok=True)
            seen.add(part)

    def _actual(self, zone: str, meaning: Meaning | None) -> Iterator[Signal]:
        for path in sorted(self.folder.glob(f"{_safe(zone)}/*/actual.json")):
            signal = _read(path)
            if signal is None or (meaning is None and signal.meaning.kind is Kind.PRICE):
                continue
            if meaning is None or signal.meaning == meaning:
                yield signal

    def _path(self, signal: Signal) -> Path:
        m = signal.meaning
        told = "-".join(
            (signal.source.partition(":")[0], m.kind, m.factors, m.scope, m.unit.partition("/")[0])
        )
        return self.folder / _safe(signal.zone) / _safe(told)

    def _write(self, path: Path, signal: Signal) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = path.with_suffix(f".{os.getpid()}.new")
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            json.dump(signal.as_json(), file)
        os.replace(new, path)


def _read(path: Path) -> Signal | None:
    """Return a signal kept; None where the file is not there or damaged (it is fetched or measured anew)."""
    try:
        return Signal.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, UsageError):
        return None


def _rank(signal: Signal) -> tuple[int, int, int, float]:
    m = signal.meaning
    return (
        list(Kind).index(m.kind),
        list(Factors).index(m.factors),
        list(Scope).index(m.scope),
        -signal.end_utc.timestamp(),
    )


def _safe(text: str) -> str:
    """Return `text` as the name of a folder: nothing of it leaves its parent."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text) or "_"


def _csv(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise UsageError(f"{path}, line {line}: the row is cut off or longer than the first row")
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UsageError(
            f"reading {path} needs pyarrow: pip install 'joulewise[parquet]', or give a CSV file"
        ) from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return rows


def _value_name(path: Path, names: Mapping[str, str], column: str | None) -> str:
    if column is not None:
        if column.casefold() not in names:
            raise UsageError(f"{path} has no column {column!r}; it has {', '.join(names.values())}")
        return names[column.casefold()]
    for word in ("life", "direct", "intensity", "g_per_kwh", "co2", "carbon", "price", "value"):
        for folded, original in names.items():
            if word in folded and "estimated" not in folded:
                return original
    raise UsageError(
        f"{path} has no column of intensities or prices; name one (it has {', '.join(names.values())})"
    )


def _meaning(name: str) -> tuple[Meaning, float]:
    """Return what a column means by its name, and the factor to its unit."""
    priced = _PRICE.search(name)
    if priced:
        return Meaning.price(priced[1].upper()), 1e-3 if priced[2].casefold() == "m" else 1.0
    if "price" in name.casefold():
        raise UsageError(
            f"the column {name!r} does not tell its currency; name it for instance price_eur_per_mwh"
        )
    kind = Kind.MARGINAL if "marginal" in name.casefold() else Kind.AVERAGE
    factors = Factors.DIRECT if "direct" in name.casefold() else Factors.LIFECYCLE
    return Meaning(
        kind, factors, Scope.PRODUCTION if "production" in name.casefold() else Scope.CONSUMPTION
    ), 1.0


def _number(path: Path, text: Any, line: int, scale: float) -> float | None:
    if text is None or str(text).strip().casefold() in ("", "null", "none", "nan", "na", "-"):
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(f"{path}, line {line}: {text!r} is no number") from error
    if not isfinite(value):
        raise UsageError(f"{path}, line {line}: {text!r} is no number")
    return value * scale


class _Times:
    """Reads times in the order of a file; of a local hour that comes twice the second reading is the second hour."""

    def __init__(self, path: Path, timezone: tzinfo | None) -> None:
        self._path, self._timezone = path, timezone
        self._last: datetime | None = None

    def read(self, told: Any, line: int) -> datetime:
        """Return the time in UTC."""
        if isinstance(told, datetime):
            when = told
        else:
            try:
                when = datetime.fromisoformat(str(told).strip())
            except ValueError as error:
                raise UsageError(
                    f"{self._path}, line {line}: {told!r} is no time; write for instance 2026-03-01T12:00Z"
                ) from error
        if when.tzinfo is None:
            when = self._local(when, line)
        self._last = when.astimezone(UTC)
        return self._last

    def _local(self, when: datetime, line: int) -> datetime:
        zone = self._timezone
        if zone is None:
            raise UsageError(
                f"{self._path}, line {line}: {when.isoformat(' ')} has no offset; name the column datetime_utc or give a time zone"
            )
        first = when.replace(tzinfo=zone)
        if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != when:
            raise UsageError(
                f"{self._path}, line {line}: {when.isoformat(' ')} does not exist in {zone}: the clock was put forward"
            )
        second = first.replace(fold=1)
        if (
            self._last is not None
            and second.astimezone(UTC) > first.astimezone(UTC)
            and first.astimezone(UTC) <= self._last
        ):
            return second
        return first


def _series(path: Path, zone: str, meaning: Meaning, points: Mapping[datetime, SignalPoint]) -> Signal:
    times = sorted(points)
    steps = Counter(b - a for a, b in pairwise(times))
    step = max(steps, key=lambda s: (steps[s], -s)) if steps else timedelta(hours=1)
    if any(s % step for s in steps):
        odd = next(s for s in steps if s % step)
        raise UsageError(f"{path} has steps of {step} and of {odd}; put it into even steps first")
    count = (times[-1] - times[0]) // step + 1
    if count > 1000 and count > 20 * len(times):
        raise UsageError(
            f"{path} spans {times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d} with {len(times)} rows only; is a time mistyped?"
        )
    gap = SignalPoint(None)
    series = tuple(points.get(times[0] + n * step, gap) for n in range(count))
    return Signal(zone, meaning, times[0], int(step.total_seconds()), series, f"file {path.name}")
