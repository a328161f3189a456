"""Tell a webhook of a saving that did not come: of two runs or serving periods, of a plan, of a job of the queue."""

from __future__ import annotations

import click

from joulewise import wiring
from joulewise.vocabulary.finding import Settlement
from joulewise.vocabulary.quantities import format_si
from joulewise.vocabulary.settled import Report

_HALF = 0.5  # a plan has no interval: less than this of its promise did not come


def of_runs(settled: Settlement, verdict: str, realised: str) -> None:
    """Tell of runs whose saving was less than promised, or had at lower quality."""
    promised = settled.promised_share
    less = settled.kept is False and not (promised and settled.realised_share.value > promised.value)
    if less or settled.equal_quality is False:
        words = f"{settled.before} to {settled.after}: {verdict}, {realised} realised"
        _tell(words, settled.after, before=settled.before, after=settled.after, verdict=verdict)


def of_placements(name: str, report: Report) -> None:
    """Tell of a plan, or a job of the queue, that was worse than running at once, or saved less than half of its promise."""
    saved, promised = report.saved_g, report.promised_g
    if saved >= 0 and (promised <= 0 or saved >= _HALF * promised):
        return
    verdict = "worse than running at once" if saved < 0 else "less than half of what was promised"
    words = f"{name}: {verdict}, {format_si(saved, 'g')} saved of {format_si(promised, 'g')}"
    _tell(words, "", plan=name, saved_g=saved, promised_g=promised, wrong=len(report.wrong), verdict=verdict)


def _tell(words: str, run_id: str, **facts: object) -> None:
    chosen = wiring.settings()
    if not chosen.tells("settling"):
        return
    from joulewise.exchange.alerts import Alert, notify

    if fault := notify(chosen, Alert("settling", words, run_id, facts=facts)):
        click.echo(f"joulewise: {fault}", err=True)
