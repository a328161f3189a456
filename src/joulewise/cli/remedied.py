"""What `joulewise run --with` says at the end: what was changed, what was not and why, and the quality gate.

The gate compares with the newest run of the same command that was recorded without remedies: what was saved counts
at equal quality only, and is kept in the ledger as a settlement.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from joulewise import wiring
from joulewise.cli.output import plain
from joulewise.diagnosing import diagnose
from joulewise.diagnosing.quality import quality
from joulewise.diagnosing.remedies import KNOBS, parse
from joulewise.diagnosing.settling import settle
from joulewise.ledger.files import read_recording
from joulewise.ledger.index import list_runs
from joulewise.ledger.savings import keep
from joulewise.measuring.accounting import Account
from joulewise.measuring.summarising import summary
from joulewise.vocabulary.errors import JoulewiseError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Finding, Settlement
from joulewise.vocabulary.observed import observe
from joulewise.vocabulary.recording import EndState

_LOOKED_AT = 50


def lines(account: Account, asked: str) -> list[str]:
    """Return the card's lines on the remedies that were asked for."""
    views = observe(account.recording)
    changed = list(dict.fromkeys(text for view in views for text in view.changed))
    left = list(dict.fromkeys(text for view in views for text in view.left))
    knobs = parse(asked)
    for name in knobs:
        if not any(text.startswith(f"{name}:") for text in (*changed, *left)):
            left.append(f"{name}: {KNOBS[name].nothing}")
    told = [f"  changed  {plain(text, 300)}" for text in changed] + [
        f"  left     {plain(text, 300)}" for text in left
    ]
    if not changed:
        return [*told, "  gate     nothing was changed, so there is nothing to compare"]
    return [*told, f"  gate     {_gate(account, list(knobs))}"]


def _gate(account: Account, knobs: Sequence[str]) -> str:
    if account.recording.end.state is not EndState.FINISHED:
        return "the run did not finish: neither its quality nor its saving can be compared"
    before = _before(account)
    if before is None:
        return (
            "no finished run of this command was recorded without remedies: record one, and joulewise settle compares quality "
            "and joules"
        )
    one, other = (
        quality(observe(a.recording), [p.values for p in a.recording.points]) for a in (before, account)
    )
    try:
        settled = settle([before], [account], _promise(before, knobs), (one, other))
    except JoulewiseError as error:
        return str(error)
    ledger = wiring.store()
    try:
        keep(ledger, settled, datetime.now(UTC))
    finally:
        ledger.close()
    return _words(settled)


def _before(account: Account) -> Account | None:
    """Return the newest finished run of the same command in the same folder that no remedy changed."""
    now = account.recording
    ledger = wiring.refresh()
    try:
        known = list_runs(ledger, name=now.name, state=EndState.FINISHED, limit=_LOOKED_AT)
    finally:
        ledger.close()
    words = summary(now).command
    for one in known:
        if one.run_id == now.run_id or one.command != words:
            continue
        then = read_recording(Path(one.folder))
        if then.metadata.get("cwd") == now.metadata.get("cwd") and not any(v.changed for v in observe(then)):
            return wiring.account(then)
    return None


def _promise(before: Account, knobs: Sequence[str]) -> Finding | None:
    """Return the finding that the one remedy was for; several remedies together were promised by nobody."""
    if len(knobs) != 1:
        return None
    found = diagnose(before.recording, observe(before.recording), before, allow_slower=True)
    return next((f for f in found if f.cause in KNOBS[knobs[0]].causes), None)


def _words(settled: Settlement) -> str:
    unit = "energy" if settled.unit == "J" else "CPU time"
    saved = f"{_percent(settled.realised_share)} less {unit} than {settled.before} (one run a side)"
    if settled.equal_quality is False:
        return f"LOWER QUALITY, so no saving: {settled.quality}; run without these remedies, or with fewer"
    if settled.equal_quality is None:
        return f"{saved}; the quality is {settled.quality}"
    return f"{saved}; {settled.quality}: equal within the noise"


def _percent(figure: Figure) -> str:
    return f"{100 * figure.value:.0f} % ({100 * figure.low:.0f}–{100 * figure.high:.0f})"
