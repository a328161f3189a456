"""Trying: what a short piece of the user's own program says of a finding, with one knob changed and without.

`compare` takes what the sides measured (`trial_plan` says how long they are); `apply_trials` says which findings are left. Both
are pure; the door (`joulewise try`) runs the sides.

A sample costs what it costs in a pass (its share of the pass's start, where workers begin, over the run's own number of
items), in joules by the run's own joules per CPU second and per second, or by counters where processor and GPU have them. The
saving in a step is carried to the run by the share that steps have in it. Repeated pairs give the noise, by Student's t; one
pair is taken to be good to 6 % a side, or to what its windows say. Calls of estimators are unlike each other, so there the
same calls of both sides are compared as a whole. Beside neighbours a CPU second does less: the same piece took 172 to 207 µs a sample
in four trials of one program. So a side that waited for a CPU is known no better than by that, and one pair of such sides settles
large savings only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import fmean, median, stdev

from joulewise.diagnosing.case import Case, Estimate, about, epochs_made, step_cpu_s, step_wall_s
from joulewise.diagnosing.ranking import LEAST_SHARE, as_run, price
from joulewise.diagnosing.remedies import KNOBS
from joulewise.diagnosing.settling import REPEAT_ARM
from joulewise.diagnosing.slow_transforms import made_again_cpu_s
from joulewise.diagnosing.trial_plan import TrialPlan, calls_made, most_equal
from joulewise.measuring.attribution import attribute_by_tick
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.finding import Cause, Finding, Remedy, RemedyKind
from joulewise.vocabulary.observed import CurvePoint, Phase, ProcessView, Window
from joulewise.vocabulary.recording import Component, Recording
from joulewise.vocabulary.student import t95
from joulewise.vocabulary.trial import Trial, TrialVerdict

_MEDIAN_ARM = (
    1.645 * 1.4826 * 1.2533
)  # of a median, from the median deviation: 90 %, normal, less efficient than a mean
_LEAST_ARM = 0.02
_CROWDED_ARM = 0.2  # of what a sample costs a side beside neighbours: they share caches, memory and cores' halves with it
_LEAST_TICKS = 4
_SAME_LOSS = 1e-3
_WORSE_LOSS = 0.05


@dataclass(frozen=True, slots=True)
class Side:
    """What one side measured, and the lines that it printed.

    `sample_j` are a sample's joules by counters; None where joules are modelled from seconds.
    """

    windows: tuple[Window, ...]
    curve: tuple[CurvePoint, ...]
    changed: tuple[str, ...] = ()
    sample_j: float | None = None
    printed: tuple[str, ...] = ()
    waited: float = 0.0  # seconds that it was ready and had no CPU, for each CPU second that it used


def counted_j(recording: Recording, windows: Sequence[Window]) -> float | None:
    """Return the joules of a sample in training steps, from the counters between ticks; None without counters, or too few ticks.

    Evaluations and checkpoints within a window are taken off by their share of its time.
    """
    counted = [d for d in recording.devices if d.counted and d.component in (Component.CPU, Component.GPU)]
    t_s = recording.ticks.t_s
    steps = [w for w in windows if w.kind == "steps" and w.samples and w.wall_s > 0]
    if not counted or not steps or any(d.basis is not Basis.MEASURED for d in counted):
        return None
    inside = [t for t in t_s if steps[0].end_s - steps[0].wall_s <= t <= steps[-1].end_s]
    if len(inside) < _LEAST_TICKS:
        return None
    _, work_j = attribute_by_tick(recording)

    def until(moment: float) -> float:
        after = bisect_left(t_s, moment)
        if after in (0, len(t_s)):
            return work_j[min(after, len(t_s) - 1)]
        share = (moment - t_s[after - 1]) / (t_s[after] - t_s[after - 1])
        return work_j[after - 1] + share * (work_j[after] - work_j[after - 1])

    joules = sum(
        (until(w.end_s) - until(w.end_s - w.wall_s)) * (1 - w.apart_wall_s / w.wall_s) for w in steps
    )
    return joules / sum(w.samples for w in steps)


def compare(plan: TrialPlan, knob: str, pairs: Sequence[tuple[Side, Side]], cost: float) -> Trial:
    """Return what pairs of sides (as it is, with the knob) say; raises UsageError where they measured nothing. Pure."""
    case, view = plan.case, plan.view
    weights, unit = _weights(case)
    costs = [[_cost(view, side, knob, changed=n > 0) for n, side in enumerate(pair)] for pair in pairs]
    known = [(one, other) for one, other in costs if one is not None and other is not None]
    if len(known) < len(pairs):
        raise UsageError(
            f"the trial of {knob} measured no steps: the program ended before; see what it printed with --keep"
        )
    used = [
        (_mixed(weights, one.cpu_s, one.wall_s), _mixed(weights, other.cpu_s, other.wall_s))
        for one, other in known
    ]
    by_counters = [(one.sample_j, other.sample_j) for one, other in pairs]
    if knob not in ("workers", "validate") and all(
        a and b for a, b in by_counters
    ):  # there, passes and evaluations count
        used = [(a, b) for a, b in by_counters if a and b]
    arms = [
        hypot(
            fmean(pair[n].arm for pair in known),
            _CROWDED_ARM * min(1.0, fmean(pair[n].waited for pair in pairs)),
        )
        for n in (0, 1)
    ]
    steps = _figure([1 - other / one for one, other in used], arms)
    walls = fmean(1 - other.wall_s / one.wall_s for one, other in known)
    base = fmean(one.cpu_s for one, _ in known), fmean(one.wall_s for one, _ in known)
    share, wall_share = _carried(case, view, weights, knob, base)
    if knob == "cache":
        share, wall_share = (s * _with_evaluations(view, pairs[0][1].changed) for s in (share, wall_share))
        share, wall_share = min(1.0, share), min(1.0, wall_share)
    run = as_run(steps.scaled(share), 1.0)  # which share steps have is known of one run
    promise = plan.promises.get(knob)
    promised = None
    if promise is not None:
        saving = promise.saving
        value = saving.energy_share if unit == "J" and saving.energy_share is not None else saving.cpu_share
        arms = [
            end / saving.cpu_s.value if saving.cpu_s.value else 1.0
            for end in (saving.cpu_s.low, saving.cpu_s.high)
        ]
        promised = about(value, value * arms[0], value * arms[1])
    equal, words = _quality(knob, pairs)
    return Trial(
        run=case.recording.run_id,
        knob=f"{knob}={plan.knobs[knob]}",
        cause=promise.cause if promise is not None else _cause(view, knob, plan.knobs[knob]),
        unit=unit,
        step_share=steps,
        run_share=run,
        wall_share=wall_share * walls,
        promised_share=promised,
        verdict=_verdict(run, promised, equal),
        equal_quality=equal,
        quality=words,
        pairs=len(pairs),
        cost=cost,
        changed=pairs[0][1].changed,
    )


def apply_trials(
    case: Case, findings: Sequence[Finding], trials: Sequence[Trial]
) -> tuple[tuple[tuple[Finding, Trial | None], ...], tuple[Trial, ...]]:
    """Return the findings as trials left them, the largest saving first, each with its trial; and the withdrawn trials.

    A confirmed or corrected finding promises what the trial measured, one that only a trial could see is added, and one
    that was withdrawn is gone. Of several trials of one waste the newest (the first) counts. Pure.
    """
    newest: dict[Cause, Trial] = {}
    for trial in trials:
        newest.setdefault(trial.cause, trial)
    kept: list[tuple[Finding, Trial | None]] = []
    for finding in findings:
        known = newest.get(finding.cause)
        if known is None or known.verdict is TrialVerdict.UNCLEAR:
            kept.append((finding, known))
        elif known.verdict is not TrialVerdict.WITHDRAWN:
            kept.append((_tried(case, finding, known), known))
    had = {finding.cause for finding in findings}
    kept += [
        (_tried(case, None, trial), trial)
        for cause, trial in newest.items()
        if cause not in had and trial.verdict in (TrialVerdict.CONFIRMED, TrialVerdict.CORRECTED)
    ]
    withdrawn = tuple(t for t in newest.values() if t.verdict is TrialVerdict.WITHDRAWN)
    return tuple(sorted(kept, key=lambda pair: -pair[0].saving.share)), withdrawn


def _tried(case: Case, finding: Finding | None, trial: Trial) -> Finding:
    """Return a finding whose saving is the trial's."""
    share = trial.run_share
    cpu_s = about(*(case.cpu_s * v for v in (share.value, share.low, share.high)))
    wall_s = about(*(case.wall_s * trial.wall_share * f for f in (1.0, 0.8, 1.2)))
    evidence = f"a trial of {trial.pairs} pair{'s' if trial.pairs > 1 else ''} used {100 * trial.step_share.value:.0f} % less a sample"
    remedy = Remedy(
        RemedyKind.COMMAND, f"joulewise run --with {trial.knob} -- {' '.join(case.recording.command)}"
    )
    estimate = Estimate(trial.cause, cpu_s, wall_s, evidence, remedy, trial.quality, "", "trial")
    saving = price(case, estimate)
    if finding is None:
        return Finding(trial.cause, evidence, saving, remedy, trial.quality)
    return Finding(
        finding.cause,
        f"{finding.evidence}; {evidence}",
        saving,
        finding.remedy,
        finding.risk,
        finding.process,
    )


def _cause(view: ProcessView, knob: str, value: str) -> Cause:
    if knob == "workers":
        most = max((one.workers for one in view.loaders), default=0)
        return Cause.TOO_FEW_LOADER_WORKERS if int(value) > most else Cause.TOO_MANY_LOADER_WORKERS
    if knob == "cache" and not view.steps:
        return Cause.REPEATED_EXPERIMENTS
    return KNOBS[knob].causes[0]


def _weights(case: Case) -> tuple[tuple[float, float], str]:
    """Return the run's joules per CPU second and per second, and the unit; where none are known, CPU seconds count."""
    parts = {
        c: f.value
        for c, f in case.account.footprint.energy_j.items()
        if c not in (Component.OTHER, Component.NODE)
    }
    if not parts or case.cpu_s <= 0 or case.wall_s <= 0:
        return (1.0, 0.0), "cpu_s"
    cpu_j = parts.pop(Component.CPU, 0.0)
    return (cpu_j / case.cpu_s, sum(parts.values()) / case.wall_s), "J"


def _mixed(weights: tuple[float, float], cpu_s: float, wall_s: float) -> float:
    return max(1e-12, weights[0] * cpu_s + weights[1] * wall_s)


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a sample cost on one side, and how far that is to be trusted: the relative half-width of its median."""

    cpu_s: float
    wall_s: float
    arm: float


def _cost(view: ProcessView, side: Side, knob: str, *, changed: bool) -> _Cost | None:
    """Return what a sample cost; None where nothing was measured.

    The median of the windows counts, since neighbours on the machine make some of them dear; where evaluations are looked
    at, which come in few windows, it is the mean, and so it is where a sample is a call of an estimator.
    """
    whole = (
        knob == "validate" and not changed
    )  # there, evaluations are what is looked at; elsewhere they stay out

    def spent(window: Window) -> tuple[float, float]:
        if whole:
            return window.cpu_s, window.wall_s
        return window.cpu_s - window.apart_cpu_s, window.wall_s - window.apart_wall_s

    starts = [(w.samples, *spent(w)) for w in side.windows if w.kind == "start"]
    rest = [(w.samples, *spent(w)) for w in side.windows if w.kind == "steps" and w.samples]
    if not rest:
        return None
    found, arm = [], 0.0
    unlike = knob == "validate" or not view.steps
    for n in (1, 2):
        each = [r[n] / r[0] for r in rest]
        middle = sum(r[n] for r in rest) / sum(r[0] for r in rest) if unlike else median(each)
        if n == 1 and middle > 0 and view.steps:
            apart = median(abs(e - middle) for e in each)
            arm = _MEDIAN_ARM * apart / middle / sqrt(len(each))
        if starts and view.dataset_items:
            middle += max(0.0, median(s[n] - middle * s[0] for s in starts)) / view.dataset_items
        found.append(max(1e-12, middle))
    return _Cost(found[0], found[1], arm)


def _figure(shares: Sequence[float], arms: Sequence[float]) -> Figure:
    """Return the mean of savings with its 90 % interval."""
    mean = fmean(shares)
    arm = (1 - mean) * hypot(*arms) / sqrt(len(shares))
    if len(shares) > 1:
        arm = max(_LEAST_ARM, arm, t95(len(shares) - 1) * stdev(shares) / sqrt(len(shares)))
    else:
        arm = max(arm, (1 - mean) * hypot(REPEAT_ARM, REPEAT_ARM))
    return Figure(mean, mean - arm, mean + arm, Basis.MEASURED, "trial")


def _carried(
    case: Case, view: ProcessView, weights: tuple[float, float], knob: str, base: tuple[float, float]
) -> tuple[float, float]:
    """Return the share of the run that the trial's saving is of, in the unit and in wall time.

    It is what its samples cost at the trial's own cost of one, but no less than what the run's steps took, and no more
    than these and everything that has no name.
    """
    workers = sum(v.cpu_s for v in case.views if v.parent_pid == view.pid and v.kind == "fork")
    least = [step_cpu_s(view) + workers, step_wall_s(view)]
    samples, kept = view.samples, 1.0
    if not view.steps:
        samples, scored = calls_made(view), view.phase(Phase.VALIDATION)
        least = [least[0] + scored.cpu_s, least[1] + scored.wall_s]
    if knob == "validate":
        apart = view.phase(Phase.VALIDATION)
        least = [least[0] + apart.cpu_s, least[1] + apart.wall_s]
        if view.evaluation_calls:
            kept = max(0.0, 1 - (epochs_made(view) or 1) / view.evaluation_calls)
    if knob == "cache":
        kept = 1 - _made_once(view)
    unnamed = view.phase(Phase.OTHER), view.phase(Phase.WAITING)
    most = [least[0] + sum(p.cpu_s for p in unnamed), least[1] + sum(p.wall_s for p in unnamed)]
    cpu_s, wall_s = (min(b, max(a, samples * each)) for a, b, each in zip(least, most, base, strict=True))
    share = _mixed(weights, cpu_s, wall_s) / _mixed(weights, case.cpu_s, case.wall_s)
    return min(1.0, share) * kept, min(1.0, wall_s / case.wall_s) * kept


def _with_evaluations(view: ProcessView, changed: Sequence[str]) -> float:
    """Return how much more is saved where items of evaluations are kept, too, which no window of a trial holds.

    What making them again took in the run is to that of the items trained on as their savings are.
    """
    trained = sum(made_again_cpu_s(one) for one in view.loaders if not one.evaluates)
    kept = [
        one
        for one in view.loaders
        if one.evaluates and any(f"cache: {one.dataset}: {one.items} items kept" in text for text in changed)
    ]
    return 1 + sum(map(made_again_cpu_s, kept)) / trained if trained > 0 else 1.0


def _made_once(view: ProcessView) -> float:
    """Return which share of the items, or of the equal fits, is made in any case: the first of each, which no trial measures."""
    if view.steps:
        trained = [one for one in view.loaders if not one.evaluates]
        return 1 / max(1, max(trained, key=lambda one: one.batches).passes) if trained else 0.0
    return 1 / max(1, most_equal(view))


def _verdict(run: Figure, promised: Figure | None, equal: bool | None) -> TrialVerdict:
    if equal is False:
        return TrialVerdict.WITHDRAWN
    if run.value >= LEAST_SHARE and run.low > 0:
        meets = promised is not None and promised.low <= run.high and run.low <= promised.high
        return TrialVerdict.CONFIRMED if meets else TrialVerdict.CORRECTED
    if run.value <= 0 or run.high < LEAST_SHARE:
        return TrialVerdict.WITHDRAWN
    return TrialVerdict.UNCLEAR


def _same_words(pairs: Sequence[tuple[Side, Side]]) -> tuple[bool, str] | None:
    """Return that both sides printed the same numbers, which ended after the same calls; None where they did not, or none."""
    told = sum(any(map(str.isdigit, text)) for one, _ in pairs for text in one.printed)
    if not told or any(one.printed != other.printed for one, other in pairs):
        return None
    return True, f"both sides printed the same {told} line{'s' if told > 1 else ''} with numbers"


def _quality(knob: str, pairs: Sequence[tuple[Side, Side]]) -> tuple[bool | None, str]:
    """Return whether the sides are equally good, and in words how that is known."""
    if knob == "batch":
        return (
            None,
            "a short piece cannot tell the quality of another batch: run it whole, then joulewise settle",
        )
    plain, changed = (
        {p.step: p.values["loss"] for pair in pairs for p in pair[n].curve if "loss" in p.values}
        for n in (0, 1)
    )
    both = sorted(plain.keys() & changed.keys())
    if not both:
        return _same_words(pairs) or (None, "no losses of the same steps were seen in both sides")
    one, other = [plain[s] for s in both], [changed[s] for s in both]
    size = fmean(map(abs, one)) or 1.0
    apart = fmean(abs(a - b) for a, b in zip(one, other, strict=True)) / size
    if apart < _SAME_LOSS:
        return True, f"the same losses in {len(both)} steps"
    last = max(1, len(both) // 3)
    before, after = fmean(one[-last:]), fmean(other[-last:])
    differ = [b - a for a, b in zip(one[-last:], other[-last:], strict=True)]
    noise = max(_WORSE_LOSS * abs(before), 2 * stdev(differ) / sqrt(last) if last > 1 else 0.0)
    words = f"loss {before:.4g} as it is, {after:.4g} with it"
    if knob == "precision":
        return after - before <= noise, f"{words}; run it whole, then joulewise settle"
    return None, f"{words}: the program draws other random numbers each time"
