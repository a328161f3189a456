"""`joulewise totals`: what a team used, month by month, by person, project, device, zone or host; targets and budgets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from joulewise import wiring
from joulewise.cli.output import (
    echo,
    echo_json,
    figure_fields,
    figure_text,
    json_option,
    plain,
    table,
    write_text,
)
from joulewise.ledger.months import BY, Filter
from joulewise.ledger.pots import Drawn, PotLine, drawn, list_pots
from joulewise.measuring.totalling import Grams, Total, caveats, rolled, together
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.moments import month_before, parse_month
from joulewise.vocabulary.quantities import format_duration, format_figure, format_money
from joulewise.vocabulary.target import Landing, MonthlyBudget, budget_words, landing_words

NOBODY = "(not told)"


@click.command("totals")
@click.option("--by", type=click.Choice(BY), default="project", show_default=True, help="What the rows are.")
@click.option(
    "--month", metavar="MONTH", default="this", show_default=True, help="A month (2026-11), `this` or `last`."
)
@click.option(
    "--months", type=click.IntRange(1, 1200), help="That month and those before it, so many in all."
)
@click.option("--project", metavar="P", help="Only this project's work.")
@click.option("--person", metavar="P", help="Only this person's work.")
@click.option(
    "--csv", "csv_path", metavar="FILE", help="Write the rows month by month as CSV (`-` prints it)."
)
@json_option
def command(
    by: str,
    month: str,
    months: int | None,
    project: str | None,
    person: str | None,
    csv_path: str | None,
    as_json: bool,
) -> None:
    """Add up recordings by person, project, device, zone, host or month, with targets and what is left of budgets.

    A recording counts once, in the months in which it ran; one within another is part of that one.
    """
    if csv_path and as_json:
        raise UsageError("give one of --csv and --json")
    now = datetime.now(UTC)
    until = parse_month(month, "--month", now)
    since = month_before(until, (months or 1) - 1)
    chosen = Filter(since, until, project, person)
    ledger = wiring.refresh()
    try:
        wiring.read_old(ledger)
        monthly = wiring.totals(ledger, by, chosen)
        wanted, budgets = wiring.targets()
        landed = wiring.landings(ledger, [t for t in wanted if _fits(t, chosen)], now)
        from_pots = [] if by == "month" else drawn(ledger, by, chosen)
        named = {one.pot for one in from_pots}
        pots = [line for line in list_pots(ledger) if line.name in named]
        left = [
            (b, used) for b in budgets if _fits(b, chosen) for used in [wiring.budget_used(ledger, b, until)]
        ]
    finally:
        ledger.close()
    rows = sorted(rolled(monthly, lambda t: t.key), key=lambda t: (by == "month", -_joules(t)))
    if by == "month":
        rows.sort(key=lambda t: t.key)
    if csv_path:
        write_text("--csv", csv_path, as_csv(monthly, by))
    elif as_json:
        echo_json(
            {
                **_document(by, chosen, monthly, rows, landed, left),
                "pots": [_pot_fields(line, from_pots) for line in pots],
            }
        )
    else:
        echo("\n".join([*_lines(by, chosen, rows, landed, left), *_pot_lines(pots)]))


def _pot_lines(pots: Sequence[PotLine]) -> list[str]:
    lines = []
    for line in pots:
        lines += [
            "",
            f"pot {plain(line.name, 60)}: {'; '.join(one.words for one in line.left) or 'no limit that is a sum'}",
        ]
    return lines


def _pot_fields(line: PotLine, from_pots: Sequence[Drawn]) -> dict[str, Any]:
    return {
        "name": line.name,
        "limits": dict(line.limits),
        "left": {one.name: None if one.used is None else one.limit - one.used for one in line.left},
        "drawn": [
            {"key": d.key, "runs": d.runs, **{n: getattr(d.spent, n) for n in d.spent.__slots__}, "incomplete": list(d.incomplete)}
            for d in from_pots if d.pot == line.name
        ],
    }  # fmt: skip


def as_csv(monthly: Sequence[Total], by: str) -> str:
    """Return totals month by month as CSV: a row a key, month and meaning of grams."""
    out = io.StringIO()
    ends = ("", "_low", "_high")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([
        "month", by, "runs", "runs_unknown", "duration_s", *(f"energy_j{e}" for e in ends), "energy_basis",
        *(f"facility_j{e}" for e in ends), "grams_meaning", *(f"carbon_g{e}" for e in ends), "carbon_basis",
        "carbon_share_of_joules", "cost", "currency",
    ])  # fmt: skip
    for total in monthly:
        meanings: list[tuple[str, Grams | None]] = [*total.grams.items()]
        for meaning, grams in meanings or [("", None)]:
            writer.writerow([
                total.month, _safe(total.key), total.runs, total.unknown, f"{total.duration_s:.3f}", *_ends(total.energy_j),
                total.energy_j.basis.word if total.energy_j else "", *_ends(total.facility_j), meaning,
                *_ends(grams.figure if grams else None), grams.figure.basis.word if grams else "",
                f"{grams.share:.4f}" if grams else "", f"{total.cost.value:.6g}" if total.cost else "", total.currency,
            ])  # fmt: skip
    return out.getvalue()


def _safe(text: str) -> str:
    """Return text that a spreadsheet takes for text and never for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _ends(figure: Figure | None) -> list[str]:
    return [""] * 3 if figure is None else [f"{v:.6g}" for v in (figure.value, figure.low, figure.high)]


def _joules(total: Total) -> float:
    return total.energy_j.value if total.energy_j is not None else -1.0


def _fits(one: Any, chosen: Filter) -> bool:
    return (chosen.project is None or one.project == chosen.project) and (
        chosen.person is None or one.person == chosen.person
    )


def _lines(
    by: str,
    chosen: Filter,
    rows: Sequence[Total],
    landed: Sequence[Landing],
    left: Sequence[tuple[MonthlyBudget, Figure | None]],
) -> list[str]:
    span = chosen.until if chosen.since == chosen.until else f"{chosen.since} to {chosen.until}"
    if not rows:
        lines = [f"no recording ran in {span}"]
    else:
        whole = together(rows, "all")
        meanings = list(whole.grams)
        heads = (by, "runs", "time", "energy", "basis", *(f"CO2e ({m})" for m in meanings), "cost")
        shown = table(
            [_row(t, meanings) for t in (*rows, *([whole] if len(rows) > 1 else []))],
            heads,
            right=(1, 2, 3, *range(5, len(heads))),
        )
        said = caveats(whole)
        lines = [f"{span}, UTC", "", shown, *(["", *said] if said else [])]
    for budget, used in left:
        lines += ["", f"budget of {plain(budget.who, 60)}: {budget_words(budget, used)}"]
    for landing in landed:
        lines += ["", f"target of {plain(landing.target.who, 60)}: {landing_words(landing)}"]
    return lines


def _row(total: Total, meanings: Sequence[str]) -> list[str]:
    grams = total.grams
    return [
        plain(total.key, 40) or NOBODY,
        f"{total.runs:,}",
        format_duration(total.duration_s),
        figure_text(total.energy_j, "J"),
        total.energy_j.basis.word if total.energy_j else "",
        *(format_figure(grams[m].figure, "g") if m in grams else "-" for m in meanings),
        format_money(total.cost, total.currency) if total.cost else "unknown",
    ]


def _document(
    by: str,
    chosen: Filter,
    monthly: Sequence[Total],
    rows: Sequence[Total],
    landed: Sequence[Landing],
    left: Sequence[tuple[MonthlyBudget, Figure | None]],
) -> dict[str, Any]:
    return {
        "by": by,
        "since": chosen.since,
        "until": chosen.until,
        "totals": [_fields(t) for t in rows],
        "months": [_fields(t) for t in monthly],
        "budgets": [
            {
                "project": b.project,
                "person": b.person,
                "device": b.device,
                "zone": b.zone,
                "limit": b.limit,
                "unit": b.unit,
                "used": figure_fields(used),
            }
            for b, used in left
        ],
        "targets": [
            {
                "project": one.target.project,
                "person": one.target.person,
                "what": one.target.what,
                "by": one.target.by,
                "goal": one.goal,
                "baseline": one.baseline,
                "landing": figure_fields(one.expected),
                "course": one.course.value,
                "reason": one.reason,
            }
            for one in landed
        ],
    }


def _fields(total: Total) -> dict[str, Any]:
    return {
        "key": total.key,
        "month": total.month or None,
        "runs": total.runs,
        "runs_unknown": total.unknown,
        "runs_without_zone": total.no_zone,
        "duration_s": total.duration_s,
        "energy_j": figure_fields(total.energy_j),
        "facility_j": figure_fields(total.facility_j),
        "carbon": [
            {"meaning": m, "share_of_joules": g.share, "carbon_g": figure_fields(g.figure)}
            for m, g in total.grams.items()
        ],
        "cost": figure_fields(total.cost),
        "currency": total.currency or None,
    }
