"""A store of features looked over: what is derived for nobody, too often or twice (`joulewise diagnose --features`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, plain
from joulewise.vocabulary.errors import RecordingError, UsageError
from joulewise.vocabulary.quantities import format_duration, format_si


def show(store: str | None, queries: str | None, zone: str | None, *, as_json: bool) -> None:
    """Print the findings of a store of features; raises UsageError for statements that cannot be read."""
    from joulewise.diagnosing.derived import look_over_store

    online = wiring.online_store(store)
    try:
        states, tallies = online.states(), online.tallies()
    finally:
        online.close()
    found = look_over_store(
        states,
        tallies,
        datetime.now(UTC),
        queries=_queries(_text(queries)) if queries else (),
        rates={name: r for name, state in states.items() if (r := _rate(state, zone)) is not None},
    )
    if as_json:
        echo_json({"findings": [_fields(f) for f in found]})
        return
    if not found:
        echo("Nothing is derived for nobody.")
    for number, f in enumerate(found, 1):
        echo(f"{number}. {f.cause.words}: {plain(f.subject, 200)}")
        echo(f"   seen    {plain(f.evidence, 300)}")
        echo(f"   saves   {_amounts(f)}")
        echo(f"   try     {plain(f.remedy.text, 300)}")
        echo(f"   risk    {plain(f.risk, 200)}")
        if f.runs:
            echo(f"   run     joulewise diagnose {plain(f.runs[-1], 80)}")


def _queries(text: str) -> list[Any]:
    """Return statements from JSON: what `Counting.queries()` gives, or rows of pg_stat_statements (milliseconds)."""
    from joulewise.features.hygiene import Query

    try:
        rows = json.loads(text)
        found = [
            Query(
                str(row["sql"] if "sql" in row else row["query"]),
                int(row["calls"]),
                float(row["cpu_s"]) if "cpu_s" in row else float(row["total_exec_time"]) / 1000,
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"cannot read the statements: {error!r}; a list of objects with sql, calls and cpu_s is wanted (or, of "
            "pg_stat_statements, query, calls and total_exec_time)"
        ) from None
    return found


def _rate(state: Any, zone: str | None) -> Any:
    """Return what a CPU second of a view's recorded runs cost; None where none of their recordings is left."""
    from joulewise.diagnosing.derived import rate
    from joulewise.ledger.files import read_recording, run_folder
    from joulewise.vocabulary.footprint import combined

    parts, cpu_s = [], 0.0
    for run in state.runs:
        try:
            if run.run_id:
                recording = read_recording(run_folder(Path(wiring.settings().runs), run.run_id))
                parts.append(wiring.account(recording, zone).footprint)
                cpu_s += run.cpu_s
        except RecordingError:  # pruned, or made on another host
            continue
    return rate(combined(parts), cpu_s) if parts else None


def _amounts(f: Any) -> str:
    if f.cpu_s is None:
        return "not known: it was made fewer than three times"
    amounts = [f"{format_duration(f.cpu_s)} of CPU time"]
    if f.rate is not None:
        amounts = [
            *([f"about {format_si(f.rate.energy_j * f.cpu_s, 'J')}"] if f.rate.energy_j is not None else []),
            *amounts,
            *([format_si(f.rate.carbon_g * f.cpu_s, "g")] if f.rate.carbon_g is not None else []),
            *([f"{f.rate.cost * f.cpu_s:.2g} {f.rate.currency}"] if f.rate.cost is not None else []),
        ]
    return (
        f"{' · '.join(amounts)} a {f.per}" if f.per in ("day", "run") else f"{' · '.join(amounts)} in {f.per}"
    )


def _fields(f: Any) -> Mapping[str, Any]:
    priced = None if f.rate is None or f.cpu_s is None else f.rate
    amounts = {
        name: None if priced is None or value is None else value * f.cpu_s
        for name, value in (
            ("energy_j", priced and priced.energy_j),
            ("carbon_g", priced and priced.carbon_g),
            ("cost", priced and priced.cost),
        )
    }
    return {
        "cause": f.cause.value,
        "runs": list(f.runs),
        "subject": f.subject,
        "evidence": f.evidence,
        "saving": {
            "cpu_s": f.cpu_s,
            "per": f.per,
            **amounts,
            "currency": (f.rate.currency if f.rate else "") or None,
        },
        "remedy": {"kind": f.remedy.kind.value, "text": f.remedy.text},
        "risk": f.risk,
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
