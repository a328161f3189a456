"""A gate: whether a change raised what a unit of work costs, at equal quality, by more than is allowed.

The figure is the ratio of candidate to baseline, per unit of the work that both logged (samples, steps, epochs), else per
run. Its 90 % interval joins, in quadrature, what the measurement leaves open (`measuring.comparing.ratio`) and the noise
of running the same thing again, which is measured on the runs themselves: the pooled deviation of the logarithms, by
Student's t. Where no side has two runs the noise is not known, and the gate cannot tell; it never guesses one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import exp, hypot, inf, log, sqrt
from statistics import fmean

from joulewise.diagnosing.quality import Quality, equal_over
from joulewise.measuring.accounting import Account, work_done
from joulewise.measuring.comparing import difference, ratio
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.recording import EndState
from joulewise.vocabulary.student import t95

MOST_REPEATS = 30  # more than anybody would run to pass a gate


class Decision(StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    CANNOT_TELL = "cannot tell"


class Measure(StrEnum):
    """What is held against the limit."""

    ENERGY = "energy"
    CPU_TIME = "cpu"


@dataclass(frozen=True, slots=True)
class Gate:
    """A decision with its evidence.

    `ratio` is candidate over baseline per `per` (a unit of work or "run"); None where it is not known. `limit` is the
    ratio that is still allowed. `noise` is the half-width that repeats leave, as a share; None where none was measured.
    `repeats` says how many runs a side would decide it; None where no number would, or where none is needed.
    """

    decision: Decision
    reason: str
    limit: float
    measure: Measure
    ratio: Figure | None = None
    per: str = "run"
    noise: float | None = None
    repeats: int | None = None
    equal_quality: bool | None = None
    quality: str = ""
    runs: tuple[int, int] = (0, 0)


def gate(
    before: Sequence[Account],
    after: Sequence[Account],
    qualities: tuple[Sequence[Quality | None], Sequence[Quality | None]],
    *,
    limit: float,
    measure: Measure = Measure.ENERGY,
    require_quality: bool = False,
) -> Gate:
    """Return the decision on the runs of `after` against those of `before`; `limit` is the allowed ratio. Pure.

    Raises UsageError for a limit that is not above 0 or a side without runs.
    """
    if not (0 < limit < inf):
        raise UsageError(f"the limit is {limit:g} times the baseline, but must be above 0")
    if not before or not after:
        raise UsageError(f"the {'candidate' if before else 'baseline'} has no run")
    same, words = equal_over(*qualities)
    found = Gate(
        Decision.CANNOT_TELL, "", limit, measure,
        equal_quality=same, quality=words, runs=(len(before), len(after)),
    )  # fmt: skip
    ended = [a.recording for a in (*before, *after) if a.recording.end.state is not EndState.FINISHED]
    if ended:
        return _told(found, f"{ended[0].run_id} {_ended(ended[0].end.state)}: only finished runs compare")
    if require_quality and same is None:
        return _told(found, f"the quality is not known: {words}")
    per, amounts = _per_work(before, after)
    values = [[_amount(a, measure) for a in side] for side in (before, after)]
    logs = [
        [log(v / w) for v, w in zip(side, work, strict=True) if v is not None and v > 0]
        for side, work in zip(values, amounts, strict=True)
    ]
    if [len(side) for side in logs] != [len(before), len(after)]:
        what = "joules are" if measure is Measure.ENERGY else "CPU seconds are"
        return _told(found, f"the {what} not known for every run")
    arms, basis, why = _measurement(before, after, measure)
    if arms is None:
        return _told(found, why)
    centre = fmean(logs[1]) - fmean(logs[0])
    spread = _pooled(logs)
    if spread is None:
        value = exp(centre)
        figure = Figure(value, value * (1 - arms[0]), value * (1 + arms[1]), basis, "ratio, noise not known")
        return _told(
            found, "one run a side cannot tell how much a repeat differs: run each two or three times",
            ratio=figure, per=per, repeats=2,
        )  # fmt: skip
    noise = _half_width(spread, len(before), len(after))
    figure = _interval(centre, noise, arms, basis)
    decided = _decide(figure, limit)
    if same is False:
        decided, why = Decision.FAIL, f"the quality is lower: {words}"
    elif decided is Decision.CANNOT_TELL:
        why = f"the limit of {_percent(limit)} lies inside the interval"
    else:
        why = f"the whole interval lies {'within' if decided is Decision.PASS else 'above'} the limit of {_percent(limit)}"
    more = _repeats(centre, spread, arms, basis, limit) if decided is Decision.CANNOT_TELL else None
    return Gate(decided, why, limit, measure, figure, per, exp(noise) - 1, more, same, words, found.runs)


def _told(found: Gate, reason: str, **more: object) -> Gate:
    return replace(found, reason=reason, **more)  # type: ignore[arg-type]  # fields of Gate


def _ended(state: EndState) -> str:
    return "still runs" if state is EndState.RUNNING else f"ended as {state.value}"


def _per_work(before: Sequence[Account], after: Sequence[Account]) -> tuple[str, list[list[float]]]:
    """Return the first thing that every run counted, and how much of it each did; a run each where there is none."""
    done = [[work_done(a.recording) for a in side] for side in (before, after)]
    for thing in done[0][0]:
        if all(thing in run for side in done for run in side):
            return thing.rstrip("s"), [[run[thing] for run in side] for side in done]
    return "run", [[1.0] * len(before), [1.0] * len(after)]


def _amount(account: Account, measure: Measure) -> float | None:
    if measure is Measure.CPU_TIME:
        return account.usage.cpu_s
    total_j = account.footprint.total_j
    return None if total_j is None else total_j.value


def _measurement(
    before: Sequence[Account], after: Sequence[Account], measure: Measure
) -> tuple[tuple[float, float] | None, Basis, str]:
    """Return the arms of the ratio that measuring leaves open, as shares, the basis, and why there are none."""
    if measure is Measure.CPU_TIME:
        models = {(a.recording.machine.cpu_model, a.recording.machine.cpus) for a in (*before, *after)}
        if len(models) > 1:
            return (
                None,
                Basis.MEASURED,
                "the runs were made on unlike processors, whose seconds do not compare",
            )
        return (0.0, 0.0), Basis.MEASURED, ""
    pairs = [(one, other, ratio(one, other)) for one in before for other in after]
    for one, other, found in pairs:
        if found is None:
            caveats = difference(one, other).caveats
            why = caveats[0] if caveats else "the runs share no device"
            return (
                None,
                Basis.MODELLED,
                f"{why}: their errors do not cancel (--measure cpu compares CPU seconds)",
            )
    figures = [found for _, _, found in pairs if found is not None]
    below = fmean((f.value - f.low) / f.value for f in figures)
    above = fmean((f.high - f.value) / f.value for f in figures)
    return (below, above), max(f.basis for f in figures), ""


def _pooled(logs: Sequence[Sequence[float]]) -> float | None:
    """Return the deviation of repeats on the log scale, pooled over both sides; None without a repeat."""
    freedom = sum(len(side) - 1 for side in logs)
    if freedom < 1:
        return None
    return sqrt(sum((v - fmean(side)) ** 2 for side in logs for v in side) / freedom)


def _half_width(spread: float, ones: int, others: int) -> float:
    return t95(ones + others - 2) * spread * sqrt(1 / ones + 1 / others)


def _interval(centre: float, noise: float, arms: tuple[float, float], basis: Basis) -> Figure:
    low, high = (exp(centre + sign * noise) for sign in (-1, 1))
    value = exp(centre)
    below, above = hypot(value - low, value * arms[0]), hypot(high - value, value * arms[1])
    return Figure(value, max(0.0, value - below), value + above, basis, "ratio")


def _decide(figure: Figure, limit: float) -> Decision:
    if figure.high <= limit:
        return Decision.PASS
    return Decision.FAIL if figure.low > limit else Decision.CANNOT_TELL


def _repeats(
    centre: float, spread: float, arms: tuple[float, float], basis: Basis, limit: float
) -> int | None:
    """Return how many runs a side would decide it, were they as these are."""
    for runs in range(2, MOST_REPEATS + 1):
        figure = _interval(centre, _half_width(spread, runs, runs), arms, basis)
        if _decide(figure, limit) is not Decision.CANNOT_TELL:
            return runs
    return None


def _percent(limit: float) -> str:
    return f"{100 * (limit - 1):+.3g} %"
