"""What a kept plan really saved: shown, and kept in the ledger. `plan --settle PLAN` and `settle PLAN` are both this."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulewise import wiring
from joulewise.cli import settling_alerts
from joulewise.cli.output import echo, echo_json, local_time, plain, table
from joulewise.cli.reading import by_zone
from joulewise.ledger.savings import keep_plan
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_si
from joulewise.vocabulary.settled import Report, Settled

if TYPE_CHECKING:
    from joulewise.vocabulary.job import Plan
    from joulewise.vocabulary.signal import Signal


def settle_plan(file: str, histories: Sequence[str], marginals: Sequence[str], *, as_json: bool) -> None:
    """Compare a kept plan with what the grid really did, keep that in the ledger, and print it."""
    from joulewise.grid.history import read_file
    from joulewise.scheduling.saved import plan_id
    from joulewise.scheduling.settle import settle
    from joulewise.vocabulary.signal import Kind, Meaning

    made = _read(Path(file))
    zones = tuple(dict.fromkeys(z for p in made.placements for z in p.job.zones))
    files = by_zone(histories, zones or ("",))
    if not files:
        raise UsageError("settling needs what the grid really did: --history FILE with the hours of the plan")
    actual = {zone: read_file(Path(file), zone) for zone, file in files.items()}
    marginal = {
        zone: read_file(Path(file), zone, meaning=Meaning(kind=Kind.MARGINAL))
        for zone, file in by_zone(marginals, zones or ("",)).items()
    }
    report = settle(made, actual, marginal or None, _tariff(made))
    name = plan_id(made)
    ledger = wiring.store()
    try:
        keep_plan(ledger, name, report, datetime.now(UTC))
    finally:
        ledger.close()
    settling_alerts.of_placements(name, report)
    if as_json:
        echo_json({"plan": name, **report_fields(report)})
    else:
        echo(report_text(report, currency()))


def _tariff(made: Plan) -> dict[str, Signal] | None:
    """Return what a kWh cost while the plan's jobs could run; None without a tariff."""
    if not made.placements:
        return None
    start = min(made.made_utc, *(p.job.release_utc for p in made.placements))
    end = max(max(p.job.deadline_utc, p.end_utc) for p in made.placements)
    zones = tuple(dict.fromkeys(z for p in made.placements for z in p.job.zones))
    return tariff_of(zones, start, end + (end - start))  # running now may end after the deadline


def tariff_of(zones: Sequence[str], start: datetime, end: datetime) -> dict[str, Signal] | None:
    """Return what a kWh cost by the tariff of the settings, by zone; None without a tariff."""
    from joulewise.catalogue.tariffs import Tariff
    from joulewise.scheduling.prices import tariff_signal

    text = wiring.settings().tariff
    return {zone: tariff_signal(Tariff.parse(text), zone, start, end) for zone in zones} if text else None


def currency() -> str:
    """Return the currency of the settings' tariff, "" without one."""
    from joulewise.catalogue.tariffs import Tariff

    text = wiring.settings().tariff
    return Tariff.parse(text).currency if text else ""


def _read(path: Path) -> Plan:
    from joulewise.scheduling.saved import plan_from_json

    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no plan {path}; joulewise plan --save FILE keeps one") from None
    except ValueError as error:
        raise UsageError(f"{path} is no plan: {error}") from None
    return plan_from_json(told.get("plan", {}) if isinstance(told, dict) else {})


def report_fields(report: Report) -> dict[str, Any]:
    """Return settled placements and their sums as JSON fields."""
    return {
        "settled": len(report.parts),
        "wrong": len(report.wrong),
        "promised_g": report.promised_g,
        "saved_g": report.saved_g,
        "saved_share": report.saved_share,
        "share_of_oracle": report.share_of_oracle,
        "regret_g": report.regret_g,
        "jobs": [part_fields(p) for p in report.parts],
    }


def part_fields(part: Settled) -> dict[str, Any]:
    """Return one settled placement as JSON fields."""
    return {
        "name": part.name,
        "start_utc": part.start_utc.isoformat(),
        "promised_g": part.promised_g,
        "allocated_difference_g": part.saved_g,
        "estimated_consequence_g": part.consequence_g,
        "share_of_oracle": part.share_of_oracle,
        "regret_g": part.regret_g,
        "saved_cost": part.saved_cost,
        "energy_bought_j": part.energy_bought_j,
        "verdict": part.verdict,
    }


def report_text(report: Report, money_unit: str) -> str:
    """Return settled placements as a table, and their sum."""
    rows = [
        [
            plain(p.name, 30),
            local_time(p.start_utc),
            format_si(p.promised_g, "g"),
            format_si(p.saved_g, "g"),
            "no marginal signal" if p.consequence_g is None else format_si(p.consequence_g, "g"),
            "nothing to save" if p.share_of_oracle is None else f"{p.share_of_oracle:.0%}",
            format_si(p.regret_g, "g"),
            p.verdict,
        ]
        for p in report.parts
    ]
    heads = (
        "job",
        "ran",
        "promised",
        "allocated difference",
        "estimated consequence",
        "of the oracle",
        "regret",
        "",
    )
    whole = f"saved {format_si(report.saved_g, 'g')} ({report.saved_share:.1%} of running now); promised {format_si(report.promised_g, 'g')}"
    costs = [p.saved_cost for p in report.parts if p.saved_cost is not None]
    money = f"; {sum(costs):.3g} {money_unit} saved by the tariff" if costs else ""
    return f"{table(rows, heads, right=(2, 3, 4, 5, 6))}\n\n{whole}{money}"
