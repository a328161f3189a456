"""Runs side by side: their figures with intervals on one scale, and the difference to the first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joulewise.measuring.accounting import Account
from joulewise.measuring.comparing import Difference, difference
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import format_duration, format_figure, format_money, format_si
from joulewise.web.runs_page import run_address
from joulewise.web.templating import clip, environment

MOST = 8
_MOST_METRICS = 8


def render(accounts: Sequence[Account]) -> str:
    """Return the page that compares two runs or more."""
    if len(accounts) < 2:
        raise UsageError(
            f"comparing needs two runs or more, but {len(accounts)} was chosen; tick them in the list of runs"
        )
    first, *others = accounts
    return (
        environment()
        .get_template("compare.html")
        .render(
            nav="runs",
            title="Comparison",
            runs=[_run(a) for a in accounts],
            bars=_bars(accounts),
            rows=_rows(accounts),
            differences=[_difference(first, a, difference(first, a)) for a in others],
            first=clip(first.recording.name, 60),
        )
    )


def _run(account: Account) -> dict[str, str]:
    recording = account.recording
    return {
        "name": clip(recording.name or recording.run_id, 60),
        "href": run_address(recording.run_id),
        "id": recording.run_id,
        "state": recording.end.state.value,
    }


def _bars(accounts: Sequence[Account]) -> list[dict[str, Any]]:
    """Return each run's energy on one scale from zero."""
    totals = [a.footprint.total_j for a in accounts]
    top = max((t.high for t in totals if t is not None), default=0.0)
    bars = []
    for account, total in zip(accounts, totals, strict=True):
        known = total is not None and top > 0
        bars.append({
            **_run(account),
            "words": format_figure(total, "J") if total is not None else "unknown",
            "basis": total.basis.word if total is not None else "unknown",
            "value": f"{100 * total.value / top:.1f}%" if known and total is not None else "0",
            "low": f"{100 * total.low / top:.1f}%" if known and total is not None else "0",
            "high": f"{100 * total.high / top:.1f}%" if known and total is not None else "0",
        })  # fmt: skip
    return bars


def _rows(accounts: Sequence[Account]) -> list[tuple[str, list[str]]]:
    rows = [
        ("state", [a.recording.end.state.value for a in accounts]),
        ("time", [format_duration(a.recording.duration_s) for a in accounts]),
        ("energy", [_words(a.footprint.total_j, "J") for a in accounts]),
        ("carbon", [_words(a.footprint.carbon_g, "g") for a in accounts]),
        ("money", [_money(a) for a in accounts]),
        (
            "CPU time",
            [format_duration(a.usage.cpu_s) if a.usage.cpu_s is not None else "unknown" for a in accounts],
        ),
        (
            "CPUs busy",
            [f"{a.usage.mean_cpus:.2f}" if a.usage.mean_cpus is not None else "unknown" for a in accounts],
        ),
    ]
    if any(per_unit := [_per_unit(a) for a in accounts]):
        rows.append(("per unit of work", per_unit))
    metrics: dict[str, None] = {}
    last = [_last(a) for a in accounts]
    for values in last:
        metrics.update(dict.fromkeys(values))
    rows += [
        (clip(name, 40), [f"{values[name]:.5g}" if name in values else "" for values in last])
        for name in list(metrics)[:_MOST_METRICS]
    ]
    return rows


def _last(account: Account) -> dict[str, float]:
    values: dict[str, float] = {}
    for point in account.recording.points:
        values.update(
            {
                str(k): float(v)
                for k, v in point.values.items()
                if isinstance(v, int | float) and not isinstance(v, bool)
            }
        )
    return values


def _words(figure: Figure | None, unit: str) -> str:
    return format_figure(figure, unit) if figure is not None else "unknown"


def _money(account: Account) -> str:
    cost = account.footprint.cost
    return format_money(cost, account.footprint.currency) if cost is not None else "unknown"


def _per_unit(account: Account) -> str:
    rate, total, time_s = (
        account.usage.throughput_per_s,
        account.footprint.total_j,
        account.recording.duration_s,
    )
    if not rate or total is None or not time_s:
        return ""
    return f"{format_si(total.value / time_s / rate, 'J')}/{clip(account.usage.throughput_of, 20)}"


def _difference(first: Account, other: Account, change: Difference) -> dict[str, Any]:
    rows = [
        ("energy", _signed(change.energy_j, "J"), _share(change.energy_j, first.footprint.total_j)),
        ("carbon", _signed(change.carbon_g, "g"), _share(change.carbon_g, first.footprint.carbon_g)),
    ]
    before_s = first.recording.duration_s
    time = f"{'+' if change.time_s >= 0 else '-'}{format_duration(abs(change.time_s))}"
    rows.append(("time", time, _percent(change.time_s / before_s) if before_s > 0 else ""))
    return {
        "name": clip(other.recording.name, 60),
        "rows": rows,
        "caveats": change.caveats,
        "cancels": change.cancels,
    }


def _signed(figure: Figure | None, unit: str) -> str:
    if figure is None:
        return "unknown"
    value, low, high = (
        f"{'+' if v >= 0 else '-'}{format_si(abs(v), unit, 2)}"
        for v in (figure.value, figure.low, figure.high)
    )
    return f"{value} ({low} to {high})"


def _share(change: Figure | None, before: Figure | None) -> str:
    if change is None or before is None or before.value <= 0:
        return ""
    return _percent(change.value / before.value)


def _percent(share: float) -> str:
    """Return a change in percent with its sign; one that rounds to nothing has none."""
    words = f"{100 * share:+.0f} %"
    return "0 %" if words in ("-0 %", "+0 %") else words
