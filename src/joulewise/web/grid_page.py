"""The grid: how clean a zone's electricity will be, hour by hour, and what that is known from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from joulewise import wiring
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.signal import Signal
from joulewise.web import charts
from joulewise.web.report import ticks
from joulewise.web.templating import clip, drawn, environment

_HOURS, _CLEANEST_H = 48, 6


def render(zone: str) -> str:
    """Return the page about a zone, the configured one where `zone` is ""; asks no service."""
    zone = zone or wiring.settings().zone
    if zone == "auto":
        zone = ""
    fields: dict[str, Any] = {"zone": clip(zone, 40), "found": None, "fault": ""}
    if zone:
        try:
            told = wiring.outlook(zone, _HOURS)
        except UsageError as error:
            fields["fault"] = str(error)
        else:
            fields["found"] = {
                "method": told.method,
                "source": clip(told.signal.source, 300),
                "kind": f"{told.signal.meaning.kind.value}, {told.signal.meaning.factors.value}",
                "notes": [clip(n, 300) for n in told.notes],
                **_chart(told.signal),
            }
    return environment().get_template("grid.html").render(nav="grid", title="Grid", **fields)


def _chart(signal: Signal) -> dict[str, Any]:
    """Return the hours as steps with their 90 % band, the cleanest stretch marked, and the same as rows."""
    count = len(signal.points)
    values = [p.value for p in signal.points]
    known = [v for v in values if v is not None]
    if not known:
        return {"words": "No hour's intensity is known.", "path": "", "rows": []}
    up = charts.value_axis(0.0, max(*known, *(p.high or 0.0 for p in signal.points)), charts.number_label, 4)
    sides = [(n / count, (n + 1) / count) for n in range(count)]
    bins = [(*side, up.at(v)) for side, v in zip(sides, values, strict=True) if v is not None]
    spread = [
        (*side, up.at(p.low), up.at(p.high))
        for side, p in zip(sides, signal.points, strict=True)
        if p.low is not None and p.high is not None
    ]
    hours = [(signal.start_utc + timedelta(seconds=n * signal.step_s)).astimezone() for n in range(count)]
    low, high = f"{min(known):.0f}", f"{max(known):.0f}"
    words = f"Between {low} and {high} g CO₂e/kWh over {count} hours."
    if low == high:
        words = f"{low} g CO₂e/kWh in each of {count} hours: no hour is known to be cleaner than another."
    best = _cleanest(values)
    if best is not None:
        start, mean = best
        words += (
            f" The cleanest {_CLEANEST_H} hours begin {hours[start]:%A %H:%M}, at {mean:.0f} g on average"
        )
        now = values[0]
        words += f", {100 * (1 - mean / now):.0f} % below now." if now and now > mean else "."
    return {
        "path": drawn(charts.steps(bins)),
        "clean": drawn(charts.steps(bins[best[0] : best[0] + _CLEANEST_H]) if best else ""),
        "spread": drawn(charts.band(spread)),
        "up": ticks(up),
        "along": [
            {"x": f"{100 * n / count:.2f}%", "label": f"{hours[n]:%a %H:%M}", "minor": hours[n].hour % 12}
            for n in range(count)
            if hours[n].hour % 6 == 0
        ],
        "words": words,
        "rows": [
            (f"{h:%Y-%m-%d %H:%M}", "unknown" if v is None else f"{v:.0f}")
            for h, v in zip(hours, values, strict=True)
        ],
    }


def _cleanest(values: Sequence[float | None]) -> tuple[int, float] | None:
    """Return where the cleanest stretch begins and its mean; None where a gap is in every stretch, or all are alike."""
    means = [
        (sum(v for v in part if v is not None) / _CLEANEST_H, n)
        for n in range(len(values) - _CLEANEST_H + 1)
        if None not in (part := values[n : n + _CLEANEST_H])
    ]
    if not means or min(means)[0] > 0.99 * max(means)[0]:
        return None
    mean, start = min(means)
    return start, mean
