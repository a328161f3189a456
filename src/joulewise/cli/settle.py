"""`joulewise settle (BEFORE AFTER | PLAN | JOB)`: whether the promised saving was real; between runs, at equal quality."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import click

from joulewise import wiring
from joulewise.cli import settling_alerts
from joulewise.cli.job_settling import settle_job
from joulewise.cli.output import echo, echo_json, figure_fields, json_option, plain
from joulewise.cli.plan_settling import settle_plan
from joulewise.diagnosing import diagnose
from joulewise.diagnosing.quality import quality
from joulewise.diagnosing.settling import REPEAT_ARM, settle
from joulewise.ledger.savings import keep
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Cause, Finding, Settlement
from joulewise.vocabulary.observed import observe
from joulewise.vocabulary.quantities import format_figure

_UNITS = {"J": "J", "cpu_s": "s"}


@click.command("settle")
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="[AFTER]", required=False)
@click.option(
    "--cause", type=click.Choice([c.value for c in Cause]), help="Settle this finding instead of the first."
)
@click.option(
    "--history",
    "histories",
    multiple=True,
    metavar="[ZONE=]FILE",
    help="For a plan: the intensities that were measured in its hours.",
)
@click.option(
    "--marginal",
    "marginals",
    multiple=True,
    metavar="[ZONE=]FILE",
    help="For a plan: marginal intensities, for the estimated consequence.",
)
@json_option
def command(
    before: str,
    after: str | None,
    cause: str | None,
    histories: tuple[str, ...],
    marginals: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare what was promised with what was realised, and keep it in the ledger.

    Of two runs, what a finding of BEFORE promised with what AFTER realised; each side is a RUN as `show` takes it, or
    several with commas between them: repeats make the noise known. With one file that `plan --save` kept in BEFORE's
    place, what the plan promised with what the grid really did; with a JOB of the queue, what its plan saved against
    running at once.
    """
    if after is None:
        if cause is not None:
            raise UsageError("--cause chooses a finding of a run, but a plan has none; leave it out")
        if os.path.isfile(before):
            settle_plan(before, histories, marginals, as_json=as_json)
        else:
            settle_job(_job(before), histories, marginals, as_json=as_json)
        return
    if histories or marginals:
        raise UsageError("--history and --marginal belong to a plan, but two runs were given; leave them out")
    sides = [_accounts(before), _accounts(after)]
    shared = {a.recording.run_id for a in sides[0]} & {a.recording.run_id for a in sides[1]}
    if shared:
        raise UsageError(f"{shared.pop()} is on both sides, but a run cannot be settled against itself")
    promise = _promise(sides[0][0], cause)
    qualities = tuple(
        quality(observe(s[0].recording), [p.values for p in s[0].recording.points]) for s in sides
    )
    settled = settle(sides[0], sides[1], promise, (qualities[0], qualities[1]))
    ledger = wiring.store()
    try:
        keep(ledger, settled, datetime.now(UTC))
    finally:
        ledger.close()
    settling_alerts.of_runs(settled, _verdict(settled), _percent(settled.realised_share))
    repeated = min(len(side) for side in sides) > 1
    if as_json:
        echo_json({**settlement_fields(settled), "noise_assumed": not repeated})
        return
    echo("\n".join(_lines(settled, repeated=repeated)))


def _job(text: str) -> str:
    """Return the name of a job that the queue knows; say what may stand here where it knows none."""
    from joulewise.ledger.jobs import find

    store = wiring.queue_store()
    try:
        return find(store, text).id
    except UsageError:
        raise UsageError(
            f"{plain(text)!r} is no job of the queue and no file; give two runs, BEFORE and AFTER, or a plan that joulewise plan --save kept, or a job"
        ) from None
    finally:
        store.close()


def _accounts(text: str) -> list[Account]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{text!r} names no run; give a RUN, or several with commas between them")
    return [wiring.account(wiring.find(name)) for name in names]


def _promise(account: Account, cause: str | None) -> Finding | None:
    found = diagnose(account.recording, observe(account.recording), account, allow_slower=True)
    if cause is None:
        return found[0] if found else None
    chosen = [f for f in found if f.cause == cause]
    if not chosen:
        had = ", ".join(f.cause.value for f in found) or "none"
        raise UsageError(f"{account.recording.run_id} has no finding {cause!r}; its findings: {had}")
    return chosen[0]


def _lines(settled: Settlement, *, repeated: bool) -> list[str]:
    unit = _UNITS[settled.unit]
    what = "energy" if settled.unit == "J" else "CPU time"
    promised = (
        "nothing (no finding)"
        if settled.promised_share is None or settled.cause is None
        else f"{_percent(settled.promised_share)} of the {what} ({settled.cause.words})"
    )
    noise = (
        "from the repeats"
        if repeated
        else f"±{100 * REPEAT_ARM:.0f} % a run assumed; settle several runs a side to know"
    )
    return [
        f"{plain(settled.before, 60)} → {plain(settled.after, 60)}",
        f"  promised {promised}",
        f"  realised {_percent(settled.realised_share)} of the {what}, {format_figure(settled.realised, unit)}",
        f"  time     {100 * abs(settled.wall_share):.0f} % {'shorter' if settled.wall_share >= 0 else 'longer'}",
        f"  quality  {plain(settled.quality, 200)}{_quality_words(settled)}",
        f"  noise    {noise}",
        f"  verdict  {_verdict(settled)}",
    ]


def _percent(figure: Figure) -> str:
    return f"{100 * figure.value:.0f} % ({100 * figure.low:.0f}–{100 * figure.high:.0f})"


def _quality_words(settled: Settlement) -> str:
    return {True: ": equal within the noise", False: ": lower than before", None: ""}[settled.equal_quality]


def _verdict(settled: Settlement) -> str:
    if settled.equal_quality is False:
        return "no saving: the quality is lower"
    if settled.kept is None:
        return "saved, though nothing was promised" if settled.realised_share.low > 0 else "no saving seen"
    if settled.kept:
        return "kept" if settled.equal_quality else "kept, if the quality is the same"
    better = (
        settled.promised_share is not None and settled.realised_share.value > settled.promised_share.value
    )
    return "more than promised" if better else "not kept: less than promised"


def settlement_fields(settled: Settlement) -> dict[str, Any]:
    """Return a settlement as JSON fields."""
    return {
        "before": settled.before,
        "after": settled.after,
        "cause": settled.cause.value if settled.cause else None,
        "unit": settled.unit,
        "promised_share": figure_fields(settled.promised_share),
        "realised_share": figure_fields(settled.realised_share),
        "realised": figure_fields(settled.realised),
        "wall_share": settled.wall_share,
        "equal_quality": settled.equal_quality,
        "quality": settled.quality,
        "kept": settled.kept,
    }
