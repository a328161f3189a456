"""`joulewise diagnose RUN`: which waste drove what a run cost, the largest predicted saving first.

With `--experiment` an experiment is looked over as a whole, with `--features` a store of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from joulewise import wiring
from joulewise.cli.findings import finding_fields, finding_lines
from joulewise.cli.output import echo, echo_json, figure_text, json_option, plain, zone_option
from joulewise.cli.server_page import living, requests_told
from joulewise.cli.try_ import verdict_words
from joulewise.diagnosing import Case, diagnose
from joulewise.diagnosing.program_diff import DIFFS, program_diff
from joulewise.diagnosing.trying import apply_trials
from joulewise.ledger.savings import trials
from joulewise.measuring.accounting import Account
from joulewise.measuring.agent.inside.prints import digest
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.finding import Cause, Finding
from joulewise.vocabulary.moments import parse_moment, parse_month
from joulewise.vocabulary.observed import ProcessView, observe
from joulewise.vocabulary.quantities import format_duration
from joulewise.vocabulary.recording import Recording
from joulewise.vocabulary.trial import Trial

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
        from joulewise.cli import experiment_waste

        experiment_waste.show(experiment, as_json=as_json)
        return
    if features:
        from joulewise.cli import store_waste

        store_waste.show(store, queries, zone, as_json=as_json)
        return
    now = datetime.now(UTC)
    if project is not None or month is not None:
        from joulewise.cli import where_it_went

        where_it_went.show(project, parse_month(month or "this", "--month", now), as_json=as_json)
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
        lines = finding_lines(number, finding)
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
    if finding.cause not in DIFFS or view is None:
        return None
    word = next((w for w in view.command[1:] if w.endswith(".py")), "")
    path = Path(str(recording.metadata.get("cwd", ""))) / word
    try:
        source = path.read_bytes()
        if not word or digest(source) != view.code:
            return None
        return program_diff(finding.cause, source.decode(), view, word.lstrip("/"))
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


def _headline(account: Account, views: tuple[ProcessView, ...], found: tuple[Finding, ...]) -> str:
    recording = account.recording
    cost = figure_text(account.footprint.total_j, "J")
    head = f"{plain(recording.name, 60)} · {format_duration(recording.duration_s)} · {cost}"
    if not views and not found:
        return f"{head}\n  no process of it was seen from inside (no Python, or started with -I, -S or -E): nothing can be named"
    if not found:
        return f"{head}\n  nothing is surely wasted: no remedy that we know would save 5 % of it"
    return f"{head} · {len(found)} finding{'s' if len(found) > 1 else ''}"
