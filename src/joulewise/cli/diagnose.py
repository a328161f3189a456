"""`joulewise diagnose RUN`: which waste drove what a run cost, the largest predicted saving first.

With `--experiment` an experiment is looked over as a whole, with `--features` a store of features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from joulewise import wiring
from joulewise.cli.output import (
    echo,
    echo_json,
    figure_fields,
    figure_text,
    json_option,
    plain,
    zone_option,
)
from joulewise.cli.server_page import living, requests_told
from joulewise.cli.try_ import verdict_words
from joulewise.diagnosing import Case, diagnose
from joulewise.diagnosing.experiment import Experiment, Worth, ended_runs, look_over
from joulewise.diagnosing.trying import apply_trials
from joulewise.diagnosing.validation_diff import validation_diff
from joulewise.ledger.savings import trials
from joulewise.measuring.accounting import Account
from joulewise.measuring.agent.inside.prints import digest
from joulewise.vocabulary.errors import RecordingError, UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Cause, Finding
from joulewise.vocabulary.moments import parse_moment, parse_month
from joulewise.vocabulary.observed import ProcessView, observe
from joulewise.vocabulary.quantities import format_duration, format_money, format_si
from joulewise.vocabulary.recording import Recording
from joulewise.vocabulary.trial import Trial

_MOST_RUNS = 1000
_OF_A_STORE = (Cause.VIEW_NOBODY_READS, Cause.VALUES_TOO_FRESH, Cause.DERIVED_TWICE, Cause.REQUEST_TIME_JOIN)


@click.command("diagnose")
@click.argument("run", metavar="RUN", required=False)
@click.option("--experiment", metavar="NAME", help="Look over all runs whose name begins so.")
@click.option(
    "--allow-slower", is_flag=True, help="Show remedies that lengthen the run by more than 5 %, too."
)
@click.option(
    "--deadline",
    metavar="TIME",
    help="Show slower remedies with which a run that starts now is done by then: +12h, 18:00, 'tomorrow 08:00'.",
)
@click.option(
    "--requests",
    metavar="FILE|URL|auto",
    help="How many requests a server answered: its access log, its metrics page (a file, or its URL, which is asked once), or auto: "
    "the ports of a run that still lasts.",
)
@click.option("--project", metavar="P", help="Split a project's month over the five wastes.")
@click.option(
    "--month", metavar="MONTH", help="Which month (2026-11, `this` or `last`); alone: everybody's work in it."
)
@click.option("--features", is_flag=True, help="Look over the store of features instead of a run.")
@click.option(
    "--store", metavar="PLACE", help="With --features: the online store, a path or redis://host:port/0."
)
@click.option(
    "--queries", metavar="FILE", help="With --features: statements that a served model ran, as JSON."
)
@zone_option
@json_option
def command(
    run: str | None,
    experiment: str | None,
    project: str | None,
    month: str | None,
    allow_slower: bool,
    deadline: str | None,
    requests: str | None,
    features: bool,
    store: str | None,
    queries: str | None,
    zone: str | None,
    as_json: bool,
) -> None:
    """Name what drove a run's cost, and what each remedy would have saved.

    RUN is `latest` (the default), the beginning of an id or of a name (its latest), or the folder of a recording. Only
    what saves 5 % of the run and more is named; where nothing is surely wasted, nothing is.
    """
    chosen = [
        said
        for said, given in (
            ("RUN", run),
            ("--experiment", experiment),
            ("--features", features),
            ("--project and --month", project or month),
        )
        if given
    ]
    if len(chosen) > 1:
        raise UsageError(
            f"give one of RUN, --experiment, --features, and --project with --month, not {' and '.join(chosen)}"
        )
    if (store or queries) and not features:
        raise UsageError(f"{'--store' if store else '--queries'} goes with --features")
    if experiment is not None:
        _experiment(experiment, as_json)
        return
    if features:
        _features(store, queries, zone, as_json)
        return
    now = datetime.now(UTC)
    if project is not None or month is not None:
        from joulewise.cli.where_it_went import show

        show(project, parse_month(month or "this", "--month", now), as_json=as_json)
        return
    left_s = None if deadline is None else (parse_moment(deadline, now) - now).total_seconds()
    if left_s is not None and left_s <= 0:
        raise UsageError(f"the deadline {deadline!r} has passed")
    account = wiring.account(wiring.find(run or "latest"), zone)
    views = observe(account.recording)
    answered = (
        None
        if requests is None
        else requests_told(requests, living(account.recording), account.recording.run_id)
    )
    seen = diagnose(
        account.recording, views, account, allow_slower=allow_slower, most_s=left_s, requests=answered
    )
    tried, withdrawn = apply_trials(Case(account.recording, views, account), seen, _trials(account))
    if as_json:
        echo_json(
            {
                "run_id": account.recording.run_id,
                "seen_from_inside": bool(views),
                "findings": [
                    {
                        **finding_fields(f),
                        "diff": _diff(account.recording, views, f),
                        "trial": trial.as_json() if trial else None,
                    }
                    for f, trial in tried
                ],
                "withdrawn": [trial.as_json() for trial in withdrawn],
            }
        )
        return
    echo(_headline(account, views, tuple(f for f, _ in tried)))
    for number, (finding, trial) in enumerate(tried, 1):
        echo()
        diff = _diff(account.recording, views, finding)
        lines = _lines(number, finding)
        lines += [f"   diff    {_code(line)}".rstrip() for line in (diff or "").splitlines()]
        lines += [f"   tried   {verdict_words(trial)}"] if trial else []
        echo("\n".join(lines))
    if any(finding.cause in _OF_A_STORE for finding, _ in tried):
        echo("\nthe whole store of features: joulewise diagnose --features")
    if withdrawn:
        echo()
    for trial in withdrawn:
        echo(f"{trial.cause.words}: {verdict_words(trial)}")


def _diff(recording: Recording, views: Sequence[ProcessView], finding: Finding) -> str | None:
    """Return the diff of a finding's remedy, where the program's source is still there, as it ran, and can be read."""
    view = next((v for v in views if v.process == finding.process), None)
    if finding.cause is not Cause.VALIDATION_TOO_OFTEN or view is None:
        return None
    word = next((w for w in view.command[1:] if w.endswith(".py")), "")
    path = Path(str(recording.metadata.get("cwd", ""))) / word
    try:
        source = path.read_bytes()
        if not word or digest(source) != view.code:
            return None
        return validation_diff(source.decode(), view, word.lstrip("/"))
    except (OSError, UnicodeDecodeError):
        return None


def _code(line: str) -> str:
    """Return a line of a program as it stands, without control characters."""
    return "".join(c if c.isprintable() else " " for c in line.expandtabs())[:200]


def _trials(account: Account) -> list[Trial]:
    ledger = wiring.store()
    try:
        return trials(ledger, account.recording.run_id)
    finally:
        ledger.close()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _headline(account: Account, views: tuple[ProcessView, ...], found: tuple[Finding, ...]) -> str:
    recording = account.recording
    cost = figure_text(account.footprint.total_j, "J")
    head = f"{plain(recording.name, 60)} · {format_duration(recording.duration_s)} · {cost}"
    if not views and not found:
        return f"{head}\n  no process of it was seen from inside (no Python, or started with -I, -S or -E): nothing can be named"
    if not found:
        return f"{head}\n  nothing is surely wasted: no remedy that we know would save 5 % of it"
    return f"{head} · {len(found)} finding{'s' if len(found) > 1 else ''}"


def _lines(number: int, finding: Finding) -> list[str]:
    saving = finding.saving
    amounts = [f"{figure_text(saving.cpu_s, 's')} of CPU time"]
    if saving.energy_j is not None:
        amounts.insert(0, figure_text(saving.energy_j, "J"))
    if saving.carbon_g is not None:
        amounts.append(figure_text(saving.carbon_g, "g"))
    if saving.cost is not None:
        amounts.append(format_money(saving.cost, saving.currency))
    return [
        f"{number}. {finding.cause.words}: {100 * saving.share:.0f} % of the run",
        f"   seen    {plain(finding.evidence, 400)}",
        f"   saves   {' · '.join(amounts)}",
        f"   time    {_time(saving.wall_s, saving.wall_share)}",
        f"   try     {plain(finding.remedy.text, 300)}",
        f"   risk    {plain(finding.risk, 200)}",
    ]


def _time(wall_s: Figure, share: float) -> str:
    if abs(share) < 0.005:
        return "as long as before"
    word = "shorter" if share > 0 else "longer"
    return f"{format_duration(abs(wall_s.value))} {word} ({100 * abs(share):.0f} %)"


def finding_fields(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON fields."""
    saving = finding.saving
    return {
        "cause": finding.cause.value,
        "saving_cpu": saving.cpu_share,
        "saving_wall": saving.wall_share,
        "saving_energy": saving.energy_share,
        "evidence": finding.evidence,
        "saving": {
            "energy_j": figure_fields(saving.energy_j),
            "cpu_s": figure_fields(saving.cpu_s),
            "wall_s": figure_fields(saving.wall_s),
            "carbon_g": figure_fields(saving.carbon_g),
            "cost": figure_fields(saving.cost),
            "currency": saving.currency or None,
        },
        "remedy": {"kind": finding.remedy.kind.value, "text": finding.remedy.text},
        "risk": finding.risk,
        "process": finding.process,
    }


def _experiment(name: str, as_json: bool) -> None:
    accounts = wiring.recordings(name, limit=_MOST_RUNS)
    runs = ended_runs([(a, observe(a.recording)) for a in accounts])
    if not runs:
        raise UsageError(f"no ended run has a name that begins with {name!r}; 'joulewise runs' lists them")
    seen = look_over(runs)
    if as_json:
        echo_json(
            {
                "experiment": name,
                "runs": seen.runs,
                "energy_j": seen.total_j,
                "bought_nothing_j": seen.wasted_j,
                "carbon_g": seen.total.carbon_g,
                "bought_nothing_g": seen.wasted.carbon_g,
                "cost": seen.total.cost,
                "bought_nothing_cost": seen.wasted.cost,
                "currency": seen.total.currency or None,
                "repeated": [list(r) for r in seen.repeated],
                "failed": list(seen.failed),
                "dominated": list(seen.dominated),
                "unrated": seen.unrated,
                "front": [
                    {"run_id": p.run_id, "quality": p.quality, "energy_j": p.energy_j} for p in seen.front
                ],
            }
        )
        return
    echo("\n".join(_experiment_lines(name, seen)))


def _experiment_lines(name: str, seen: Experiment) -> list[str]:
    share = seen.wasted_j / seen.total_j if seen.total_j > 0 else 0.0
    lines = [
        f"{plain(name, 60)} · {seen.runs} runs · {_worth(seen.total)} · {100 * share:.0f} % of it bought nothing",
        *([f"  wasted    {_worth(seen.wasted)}"] if seen.wasted_j else []),
        f"  repeated  {len(seen.repeated)} runs of the same code, arguments, data and seeds: {format_si(seen.repeated_j, 'J')}",
        f"  failed    {len(seen.failed)} runs: {format_si(seen.failed_j, 'J')}",
        (
            f"  dominated {len(seen.dominated)} runs were no better than a cheaper one (known only afterwards): "
            f"{format_si(seen.dominated_j, 'J')}"
        ),
    ]
    if seen.unrated:
        lines.append(f"  unrated   {seen.unrated} runs told no {seen.metric or 'quality'}")
    if seen.front:
        lines.append(f"  the front of {seen.metric} and energy:")
        lines += [
            f"    {format_si(p.energy_j, 'J'):>10}  {p.quality:.4g}  {plain(p.run_id, 60)}"
            for p in seen.front
        ]
    return lines


def _worth(worth: Worth) -> str:
    """Return joules, grams and money; grams and money only where they are known of every run."""
    amounts = [format_si(worth.energy_j, "J")]
    amounts += [] if worth.carbon_g is None else [format_si(worth.carbon_g, "g")]
    amounts += [] if worth.cost is None or not worth.currency else [f"{worth.cost:.2g} {worth.currency}"]
    return " · ".join(amounts)


def _features(store: str | None, queries: str | None, zone: str | None, as_json: bool) -> None:
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
        echo_json({"findings": [_store_fields(f) for f in found]})
        return
    if not found:
        echo("Nothing is derived for nobody.")
    for number, f in enumerate(found, 1):
        echo(f"{number}. {f.cause.words}: {plain(f.subject, 200)}")
        echo(f"   seen    {plain(f.evidence, 300)}")
        echo(f"   saves   {_store_amounts(f)}")
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


def _store_amounts(f: Any) -> str:
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


def _store_fields(f: Any) -> Mapping[str, Any]:
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
