"""Savings that were settled: what findings and plans promised and what was realised, kept for good.

`track_record` says how good the promises of findings have been: their bias, and how often the outcome lay in the
interval. Plans stand in the same table, one row a placement, told apart by their unit: grams, where findings have
joules or CPU seconds. A plan's row names the plan where a finding's names the earlier run, and the placement's number
where that names the later one; `quality` holds the whole of the settled placement as JSON. Trials of findings are
told apart alike: their unit ends with `tried`, the knob stands for the later run, `quality` holds the whole trial.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from joulewise.ledger.store import Store, upsert
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.finding import Cause, Settlement
from joulewise.vocabulary.settled import Report, Settled, settled_as_json, settled_from_json
from joulewise.vocabulary.trial import Trial, trial_from_json

_KEY = ("before_run", "after_run")
_COLUMNS = (
    *_KEY,
    "cause",
    "unit",
    "promised_share",
    "promised_low",
    "promised_high",
    "realised_share",
    "realised_low",
    "realised_high",
    "realised",
    "wall_share",
    "equal_quality",
    "quality",
    "settled_utc",
)
_KEEP = upsert("savings", _COLUMNS, _KEY)
_PLAN_UNIT = "g"
_TRIED = " tried"  # behind the unit
_TRIALS = f"('J{_TRIED}', 'cpu_s{_TRIED}')"
_ALL = "SELECT * FROM savings"
_NEWEST = "ORDER BY settled_utc DESC, before_run DESC, after_run DESC"


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """How good promises have been, over settlements at a quality that was not lower.

    `bias` is the mean of realised minus promised share; `within` is how many outcomes agree with the promise's interval.
    """

    settled: int
    promised: int
    within: int
    bias: float | None
    mean_error: float | None


def keep(store: Store, settlement: Settlement, now_utc: datetime) -> None:
    """Write a settlement; settling the same two runs again replaces it."""
    promise, real = settlement.promised_share, settlement.realised_share
    store.execute(
        _KEEP,
        {
            "before_run": settlement.before,
            "after_run": settlement.after,
            "cause": settlement.cause.value if settlement.cause else "",
            "unit": settlement.unit,
            "promised_share": promise.value if promise else None,
            "promised_low": promise.low if promise else None,
            "promised_high": promise.high if promise else None,
            "realised_share": real.value,
            "realised_low": real.low,
            "realised_high": real.high,
            "realised": settlement.realised.value,
            "wall_share": settlement.wall_share,
            "equal_quality": None if settlement.equal_quality is None else int(settlement.equal_quality),
            "quality": settlement.quality,
            "settled_utc": now_utc.astimezone(UTC).isoformat(timespec="seconds"),
        },
    )


def settlements(store: Store) -> list[Settlement]:
    """Return the promises of findings that were settled, newest first."""
    rows = store.query(f"{_ALL} WHERE unit <> '{_PLAN_UNIT}' AND unit NOT IN {_TRIALS} {_NEWEST}")
    return [_settlement(row) for row in rows]


def keep_trial(store: Store, trial: Trial, now_utc: datetime) -> None:
    """Write what a trial of a run came to; trying the same knob again replaces it."""
    promise, real = trial.promised_share, trial.run_share
    store.execute(
        _KEEP,
        {
            "before_run": trial.run,
            "after_run": trial.knob,
            "cause": trial.cause.value,
            "unit": f"{trial.unit}{_TRIED}",
            "promised_share": promise.value if promise else None,
            "promised_low": promise.low if promise else None,
            "promised_high": promise.high if promise else None,
            "realised_share": real.value,
            "realised_low": real.low,
            "realised_high": real.high,
            "realised": 0.0,  # a trial saves nothing yet
            "wall_share": trial.wall_share,
            "equal_quality": None if trial.equal_quality is None else int(trial.equal_quality),
            "quality": json.dumps(trial.as_json()),
            "settled_utc": now_utc.astimezone(UTC).isoformat(timespec="seconds"),
        },
    )


def trials(store: Store, run_id: str) -> list[Trial]:
    """Return the trials of a run, newest first."""
    rows = store.query(f"{_ALL} WHERE unit IN {_TRIALS} AND before_run = :run {_NEWEST}", {"run": run_id})
    return [trial_from_json(json.loads(row["quality"])) for row in rows]


def keep_plan(store: Store, plan_id: str, report: Report, now_utc: datetime) -> None:
    """Write what a plan came to, one row a placement; settling the same plan again replaces it."""
    for number, part in enumerate(report.parts):
        now_g = part.now_g if part.now_g > 0 else 1.0  # of nothing, nothing was saved
        promised, saved = part.promised_g / now_g, part.saved_g / now_g
        store.execute(
            _KEEP,
            {
                "before_run": plan_id,
                "after_run": str(number),
                "cause": "",
                "unit": _PLAN_UNIT,
                "promised_share": promised,
                "promised_low": promised,
                "promised_high": promised,
                "realised_share": saved,
                "realised_low": saved,
                "realised_high": saved,
                "realised": part.saved_g,
                "wall_share": 0.0,  # a plan moves work; how long it runs is not what it promises
                "equal_quality": 1,  # the same work at another time
                "quality": json.dumps(settled_as_json(part)),
                "settled_utc": now_utc.astimezone(UTC).isoformat(timespec="seconds"),
            },
        )


def plans(store: Store) -> list[tuple[str, Settled]]:
    """Return every placement that was settled with its plan's name, the newest settled first."""
    rows = store.query(f"{_ALL} WHERE unit = '{_PLAN_UNIT}' {_NEWEST}")
    return [(row["before_run"], settled_from_json(json.loads(row["quality"]))) for row in rows]


def track_record(settled: Iterable[Settlement]) -> TrackRecord:
    """Return how good the promises have been. Pure."""
    kept = [s for s in settled if s.equal_quality is not False]
    promised = [(s, s.promised_share) for s in kept if s.promised_share is not None]
    errors = [s.realised_share.value - p.value for s, p in promised]
    return TrackRecord(
        settled=len(kept),
        promised=len(promised),
        within=sum(bool(s.kept) for s, _ in promised),
        bias=sum(errors) / len(errors) if errors else None,
        mean_error=sum(map(abs, errors)) / len(errors) if errors else None,
    )


def _settlement(row: dict[str, Any]) -> Settlement:
    promise = row["promised_share"]
    share = Figure(
        row["realised_share"], row["realised_low"], row["realised_high"], Basis.MEASURED, "realised"
    )
    factor = row["realised"] / share.value if share.value else 0.0
    ends = sorted((share.low * factor, row["realised"], share.high * factor))
    return Settlement(
        before=row["before_run"],
        after=row["after_run"],
        cause=Cause(row["cause"]) if row["cause"] else None,
        unit=row["unit"],
        promised_share=None
        if promise is None
        else Figure(promise, row["promised_low"], row["promised_high"], Basis.MODELLED, "promised"),
        realised_share=share,
        realised=Figure(row["realised"], ends[0], ends[2], Basis.MEASURED, "realised"),
        wall_share=row["wall_share"],
        equal_quality=None if row["equal_quality"] is None else bool(row["equal_quality"]),
        quality=row["quality"],
    )
