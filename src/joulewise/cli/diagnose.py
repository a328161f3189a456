"""`joulewise diagnose RUN`: which waste drove what a run cost, the largest predicted saving first."""

from __future__ import annotations

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
from joulewise.cli.try_ import verdict_words
from joulewise.diagnosing import Case, diagnose
from joulewise.diagnosing.experiment import Experiment, ended_runs, look_over
from joulewise.diagnosing.trying import apply_trials
from joulewise.ledger.savings import trials
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Finding
from joulewise.vocabulary.observed import ProcessView, observe
from joulewise.vocabulary.quantities import format_duration, format_money, format_si
from joulewise.vocabulary.trial import Trial

_MOST_RUNS = 1000


@click.command("diagnose")
@click.argument("run", metavar="RUN", required=False)
@click.option("--experiment", metavar="NAME", help="Look over all runs whose name begins so.")
@click.option(
    "--allow-slower", is_flag=True, help="Show remedies that lengthen the run by more than 5 %, too."
)
@zone_option
@json_option
def command(
    run: str | None, experiment: str | None, allow_slower: bool, zone: str | None, as_json: bool
) -> None:
    """Name what drove a run's cost, and what each remedy would have saved.

    RUN is `latest` (the default), the beginning of an id or of a name (its latest), or the folder of a recording. Only
    what saves 5 % of the run and more is named; where nothing is surely wasted, nothing is.
    """
    if experiment is not None:
        if run is not None:
            raise UsageError(f"give either RUN or --experiment, not both ({run!r} and {experiment!r})")
        _experiment(experiment, as_json)
        return
    account = wiring.account(wiring.find(run or "latest"), zone)
    views = observe(account.recording)
    seen = diagnose(account.recording, views, account, allow_slower=allow_slower)
    tried, withdrawn = apply_trials(Case(account.recording, views, account), seen, _trials(account))
    if as_json:
        echo_json(
            {
                "run_id": account.recording.run_id,
                "seen_from_inside": bool(views),
                "findings": [
                    {**finding_fields(f), "trial": trial.as_json() if trial else None} for f, trial in tried
                ],
                "withdrawn": [trial.as_json() for trial in withdrawn],
            }
        )
        return
    echo(_headline(account, views, tuple(f for f, _ in tried)))
    for number, (finding, trial) in enumerate(tried, 1):
        echo()
        echo(
            "\n".join([*_lines(number, finding), *([f"   tried   {verdict_words(trial)}"] if trial else ())])
        )
    if withdrawn:
        echo()
    for trial in withdrawn:
        echo(f"{trial.cause.words}: {verdict_words(trial)}")


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
    if not views:
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
                "repeated": [list(r) for r in seen.repeated],
                "failed": list(seen.failed),
                "dominated": list(seen.dominated),
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
        f"{plain(name, 60)} · {seen.runs} runs · {format_si(seen.total_j, 'J')} · {100 * share:.0f} % of it bought nothing",
        f"  repeated  {len(seen.repeated)} runs of the same code, arguments, data and seeds: {format_si(seen.repeated_j, 'J')}",
        f"  failed    {len(seen.failed)} runs: {format_si(seen.failed_j, 'J')}",
        (
            f"  dominated {len(seen.dominated)} runs were no better than a cheaper one (known only afterwards): "
            f"{format_si(seen.dominated_j, 'J')}"
        ),
    ]
    if seen.front:
        lines.append(f"  the front of {seen.metric} and energy:")
        lines += [
            f"    {format_si(p.energy_j, 'J'):>10}  {p.quality:.4g}  {plain(p.run_id, 60)}"
            for p in seen.front
        ]
    return lines
