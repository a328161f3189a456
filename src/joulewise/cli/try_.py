"""`joulewise try RUN`: short pieces of the user's own program, with one knob changed and without, confirm a finding or not."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option, plain
from joulewise.cli.scratch import Scratch, make
from joulewise.diagnosing import Case, diagnose
from joulewise.diagnosing.remedies import KNOBS, parse
from joulewise.diagnosing.trial_plan import TrialPlan, knobs_of, plan_trial
from joulewise.diagnosing.trying import Side, compare, counted_j
from joulewise.ledger.files import read_recording
from joulewise.ledger.index import list_runs
from joulewise.ledger.savings import keep_trial
from joulewise.vocabulary.errors import JoulewiseError, UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Finding
from joulewise.vocabulary.observed import ProcessView, observe
from joulewise.vocabulary.quantities import format_duration, format_si
from joulewise.vocabulary.recording import Recording
from joulewise.vocabulary.trial import Trial, TrialVerdict

_LONGEST = 3.0  # times the time that a side should take: then it is ended
_LEAST_S = 30.0
_LONGEST_PATH, _MOST_PATHS = 1_000, 8
_MOST_PRINTED = 200_000  # bytes, of a side's end


@dataclass(frozen=True, slots=True)
class _Ran:
    """One side that has run: what it measured, what it used, what it wrote elsewhere, what it printed at its end.

    `left` says why its knob changed nothing, "" where it did.
    """

    side: Side
    cost: float
    outside: tuple[str, ...]
    said: str
    left: str = ""


@click.command("try", context_settings={"allow_interspersed_args": True})
@click.argument("run", metavar="[RUN]", required=False)
@click.argument("command_words", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--knob", "knobs", metavar="KNOBS", default="auto",
    help="What to change, each by itself: batch=x4,workers=0,threads=1,cache=on,precision=bf16,validate=epoch; or auto.",
)  # fmt: skip
@click.option(
    "--future", type=click.IntRange(min=1), metavar="N",
    help="How often the program will run again (as often as it ran so far): a trial must cost less than it saves.",
)  # fmt: skip
@click.option(
    "--budget", metavar="SECONDS", type=click.FloatRange(min=1.0), help="What all sides together may take."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep", is_flag=True, help="Keep the scratch folder.")
@json_option
def command(
    run: str | None, command_words: tuple[str, ...], knobs: str, future: int | None, budget: float | None, yes: bool,
    keep: bool, as_json: bool,
) -> None:  # fmt: skip
    """Confirm, correct or withdraw findings on short pieces of the user's own program.

    RUN is `latest` (the default) or any RUN as `show` takes it. Its program runs again for some steps in a scratch copy of
    its folder, as it is and with one knob changed, in turn; nothing is edited. Experiment trackers are offline, relative
    writes stay in the copy. The outcome is kept, and `joulewise diagnose` shows it.
    """
    recording = wiring.find(run or "latest")
    account = wiring.account(recording)
    case = Case(recording, observe(recording), account)
    findings = diagnose(recording, case.views, account, allow_slower=True)
    asked = knobs_of(case, findings) if knobs == "auto" else parse(knobs)
    if not asked:
        raise UsageError(_nothing_to_try(recording, findings))
    words, folder = _program(recording, command_words)
    plan = plan_trial(case, findings, asked, future_runs=future or _runs_so_far(recording), budget_s=budget)
    if not as_json:
        echo("\n".join(_plan_lines(plan, words, folder)))
        if knobs == "auto" and findings and findings[0] not in plan.promises.values():
            echo(f"  left     {findings[0].cause.words}, the first finding: no short piece can settle it")
    if not yes and not _agrees(as_json):
        raise UsageError("nothing was tried; say --yes to try without being asked")
    outcomes, outside = _carry_out(plan, words, folder, keep=keep)
    ledger = wiring.store()
    try:
        for trial in outcomes:
            keep_trial(ledger, trial, datetime.now(UTC))
    finally:
        ledger.close()
    if as_json:
        echo_json(
            {
                "run_id": recording.run_id,
                "trials": [t.as_json() for t in outcomes],
                "written_outside": list(outside),
            }
        )
        return
    for trial in outcomes:
        echo()
        echo("\n".join(_lines(trial)))
    if outside:
        echo(f"\nwritten outside of the scratch folder: {', '.join(plain(p, 120) for p in outside)}")


def _nothing_to_try(recording: Recording, findings: Sequence[Finding]) -> str:
    if not findings:
        return f"{recording.run_id} has no finding, and nothing to guess at; name a --knob to try it all the same"
    return (
        f"no short piece can settle {findings[0].cause.words}, the first finding of {recording.run_id}: follow it "
        f"({plain(findings[0].remedy.text, 120)}), then joulewise settle {recording.run_id} latest"
    )


def _program(recording: Recording, words: Sequence[str]) -> tuple[list[str], Path]:
    """Return the command and its folder; raises UsageError where they are not known."""
    told = list(words or recording.command)
    if not told:
        raise UsageError(f"{recording.run_id} does not know its command; give it: joulewise try RUN -- CMD")
    if any("***" in word for word in told) or any(word.endswith("...") for word in told):
        raise UsageError(
            f"the recorded command hides a secret or is cut ({plain(' '.join(told), 80)}); give it whole: joulewise try RUN -- CMD"
        )
    folder = Path(str(recording.metadata.get("cwd") or os.getcwd()))
    if not folder.is_dir():
        raise UsageError(f"the program ran in {folder}, which is not there any more")
    return told, folder


def _runs_so_far(recording: Recording) -> int:
    ledger = wiring.refresh()
    try:
        same = [s for s in list_runs(ledger, name=recording.name, limit=None) if s.name == recording.name]
    finally:
        ledger.close()
    return max(1, len(same))


def _plan_lines(plan: TrialPlan, words: Sequence[str], folder: Path) -> list[str]:
    cost = plan.cost_j
    joules = "" if cost is None else f" and {format_si(cost, 'J', 2)}"
    sides = "as it is, and " + ", ".join(f"with {k}={v}" for k, v in plan.knobs.items())
    steps = f"{plan.steps} calls of estimators" if plan.by_calls else f"{plan.steps} steps"
    steps = f"{plan.passes} passes of {plan.batches} batches" if plan.passes else steps
    lines = [
        f"trial of {plain(plan.case.recording.run_id, 60)}: about {format_duration(plan.lasts_s)}{joules} (the run took {format_duration(plan.case.wall_s)})",
        f"  runs     {plan.pairs} × {sides}; {steps} each",
        f"  command  {plain(' '.join(words), 300)}",
        f"  folder   a scratch copy of {plain(folder, 200)}; trackers offline",
    ]
    absolute = _absolute(words, folder)
    if absolute:
        lines.append(f"  careful  absolute paths are the real ones: {plain(' '.join(absolute), 200)}")
    return lines


def _absolute(words: Sequence[str], folder: Path) -> list[str]:
    """Return the absolute paths in a command, and those that stand in its script and lie in folders that are there."""
    told = [w for w in words[1:] if os.path.isabs(w.partition("=")[2] or w) and not w.endswith(".py")]
    script = next((w for w in words[1:] if w.endswith(".py")), "")
    try:
        tree = ast.parse((folder / script).read_bytes()) if script else ast.Module([], [])
    except (OSError, SyntaxError, ValueError, RecursionError):
        return told
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    whole = [t.rstrip("/") for t in texts if len(t) < _LONGEST_PATH and os.path.isabs(t) and "\0" not in t]
    told += [p for p in whole if p.count("/") > 1 and os.path.isdir(os.path.dirname(p))]
    return list(dict.fromkeys(told))[:_MOST_PATHS]


def _agrees(as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        return False
    return click.confirm("The program's side effects may happen again. Try it?", err=True)


def _carry_out(
    plan: TrialPlan, words: Sequence[str], folder: Path, *, keep: bool
) -> tuple[list[Trial], tuple[str, ...]]:
    """Run all sides, one after the other and in turn, and return what they say, and which files were written elsewhere."""
    home = Path(tempfile.mkdtemp(prefix="joulewise-trial-"))
    order: list[str | None] = [None, *plan.knobs]
    ran: dict[str | None, list[_Ran]] = {knob: [] for knob in order}
    try:
        for number in range(plan.pairs):
            for knob in order[:] if number % 2 == 0 else order[::-1]:
                place = home / f"{number}-{knob or 'as-it-is'}"
                scratch = make(folder, place / "files")
                side = _side(plan, words, scratch, knob, place / "runs")
                ran[knob].append(side)
                if knob and side.left:
                    _drop(knob, side.left, order, ran)
        _check(ran)
        unit_cost = sum(r.cost for runs in ran.values() for r in runs)
        outcomes = [
            compare(
                plan,
                knob,
                list(zip((r.side for r in ran[None]), (r.side for r in ran[knob]), strict=True)),
                unit_cost,
            )
            for knob in order
            if knob
        ]
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)
    if keep:
        click.echo(f"joulewise: kept {home}", err=True)
    outside = tuple(dict.fromkeys(p for runs in ran.values() for r in runs for p in r.outside))
    return outcomes, outside


def _drop(knob: str, why: str, order: list[str | None], ran: dict[str | None, list[_Ran]]) -> None:
    """Leave out a knob that changes nothing in this program; raises UsageError if it was the last."""
    told = f"{knob} changes nothing in this program: {plain(why, 300)}"
    order.remove(knob)
    del ran[knob]
    if order == [None]:
        raise UsageError(told)
    click.echo(f"joulewise: {told}", err=True)


def _check(ran: Mapping[str | None, Sequence[_Ran]]) -> None:
    for knob, runs in ran.items():
        for one in runs:
            if not one.side.windows:
                name = f"with {knob}" if knob else "as it is"
                raise UsageError(
                    f"the program measured no steps {name}; it ended with: {plain(one.said or 'no words', 300)}"
                )


def _side(plan: TrialPlan, words: Sequence[str], scratch: Scratch, knob: str | None, runs: Path) -> _Ran:
    """Run one side and return what it measured."""
    asked = {knob: plan.knobs[knob]} if knob else {}
    remedies = wiring.remedied({"trial": plan.spec, "sandbox": str(scratch.root), **asked})
    limit_s = max(_LEAST_S, _LONGEST * plan.side_s)
    said = runs.parent / "printed"
    with said.open("wb") as file:
        subprocess.run(
            [sys.executable, "-m", "joulewise", "run", "--quiet", "--name", "trial", "--interval", "0.25", "--grace", "2",
             "--budget", f"{limit_s:.0f}s", "--", *words],
            cwd=scratch.folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False,
            env={**os.environ, "JOULEWISE_RUNS": str(runs), "PWD": str(scratch.folder), **remedies},
        )  # fmt: skip
    kept = next(iter(runs.glob("*/*")), None)
    printed = tuple(said.read_bytes()[-_MOST_PRINTED:].decode("utf-8", "replace").strip().splitlines())
    tail = printed[-1:]
    if kept is None:
        raise JoulewiseError(f"the trial could not be recorded: {plain(' '.join(tail), 200)}")
    recording = read_recording(kept)
    views = observe(recording)
    view = max(views, key=lambda v: (len(v.windows), v.steps), default=None)
    account = wiring.account(recording)
    total = account.footprint.total_j
    return _Ran(
        Side(
            view.windows,
            view.curve,
            view.changed if knob else (),
            counted_j(recording, view.windows),
            printed,
            (account.usage.run_delay_s or 0.0) / max(1e-9, account.usage.cpu_s or 0.0),
        )
        if view
        else Side((), ()),
        total.value if total is not None else account.usage.cpu_s or 0.0,
        tuple(p for v in views for p in v.outside),
        " ".join(tail),
        _why_not(knob, view) if knob and view and view.windows else "",
    )


def _why_not(knob: str, view: ProcessView) -> str:
    """Return why a knob changed nothing, "" where it did: then a trial would compare like with like."""
    if any(text.startswith(f"{knob}:") for text in view.changed):
        return ""
    reasons = [text.partition(": ")[2] for text in view.left if text.startswith(f"{knob}:")]
    return "; ".join(reasons) or KNOBS[knob].nothing


def _lines(trial: Trial) -> list[str]:
    what = "energy" if trial.unit == "J" else "CPU time"
    lines = [f"{trial.cause.words}: {verdict_words(trial)}"]
    if trial.promised_share is not None:
        lines.append(f"  promised {_percent(trial.promised_share)} of the run's {what}")
    longer = "shorter" if trial.wall_share >= 0 else "longer"
    lines += [
        f"  found    {_percent(trial.run_share)} of the run's {what}; {_percent(trial.step_share)} less a sample in training",
        f"  time     {100 * abs(trial.wall_share):.0f} % {longer}",
        f"  quality  {plain(trial.quality, 200)}",
        f"  noise    {'from ' + str(trial.pairs) + ' pairs' if trial.pairs > 1 else 'one pair: ±6 % a side assumed, up to 20 % where it waited for a CPU'}",
    ]
    lines += [f"  changed  {plain(text, 200)}" for text in trial.changed]
    return lines


def verdict_words(trial: Trial) -> str:
    """Return what a trial says, in a few words."""
    if trial.verdict is TrialVerdict.CORRECTED and trial.promised_share is None:
        return f"{trial.knob} saves, which nothing had promised"
    if trial.verdict is TrialVerdict.WITHDRAWN:
        why = (
            "the quality is lower"
            if trial.equal_quality is False
            else "it would save less than 5 % of the run"
        )
        return f"withdrawn by {trial.knob}: {why}"
    if trial.verdict is TrialVerdict.UNCLEAR:
        return f"{trial.knob} does not settle it: the noise is larger than the saving; --budget allows more"
    return f"{trial.verdict.value} by {trial.knob}"


def _percent(figure: Figure) -> str:
    return f"{100 * figure.value:.0f} % ({100 * figure.low:.0f}–{100 * figure.high:.0f})"
