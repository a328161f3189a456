"""What the queue's tables say, as values: a job's line, its attempts, its story, what is planned for it.

Times stand in the tables as text in UTC, to the millisecond, so that text sorts as time does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from joulewise.vocabulary.ticket import Needs, Stage


@dataclass(frozen=True, slots=True)
class Line:
    """One job as lists and workers see it. `start_utc` is when it is planned to start, `latest_utc` when it must."""

    id: str
    name: str
    owner: str
    engine: str
    zone: str
    stage: Stage
    priority: int
    needs: Needs
    submitted_utc: datetime
    deadline_utc: datetime
    start_utc: datetime
    latest_utc: datetime
    fence: int
    failures: int
    wanted: str
    reason: str
    exit_code: int | None
    ended_utc: datetime | None
    planned_utc: datetime | None

    @property
    def late(self) -> bool:
        """Whether it ended after its deadline."""
        return self.ended_utc is not None and self.ended_utc > self.deadline_utc


@dataclass(frozen=True, slots=True)
class Work:
    """An open job as others see it: what it takes, when it must start and be done, how long it has run (None: it waits), and with whom."""

    needs: Needs
    latest_utc: datetime
    deadline_utc: datetime
    ran_s: float | None
    stage: Stage
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan says of one job: where and when it starts, the latest start, and the placement as plain values."""

    job: str
    zone: str
    start_utc: datetime
    latest_utc: datetime
    reason: str
    placement: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry of a job's story."""

    at_utc: datetime
    what: str
    reason: str
    who: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to run a job: who had it, the engine's handle, its GPUs, when it ran (None: it still does), how it ended."""

    fence: int
    worker: str
    host: str
    boot: str
    handle: str
    devices: tuple[int, ...]
    begun_utc: datetime
    ended_utc: datetime | None
    end_state: str
    exit_code: int | None
    reason: str
    ran: tuple[tuple[datetime, datetime | None], ...]


def line(row: Mapping[str, Any]) -> Line:
    """Return the line that a row of the table is."""
    return Line(
        row["id"],
        row["name"],
        row["owner"],
        row["engine"],
        row["zone"],
        Stage(row["stage"]),
        row["priority"],
        Needs(row["cpus"], row["gpus"], row["memory_bytes"]),
        datetime.fromisoformat(row["submitted_utc"]),
        datetime.fromisoformat(row["deadline_utc"]),
        datetime.fromisoformat(row["start_utc"]),
        datetime.fromisoformat(row["latest_utc"]),
        row["fence"],
        row["failures"],
        row["wanted"],
        row["reason"],
        row["exit_code"],
        _moment(row["ended_utc"]),
        _moment(row["planned_utc"]),
    )


def attempt(row: Mapping[str, Any]) -> Attempt:
    """Return the attempt that a row of the table is."""
    return Attempt(
        row["fence"],
        row["worker"],
        row["host"],
        row["boot"],
        row["handle"],
        tuple(int(d) for d in row["devices"].split(",") if d),
        datetime.fromisoformat(row["begun_utc"]),
        _moment(row["ended_utc"]),
        row["end_state"],
        row["exit_code"],
        row["reason"],
        stretches(row["ran"]),
    )


def stretches(text: str) -> tuple[tuple[datetime, datetime | None], ...]:
    """Return the stretches of running that a row holds; the last end is None while it runs."""
    return tuple(
        (datetime.fromisoformat(a), datetime.fromisoformat(b) if b else None) for a, b in json.loads(text)
    )


def ran_s(ran: Iterable[tuple[datetime, datetime | None]], now_utc: datetime) -> float:
    """Return for how long a job ran in these stretches; one that is open ends now."""
    return sum(((end or now_utc) - begin).total_seconds() for begin, end in ran)


def stretches_as_text(ran: Sequence[tuple[datetime, datetime | None]]) -> str:
    """Return stretches as a row holds them."""
    return json.dumps([[iso(a), iso(b) if b else None] for a, b in ran])


def iso(moment: datetime) -> str:
    """Return a time as the tables hold it: UTC, to the millisecond, so that text sorts as time does."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
