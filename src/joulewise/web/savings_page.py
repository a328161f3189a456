"""Savings: what findings and plans promised, what was realised, and how good the promises have been. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joulewise.ledger.savings import track_record
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Settlement
from joulewise.vocabulary.quantities import format_figure, format_si
from joulewise.vocabulary.settled import Report, Settled
from joulewise.web.runs_page import run_address
from joulewise.web.templating import clip, environment

_MOST = 100


def render(settled: Sequence[Settlement], planned: Sequence[tuple[str, Settled]]) -> str:
    """Return the page: settlements of findings and of plans, newest first, with the record over all of them."""
    record, report = track_record(settled), Report(tuple(part for _, part in planned))
    words = ""
    if record.bias is not None and record.mean_error is not None:
        words = (
            f"{record.within} of {record.promised} promises agree with their outcome. Realised were on average "
            f"{100 * abs(record.bias):.1f} points {'more' if record.bias >= 0 else 'less'} than promised; the mean error is "
            f"{100 * record.mean_error:.1f} points."
        )
    plan_words = ""
    if planned:
        plan_words = (
            f"Plans saved {format_si(report.saved_g, 'g')} CO₂e ({report.saved_share:.1%} of running at once) and promised "
            f"{format_si(report.promised_g, 'g')}; {len(report.wrong)} of {len(report.parts)} went wrong: worse than at once."
        )
    return (
        environment()
        .get_template("savings.html")
        .render(
            nav="savings",
            title="Savings",
            record=words,
            findings=[_finding(s) for s in settled[:_MOST]],
            plan_words=plan_words,
            plans=[_plan(name, part) for name, part in planned[:_MOST]],
        )
    )


def _finding(settled: Settlement) -> dict[str, Any]:
    return {
        "cause": settled.cause.words if settled.cause else "no finding",
        "promised": _interval(settled.promised_share),
        "realised": _interval(settled.realised_share),
        "promised_text": _percent(settled.promised_share) if settled.promised_share else "nothing",
        "realised_text": _percent(settled.realised_share),
        "amount": format_figure(settled.realised, {"J": "J"}.get(settled.unit, "s")),
        "quality": {True: "equal", False: "lower", None: "unknown"}[settled.equal_quality],
        "kept": {True: "kept", False: "not kept", None: ""}[settled.kept],
        "before": clip(settled.before, 60),
        "before_href": run_address(settled.before),
        "after": clip(settled.after, 60),
        "after_href": run_address(settled.after),
    }


def _interval(share: Figure | None) -> dict[str, str] | None:
    """Return a share and its interval as places between -20 % and 100 % of the run."""
    if share is None:
        return None
    low, value, high = ((min(1.0, max(-0.2, v)) + 0.2) / 1.2 for v in (share.low, share.value, share.high))
    return {
        "x": f"{100 * low:.1f}%",
        "width": f"{max(0.5, 100 * (high - low)):.1f}%",
        "at": f"{100 * value:.1f}%",
    }


def _percent(figure: Figure) -> str:
    return f"{100 * figure.value:.0f} % ({100 * figure.low:.0f}–{100 * figure.high:.0f})"


def _plan(name: str, part: Settled) -> dict[str, str]:
    return {
        "job": clip(part.name, 40),
        "ran": f"{part.start_utc:%Y-%m-%d %H:%M} UTC",
        "promised": format_si(part.promised_g, "g"),
        "saved": format_si(part.saved_g, "g"),
        "oracle": "nothing to save" if part.share_of_oracle is None else f"{part.share_of_oracle:.0%}",
        "verdict": clip(part.verdict, 160),
        "plan": clip(name, 60),
    }
