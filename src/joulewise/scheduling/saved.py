"""A plan as plain values for a file, and back: what `joulewise plan --save` writes and `--settle` reads.

Every decision is kept with what it was made from (job, terms, predictions), so that it can be settled or replayed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import (
    Objective,
    Placement,
    Plan,
    Stretch,
    Toll,
    Unplaced,
    job_as_json,
    job_from_json,
)

FORMAT = 1


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return plain values for a file; `plan_from_json` reads them back."""
    return {
        "format": FORMAT,
        "made_utc": plan.made_utc.isoformat(),
        "objective": plan.objective.value,
        "currency": plan.currency,
        "method": plan.method,
        "signals": dict(plan.signals),
        "value": plan.value,
        "value_now": plan.value_now,
        "bound": plan.bound,
        "gap": plan.gap,
        "predicted": _toll_as_json(plan.predicted),
        "run_now": _toll_as_json(plan.run_now),
        "placements": [placement_as_json(p) for p in plan.placements],
        "unplaced": [{"job": job_as_json(u.job), "reason": u.reason} for u in plan.unplaced],
    }


def plan_id(plan: Plan) -> str:
    """Return a name for the plan that only this decision has: when it was made, and a digest of all that it holds."""
    text = json.dumps(plan_as_json(plan), sort_keys=True)
    return f"plan-{plan.made_utc:%Y%m%dT%H%M}-{sha256(text.encode()).hexdigest()[:8]}"


def plan_from_json(told: Mapping[str, Any]) -> Plan:
    """Return the plan that `plan_as_json` described; raise UsageError for what is none."""
    if told.get("format") != FORMAT:
        raise UsageError(
            f"this plan has format {told.get('format')!r}, but this joulewise reads {FORMAT}; was it saved with --save?"
        )
    try:
        return Plan(
            datetime.fromisoformat(told["made_utc"]),
            Objective(told["objective"]),
            tuple(placement_from_json(p) for p in told["placements"]),
            tuple(Unplaced(job_from_json(u["job"]), str(u["reason"])) for u in told["unplaced"]),
            dict(told["signals"]),
            str(told["currency"]),
            float(told["bound"]),
            str(told["method"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this is no plan: {type(error).__name__} {error}") from error


def placement_as_json(placement: Placement) -> dict[str, Any]:
    """Return one placement as plain values; `placement_from_json` reads them back."""
    return {
        "job": job_as_json(placement.job),
        "zone": placement.zone,
        "stretches": [
            {
                "start_utc": s.start_utc.isoformat(),
                "end_utc": s.end_utc.isoformat(),
                "pace": s.pace,
                "zone": s.zone,
            }
            for s in placement.stretches
        ],
        "rung": placement.rung,
        "predicted": _toll_as_json(placement.predicted),
        "run_now": _toll_as_json(placement.run_now),
        "value": placement.value,
        "value_now": placement.value_now,
        "bound": placement.bound,
        "gap": placement.gap,
        "saving": placement.saving,
        "energy_bought_j": placement.energy_bought_j,
        "reserve_s": placement.reserve_s,
        "risk": placement.risk,
        "notes": list(placement.notes),
        "trust": placement.trust,
    }


def placement_from_json(told: Mapping[str, Any]) -> Placement:
    """Return the placement that `placement_as_json` described."""
    return Placement(
        job_from_json(told["job"]),
        str(told["zone"]),
        tuple(
            Stretch(
                datetime.fromisoformat(s["start_utc"]),
                datetime.fromisoformat(s["end_utc"]),
                s["pace"],
                s["zone"],
            )
            for s in told["stretches"]
        ),
        str(told["rung"]),
        _toll(told["predicted"]),
        _toll(told["run_now"]),
        float(told["value"]),
        float(told["value_now"]),
        float(told["bound"]),
        float(told["reserve_s"]),
        str(told["risk"]),
        tuple(told["notes"]),
        float(told.get("trust", 1.0)),
    )


def _toll_as_json(toll: Toll) -> dict[str, Any]:
    return {
        "energy_j": toll.energy_j,
        "carbon_g": toll.carbon_g,
        "cost": toll.cost,
        "delay_s": toll.delay_s,
    }


def _toll(told: Mapping[str, Any]) -> Toll:
    cost = told["cost"]
    return Toll(
        float(told["energy_j"]),
        float(told["carbon_g"]),
        None if cost is None else float(cost),
        float(told["delay_s"]),
    )
