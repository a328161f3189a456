"""Many jobs from a file of comma-separated values, and their plan as a table: `joulewise plan --jobs FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from joulewise.cli.output import local_time, plain, table
from joulewise.cli.reading import WATTS, quantity, read_rows
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Checkpoint, Duration, Job, Pace, Placement, Plan, Toll
from joulewise.vocabulary.moments import parse_moment
from joulewise.vocabulary.quantities import format_si, parse_duration

COLUMNS = ("name", "duration", "deadline", "release", "power", "interruptible", "units")
_YES = ("yes", "true", "1", "y")
_NO = ("no", "false", "0", "n")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a job has where its row says nothing; the clock and the zones that all rows share."""

    now: datetime
    release: datetime
    zones: tuple[str, ...]
    pause: Checkpoint
    duration: str = ""
    deadline: str = ""
    power: str = "300W"
    interruptible: str = "no"
    margin: float = 0.0


def read_jobs(path: Path, defaults: Defaults) -> list[Job]:
    """Return the jobs of a file, one a row; raise UsageError with the line for a row that is none."""
    jobs: dict[str, Job] = {}

    def take(told: dict[str, str]) -> None:
        job = _job(told, defaults)
        if job.name in jobs:
            raise UsageError(
                f"the name {plain(job.name, 40)!r} was taken by a row above; give each job its own"
            )
        jobs[job.name] = job

    read_rows(path, COLUMNS, take)
    if not jobs:
        raise UsageError(f"{path} holds no job; write one a row below the line {','.join(COLUMNS)}")
    return list(jobs.values())


def _job(told: Mapping[str, str], defaults: Defaults) -> Job:
    duration, deadline = told.get("duration", defaults.duration), told.get("deadline", defaults.deadline)
    if not duration or not deadline:
        lacks = "deadline" if duration else "duration"
        raise UsageError(
            f"the job has no {lacks}; write it in its row, or give --{lacks} for all that have none"
        )
    release = parse_moment(told["release"], defaults.now) if "release" in told else defaults.release
    return Job(
        told["name"],
        Duration.of(parse_duration(duration), defaults.margin),
        release,
        parse_moment(deadline, release if deadline.startswith("+") else defaults.now),
        (Pace("1 worker", 1.0, quantity(told.get("power", defaults.power), WATTS, "power")),),
        defaults.pause if _whether(told.get("interruptible", defaults.interruptible)) else None,
        defaults.zones,
        units=_units(told.get("units", "1")),
    )


def _whether(text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise UsageError(f"interruptible is {plain(text, 40)!r}, but must be yes or no")
    return text.lower() in _YES


def _units(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"units is {plain(text, 40)!r}, but must be a whole number") from None


def fleet_text(made: Plan) -> str:
    """Return the plan of many jobs: a table, its sums against running now, the gap, and who was left out why."""
    parts = []
    if made.placements:
        parts.append(
            table(
                [_row(p) for p in sorted(made.placements, key=lambda p: (p.start_utc, p.job.name))],
                ("job", "zone", "start", "end", "pauses", "carbon", "run now", "risk"),
                right=(4, 5, 6),
            )
        )
        parts.append(
            table(
                [
                    _sums("this plan", made.predicted, made.currency),
                    _sums("run now", made.run_now, made.currency),
                ],
                ("", "carbon", "energy", "cost"),
                right=(1, 2, 3),
            )
        )
        share = 1 - made.value / made.value_now if made.value_now > 0 else 0.0
        parts.append(
            f"{len(made.placements)} of {len(made.placements) + len(made.unplaced)} jobs placed ({made.method}); objective "
            f"{made.objective}: {share:.1%} less than running each at once, as if there were no capacity; "
            f"at most {made.gap:.1%} above the best of any plan"
        )
    if made.unplaced:
        parts.append(
            table(
                [[plain(u.job.name, 30), plain(u.reason, 200)] for u in made.unplaced],
                ("left out", "because"),
            )
        )
    said = [f"grid {plain(zone)}: {plain(text, 300)}" for zone, text in made.signals.items()]
    notes = dict.fromkeys(f"note: {plain(n, 300)}" for p in made.placements for n in p.notes)
    return "\n\n".join([*parts, "\n".join([*notes, *said])])


def _row(placed: Placement) -> list[str]:
    return [
        plain(placed.job.name, 30),
        plain(placed.zone),
        local_time(placed.start_utc),
        local_time(placed.end_utc),
        str(placed.pauses or ""),
        format_si(placed.predicted.carbon_g, "g"),
        format_si(placed.run_now.carbon_g, "g"),
        plain(placed.risk, 80),
    ]


def _sums(name: str, toll: Toll, currency: str) -> list[str]:
    cost = "unknown" if toll.cost is None else f"{toll.cost:.3g} {currency}"
    return [name, format_si(toll.carbon_g, "g"), format_si(toll.energy_j, "J"), cost]
