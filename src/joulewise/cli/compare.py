"""`joulewise compare A B ...`: recordings side by side, and the difference to the first with its own interval."""

from __future__ import annotations

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
    zone_option,
)
from joulewise.cli.results import account_fields, footprint_fields, last_values
from joulewise.measuring.accounting import Account
from joulewise.measuring.comparing import Difference, difference
from joulewise.measuring.reconciling import Reconciled, reconcile
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import format_duration, format_money, format_si

_MOST_METRICS = 8


@click.command("compare")
@click.argument("runs", metavar="A B...", nargs=-1)
@zone_option
@json_option
def command(runs: tuple[str, ...], zone: str | None, as_json: bool) -> None:
    """Compare recordings side by side: joules, grams, money, time, throughput and quality.

    The difference to the first has an interval of its own, in which the error that both have in common cancels.
    """
    if len(runs) < 2:
        raise UsageError(
            f"compare needs two recordings or more, but was given {len(runs)}: joulewise compare A B"
        )
    accounts = [wiring.account(wiring.find(run), zone) for run in runs]
    differences = [difference(accounts[0], other) for other in accounts[1:]]
    once = list({a.recording.run_id: a for a in accounts}.values())
    if as_json:
        echo_json(
            {
                "runs": [account_fields(a) for a in accounts],
                "differences": [
                    _fields(a, accounts[0], d) for a, d in zip(accounts[1:], differences, strict=True)
                ],
                "together": _together_fields(reconcile(once)) if len(once) > 1 else None,
            }
        )
        return
    names = _names(accounts)
    echo(table(_rows(accounts), ("", *names), right=tuple(range(1, len(names) + 1))))
    for name, account, change in zip(names[1:], accounts[1:], differences, strict=True):
        echo(f"\n{name} against {names[0]}")
        for line in _difference_lines(accounts[0], account, change):
            echo(f"  {line}")
    if len(once) > 1:
        echo(f"\ntogether\n  {_together(reconcile(once))}")


def _together(both: Reconciled) -> str:
    """Return what the recordings come to as one: ranks of a job, recorders on one host; each device counted once."""
    cost = both.footprint
    words = f"{figure_text(cost.total_j, 'J')} of work, {figure_text(cost.carbon_g, 'g')} CO2e"
    words += f"; the machines' devices {figure_text(both.machine_j, 'J')}, each counted once"
    if both.overlapping:
        words += f" (seen by more than one recording: {', '.join(plain(d, 40) for d in both.overlapping)})"
    if both.inside:
        words += f"; inside another and not added: {', '.join(both.inside)}"
    return words


def _together_fields(both: Reconciled) -> dict[str, Any]:
    return {
        "footprint": footprint_fields(both.footprint),
        "machine_j": figure_fields(both.machine_j),
        "overlapping": list(both.overlapping),
        "inside": list(both.inside),
    }


def _names(accounts: list[Account]) -> list[str]:
    names = [plain(a.recording.name, 30) for a in accounts]
    if len(set(names)) == len(names):
        return names
    return [f"{name} {a.recording.run_id[-6:]}" for name, a in zip(names, accounts, strict=True)]


def _rows(accounts: list[Account]) -> list[list[str]]:
    rows = [
        ["state", *(a.recording.end.state.value for a in accounts)],
        ["time", *(format_duration(a.recording.duration_s) for a in accounts)],
        ["energy", *(figure_text(a.footprint.total_j, "J") for a in accounts)],
        ["basis", *(a.footprint.total_j.basis.word if a.footprint.total_j else "" for a in accounts)],
        ["carbon", *(figure_text(a.footprint.carbon_g, "g") for a in accounts)],
        ["cost", *(_money(a) for a in accounts)],
        ["CPU time", *(_seconds(a.usage.cpu_s) for a in accounts)],
    ]
    if any(a.usage.throughput_per_s for a in accounts):
        rows.append(["throughput", *(_throughput(a) for a in accounts)])
        rows.append(["energy per unit", *(_per_unit(a) for a in accounts)])
    return rows + [[plain(key, 30), *(_metric(a, key) for a in accounts)] for key in _metrics(accounts)]


def _metrics(accounts: list[Account]) -> list[str]:
    seen: dict[str, None] = {}
    for account in accounts:
        for key, value in last_values(account.recording).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                seen[key] = None
    return list(seen)[:_MOST_METRICS]


def _metric(account: Account, key: str) -> str:
    value = last_values(account.recording).get(key)
    return f"{value:.5g}" if isinstance(value, int | float) else ""


def _money(account: Account) -> str:
    cost = account.footprint.cost
    return "unknown" if cost is None else format_money(cost, account.footprint.currency)


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else format_duration(value)


def _throughput(account: Account) -> str:
    rate = account.usage.throughput_per_s
    return "" if rate is None else f"{format_si(rate, plain(account.usage.throughput_of, 20))}/s"


def _per_unit(account: Account) -> str:
    rate, energy_j, time_s = (
        account.usage.throughput_per_s,
        account.footprint.total_j,
        account.recording.duration_s,
    )
    if not rate or energy_j is None or not time_s:
        return ""
    return f"{format_si(energy_j.value / time_s / rate, 'J')}/{plain(account.usage.throughput_of, 20)}"


def _difference_lines(first: Account, second: Account, change: Difference) -> list[str]:
    lines = [
        f"energy  {_signed(change.energy_j, 'J')}{_share(change.energy_j, first.footprint.total_j)}",
        f"carbon  {_signed(change.carbon_g, 'g')}{_share(change.carbon_g, first.footprint.carbon_g)}",
    ]
    if change.cost is not None:
        unit = second.footprint.currency
        lines.append(f"cost    {_signed(change.cost, unit)}{_share(change.cost, first.footprint.cost)}")
    before_s = first.recording.duration_s
    share = f" ({100 * change.time_s / before_s:+.0f} %)" if before_s else ""
    lines.append(f"time    {'-' if change.time_s < 0 else '+'}{format_duration(abs(change.time_s))}{share}")
    if change.energy_j is not None and change.energy_j.low <= 0 <= change.energy_j.high:
        lines.append("the interval holds zero: these two recordings do not show a difference in energy")
    lines += [f"note: {words}" for words in change.caveats]
    return lines


def _signed(figure: Figure | None, unit: str) -> str:
    if figure is None:
        return "unknown"
    low, high = (f"{'-' if v < 0 else '+'}{format_si(abs(v), unit, 2)}" for v in (figure.low, figure.high))
    return f"{'-' if figure.value < 0 else '+'}{format_si(abs(figure.value), unit, 2)} ({low} to {high})"


def _share(change: Figure | None, before: Figure | None) -> str:
    if change is None or before is None or before.value <= 0:
        return ""
    return f", {100 * change.value / before.value:+.0f} %"


def _fields(second: Account, first: Account, change: Difference) -> dict[str, Any]:
    return {
        "first": first.recording.run_id,
        "second": second.recording.run_id,
        "energy_j": figure_fields(change.energy_j),
        "carbon_g": figure_fields(change.carbon_g),
        "cost": figure_fields(change.cost),
        "time_s": change.time_s,
        "cpu_s": change.cpu_s,
        "common_error_cancels": change.cancels,
        "caveats": list(change.caveats),
    }
