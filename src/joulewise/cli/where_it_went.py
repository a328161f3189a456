"""Where a month went: a project's joules over the five wastes, as `joulewise diagnose --project P --month M` shows it."""

from __future__ import annotations

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, plain, table
from joulewise.ledger.months import Filter
from joulewise.ledger.wastes import Split, examples, split
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_si
from joulewise.vocabulary.waste import Part, Waste

_A_WHILE_S = 0.5


def show(project: str | None, month: str, *, as_json: bool) -> None:
    """Look into what was not looked into yet, and print the month's split; it adds up to 100 %."""
    chosen = Filter(month, month, project)
    ledger = wiring.refresh()
    try:
        wiring.read_old(ledger)
        wiring.look_into(ledger, chosen, _A_WHILE_S)
        if (seen := split(ledger, chosen)).waiting_runs and not as_json:
            click.echo(f"joulewise: looking into {seen.waiting_runs:,} recordings, once", err=True)
        wiring.look_into(ledger, chosen)
        seen = split(ledger, chosen)
        worst = {w: examples(ledger, chosen, w, 1) for w in Waste}
    finally:
        ledger.close()
    if not seen.runs:
        whose = f"of the project {project!r} " if project else ""
        raise UsageError(
            f"no recording {whose}ran in {month}; 'joulewise totals --by project' lists projects"
        )
    if as_json:
        echo_json(_document(project, month, seen, {w: [r for r, _ in found] for w, found in worst.items()}))
        return
    who = plain(project, 60) if project else "all projects"
    echo(
        f"{who} · {month} · {seen.runs:,} recording{'s' if seen.runs > 1 else ''} · {format_si(seen.total_j, 'J')} at the devices\n"
    )
    rows = [
        [w.words, *_cells(seen.wastes[w], seen.total_j), plain(worst[w][0][0], 60) if worst[w] else ""]
        for w in Waste
    ]
    rows.append(["no waste found", *_cells(seen.none, seen.total_j), ""])
    if seen.unseen > 0:
        rows.append(["not seen from inside", *_alone(seen.unseen, seen.total_j), ""])
    if seen.waiting > 0:
        rows.append(["not looked into (other hosts, running)", *_alone(seen.waiting, seen.total_j), ""])
    echo(table(rows, ("where it went", "share", "90 %", "energy", "most of it in"), right=(1, 2, 3)))


def _cells(part: Part, total_j: float) -> list[str]:
    between = f"{100 * part.low:.0f}–{100 * part.high:.0f}" if part.high > part.low else ""
    return [f"{100 * part.share:.1f} %", between, format_si(part.share * total_j, "J")]


def _alone(share: float, total_j: float) -> list[str]:
    return [f"{100 * share:.1f} %", "", format_si(share * total_j, "J")]


def _document(
    project: str | None, month: str, seen: Split, worst: dict[Waste, list[str]]
) -> dict[str, object]:
    parts = {w.value: seen.wastes[w] for w in Waste} | {"none": seen.none}
    return {
        "project": project,
        "month": month,
        "runs": seen.runs,
        "energy_j": seen.total_j,
        "shares": {name: {"share": p.share, "low": p.low, "high": p.high} for name, p in parts.items()},
        "unseen_share": seen.unseen,
        "waiting_share": seen.waiting,
        "waiting_runs": seen.waiting_runs,
        "most_of_it_in": {w.value: runs for w, runs in worst.items()},
    }
