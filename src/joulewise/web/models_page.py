"""Served models: requests, joules a request, standing by, cache, variants and sleep. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joulewise.vocabulary.quantities import format_duration, format_figure
from joulewise.web.runs_page import run_address
from joulewise.web.served import Served
from joulewise.web.templating import clip, environment

_MOST_MODELS, _MOST_VARIANTS = 100, 12


def render(found: Sequence[Served]) -> str:
    """Return the page."""
    top = max((one.idle for one in found if one.idle is not None), default=0.0)
    return (
        environment()
        .get_template("models.html")
        .render(
            nav="models",
            title="Served models",
            rows=[_row(one) for one in found[:_MOST_MODELS]],
            left_out=max(0, len(found) - _MOST_MODELS),
            idle=top > 0.5,
            live="/models" if any(one.running for one in found) else "",
        )
    )


def _row(one: Served) -> dict[str, Any]:
    each = one.each_j
    return {
        "name": clip(one.model, 80),
        "href": run_address(one.latest),
        "state": "running" if one.running else "",
        "periods": f"{one.periods:,} period{'s' if one.periods != 1 else ''}, {format_duration(one.served_s)}",
        "requests": f"{one.requests:,}",
        "energy": format_figure(one.energy_j, "J") if one.energy_j is not None else "unknown",
        "basis": one.energy_j.basis.word if one.energy_j is not None else "unknown",
        "unknown": one.unknown,
        "each": format_figure(each, "J") if each is not None else "–",
        "idle": f"{one.idle:.0%}" if one.idle is not None else "unknown",
        "idle_width": f"{100 * (one.idle or 0.0):.1f}%",
        "hits": f"{one.hits:.0%}" if one.hits is not None else "unknown",
        "awake": f"{one.awake:.0%}",
        "variants": [f"{clip(name, 40)} {share:.0%}" for name, share in one.variants[:_MOST_VARIANTS]],
    }
