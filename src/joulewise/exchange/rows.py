"""Recordings as rows of CSV for reporting: one a run, each figure with its interval, basis and source."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from joulewise.measuring.accounting import Account
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.text import plain

_FIGURES = {
    "energy_kwh": "total_j",
    "facility_kwh": "facility_j",
    "carbon_g": "carbon_g",
    "embodied_g": "embodied_g",
    "cost": "cost",
}
_FACTORS = ("uplift", "pue", "intensity", "embodied", "price")
_ABOUT = (
    "run_id",
    "name",
    "role",
    "host",
    "started_utc",
    "ended_utc",
    "duration_s",
    "state",
    "zone",
    "currency",
)


def columns() -> list[str]:
    """Return the names of the columns, in order; they only grow."""
    figures = [f"{name}{end}" for name in _FIGURES for end in ("", "_low", "_high", "_basis")]
    return [*_ABOUT, *figures, *(f"{f}{end}" for f in _FACTORS for end in ("", "_source")), "not_measured"]


def write(accounts: Sequence[Account]) -> str:
    """Return CSV with a header; what is unknown is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(account) for account in accounts)
    return out.getvalue()


def _row(account: Account) -> dict[str, Any]:
    recording, cost = account.recording, account.footprint
    row: dict[str, Any] = {
        "run_id": recording.run_id,
        "name": _cell(recording.name),
        "role": recording.role,
        "host": _cell(recording.machine.host),
        "started_utc": recording.started_utc.isoformat(),
        "ended_utc": (recording.started_utc + timedelta(seconds=recording.duration_s)).isoformat(),
        "duration_s": round(recording.duration_s, 3),
        "state": recording.end.state.value,
        "zone": _cell(recording.metadata.get("zone", "")),
        "currency": cost.currency,
        "not_measured": _cell("; ".join(f"{m.source}: {m.why}" for m in recording.missing)),
    }
    for name, field in _FIGURES.items():
        figure: Figure | None = getattr(cost, field)
        if figure is not None:
            scale = 1 / JOULES_PER_KWH if name.endswith("_kwh") else 1.0
            row |= {
                name: figure.value * scale,
                f"{name}_low": figure.low * scale,
                f"{name}_high": figure.high * scale,
            }
            row[f"{name}_basis"] = figure.basis.word
    for name in _FACTORS:
        factor = cost.factors.get(name)
        if factor is not None:
            row |= {name: factor.value, f"{name}_source": _cell(factor.source)}
    return row


def _cell(value: object) -> str:
    """Return text that a spreadsheet takes for text: a cell that begins like a formula gets an apostrophe (CWE-1236)."""
    text = plain(value, 300)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
