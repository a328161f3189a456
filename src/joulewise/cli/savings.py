"""What was settled, as `joulewise runs --savings` shows it: promises, outcomes, and how good the promises have been."""

from __future__ import annotations

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, local_time, plain, table
from joulewise.cli.plan_settling import part_fields, report_fields
from joulewise.cli.settle import settlement_fields
from joulewise.ledger.savings import TrackRecord, plans, settlements, track_record
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Settlement
from joulewise.vocabulary.quantities import format_si
from joulewise.vocabulary.settled import Report, Settled

_FIRST = (
    "nothing has been settled yet; settle a promise: joulewise settle BEFORE AFTER, or joulewise settle PLAN"
)


def show(limit: int, *, as_json: bool) -> None:
    """Print at most `limit` settlements of findings and of plans, newest first, and the track record over all of them."""
    ledger = wiring.store()
    try:
        settled, planned = settlements(ledger), plans(ledger)
    finally:
        ledger.close()
    record, report = track_record(settled), Report(tuple(part for _, part in planned))
    if as_json:
        echo_json(
            {
                "settled": record.settled,
                "promised": record.promised,
                "within": record.within,
                "bias": record.bias,
                "mean_error": record.mean_error,
                "savings": [settlement_fields(s) for s in settled[:limit]],
                "plans": {
                    **report_fields(report),
                    "jobs": [{"plan": name, **part_fields(part)} for name, part in planned[:limit]],
                },
            }
        )
        return
    if not settled and not planned:
        echo(_FIRST)
        return
    parts = []
    if settled:
        shown = table(
            [_row(s) for s in settled[:limit]],
            ("finding", "promised", "realised", "quality", "kept", "before", "after"),
            right=(1, 2),
        )
        parts.append(f"{shown}\n\n{_record_words(record)}")
    if planned:
        shown = table(
            [_plan_row(name, part) for name, part in planned[:limit]],
            ("job", "ran", "promised", "realised", "of the oracle", "regret", "", "plan"),
            right=(2, 3, 4, 5),
        )
        parts.append(f"{shown}\n\n{_plan_words(report)}")
    echo("\n\n".join(parts))


def _row(settled: Settlement) -> list[str]:
    return [
        settled.cause.words if settled.cause else "none",
        _percent(settled.promised_share) if settled.promised_share else "-",
        _percent(settled.realised_share),
        {True: "equal", False: "lower", None: "unknown"}[settled.equal_quality],
        {True: "yes", False: "no", None: "-"}[settled.kept],
        plain(settled.before, 40),
        plain(settled.after, 40),
    ]


def _percent(figure: Figure) -> str:
    return f"{100 * figure.value:.0f} % ({100 * figure.low:.0f}–{100 * figure.high:.0f})"


def _record_words(record: TrackRecord) -> str:
    if record.bias is None or record.mean_error is None:
        return "no promise has been settled at equal quality"
    way = "more" if record.bias >= 0 else "less"
    return (
        f"{record.within} of {record.promised} promises agree with their outcome; realised were on average "
        f"{100 * abs(record.bias):.1f} points {way} than promised, the mean error is {100 * record.mean_error:.1f} points"
    )


def _plan_row(name: str, part: Settled) -> list[str]:
    return [
        plain(part.name, 30),
        local_time(part.start_utc),
        format_si(part.promised_g, "g"),
        format_si(part.saved_g, "g"),
        "nothing to save" if part.share_of_oracle is None else f"{part.share_of_oracle:.0%}",
        format_si(part.regret_g, "g"),
        plain(part.verdict, 80),
        plain(name, 40),
    ]


def _plan_words(report: Report) -> str:
    share = report.share_of_oracle
    of = "" if share is None else f", {share:.0%} of what knowing the hours would have saved"
    return (
        f"plans saved {format_si(report.saved_g, 'g')} ({report.saved_share:.1%} of running now) and promised "
        f"{format_si(report.promised_g, 'g')}{of}; regret {format_si(report.regret_g, 'g')}; "
        f"{len(report.wrong)} of {len(report.parts)} went wrong: worse than running now"
    )
