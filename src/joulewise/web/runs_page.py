"""The list of runs: what each used, to filter, search, sort, page through, and choose some to compare. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any
from urllib.parse import quote, urlencode

from joulewise.ledger.summary import Summary
from joulewise.vocabulary.quantities import format_duration, format_figure
from joulewise.vocabulary.recording import EndState
from joulewise.web.shelf import PAGE, Query
from joulewise.web.templating import clip, environment

_ORDERS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "energy": "most energy",
    "duration": "longest",
    "name": "by name",
}
_SPANS = {"": "any time", "day": "last day", "week": "last week", "month": "last month", "year": "last year"}
_MOST_TAGS = 6


def render(rows: Sequence[Summary], count: int, query: Query) -> str:
    """Return the page with one page of runs, of `count` that fit."""
    pages = max(1, ceil(count / PAGE))
    known = [r.energy_j.high for r in rows if r.energy_j is not None]
    top = max(known, default=0.0)
    asked = any((query.text, query.state, query.since))
    return (
        environment()
        .get_template("runs.html")
        .render(
            nav="runs",
            title="Runs",
            rows=[_row(r, top) for r in rows],
            count=f"{count:,}",
            one=count == 1,
            empty_words="No run fits." if asked else "",
            query=query,
            states=["", *(s.value for s in EndState)],
            spans=_SPANS,
            orders=_ORDERS,
            page=query.page,
            pages=f"{pages:,}",
            before=address(query, query.page - 1) if query.page > 1 else "",
            after=address(query, query.page + 1) if query.page < pages else "",
            live=address(query, query.page) if any(r.state is EndState.RUNNING for r in rows) else "",
        )
    )


def address(query: Query, page: int) -> str:
    """Return where a page of the same list is."""
    wanted = replace(query, page=page)
    fields = {
        "q": wanted.text,
        "state": wanted.state,
        "since": wanted.since,
        "order": wanted.order,
        "page": page,
    }
    usual = {"q": "", "state": "", "since": "", "order": "newest", "page": 1}
    return "/?" + urlencode({k: v for k, v in fields.items() if v != usual[k]})


def run_address(run_id: str) -> str:
    """Return where the page about a run is."""
    return f"/runs/{quote(run_id, safe='')}"


def _row(row: Summary, top: float) -> dict[str, Any]:
    energy = row.energy_j
    tags = [f"{k}={v}" if v else str(k) for k, v in (row.tags or {}).items()]
    return {
        "id": row.run_id,
        "name": clip(row.name or row.run_id, 80),
        "href": run_address(row.run_id),
        "started": f"{row.started_utc:%Y-%m-%d %H:%M} UTC",
        "moment": row.started_utc.isoformat(),
        "state": row.state.value,
        "duration": format_duration(row.duration_s),
        "energy": format_figure(energy, "J") if energy is not None else "unknown",
        "basis": energy.basis.word if energy is not None else "unknown",
        "low": f"{100 * energy.low / top:.1f}%" if energy is not None and top > 0 else "0",
        "width": f"{max(0.5, 100 * (energy.high - energy.low) / top):.1f}%"
        if energy is not None and top > 0
        else "0",
        "at": f"{100 * energy.value / top:.1f}%" if energy is not None and top > 0 else "0",
        "host": clip(row.host, 40),
        "tags": [clip(t, 40) for t in tags[:_MOST_TAGS]],
        "command": clip(row.command, 160),
    }
