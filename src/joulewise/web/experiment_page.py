"""An experiment: which share of its joules bought nothing, and the front of quality and energy. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from joulewise.diagnosing.experiment import Experiment, RunLine, look_over
from joulewise.vocabulary.quantities import format_si
from joulewise.web import charts
from joulewise.web.report import ticks
from joulewise.web.runs_page import run_address
from joulewise.web.templating import clip, drawn, environment

_MOST_LISTED = 200


def address(name: str) -> str:
    """Return where the page about an experiment is."""
    return f"/experiment?{urlencode({'name': name})}"


def render_list(experiments: Sequence[tuple[str, int, float]]) -> str:
    """Return the page that lists experiments: (name, runs, joules)."""
    rows = [
        {
            "name": clip(name, 80),
            "href": address(name),
            "runs": f"{runs:,}",
            "energy": format_si(energy_j, "J"),
        }
        for name, runs, energy_j in experiments
    ]
    return (
        environment()
        .get_template("experiments.html")
        .render(nav="experiments", title="Experiments", rows=rows)
    )


def render(name: str, runs: Sequence[RunLine], waiting: int) -> str:
    """Return the page about the ended runs of one name; `waiting` have not been looked into yet."""
    seen = look_over(runs)
    share = seen.wasted_j / seen.total_j if seen.total_j > 0 else 0.0
    return (
        environment()
        .get_template("experiment.html")
        .render(
            nav="experiments",
            title=clip(name, 80),
            runs=f"{seen.runs:,}",
            total=format_si(seen.total_j, "J"),
            share=f"{100 * share:.0f} %",
            parts=_parts(seen),
            metric=clip(seen.metric, 40),
            chart=_chart(runs, seen),
            front=[
                {
                    "href": run_address(p.run_id),
                    "id": p.run_id,
                    "energy": format_si(p.energy_j, "J"),
                    "quality": f"{p.quality:.4g}",
                }
                for p in seen.front
            ],
            repeated=[
                {"run": run, "href": run_address(run), "of": of, "of_href": run_address(of)}
                for run, of in seen.repeated[:_MOST_LISTED]
            ],
            failed=[{"run": run, "href": run_address(run)} for run in seen.failed[:_MOST_LISTED]],
            waiting=waiting,
            live=address(name) if waiting else "",
        )
    )


def _parts(seen: Experiment) -> list[dict[str, Any]]:
    rest = max(0.0, seen.total_j - seen.wasted_j)
    parts = [
        (
            "repeated",
            "idle",
            len(seen.repeated),
            seen.repeated_j,
            "the same code, arguments, data and seeds as an earlier run",
        ),
        ("failed", "gpu", len(seen.failed), seen.failed_j, "ended by an error or a signal"),
        ("the rest", "cpu", seen.runs - len(seen.repeated) - len(seen.failed), rest, "told something"),
    ]
    at = 0.0
    rows = []
    for name, key, runs, joules, words in parts:
        width = 100 * joules / seen.total_j if seen.total_j > 0 else 0.0
        rows.append({
            "name": name, "key": key, "runs": runs, "energy": format_si(joules, "J"), "words": words,
            "x": f"{at:.2f}%", "width": f"{width:.2f}%", "share": f"{width:.0f} %",
        })  # fmt: skip
        at += width
    return rows


def _chart(runs: Sequence[RunLine], seen: Experiment) -> dict[str, Any] | None:
    """Return the runs as points of energy and quality, those on the front joined."""
    points = [
        (r.energy_j, r.quality.value, r.run_id)
        for r in runs
        if r.quality is not None and r.quality.name == seen.metric
    ]
    if len(points) < 2:
        return None
    across = charts.value_axis(0.0, max(e for e, _, _ in points), charts.joule_label, 5)
    low, high = min(q for _, q, _ in points), max(q for _, q, _ in points)
    margin = 0.02 * abs(high) if low == high else 0.0
    up = charts.value_axis(low - margin, high + margin, charts.number_label, 4)
    on_front = {p.run_id for p in seen.front}
    front = [(across.at(p.energy_j), up.at(p.quality)) for p in seen.front]
    return {
        "dots": [
            {
                "x": f"{100 * across.at(e):.2f}%",
                "y": f"{100 - 100 * up.at(q):.2f}%",
                "front": run in on_front,
                "words": f"{run}: {format_si(e, 'J')}, {q:.4g}",
                "href": run_address(run),
            }
            for e, q, run in points[:2000]
        ],
        "front": drawn(charts.line(front)),
        "across": ticks(across),
        "up": ticks(up),
    }
