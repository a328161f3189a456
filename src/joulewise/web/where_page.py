"""Where it went: a month's joules over the five wastes, adding up to 100 %. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulewise.ledger.wastes import Split
from joulewise.vocabulary.quantities import format_si
from joulewise.vocabulary.waste import Part, Waste
from joulewise.web.runs_page import run_address
from joulewise.web.templating import clip, environment
from joulewise.web.totals_page import Asked, where_address

_LOOKS = {
    Waste.OVER_TRAINING: ("gpu", "epochs, validations, trials and repeats that the result did not need"),
    Waste.OVERSIZED_MODELS: ("network", "wider models and wider numbers than the task asks for"),
    Waste.DATA_MOVEMENT: ("storage", "reading, deriving, shuffling, logging and saving again"),
    Waste.UNDERUSED_HARDWARE: ("cpu", "devices that wait, small batches, idle holders"),
    Waste.ALWAYS_ON_SERVING: ("memory", "standing by for requests that do not come"),
}


def render(
    project: str,
    month: str,
    seen: Split,
    examples: Mapping[Waste, Sequence[tuple[str, float]]],
    more: bool = False,
) -> str:
    """Return the page; it renews itself while there is `more` to look into."""
    parts = [
        _part(w.words, key, words, seen.wastes[w], seen.total_j, examples.get(w, ()))
        for w, (key, words) in _LOOKS.items()
    ]
    parts.append(
        _part("no waste found", "idle", "no remedy that we know would have saved it", seen.none, seen.total_j)
    )
    if seen.unseen > 0:
        words = "no Python, or started with -I, -S or -E, or imported: nothing can be said"
        parts.append(_part("not seen from inside", "other", words, _exactly(seen.unseen), seen.total_j))
    if seen.waiting > 0:
        words = f"{seen.waiting_runs:,} recording{'' if seen.waiting_runs == 1 else 's'}: still running, on another host, or about to be"
        parts.append(_part("not looked into", "others", words, _exactly(seen.waiting), seen.total_j))
    at = 0.0
    for part in parts:
        part["x"] = f"{100 * at:.2f}%"
        at += part["value"]
    wasted = sum(p.share for p in seen.wastes.values())
    return (
        environment()
        .get_template("where.html")
        .render(
            nav="totals",
            title=f"Where {project or 'it'} went",
            project=project,
            month=month,
            runs=f"{seen.runs:,}",
            total=format_si(seen.total_j, "J"),
            wasted=f"{100 * wasted:.0f} %",
            parts=parts,
            totals=Asked(month, project=project).address,
            live=where_address(project, month) if more else "",
        )
    )


def _part(
    name: str, key: str, words: str, part: Part, total_j: float, examples: Sequence[tuple[str, float]] = ()
) -> dict[str, Any]:
    return {
        "name": name,
        "key": key,
        "words": words,
        "value": part.share,
        "width": f"{100 * part.share:.2f}%",
        "share": f"{100 * part.share:.1f} %",
        "between": f"{100 * part.low:.0f}–{100 * part.high:.0f} %" if part.high > part.low else "",
        "low": f"{100 * part.low:.1f}%",
        "range": f"{max(0.5, 100 * (part.high - part.low)):.1f}%",
        "energy": format_si(part.share * total_j, "J"),
        "examples": [{"id": clip(run, 60), "href": run_address(run)} for run, _ in examples],
    }


def _exactly(share: float) -> Part:
    return Part(share, share, share)
