"""What was settled, as `joulewise runs --savings` shows it: promises, outcomes, and how good the promises have been."""

from __future__ import annotations

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, plain, table
from joulewise.cli.settle import settlement_fields
from joulewise.ledger.savings import TrackRecord, settlements, track_record
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Settlement

_FIRST = "nothing has been settled yet; settle a promise: joulewise settle BEFORE AFTER"


def show(limit: int, *, as_json: bool) -> None:
    """Print at most `limit` settlements, newest first, and the track record over all of them."""
    ledger = wiring.store()
    try:
        settled = settlements(ledger)
    finally:
        ledger.close()
    record = track_record(settled)
    if as_json:
        echo_json(
            {
                "settled": record.settled,
                "promised": record.promised,
                "within": record.within,
                "bias": record.bias,
                "mean_error": record.mean_error,
                "savings": [settlement_fields(s) for s in settled[:limit]],
            }
        )
        return
    if not settled:
        echo(_FIRST)
        return
    echo(
        table(
            [_row(s) for s in settled[:limit]],
            ("finding", "promised", "realised", "quality", "kept", "before", "after"),
            right=(1, 2),
        )
    )
    echo(f"\n{_record_words(record)}")


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
