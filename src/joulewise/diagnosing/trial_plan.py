"""How a run is tried: which knobs, how long a side is, how many pairs; and when a trial is not worth it.

A side is as long as the larger of 5 % of the run, and start-up plus 50 steps a side, allows. A trial that would cost more than
it can save over the program's future runs is refused. Programs of estimators (scikit-learn, XGBoost, LightGBM) have no steps:
there each outermost call (a fit, a transform, a round of a booster) stands for one. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from joulewise.diagnosing.case import Case, epochs_made, step_wall_s, train_batch
from joulewise.diagnosing.remedies import KNOBS
from joulewise.diagnosing.repeated_preprocessing import HANDED_OUT, can_be_handed_out
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.finding import Cause, Finding
from joulewise.vocabulary.observed import Phase, ProcessView
from joulewise.vocabulary.quantities import format_si

_SHARE = 0.05  # of the run
_STEPS = 50
_ENOUGH_S = 3.0  # of measured steps a side
_CALLS = 9  # of estimators a side, at least: a third of them warms up
_FITS = 6  # equal ones a side: the first two, in the third that warms up, are computed in any case
_MOST_PAIRS = 3
_PASSES = 3
_HOPED = 0.10  # of the run, where no finding promises anything
CALLS_KNOBS = ("threads", "cache")  # what changes programs without steps


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """How a run is tried: `pairs` rounds of one side as it is and one for each knob, each of so many steps.

    With `passes` the training loader's passes are cut to `batches`; without, `steps` are measured in a row.
    """

    case: Case
    view: ProcessView
    knobs: Mapping[str, str]
    promises: Mapping[str, Finding | None]
    steps: int
    passes: int
    batches: int
    pairs: int
    side_s: float
    budget_s: float
    by_calls: bool = False  # steps are calls of estimators

    @property
    def spec(self) -> str:
        """Return what the process is told."""
        what = f"steps={self.steps} passes={self.passes} batches={self.batches}"
        return f"{what} calls=1" if self.by_calls else what

    @property
    def lasts_s(self) -> float:
        """Seconds that all sides take together, about."""
        return self.pairs * (1 + len(self.knobs)) * self.side_s

    @property
    def cost_j(self) -> float | None:
        """Joules that all sides take together, about; None where the run's are not known."""
        total = self.case.account.footprint.total_j
        return None if total is None else total.value * self.lasts_s / self.case.wall_s


def knobs_of(case: Case, findings: Sequence[Finding]) -> dict[str, str]:
    """Return what is worth trying on a run: the remedies of its findings, else what cannot be settled by watching."""
    view = worker(case)
    batch = train_batch(view)
    workers = max((one.workers for one in view.loaders if not one.evaluates), default=0)
    values = {
        "batch": "x4" if batch is None or batch * 4 > 32 else f"x{round(32 / batch)}",
        "workers": "0" if workers else str(max(1, int(case.cpus) - 1)),
        "threads": str(max(1, int(case.cpus))),
        "cache": "on",
        "precision": "bf16",
        "validate": "epoch",
    }
    found = {
        name: values[name]
        for finding in findings
        for name in KNOBS
        if name in values and _settles(view, name, finding)
    }
    if found:
        return found
    guesses: dict[str, str] = {}
    if not view.steps:
        return {"threads": "1"} if case.cpus > 1 and view.threads.omp != 1 else {}
    if batch is not None and batch < 64 and any(one.shuffle for one in view.loaders):
        guesses["batch"] = "x4"
    if workers:
        guesses["workers"] = "0"
    if (view.threads.torch or 1) > 1:
        guesses["threads"] = "1"
    return guesses


def plan_trial(
    case: Case,
    findings: Sequence[Finding],
    knobs: Mapping[str, str],
    *,
    future_runs: int,
    budget_s: float | None = None,
) -> TrialPlan:
    """Return the plan of a trial; raises UsageError for what cannot be tried, or is not worth it. Pure."""
    if "early-stop" in knobs:
        raise UsageError(
            "early-stop cannot be tried on a short piece of a run; apply it to a whole one: joulewise run --with early-stop"
        )
    view = worker(case)
    if not view.steps:
        return _plan_calls(case, view, findings, knobs, budget_s, future_runs)
    start_s, step_s = _start_s(view), step_wall_s(view) / view.steps
    sides = 1 + len(knobs)
    allowed_s = budget_s or max(_SHARE * case.wall_s, sides * (start_s + _STEPS * step_s))
    pairs = max(1, min(_MOST_PAIRS, int(allowed_s / (sides * (start_s + _STEPS * step_s)))))
    left_s = allowed_s / (sides * pairs) - start_s
    steps = max(_STEPS, int(min(left_s, _ENOUGH_S) / step_s))
    epochs = epochs_made(view) or 0
    passes = (
        min(_PASSES, epochs)
        if epochs > 1 and any(not one.evaluates and one.passes > 1 for one in view.loaders)
        else 0
    )
    batches = ceil(steps / passes) if passes else 0
    if passes:
        trains = max((one for one in view.loaders if not one.evaluates), key=lambda one: one.batches)
        batches = max(batches, 8 * trains.workers)
        if "validate" in knobs and view.evaluation_calls > epochs:
            batches = max(batches, ceil(3 * view.steps / view.evaluation_calls))
        batches = min(batches, max(4, trains.batches // trains.passes))
        steps = passes * batches
    plan = TrialPlan(
        case, view, dict(knobs), {name: _promise(view, findings, name) for name in knobs}, steps, passes, batches, pairs,
        start_s + steps * step_s, allowed_s,
    )  # fmt: skip
    _refuse_if_dear(plan, future_runs)
    return plan


def _start_s(view: ProcessView) -> float:
    """Return how long the process took until its first step."""
    first = next((p.t_s for p in view.curve if "loss" in p.values), None)
    if first is not None:
        return max(0.0, first - view.start_s)
    return view.phase(Phase.SETUP).wall_s + view.phase(Phase.IMPORT).wall_s


def _promise(view: ProcessView, findings: Sequence[Finding], knob: str) -> Finding | None:
    return next((f for f in findings if _settles(view, knob, f)), None)


def _settles(view: ProcessView, knob: str, finding: Finding) -> bool:
    """Say whether a knob is the remedy of a finding: `cache` keeps what estimators and loaders make, not what the program makes before."""
    if finding.cause is Cause.REPEATED_PREPROCESSING and not can_be_handed_out(view):
        return False
    if finding.cause is Cause.REREADING_INPUT and not any(
        one.fetched for one in view.loaders
    ):  # a loop of its own opens them
        return False
    return finding.cause in KNOBS[knob].causes


def _refuse_if_dear(plan: TrialPlan, future_runs: int) -> None:
    shares = [p.saving.share for p in plan.promises.values() if p is not None]
    hoped = sum(shares) if shares else _HOPED
    saved_s = future_runs * hoped * plan.case.wall_s
    if plan.lasts_s <= saved_s:
        return
    cost = plan.cost_j
    amount = (
        f"{plan.lasts_s:.0f} s" if cost is None else f"{plan.lasts_s:.0f} s and {format_si(cost, 'J', 2)}"
    )
    need = ceil(plan.lasts_s / (hoped * plan.case.wall_s))
    why = "promised" if shares else "hoped for, since no finding promises any"
    raise UsageError(
        f"not worth a trial: it would take about {amount}, and {100 * hoped:.0f} % of {future_runs} more "
        f"run{'s' if future_runs > 1 else ''} of {plan.case.wall_s:.0f} s is less ({why}); if the program will run "
        f"{need} times or more, say --future {need}"
    )


def worker(case: Case) -> ProcessView:
    """Return the process that is tried: the one with most steps, else with most calls of estimators. Raises UsageError."""
    if case.trainers:
        return max(case.trainers, key=lambda v: v.steps)
    callers = [v for v in case.views if v.kind == "main" and calls_made(v)]
    if not callers:
        raise UsageError(
            f"{case.recording.run_id} has no training steps and no estimator's calls that the agent saw; only a training loop of "
            "PyTorch, or fits of scikit-learn, XGBoost and LightGBM can be tried"
        )
    return max(callers, key=calls_made)


def calls_made(view: ProcessView) -> int:
    """Return the outermost calls of estimators."""
    return sum(p.calls for p in view.preparations)


def most_equal(view: ProcessView) -> int:
    """Return how often the fit was made that came most often with equal input and settings; 0 where nothing was fitted."""
    return max((p.calls for p in view.preparations if p.method in HANDED_OUT), default=0)


def calls_wall_s(view: ProcessView) -> float:
    """Return their wall seconds, with those directly before each call, in which its input was made."""
    return sum(p.wall_s + p.before_s for p in view.preparations)


def _plan_calls(
    case: Case,
    view: ProcessView,
    findings: Sequence[Finding],
    knobs: Mapping[str, str],
    budget_s: float | None,
    future_runs: int,
) -> TrialPlan:
    """Return the plan for a program of estimators: its first calls, as many as the budget allows."""
    wrong = [name for name in knobs if name not in CALLS_KNOBS]
    if wrong:
        raise UsageError(
            f"{wrong[0]} changes nothing in a program without training steps; try {' or '.join(CALLS_KNOBS)}"
        )
    made, sides = calls_made(view), 1 + len(knobs)
    if made < _CALLS:
        raise UsageError(
            f"{case.recording.run_id} made {made} calls of estimators, too few to try on a piece of it; apply the remedy to a whole "
            "run: joulewise run --with threads=1"
        )
    least = _CALLS
    if "cache" in knobs:
        equal = most_equal(view)
        if equal < _FITS:
            raise UsageError(
                f"{case.recording.run_id} makes no equal fit {_FITS} times, and of fewer a piece can show no saving; apply the remedy to a "
                "whole run: joulewise run --with cache"
            )
        least = max(least, ceil(made * _FITS / equal))
    start_s, call_s = _start_s(view), calls_wall_s(view) / made
    allowed_s = budget_s or max(_SHARE * case.wall_s, sides * (start_s + least * call_s))
    pairs = max(1, min(_MOST_PAIRS, int(allowed_s / (sides * (start_s + least * call_s)))))
    left_s = allowed_s / (sides * pairs) - start_s
    calls = min(made, max(least, int(min(left_s, _ENOUGH_S) / max(1e-9, call_s))))
    plan = TrialPlan(
        case, view, dict(knobs), {name: _promise(view, findings, name) for name in knobs}, calls, 0, 0, pairs,
        start_s + calls * call_s, allowed_s, by_calls=True,
    )  # fmt: skip
    _refuse_if_dear(plan, future_runs)
    return plan
